"""``python -m papers.<slug>.train``, and further commands that train: one run in this process.

Under ``accelerate launch`` each process runs this.
"""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import tyro

from .. import UserError
from ..paper import load
from ..support.command_line import command, console, each_once, note, run_and_explain
from ..support.weights import weights_file
from .command import check_can_run, chosen
from .keys import Job, Jobs, cache_folder, code_hash, digest, plain_values
from .launch import LaunchedProcess


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Train and evaluate one variant with one seed."""

    preset: Literal["smoke", "cpu", "paper"] = "cpu"
    """Preset that sets the options of the configuration which are not given here."""
    variant: str | None = None
    """Variant to train, a row of the results table; without it the method of the paper's first main claim."""
    seed: int = 0
    """Seed of the weights, the data order and everything else that is random."""
    start: Path | None = None
    """Finished run to start from, a folder, for variants that start from another; without it that is trained first."""
    out: Path = Path("runs/custom")
    """Folder for the run; a run with other options there is replaced. `make reproduce` writes elsewhere."""
    tracker: Literal["tensorboard", "wandb", "mlflow", "none"] = "tensorboard"
    """Logger of the run's values beside its metrics.jsonl; wandb and mlflow have to be installed first."""
    debug: bool = False
    """Show the traceback of an error."""


def train_one(package: str) -> None:
    """Parse the options of one run, run it, and exit."""
    module = load(package, "config")
    prog, description = f"python -m {package}.train", "Train and evaluate one variant with one seed."
    given = sys.argv[1:]

    def run() -> None:
        arguments = each_once(given, TrainOptions, module.Config)
        options, _ = tyro.cli(TrainOptions, args=arguments, return_unknown_args=True, add_help=False)
        (variant,) = chosen("variant", (options.variant or own_method(package),), tuple(module.VARIANTS))
        options = dataclasses.replace(options, variant=variant)  # which --help names as the default
        preset = module.PRESETS[options.preset]
        start = dataclasses.replace(preset, **module.VARIANTS[variant].changes)
        whole = dataclasses.make_dataclass("Whole", [("run", TrainOptions, options), ("config", type(start), start)])
        parsed: Any = tyro.cli(
            whole, args=arguments, prog=prog, description=description, config=(tyro.conf.OmitArgPrefixes,)
        )
        config = parsed.config
        check_can_run(package, options.preset, config.data, (options.seed,))
        changed = {name: x for name, x in vars(config).items() if x != getattr(start, name)}
        # The runs that it starts from are given the same options.
        configs = {name: dataclasses.replace(preset, **x.changes | changed) for name, x in module.VARIANTS.items()}
        with contextlib.closing(LaunchedProcess(package, options.tracker)) as workers:
            cache = cache_folder(package, options.out)
            info = workers.call("prepare", package, config, cache)
            jobs = Jobs(package, module, configs, options.out, cache, info)
            pending = [_from_given(jobs, variant, options)] if options.start else jobs.of((variant,), (options.seed,))
            workers.map(pending, {}, lambda job: None)
            if workers.is_main:
                console.print_json(data=pending[-1].result)
                note(f"weights, log and result are in {pending[-1].folder}.")

    sys.exit(run_and_explain(run, "--debug" in given))


def own_method(package: str) -> str:
    """The variant of the paper's name; if there is none, the one that its first headline claim speaks for."""
    name = package.rpartition(".")[2]
    if name in load(package, "config").VARIANTS:
        return name
    found: str = next(claim.a for claim in load(package, "claims").CLAIMS if claim.headline)
    return found


def _from_given(jobs: Jobs, variant: str, options: TrainOptions) -> Job:
    """The job of a variant that starts from the run in the folder ``--start``."""
    folder = Path(options.start or "").expanduser()
    described = folder / "config.json"
    if not (described.is_file() and weights_file(folder).is_file()):
        raise UserError(f"--start {folder} is no finished run; expected config.json and checkpoint/model.safetensors.")
    return jobs.job(variant, options.seed, folder, json.loads(described.read_text())["key"])


class FurtherOptions(Protocol):
    """Options that a further command has, beside its own."""

    @property
    def out(self) -> Path:
        """Folder for the run."""

    @property
    def seed(self) -> int:
        """Seed of the run."""

    @property
    def debug(self) -> bool:
        """Show the traceback of an error."""


def train_further(
    package: str,
    module: str,
    kind: type[FurtherOptions],
    free: Sequence[str] = ("out", "workers", "save_every", "debug"),
    arguments: Sequence[str] | None = None,
) -> int:
    """``python -m papers.<slug>.<module>``: train and evaluate with options of its own, such as a transfer.

    ``module`` offers ``train(options, run)`` and ``evaluate(options, run)``. The same command continues an interrupted
    run; with other options or code what stands in ``--out`` makes way, as in ``make reproduce``.

    Args:
        package: of the paper.
        module: such as ``transfer.segment``.
        kind: dataclass of the options; ``precision`` may be one of them.
        free: options that may change on the way.

    Returns: the exit status.
    """

    def run(options: FurtherOptions) -> None:
        code = code_hash(package, module)
        settings = {name: x for name, x in plain_values(options).items() if name not in free}
        key = digest(settings, code)
        out = options.out.expanduser()
        job = Job(module, options.seed, options, out, out / "cache", key, key)
        with contextlib.closing(LaunchedProcess(package)) as workers:
            row = workers.run(job, trains=module, evaluates=module)
            if workers.is_main:
                console.print_json(data=row)
                note(f"weights, log and result are in {job.folder}.")

    return command(kind, run, f"python -m {package}.{module}", arguments)
