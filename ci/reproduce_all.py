"""``make reproduce-all``: every paper in turn, one log each, and a summary; a second call continues."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from shared.paper import load
from shared.reproduce.tables import badge, markdown, read_results

from .report import papers


def reproduce(slug: str, preset: str, out: str | None, log: Path) -> tuple[int, float]:
    """Run one paper with its output in a log; returns the exit status and the minutes it took."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    command = [sys.executable, "-m", "shared.reproduce", f"papers.{slug}", "--preset", preset]
    with open(log, "a") as file:
        finished = subprocess.run([*command, *(["--out", out] if out else [])], stdout=file, stderr=file)
    return finished.returncode, (time.monotonic() - started) / 60


def main() -> int:
    parser = argparse.ArgumentParser(description="Reproduce every paper in turn; what is done already is skipped.")
    parser.add_argument("--preset", default="cpu", choices=("smoke", "cpu"), help="preset of every paper")
    parser.add_argument("--out", help="folder for runs and results instead of runs/ and the papers' own folders")
    options = parser.parse_args()
    table = [["paper", "exit status", "minutes", "what came out", "log"]]
    for folder in papers(Path.cwd()):
        log = Path(options.out or "runs") / folder.name / f"{options.preset}.log"
        print(f"{folder.name}: running, see {log}", flush=True)
        status, minutes = reproduce(folder.name, options.preset, options.out, log)
        published = options.out is None and options.preset == "cpu"
        home = folder / "results" if published else log.parent / options.preset / "results"
        results = read_results(home / f"{options.preset}.json")
        found = badge(results, load(f"papers.{folder.name}", "claims").CLAIMS) if status == 0 else "failed"
        print(f"{folder.name}: {found} ({minutes:.0f} minutes)", flush=True)
        table.append([folder.name, str(status), f"{minutes:.1f}", found, str(log)])
        if status == 130:  # interrupted
            break
    print(f"\n{markdown(table)}")
    return max(int(row[1]) for row in table[1:])


if __name__ == "__main__":
    sys.exit(main())
