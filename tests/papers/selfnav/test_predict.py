"""papers/selfnav/predict.py: a house in, a map, a mesh and an animation out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from papers.selfnav.predict import main

from .bad_input import build_house, build_trained

WRITTEN = {"map.png", "mesh.ply", "walk.gif"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    build_trained(tmp_path / "run")
    return tmp_path / "run"


def test_a_generated_house_is_explored(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["--house", "7", "--steps", "24", "--out", str(out), "--run", str(run)]) == 0
    assert {path.name for path in out.iterdir()} == WRITTEN
    printed = capsys.readouterr().out
    assert "potted plant" in printed and printed.count("voxels in") == 6
    plan = np.asarray(Image.open(out / "map.png"))
    assert plan.shape[0] == plan.shape[1] > 60 and (plan == 90).all(2).any() and (plan == 0).all(2).any()
    animation = Image.open(out / "walk.gif")
    assert animation.n_frames > 1 and animation.size == (720, 240)  # type: ignore[attr-defined]
    assert (out / "mesh.ply").read_bytes().startswith(b"ply\nformat binary_little_endian 1.0\n")


def test_a_recorded_house_is_labelled(tmp_path: Path, run: Path) -> None:
    build_house(tmp_path / "kitchen")
    assert main(["--folder", str(tmp_path / "kitchen"), "--out", str(tmp_path / "out"), "--run", str(run)]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--folder", "nowhere"], "--folder nowhere is no folder; expected one of rgb/"),
        ([], "Give either --house"),
        (["--house", "1", "--folder", "x"], "Give either --house"),
        (["--house", "-1"], "expected 0 or more"),
        (["--house", "1", "--steps", "3"], "expected 12 or more"),
    ],
)
def test_wrong_options_are_told(
    tmp_path: Path, run: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, "--out", str(tmp_path / "out"), "--run", str(run)]) == 1
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
