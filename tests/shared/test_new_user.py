"""Everything a person sees before, while and after a run: progress, tables on the way, trackers, errors of make."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared import UserError
from shared.run import Run
from shared.support import progress

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tinypaper")


def test_progress_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(progress, "_listeners", [])
    assert list(progress.track([1, 2, 3], "counting")) == [1, 2, 3], "nobody listens"
    progress.listen(lambda *values: told.append(values))
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    assert list(progress.track(iter("ab"), "spelling", total=2)) == ["a", "b"]
    assert told == [("spelling", 0, 2), ("spelling", 1, 2)]
    monkeypatch.setattr(progress, "SECONDS", 100.0)
    list(progress.track(range(1000), "counting"))
    assert told[2:] == [("counting", 0, 1000)]


def test_a_reproduction_says_what_it_prepares_and_shows_a_table_a_seed(tmp_path: Path) -> None:
    """Nothing but the first line is waited for: data are prepared before any job begins."""
    work = tmp_path / "tinypaper"
    work.mkdir()
    for path in TINY.glob("*.py"):
        (work / path.name).write_text(path.read_text())
    data = (work / "data.py").read_text()
    tracked = "    for _ in track(range(20), 'drawing points'):\n        pass\n    content = save("
    (work / "data.py").write_text(
        data.replace("    content = save(", tracked).replace(
            "from .config import Config", "from shared.support.progress import track\n\nfrom .config import Config"
        )
    )
    command = [sys.executable, "-m", "shared.reproduce", "tinypaper", "--preset", "smoke", "--tracker", "none"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"}
    finished = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    printed = finished.stdout
    prepared, first, last = (
        printed.index(text) for text in ("Drawing points ...", "After 1 of 2 seeds.", "Written to runs/tinypaper/smoke")
    )
    assert prepared < first < last and printed.count("After ") == 1
    assert "There are no published runs to compare with." in printed
    assert (tmp_path / "runs" / "tinypaper" / "cache" / "points.safetensors").exists()
    assert not list(tmp_path.rglob("*tfevents*"))


def test_values_go_to_accelerates_tracker(tmp_path: Path) -> None:
    import torch

    for tracker in ("tensorboard", "none"):
        run = Run(tmp_path / tracker / "variant" / "seed0", tmp_path, seed=0, tracker=tracker)  # type: ignore[arg-type]
        for step in run.steps(3, save_every=3):
            run.log(step, loss=torch.tensor(1.0))
        run.close()
    assert len(list(tmp_path.rglob("*tfevents*"))) == 1 and list((tmp_path / "tensorboard").rglob("*tfevents*"))


def test_a_tracker_that_is_not_installed_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--tracker mlflow needs"):
        Run(tmp_path, tmp_path, seed=0, tracker="mlflow")


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("VARIANT=clipsep", ("VARIANT= is no variable", "did you mean VARIANTS=?")),
        ("SEED=1", ("did you mean SEEDS=?",)),
        ("LEARNING_RATE=1", ("LEARNING_RATE= is no variable", 'SET="learning_rate=..."')),
    ],
)
def test_make_knows_its_variables(variable: str, words: tuple[str, ...]) -> None:
    environment = os.environ | {"MAKEFLAGS": "", "MAKELEVEL": "0"}  # also under `make test`
    run = subprocess.run(
        ["make", "reproduce", "PAPER=clipsep", variable], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert run.returncode != 0 and all(word in run.stderr for word in words), run.stderr
    assert run.stdout == "", "nothing is begun"
