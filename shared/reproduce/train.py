"""``python -m papers.<slug>.train``: one run in this process; also under ``accelerate launch``."""

import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Literal

import tyro

from .. import UserError
from ..paper import load
from ..support.command_line import console, note, run_and_explain
from ..support.weights import weights_file
from .command import check_can_run, chosen
from .keys import Job, Jobs
from .launch import LaunchedProcess


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Train and evaluate one variant with one seed."""

    preset: Literal["smoke", "cpu", "paper"] = "cpu"
    """Preset whose values the options below have unless they are given."""
    variant: str | None = None
    """Row of the results table; default: the paper's own method."""
    seed: int = 0
    """Seed of the run."""
    start: Path | None = None
    """Folder of the finished run to start from, for variants that start from another; default: train that first."""
    out: Path = Path("runs/custom")
    """Folder for the run, which replaces one with other options there; apart from what `make reproduce` writes."""
    debug: bool = False
    """Show the traceback of an error."""


def train_one(package: str) -> None:
    """Parse the options of one run, run it, and exit."""
    module = load(package, "config")
    prog, description = f"python -m {package}.train", "Train and evaluate one variant with one seed."
    options, _ = tyro.cli(TrainOptions, return_unknown_args=True, add_help=False)

    def run() -> None:
        (variant,) = chosen("variant", (options.variant or package.rpartition(".")[2],), tuple(module.VARIANTS))
        preset = module.PRESETS[options.preset]
        start = dataclasses.replace(preset, **module.VARIANTS[variant].changes)
        whole = dataclasses.make_dataclass("Whole", [("run", TrainOptions, options), ("config", type(start), start)])
        config: Any = tyro.cli(whole, prog=prog, description=description, config=(tyro.conf.OmitArgPrefixes,)).config
        check_can_run(package, options.preset, config.data, (options.seed,))
        given = {name: x for name, x in vars(config).items() if x != getattr(start, name)}
        # The runs that it starts from are given the same options.
        configs = {name: dataclasses.replace(preset, **x.changes | given) for name, x in module.VARIANTS.items()}
        with contextlib.closing(LaunchedProcess(package)) as workers:
            info = workers.call("prepare", package, config, options.out / "cache")
            jobs = Jobs(package, module, configs, options.out, info)
            pending = [_from_given(jobs, variant, options)] if options.start else jobs.of((variant,), (options.seed,))
            workers.map(pending, {}, lambda job: None)
            if workers.is_main:
                console.print_json(data=pending[-1].result)
                note(f"weights, log and result are in {pending[-1].folder}.")

    sys.exit(run_and_explain(run, options.debug))


def _from_given(jobs: Jobs, variant: str, options: TrainOptions) -> Job:
    """The job of a variant that starts from the run in the folder ``--start``."""
    folder = Path(options.start or "").expanduser()
    described = folder / "config.json"
    if not (described.is_file() and weights_file(folder).is_file()):
        raise UserError(f"--start {folder} is no finished run; expected config.json and checkpoint/model.safetensors.")
    return jobs.job(variant, options.seed, folder, json.loads(described.read_text())["key"])
