"""papers/fastmim/predict.py and pictures.py: an image in, classes and a picture out, with small untrained networks."""

import argparse
import dataclasses
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from papers.fastmim import pictures
from papers.fastmim.build import build_classifier, build_pretraining, official_classifier, trained_network
from papers.fastmim.config import PRESETS, VARIANTS
from papers.fastmim.datasets import digits
from papers.fastmim.encoders import ViT
from papers.fastmim.encoders.classifier import Classifier
from papers.fastmim.encoders.official import HEADS, from_official
from papers.fastmim.losses import hog_targets, pixel_targets
from papers.fastmim.model import FastMIM
from papers.fastmim.pictures import glyphs, predicted_pixels, token_map
from papers.fastmim.predict import main, network_input
from shared import UserError
from shared.hog import hog
from shared.paper import Variant

GOLDEN = Path(__file__).parents[2] / "golden" / "fastmim"
CONFIG = PRESETS["smoke"]


def save(model: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: x.contiguous() for name, x in model.state_dict().items()}, path)


def write_run(folder: Path, variant: str) -> Path:
    """The folder of a run that ended with random weights; the classifier favours class 7."""
    config = dataclasses.replace(CONFIG, **VARIANTS[variant].changes)
    torch.manual_seed(0)
    classifier = build_classifier(config, 10)
    with torch.no_grad():
        classifier.head.bias[7] = 3.0
    save(classifier, folder / "checkpoint" / "model.safetensors")
    if config.method != "none":
        save(build_pretraining(config), folder / "checkpoint" / "pretrained.safetensors")
    described = {"variant": variant, "seed": 0, "config": dataclasses.asdict(config), "key": "any"}
    (folder / "config.json").write_text(json.dumps(described))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {variant: write_run(folder / variant, variant) for variant in ("fastmim", "pixel", "scratch")}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def ask(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


# what comes out


@pytest.mark.parametrize("variant", ["fastmim", "pixel"])
def test_picture_and_classes(
    runs: dict[str, Path], photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], variant: str
) -> None:
    picture = tmp_path / "new folder" / "picture.png"
    assert ask("--image", photo, "--out", picture, "--run", runs[variant], "--top", 3) == 0
    printed = re.findall(r"^ *([\d.]+) %  (\d)$", capsys.readouterr().out, re.MULTILINE)
    assert len(printed) == 3 and printed[0][1] == "7"
    assert float(printed[0][0]) == pytest.approx(100 * math.exp(3) / (math.exp(3) + 9), abs=0.5)
    assert np.asarray(Image.open(picture).convert("L")).std() > 20  # not blank


def test_mask_follows_its_seed_and_ratio(runs: dict[str, Path], photo: Path, tmp_path: Path) -> None:
    def draw(name: str, *options: object, run: Path = runs["fastmim"]) -> bytes:
        assert ask("--image", photo, "--out", tmp_path / name, "--run", run, *options) == 0
        return Image.open(tmp_path / name).tobytes()

    first = draw("a.png")
    assert draw("b.png", "--mask-seed", 0, "--mask-ratio", 0.75) == first
    assert draw("c.png", "--mask-seed", 1) != first
    half = draw("d.png", "--mask-ratio", 0.5)
    assert half != first
    described = runs["fastmim"] / "config.json"
    content = json.loads(described.read_text())
    shutil.copytree(runs["fastmim"], tmp_path / "half")
    content["config"]["mask_ratio"] = 0.5
    (tmp_path / "half" / "config.json").write_text(json.dumps(content))
    assert draw("e.png", run=tmp_path / "half") == half  # the run's own


@pytest.mark.parametrize("variant", ["scratch", "fastmim"])
def test_run_without_a_decoder_only_classifies(
    runs: dict[str, Path], photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], variant: str
) -> None:
    """One from scratch, or from an encoder of the authors."""
    picture, run = tmp_path / "picture.png", tmp_path / "run"
    shutil.copytree(runs[variant], run)
    if variant == "fastmim":
        content = json.loads((run / "config.json").read_text())
        content["config"]["checkpoint"] = "pretrain.pth"
        (run / "config.json").write_text(json.dumps(content))
    assert ask("--image", photo, "--out", picture, "--run", run) == 0
    printed = capsys.readouterr()
    assert "%  7" in printed.out and "no FastMIM decoder" in printed.err
    assert not picture.exists()


def test_network_of_growing_resolution_is_read_at_its_last(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, resolutions=(16, 24), epochs=(1, 1))
    network = build_pretraining(config)
    assert isinstance(network.encoder, ViT)
    network.encoder.set_image_size(24)
    save(network, tmp_path / "checkpoint" / "pretrained.safetensors")
    described = {"variant": "progressive", "config": dataclasses.asdict(config)}
    (tmp_path / "config.json").write_text(json.dumps(described))
    _, read = trained_network(tmp_path)
    assert read(torch.zeros(1, 3, 24, 24), torch.rand(1, 36)).pred.shape == (1, 36, 108)


# checkpoints of the authors

SMALL: dict[str, dict[str, Any]] = {
    "fastmim": {"patch_size": 16, "widths": (48,), "depths": (2,), "heads": (3,)},
    "swin-b": {"encoder": "swin", "patch_size": 4, "widths": (8,), "depths": (2, 2, 2, 1), "heads": (1, 2, 4, 8)},
    "pvtv2-b2": {"widths": (8, 16, 20, 32), "depths": (1, 1, 1, 1), "heads": (1, 2, 5, 4), "mlp_ratios": (4, 4, 4, 4)},
    "cmt-s": {"widths": (8, 16, 24, 32), "depths": (1, 1, 1, 1), "heads": (1, 2, 3, 4)},
}


def official_names(kind: str, classifier: Classifier) -> dict[str, str]:
    """Our names of what a fine-tuned file of the authors holds -> theirs, an encoder's as in pre-training."""
    with np.load(GOLDEN / f"{kind}_hog_forward.npz") as golden:
        official = [key.removeprefix("w/").removeprefix("encoder.") for key in golden.files if key.startswith("w/")]
    encoder: Any = classifier.encoder
    rename = encoder.from_official if kind in ("pvtv2", "cmt") else from_official
    names = {f"encoder.{ours}": theirs for ours, theirs in rename({name: name for name in official}).items()}
    for ours in classifier.state_dict():
        if ours.startswith(HEADS) and not ours.endswith("num_batches_tracked"):
            names[ours] = ours.replace("neck.0.", "_fc.").replace("neck.1.", "_bn.")
    return {ours: theirs for ours, theirs in names.items() if kind == "pvtv2" or not ours.startswith("encoder.norm.")}


@pytest.mark.parametrize("variant", SMALL)
def test_fine_tuned_file_of_the_authors_is_known_by_its_names(
    tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variant: str
) -> None:
    """Every published encoder in small, in a file as the released code saves it: with the command line's options."""
    monkeypatch.setitem(PRESETS, "paper", dataclasses.replace(PRESETS["paper"], image_size=64, **SMALL["fastmim"]))
    for name, changes in SMALL.items():
        monkeypatch.setitem(VARIANTS, name, Variant(name, VARIANTS[name].changes | changes))
    config = dataclasses.replace(PRESETS["paper"], **VARIANTS[variant].changes)
    classifier = build_classifier(config, 7)
    own = classifier.state_dict()
    for x in own.values():
        x.copy_(torch.rand(x.shape))
    weights = {theirs: own[ours] for ours, theirs in official_names(config.encoder, classifier).items()}
    path, content = tmp_path / "best.pth", {"model": weights, "epoch": 99, "args": argparse.Namespace(lr=1.0)}
    torch.save(content, path)

    found, read = official_classifier(path)
    assert found.encoder == config.encoder and not read.training
    unused = () if config.encoder == "pvtv2" else ("encoder.norm.",)
    for name, x in read.state_dict().items():
        assert torch.equal(x, own[name]) or name.startswith(unused), name
    assert ask("--image", photo, "--checkpoint", path, "--top", 2, "--out", tmp_path / "picture.png") == 0
    printed = capsys.readouterr()
    assert printed.out.count("class ") == 2 and "no FastMIM decoder" in printed.err

    for name in (list(weights)[9], list(weights)[-3], "head.weight"):  # -3: what is before the head
        torch.save({"model": {k: x for k, x in weights.items() if k != name}}, path)
        with pytest.raises(UserError, match=r"no fine-tuned ViT-B, Swin-B, PVTv2-B2 or CMT-S .*\. It lacks"):
            official_classifier(path)


# images


def test_digit_reaches_the_network_as_in_evaluation() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    seen = network_input(Image.fromarray(pixels), CONFIG, 32, classify=True)
    expected = (pixels.transpose(2, 0, 1) / 255 - digits.MEAN[0]) / digits.STD[0]
    assert np.abs(seen.numpy() - expected).max() < 1e-5


def test_the_middle_is_cut_out() -> None:
    image = Image.new("RGB", (90, 30), "red")
    image.paste("blue", (30, 0, 60, 30))
    blue = torch.tensor([-2.0, -2.0, 2.0]).view(3, 1, 1)
    assert (network_input(image, CONFIG, 16) - blue).abs().max() < 1e-5


# mistakes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--top", 0), "--top"),
        (("--mask-ratio", 0), "--mask-ratio"),
        (("--mask-ratio", "nan"), "--mask-ratio"),
        (("--out", "picture.txt"), "suffix"),
        (("--checkpoint", "x.pth"), "both given"),
    ],
)
def test_option_that_makes_no_sense(
    runs: dict[str, Path],
    photo: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[object, ...],
    said: str,
) -> None:
    assert ask("--image", photo, "--run", runs["fastmim"], *arguments) == 1
    assert said in capsys.readouterr().err


def test_picture_never_replaces_the_image(
    runs: dict[str, Path], photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = photo.read_bytes()
    assert ask("--image", photo, "--out", photo, "--run", runs["fastmim"]) == 1
    assert "one file" in capsys.readouterr().err and photo.read_bytes() == before


# pictures


def test_lines_lie_along_the_edges_of_ramps() -> None:
    """a * x + b * y has the gradient (a, b): the line is at right angles to it, up to half a bin."""
    with np.load(GOLDEN / "hog_ramps_24.npz") as golden:
        images = torch.from_numpy(golden["img"]).float()
    slopes = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (1, 2), (2, 1), (3, 1)]
    for gradient, features in zip(slopes, hog(images, cell=8), strict=True):
        ends, weights = glyphs(features[:, 1:2, 1:2])  # the cell in the middle, away from the borders
        line = ends[0, 1] - ends[0, 0]
        assert len(weights) == 1 and np.linalg.norm(line) == pytest.approx(1, abs=1e-5)
        assert ends[0].mean(axis=0) == pytest.approx([0.5, 0.5])
        sine = abs(line @ np.array(gradient)) / np.linalg.norm(gradient)  # 0 at right angles
        assert sine <= math.sin(math.radians(10)) + 1e-5


def test_line_lies_in_its_cell_and_is_as_long_as_its_weight() -> None:
    features = torch.zeros(27, 2, 3)
    features[[4, 13, 22], 1, 2] = 0.5  # bin 4 of each channel: gradient sideways, so an upright edge
    features[0, 0, 0] = -1.0
    ends, weights = glyphs(features)
    assert weights == pytest.approx([0.5])
    assert np.sort(ends[0], axis=0) == pytest.approx(np.array([[2.5, 1.25], [2.5, 1.75]]), abs=1e-5)


def test_token_map_undoes_the_order_of_targets() -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(token_map(hog_targets(images, 16)[0], 2), hog(images)[0])


@pytest.mark.parametrize("block", [4, 8, 16])  # smaller than, equal to and larger than a token
@pytest.mark.parametrize("normalize", [True, False])
def test_perfect_prediction_gives_back_the_pixels(block: int, normalize: bool) -> None:
    encoder = ViT(image_size=16, patch_size=8, width=32, depth=1, heads=2)
    model = FastMIM(encoder, target="pixel", block=block, decoder_width=32, decoder_depth=1, normalize=normalize)
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    pred = pixel_targets(images, min(block, 8), normalize)[0]
    if block == 4:  # a token's outputs in the order (values of a block, block row, block column)
        blocks = pred.T.reshape(1, 48, 4, 4)
        pred = nn.functional.unfold(blocks, kernel_size=2, stride=2)[0].T
    assert (predicted_pixels(model, pred, images[0]) - images[0]).abs().max() < 1e-5


def test_target_of_an_edge_looks_like_the_edge() -> None:
    """Drawn from features, an upright edge is a bright upright line where it was, and black elsewhere."""
    image = torch.zeros(1, 3, 64, 64)
    image[..., 36:] = 1.0  # in the middle of the fifth column of cells
    figure = Figure(figsize=(2, 2), dpi=80)
    axis = figure.add_axes((0, 0, 1, 1))
    pictures.draw_hog(axis, hog(image)[0])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[5:-5, 5:-5, 0].astype(float)
    columns = drawn.mean(axis=0)
    assert columns.argmax() + 5 == pytest.approx(36 / 64 * 160, abs=2)
    assert columns.max() > 200 and np.median(columns) < 1
