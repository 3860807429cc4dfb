"""The key of a paper's training: hours of training stand when a metric, a figure or a claim is edited."""

import shutil
from pathlib import Path

import pytest

from ci.report import papers
from shared.reproduce.keys import code_hash

ROOT = Path(__file__).parents[2]
PAPERS = {folder.name: folder for folder in papers(ROOT)}
MEASURING = ("metrics", "eval", "claims", "bench", "predict")  # modules that training does not import
EDITED = [(slug, name) for slug, folder in PAPERS.items() for name in MEASURING if (folder / f"{name}.py").exists()]


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slug: str, name: str) -> str:
    """Package of a copy of the paper's folder, one module of which has one statement more."""
    copy = shutil.copytree(PAPERS[slug], tmp_path / f"{slug}_edited", ignore=shutil.ignore_patterns("results"))
    with open(copy / f"{name}.py", "a") as module:
        module.write("\nEDITED = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    return copy.name


@pytest.mark.parametrize(("slug", "name"), EDITED)
def test_training_key_stands_when_what_measures_is_edited(edited: str, slug: str, name: str) -> None:
    assert code_hash(edited, "train") == code_hash(f"papers.{slug}", "train"), f"train.py imports {name}.py"
    measures = name in ("metrics", "eval")
    assert (code_hash(edited, "eval") != code_hash(f"papers.{slug}", "eval")) == measures


@pytest.mark.parametrize(("slug", "name"), [(slug, "train") for slug in PAPERS])
def test_training_key_changes_with_training(edited: str, slug: str, name: str) -> None:
    assert code_hash(edited, "train") != code_hash(f"papers.{slug}", "train")
