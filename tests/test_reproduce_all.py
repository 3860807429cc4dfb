"""ci/reproduce_all.py: tiny papers in turn, a summary that can be committed, and an exit status that tells failures."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from ci import reproduce_all
from ci.reproduce_all import Reproduced

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "shared" / "tinypaper"


def test_papers_are_reproduced_in_turn_and_a_broken_one_stops_none(tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "__init__.py").touch()
    for slug in ("broken", "tiny"):
        shutil.copytree(TINY, tmp_path / "papers" / slug, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "papers" / "broken" / "config.py").write_text(
        "from shared import UserError\nraise UserError('broken')\n"
    )
    command = [sys.executable, "-m", "ci.reproduce_all", "--preset", "smoke"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    finished = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert finished.returncode == 1, finished.stderr
    assert "broken: failed" in finished.stdout and "tiny: 0 of 1 supported" in finished.stdout
    assert "broken" in (tmp_path / "runs" / "broken" / "smoke.log").read_text()
    found = json.loads((tmp_path / "runs" / "tiny" / "smoke" / "results" / "smoke.json").read_text())
    rows = [line.strip("| ").split(" | ") for line in (tmp_path / "runs" / reproduce_all.NAME).read_text().splitlines()]
    assert rows[-3][:2] == ["broken", "failed (exit status 1)"]
    assert rows[-2][:3] == ["tiny", "0 of 1 supported", "There are no published runs to compare with."]
    assert rows[-2][-1] == found["environment"]["code"][:12]


def test_minutes_are_those_of_the_runs_whichever_call_made_them(tmp_path: Path) -> None:
    """The results file may hold the times of equal rows that were published before."""
    rows = [{"variant": "a", "seed": seed, "seconds": 1.0} for seed in (0, 1)]
    for row in rows:
        folder = tmp_path / "a" / f"seed{row['seed']}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text('{"seconds": 60.0}')
    assert reproduce_all.minutes_of({"rows": rows}, tmp_path) == 1.0


def test_the_summary_says_when_where_and_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce_all, "processor", lambda: "Abacus")
    whole = Reproduced(
        "tiny", 0, 3.4, 12.4, "1 of 1 supported", "All 4 runs equal the published ones.", "0123456789abcdef"
    )
    page = reproduce_all.summary([whole, Reproduced("other", -9, 1.2)], "cpu")
    assert f"(preset `cpu`) on {date.today()}: Abacus, " in page and re.search(r"Python 3\.\d+\.\d+, torch \d", page)
    assert page.splitlines()[-3:] == [
        "| tiny | 1 of 1 supported | All 4 runs equal the published ones. | 12 | 3 | 0123456789ab |",
        "| other | failed (exit status -9) |  | 0 | 1 |  |",
        "| all |  |  | 12 | 5 |  |",
    ]


def test_an_interrupted_call_stops_and_leaves_the_summary_of_the_last_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slug in ("first", "second"):
        (tmp_path / "papers" / slug).mkdir(parents=True)
        (tmp_path / "papers" / slug / "claims.py").touch()
    (tmp_path / "ci").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["reproduce_all"])
    started: list[str] = []
    for status in (0, 130):

        def reproduced(folder: Path, preset: str, out: str | None, log: Path, status: int = status) -> Reproduced:
            started.append(folder.name)
            return Reproduced(folder.name, status, 1.0)

        monkeypatch.setattr(reproduce_all, "reproduce", reproduced)
        assert reproduce_all.main() == status
        assert "| all |  |  | 0 | 2 |  |" in (tmp_path / "ci" / reproduce_all.NAME).read_text()
    assert started == ["first", "second", "first"]
