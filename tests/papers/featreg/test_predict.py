"""papers/featreg/predict.py: an image in, two label maps and an overlay out."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from papers.featreg.build import first_network, load_adapted, load_source
from papers.featreg.config import PRESETS
from papers.featreg.predict import Options, main, predict, segment
from papers.featreg.transforms import transform
from shared import UserError
from tests.damage import photo

CONFIG = PRESETS["smoke"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose adapted network for camera says class 5 everywhere, and that has none for night."""
    folder = tmp_path / "run"
    (folder / "checkpoint").mkdir(parents=True)
    torch.manual_seed(0)
    state = {name: x.contiguous() for name, x in first_network(CONFIG, 9).state_dict().items()}
    state["parts.logits.2.weight"] *= 30
    save_file(state, folder / "checkpoint/model.safetensors")
    bias = torch.zeros(9)
    bias[5] = 1e4
    save_file({"parts.logits.2.bias": bias}, folder / "checkpoint/camera.safetensors")
    (folder / "config.json").write_text(json.dumps({"variant": "featreg", "config": asdict(CONFIG)}))
    return folder


def labels(path: Path) -> np.ndarray:
    image = Image.open(path)
    assert image.mode == "P"
    return np.array(image)


def test_label_maps_have_the_size_of_the_image(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo(tmp_path / "a.png", (150, 110))
    assert main(["--image", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--run", str(run)]) == 0
    first, adapted = (labels(tmp_path / f"out/labels_{role}.png") for role in ("source", "adapted"))
    assert first.shape == adapted.shape == (110, 150) and (adapted == 5).all() and not (first == 5).all()
    source = load_source(CONFIG, run / "checkpoint/model.safetensors")
    pixels = torch.from_numpy(np.array(Image.open(tmp_path / "a.png"))).permute(2, 0, 1).float() / 255
    assert np.array_equal(first, segment(source, pixels, 96))
    printed = capsys.readouterr().out
    assert "100.0   flower" not in printed and "100.0" in printed and "vegetable" in printed
    assert Image.open(tmp_path / "out/overlay.png").width > 600


def test_an_ordinary_photograph_becomes_one_of_the_domain(tmp_path: Path, run: Path) -> None:
    photo(tmp_path / "a.png", (96, 96))
    options = Options(tmp_path / "a.png", tmp_path / "out", "camera", True, run)
    predict(options)
    source = load_source(CONFIG, run / "checkpoint/model.safetensors")
    pixels = torch.from_numpy(np.array(Image.open(tmp_path / "a.png"))).permute(2, 0, 1).float() / 255
    expected = segment(source, transform(pixels, "camera"), 96)
    assert np.array_equal(labels(tmp_path / "out/labels_source.png"), expected)
    assert not np.array_equal(segment(source, pixels, 96), expected)


def test_committed_weights_take_the_place_of_a_run(tmp_path: Path, run: Path) -> None:
    (run / "checkpoint/model.safetensors").rename(tmp_path / "featreg.safetensors")
    (run / "checkpoint/camera.safetensors").rename(tmp_path / "featreg-camera.safetensors")
    (run / "config.json").rename(tmp_path / "featreg.json")
    photo(tmp_path / "a.png", (96, 96))
    predict(Options(tmp_path / "a.png", tmp_path / "out", run=tmp_path / "featreg.json"))
    assert (labels(tmp_path / "out/labels_adapted.png") == 5).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"domain": "night"}, "--domain is night; the run has adapted networks for camera"),
        ({"short_side": 8}, "--short-side is 8; expected 16"),
    ],
)
def test_wrong_options_are_told(tmp_path: Path, run: Path, options: dict[str, object], said: str) -> None:
    photo(tmp_path / "a.png", (96, 96))
    with pytest.raises(UserError, match=said):
        predict(replace(Options(tmp_path / "a.png", tmp_path / "out", run=run), **options))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_the_image_is_never_overwritten(tmp_path: Path, run: Path) -> None:
    photo(tmp_path / "overlay.png", (96, 96))
    with pytest.raises(UserError, match="would be overwritten"):
        predict(Options(tmp_path / "overlay.png", tmp_path, run=run))
    with pytest.raises(UserError, match="is a file; expected a folder"):
        predict(Options(tmp_path / "overlay.png", tmp_path / "overlay.png", run=run))


def test_a_first_network_alone_is_told(tmp_path: Path, run: Path) -> None:
    (run / "checkpoint/camera.safetensors").unlink()
    photo(tmp_path / "a.png", (96, 96))
    with pytest.raises(UserError, match="has the first network alone"):
        predict(Options(tmp_path / "a.png", tmp_path / "out", run=run))


def test_an_adapted_network_is_the_first_with_what_changed(run: Path) -> None:
    source = load_source(CONFIG, run / "checkpoint/model.safetensors")
    adapted = load_adapted(source, run / "checkpoint/camera.safetensors")
    same = [torch.equal(x, y) for x, y in zip(source.parameters(), adapted.parameters(), strict=True)]
    assert same.count(False) == 1
