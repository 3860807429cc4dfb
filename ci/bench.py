"""``make bench [PAPER=slug|shared]``: speed and memory of our code, each against what one would use without it.

``papers/*/bench.py`` and ``ci/bench_shared.py`` say what to compare: their ``bench()`` yields the fields of one
:class:`Comparison` after the other, once it has made sure that both sides give the same result. This file measures on
one thread, prints ratios (above 1: ours is better) and writes them to ``ci/bench.json``, each module's rows with the
machine they were measured on, from where the root README takes its table; with a paper or ``shared`` named, only its
rows are measured and the others are kept.
"""

import ctypes
import importlib
import json
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from shared import UserError
from shared.support.command_line import can_write
from shared.support.files import write_json
from shared.support.machine import processor

ROOT = Path(__file__).parents[1]
SECONDS = 6.0  # spent on a comparison, but no less than
ROUNDS = 5
LONGEST = 60.0  # seconds after which two rounds are enough


@dataclass(frozen=True)
class Comparison:
    """Two ways to do the same work."""

    name: str
    detail: str
    """Sizes, and what the reference is."""
    ours: Callable[[], object]
    reference: Callable[[], object] | None = None
    """None: there is nothing to compare with, and the time itself is the result."""
    per: float = 1.0
    """How many units of work one call does; times are given per unit."""
    unit: str = "call"
    memory: bool = False
    """Also compare the peak memory of a call (Linux)."""


def measure(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Median times of interleaved calls, then peak memory: one row of the results for each."""
    sides = [comparison.ours] if comparison.reference is None else [comparison.ours, comparison.reference]
    times: list[list[float]] = [[] for _ in sides]
    started = time.perf_counter()
    while _goes_on(len(times[0]), time.perf_counter() - started):
        for side, of_side in zip(sides, times, strict=True):
            before = time.perf_counter()
            side()
            of_side.append((time.perf_counter() - before) / comparison.per)
    yield _row(comparison, f"s/{comparison.unit}", [median(of_side) for of_side in times], rounds=len(times[0]))
    if comparison.memory and sys.platform == "linux":
        yield _row(comparison, "MB", [peak_memory(side) for side in sides], rounds=1)


def _goes_on(rounds: int, seconds: float) -> bool:
    return rounds < 2 or (rounds < ROUNDS and seconds < LONGEST) or seconds < SECONDS


def _row(comparison: Comparison, unit: str, values: list[float], rounds: int) -> dict[str, Any]:
    ours, reference = values[0], values[1] if len(values) > 1 else None
    row = {"name": comparison.name, "detail": comparison.detail, "unit": unit, "rounds": rounds}
    return row | {"ours": ours, "reference": reference, "ratio": reference / ours if reference is not None else None}


def peak_memory(work: Callable[[], object]) -> float:
    """Resident MB that a call adds at its peak, measured in a child process."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send_peak, args=(work, sender))
    child.start()
    sender.close()
    peak = receiver.recv()
    child.join()
    return peak


def _send_peak(work: Callable[[], object], sender: Connection) -> None:
    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 2**16)  # M_MMAP_THRESHOLD: what is freed goes back to the system and is not counted twice
    work()  # what stays resident after a first call is not its peak
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    sender.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)


def machine() -> dict[str, Any]:
    """The machine that the numbers were measured on."""
    from importlib.metadata import version

    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": 1,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def modules(only: str) -> list[str]:
    """Modules with a ``bench()``: all, or that of a paper or of ``shared``.

    Raises:
        SystemExit: with one sentence, if there is nothing to measure under that name.
    """
    found = {"shared": "ci.bench_shared"}
    found |= {path.parent.name: f"papers.{path.parent.name}.bench" for path in sorted(ROOT.glob("papers/*/bench.py"))}
    if only and only not in found:
        raise SystemExit(f"error: PAPER={only} has no bench.py; there are: {', '.join(found)}.")
    return [found[only]] if only else list(found.values())


def main(only: str = "") -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # before the libraries that read them are imported
    chosen = modules(only)
    import torch

    torch.set_num_threads(1)
    path = ROOT / "ci" / "bench.json"
    can_write(path)
    measured = json.loads(path.read_text()) if only and path.exists() else {}
    for module in chosen:
        where = machine()
        print(f"\n{module}: {where['cpu']}, one thread, torch {where['torch']}, load {where['load']} at the start")
        rows = []
        for fields in importlib.import_module(module).bench():
            for row in measure(Comparison(**fields)):
                ratio = f"{row['ratio']:8.2f} x" if row["reference"] is not None else " " * 10
                reference = f" instead of {row['reference']:.3g}" if row["reference"] is not None else ""
                print(f"{ratio}  {row['name']}: {row['ours']:.3g}{reference} {row['unit']}", flush=True)
                rows.append(row)
        measured[module] = {"machine": where, "rows": rows}
        write_json(path, measured)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
