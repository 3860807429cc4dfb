"""``make reproduce-all``: every paper in turn, one log each, and a summary of all; a second call continues."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from shared.paper import load
from shared.reproduce.command import compare
from shared.reproduce.tables import badge, markdown, read_results
from shared.support.files import write_atomic
from shared.support.machine import processor

from .report import papers

NAME = "REPRODUCE_ALL.md"
INTERRUPTED = 130


@dataclass(frozen=True)
class Reproduced:
    """The outcome of one paper."""

    slug: str
    status: int
    """Exit status of the process: 0 if all went well."""
    clock: float
    """Minutes that this call took."""
    minutes: float = 0.0
    """On two cores, of all runs behind the results, those of earlier calls included."""
    badge: str = "failed"
    compared: str = ""
    """Whether the runs equal those that are committed."""
    code: str = ""
    """Hash of the code that ran."""

    @property
    def row(self) -> list[str]:
        status = "" if self.status == 0 else f" (exit status {self.status})"
        times = [f"{self.minutes:.0f}", f"{self.clock:.0f}"]
        return [self.slug, self.badge + status, self.compared, *times, self.code[:12]]


def reproduce(folder: Path, preset: str, out: str | None, log: Path) -> Reproduced:
    """Run one paper with its output in a log, and read what it wrote."""
    committed = read_results(folder / "results" / f"{preset}.json")
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    command = [sys.executable, "-m", "shared.reproduce", f"papers.{folder.name}", "--preset", preset]
    with open(log, "a") as file:
        status = subprocess.run([*command, *(["--out", out] if out else [])], stdout=file, stderr=file).returncode
    clock = (time.monotonic() - started) / 60
    runs = log.parent / preset
    home = folder / "results" if out is None and preset == "cpu" else runs / "results"
    results = read_results(home / f"{preset}.json")
    if status or results is None:
        return Reproduced(folder.name, status, clock)
    return Reproduced(
        folder.name,
        status,
        clock,
        minutes_of(results, runs),
        badge(results, load(f"papers.{folder.name}", "claims").CLAIMS),
        compare(results["rows"], committed),
        results["environment"]["code"],
    )


def minutes_of(results: dict[str, Any], runs: Path) -> float:
    """Half the minutes of the runs behind a results file, which itself keeps the times of rows that came out equal."""
    files = [runs / row["variant"] / f"seed{row['seed']}" / "result.json" for row in results["rows"]]
    return sum(json.loads(file.read_bytes())["seconds"] for file in files) / 120


def summary(found: list[Reproduced], preset: str) -> str:
    """The page that says when and where the papers were reproduced, and what came out."""
    head = ["paper", "what came out", "against the committed results", "minutes on two cores", "by the clock", "code"]
    total = ["all", "", "", f"{sum(x.minutes for x in found):.0f}", f"{sum(x.clock for x in found):.0f}", ""]
    machine = f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {version('torch')}"
    return (
        "# Every paper reproduced in turn\n\n"
        f"Written by `make reproduce-all` (preset `{preset}`) on {date.today()}: {machine}. "
        "Minutes on two cores are half the sum of all runs. Minutes by the clock are those of the last call, which "
        "skips what an earlier one has done.\n\n"
        f"{markdown([head, *(x.row for x in found), total])}\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Reproduce every paper in turn; what is done already is skipped.")
    parser.add_argument("--preset", default="cpu", choices=("smoke", "cpu"), help="preset of every paper")
    parser.add_argument("--out", help="folder for runs and results instead of runs/ and the papers' own folders")
    options = parser.parse_args()
    found: list[Reproduced] = []
    for folder in papers(Path.cwd()):
        log = Path(options.out or "runs") / folder.name / f"{options.preset}.log"
        print(f"{folder.name}: running, see {log}", flush=True)
        found.append(reproduce(folder, options.preset, options.out, log))
        print(f"{folder.name}: {found[-1].badge} ({found[-1].clock:.0f} minutes)", flush=True)
        if found[-1].status == INTERRUPTED:
            return INTERRUPTED
    published = options.out is None and options.preset == "cpu"
    page = (Path("ci") if published else Path(options.out or "runs")) / NAME
    write_atomic(page, summary(found, options.preset).encode())
    print(f"\nWritten to {page}.")
    return int(any(x.status for x in found))


if __name__ == "__main__":
    sys.exit(main())
