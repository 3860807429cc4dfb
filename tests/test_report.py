"""ci/report.py: what is said of all papers; that the committed READMEs are up to date is in test_structure.py."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from ci import report
from shared.paper import Claim, Paper
from shared.reproduce.tables import badge

CLAIMS = (
    Claim("it-works", 1, "It works.", "abstract", "sdr_db", "a", "b", headline=True),
    Claim("close", 2, "It is close.", "abstract", "sdr_db", "a", "floor", "similar", 0.5),
    Claim("also", 2, "It is close again.", "abstract", "sdr_db", "b", "floor", "similar", 0.5),
    Claim("bed", 2, "The test bed works.", "ours", "sdr_db", "floor", "a", "lower", 0.25, control=True),
)


@pytest.mark.parametrize(
    ("verdicts", "found"),
    [
        ({}, "no claims tested"),
        ({"it-works": "supported"}, "headline: supported; 1 of 1 supported"),
        ({"it-works": "inconclusive", "close": "supported"}, "headline: inconclusive; 1 of 2 supported"),
        (
            {"it-works": "contradicted", "close": "supported", "bed": "contradicted"},
            "headline: contradicted; 1 of 2 supported, 1 contradicted",
        ),
        ({"bed": "contradicted"}, "no claims tested"),
        ({"close": "supported", "also": "inconclusive"}, "0 of 1 supported"),
        ({"close": "contradicted", "also": "inconclusive"}, "0 of 1 supported, 1 contradicted"),
    ],
)
def test_a_claim_counts_once_by_its_worst_verdict_and_controls_do_not(verdicts: dict[str, str], found: str) -> None:
    judged = {"claims": [{"id": name, "verdict": verdict} for name, verdict in verdicts.items()]}
    assert badge(judged, CLAIMS) == found
    assert badge(None, CLAIMS) == "not run yet"


def test_tables_of_all_papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ModuleType("papers.madeup.claims")
    vars(claims).update(
        CLAIMS=CLAIMS,
        PAPER=Paper("Made up", "Nobody", "nowhere 2020 (oral)", "0000.00000", "beads, counted", "Did it? Yes."),
    )
    monkeypatch.setitem(sys.modules, claims.__name__, claims)
    folder = tmp_path / "papers" / "madeup"
    (folder / "results").mkdir(parents=True)
    (folder / "claims.py").touch()
    assert report.papers(tmp_path) == [folder]
    link = "[Made up](papers/madeup/README.md) (`madeup`, nowhere 2020)"
    assert report.papers_table(tmp_path)[1:] == [[link, "**Not run yet**", "", ""]]
    assert report.reconstructions(tmp_path) == "Official code decides in `madeup`. The reconstructions:\n\n- none"
    results = {
        "schema": 1,
        "environment": {"cpu": "Abacus"},
        "rows": [{"variant": "a", "seed": seed, "metrics": {}, "seconds": 90.0} for seed in range(4)],
        "claims": [
            {"id": "it-works", "met": 4, "verdict": "supported"},
            {"id": "close", "met": 0, "verdict": "contradicted"},
        ],
    }
    (folder / "results" / "cpu.json").write_text(json.dumps(results))
    verdict = "headline: supported; 1 of 2 supported, 1 contradicted"
    assert report.papers_table(tmp_path)[1:] == [[link, f"**H{verdict[1:]}**", "Did it?", "3"]]
    vars(claims)["PAPER"] = replace(claims.PAPER, datasets=("Beads", "Shells"), reconstruction="The beads are lost.")
    assert report.reconstructions(tmp_path).endswith(
        "decides in none. The reconstructions:\n\n- `madeup`: The beads are lost."
    )
    (folder / "requirements.txt").write_text("# for counting\nabacus-core>=2.1\n\nbeads; python_version < '3.13'\n")
    (folder / "model.py").write_text(
        "import shared.hog, numpy\nfrom shared.offline import packs\nfrom .losses import x\n"
    )
    second = shutil.copytree(folder, folder.with_name("second"))
    monkeypatch.setitem(sys.modules, "papers.second.claims", claims)
    (second / "model.py").write_text("def f():\n    from shared.hog import HOG\n    from shared import UserError\n")
    (second / "requirements.txt").write_text("")
    page = report.papers_page(tmp_path)
    assert "Every paper uses `hog` of" in page
    row = "| [`{0}`]({0}/README.md): beads, counted | {1} | Beads, Shells | {2} | 3 | " + verdict + " |"
    assert page.splitlines()[-2:] == [
        row.format("madeup", "`offline.packs`", "abacus-core, beads"),
        row.format("second", "", ""),
    ]


def test_the_list_needs_no_package() -> None:
    """``make list`` works before anything is installed."""
    command = [sys.executable, "-S", "-m", "ci.report", "--list"]  # -S: without site-packages
    listed = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert listed.returncode == 0 and "clipsep " in listed.stdout, listed.stderr


def test_table_of_the_bench() -> None:
    seconds = {"name": "loss", "detail": "B = 4", "unit": "s/call", "ours": 0.5, "reference": 1.0, "ratio": 2.0}
    memory = seconds | {"unit": "MB", "ours": 8.0, "reference": 4.0, "ratio": 0.5}
    alone = seconds | {"name": "alone", "reference": None, "ratio": None}
    machine = {"cpu": "Abacus", "python": "3.11.7", "torch": "2.14.1"}
    text = report.bench_table({"papers.madeup.bench": {"machine": machine, "rows": [seconds, memory, alone]}})
    assert text.splitlines()[2:] == [
        "| madeup: loss | 2.00 | 0.50 | 0.5 s/call, 8 MB | B = 4 |",
        "| madeup: alone |  |  | 0.5 s/call | B = 4 |",
        "",
        "Abacus, one thread, Python 3.11.7, torch 2.14.1.",
    ]
