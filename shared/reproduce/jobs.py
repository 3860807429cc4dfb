"""The work of the processes that run jobs: prepare the data, train and evaluate, draw the figures."""

import contextlib
import json
import math
import os
import platform
import shutil
import signal
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from filelock import FileLock

from .. import UserError
from ..paper import load
from ..run import Interrupted, Run, Tracker
from ..support.files import write_json
from ..support.machine import processor
from ..support.weights import weights_file
from .keys import Job, code_hash, plain_values, stored

Report = Callable[[int, int, dict[str, float]], None]  # steps done, steps in all, last logged values


def prepare(package: str, config: Any, cache: Path) -> dict[str, Any]:
    """Let the paper prepare its data; returns what it says of them."""
    return load(package, "data").prepare(config, cache)


def run_job(
    package: str, job: Job, tracker: Tracker, report: Report, trains: str = "train", evaluates: str = "eval"
) -> dict[str, Any]:
    """Train (or continue) and evaluate one job; returns its row. A finished job returns its row at once.

    Args:
        tracker: see ``Run``.
        report: called with (steps done, steps in all, last logged values) as training goes on.
        trains, evaluates: modules of the paper with ``train(config, run)`` and ``evaluate(config, run)``.

    Raises:
        UserError: the run it starts from is not finished, a metric is not finite, or what the paper's code raises.
    """
    # Another reproduction of the same checkout may be at the same job; ranks of one launch share the folder.
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    lock = job.folder.with_name(f".{job.folder.name}.lock")
    with contextlib.nullcontext() if "WORLD_SIZE" in os.environ else FileLock(lock):
        if os.environ.get("RANK", "0") == "0" and job.result is None:
            for torn in job.folder.rglob("*.partial"):  # of a run that was killed as it wrote
                torn.unlink()
            if stored(job.folder / "config.json", job.train_key) is None:
                make_way(job)
            content = {"variant": job.variant, "seed": job.seed, "config": plain_values(job.config)}
            write_json(job.folder / "config.json", content | {"key": job.train_key})
        if "WORLD_SIZE" in os.environ:
            PartialState().wait_for_everyone()  # what was moved back may be finished: all have to see it
        if (row := job.result) is not None:
            return row
        if job.start is not None and not (
            stored(job.start / "config.json", job.start_key) and weights_file(job.start).exists()
        ):
            raise UserError(
                f"{job.start} holds no finished run of the settings that {job} starts from; train it first."
            )
        run = Run(
            job.folder,
            job.cache,
            seed=job.seed,
            start=job.start,
            precision=getattr(job.config, "precision", "no"),
            tracker=tracker,
            progress=report,
        )
        run.accelerator.wait_for_everyone()
        load(package, trains).train(job.config, run)
        run.close()
        run.accelerator.free_memory()  # its loaders' workers, and the batches they hold, would stay
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # an evaluation has no checkpoint to wait for
        if run.asked_to_stop and run.accelerator.num_processes == 1:  # after the last step
            raise Interrupted(f"{job} stopped before its evaluation")
        row = {"variant": job.variant, "seed": job.seed}
        metrics = load(package, evaluates).evaluate(job.config, run)  # what the main process returns counts
        if run.accelerator.is_main_process:
            if undefined := [name for name, x in metrics.items() if x is not None and not math.isfinite(x)]:
                raise UserError(f"{', '.join(undefined)} came out as NaN or infinite; the weights are in {job.folder}.")
            cost = {"seconds": round(run.seconds, 2), "peak_memory_mb": round(run.peak_memory_mb, 1)}
            row |= {"metrics": metrics} | cost
            write_json(job.folder / "result.json", row | {"key": job.result_key})
            shutil.rmtree(job.replaced, ignore_errors=True)
        run.accelerator.wait_for_everyone()
        return row


def make_way(job: Job) -> None:
    """Move what another run left out of the job's folder, and back what it had itself left there before."""
    described = job.folder / "config.json"
    if described.exists() and any((job.folder / left).exists() for left in ("checkpoint", "result.json")):
        key = json.loads(described.read_bytes())["key"]
        job.replaced.mkdir(exist_ok=True)
        shutil.rmtree(job.replaced / key, ignore_errors=True)
        job.folder.rename(job.replaced / key)
    shutil.rmtree(job.folder, ignore_errors=True)
    if (job.replaced / job.train_key).exists():
        (job.replaced / job.train_key).rename(job.folder)


def draw_figures(package: str, runs: Mapping[tuple[str, int], Path], target: Path) -> None:
    """Let the paper draw its figures into ``target``, from the run folders by (variant, seed)."""
    load(package, "eval").figures(runs, target)


def environment(package: str) -> dict[str, Any]:
    """Hardware, versions and the hash of the code, for the results file."""
    gpu = torch.cuda.is_available()
    return {
        "cpu": processor(),
        "gpu": f"{os.environ.get('WORLD_SIZE', 1)} x {torch.cuda.get_device_name()}" if gpu else None,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "code": code_hash(package, "train", "eval"),
    }


def devices() -> int:
    """Jobs that run side by side by default: one a GPU, else one a core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return torch.cuda.device_count() or cores


def use_device(slot: int) -> None:
    """One thread for this process, and the GPU of its slot if there are any."""
    torch.set_num_threads(1)
    if (gpus := torch.cuda.device_count()) > 0:
        torch.cuda.set_device(slot % gpus)
