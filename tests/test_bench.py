"""ci/bench.py; how fast anything is, is no test."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ci import bench

ROOT = Path(__file__).parents[1]


def filled(megabytes: int) -> np.ndarray:
    return np.ones(megabytes * 2**20, np.uint8)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_rows_of_a_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECONDS", 0.0)
    pair = bench.Comparison(
        "name", "detail", lambda: filled(50), lambda: filled(100), per=10, unit="sample", memory=True
    )
    speed, memory = bench.measure(pair)
    assert (speed["unit"], speed["rounds"], memory["unit"]) == ("s/sample", bench.ROUNDS, "MB")
    assert speed["ratio"] == speed["reference"] / speed["ours"]
    assert memory["ours"] == pytest.approx(50, rel=0.1) and memory["ratio"] == pytest.approx(2, rel=0.1)


def test_without_a_reference_there_is_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECONDS", 0.0)
    (row,) = bench.measure(bench.Comparison("name", "detail", lambda: None))
    assert row["reference"] is row["ratio"] is None


def test_modules_to_measure() -> None:
    assert bench.modules("shared") == ["ci.bench_shared"] and bench.modules("clipsep") == ["papers.clipsep.bench"]
    papers = sorted(path.parent.name for path in (ROOT / "papers").glob("*/bench.py"))
    assert bench.modules("") == ["ci.bench_shared", *(f"papers.{slug}.bench" for slug in papers)]
    with pytest.raises(SystemExit, match=r"there are: shared, .*clipsep"):
        bench.modules("clipsepp")
