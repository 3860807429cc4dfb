"""Metrics of all test images, recovered gaps, and curves over misalignment."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from papers.featreg import data
from papers.featreg.build import first_network, load_source
from papers.featreg.config import PRESETS
from papers.featreg.eval import evaluate, figures, misalignment, recovered_gaps, segment
from papers.featreg.metrics import ConfusionMatrix
from papers.featreg.model import set_batch_norm
from papers.featreg.pictures import legend, overlaid, painted, palette
from papers.featreg.transforms import transform
from shared.run import Run

SMOKE = PRESETS["smoke"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose first network is not trained, but whose predictions vary."""
    folder = tmp_path_factory.mktemp("run")
    data.prepare(SMOKE, folder / "cache")
    run = Run(folder, folder / "cache", seed=0)
    torch.manual_seed(0)
    network = first_network(SMOKE, 9)
    images = data.source_images(SMOKE, run.cache, 0)
    set_batch_norm(network, True)
    for _ in range(30):  # without statistics of its own, every pixel would have one class
        network(torch.stack([images[i].source for i in range(8)]))
    nn.init.normal_(network.parts["logits"][2].weight)  # type: ignore[index]
    run.export(network.state_dict())
    return run


def test_metrics_are_of_one_confusion_matrix_over_all_images(run: Run) -> None:
    config = replace(SMOKE, method="source", domains=("night:gamma=2", "negative"))
    found = evaluate(config, run)
    network = load_source(config, run.weights)
    images, by_hand = data.test_images(config, run.cache), {"night": ConfusionMatrix(9), "source": ConfusionMatrix(9)}
    for i in range(len(images)):
        for name, confusion in by_hand.items():
            pixels = images[i].source if name == "source" else transform(images[i].source, "night:gamma=2", i)
            with torch.no_grad():
                logits = network(pixels[None])["logits"]
            best = nn.functional.interpolate(logits, (96, 96), mode="bilinear", align_corners=False).argmax(1)[0]
            confusion.update(best, images[i].label)
    assert len((by_hand["night"].counts.sum(0) > 0).nonzero()) > 1, "one class everywhere shows nothing"
    assert found["night_miou_percent"] == pytest.approx(by_hand["night"].percents()["miou_percent"], abs=0.05)
    assert found["source_miou_percent"] == pytest.approx(by_hand["source"].percents()["miou_percent"], abs=0.05)
    mean = (found["night_miou_percent"] + found["negative_miou_percent"]) / 2
    assert found["mean_miou_percent"] == pytest.approx(mean)
    assert {f"night_{name}_percent" for name in ("miou_all", "accuracy", "class_accuracy")} <= set(found)


def test_validation_scenes_are_others(run: Run) -> None:
    network = load_source(SMOKE, run.weights)
    scores = [
        segment(config, run, data.test_images(config, run.cache), "night", network, network, 9)
        for config in (SMOKE, replace(SMOKE, split="validation"))
    ]
    assert scores[0] != scores[1]


def test_recovered_gap_is_of_each_seed() -> None:
    def row(miou: float) -> dict[str, float]:
        return {"night_miou_percent": miou, "night_accuracy_percent": 9.0}

    metrics: dict[str, dict[int, dict[str, float]]] = {
        "noadapt": {0: row(20), 1: row(30), 2: row(10)},
        "supft": {0: row(60), 1: row(50)},
        "featreg": {0: row(50), 1: row(52), 2: row(99)},
        "adabn": {1: row(30)},
        "pseudo": {},
        "featreg-new": {},
        "supft-new": {},
    }
    gaps = recovered_gaps(metrics)
    assert gaps["featreg"] == {"night": pytest.approx([30 / 40, 22 / 20])} and gaps["adabn"] == {"night": [0.0]}
    assert "pseudo" not in gaps


def test_curves_begin_without_misalignment() -> None:
    def seeds(miou: float) -> dict[int, dict[str, float]]:
        return {seed: {"camera_miou_percent": miou + seed, "camera_accuracy_percent": 1.0} for seed in (0, 1)}

    metrics = {
        "featreg": seeds(50),
        "supft": seeds(51),
        "featreg-shift4": seeds(48),
        "labelcopy-shift4": seeds(45),
        "search-shift8": seeds(40),
    }
    assert misalignment(metrics) == {
        "featreg": {0: [50, 51], 4: [48, 49]},
        "labelcopy": {0: [51, 52], 4: [45, 46]},
        "search": {8: [40, 41]},
    }


def test_figures_need_no_row_but_those_that_ran(tmp_path: Path, run: Run) -> None:
    config = replace(SMOKE, method="source")
    (run.folder / "result.json").write_text(json.dumps({"metrics": evaluate(config, run)}))
    figures({("noadapt", 0): run.folder}, tmp_path / "one")
    assert not list(tmp_path.rglob("*.png"))
    figures({("noadapt", 0): run.folder, ("featreg", 0): run.folder}, tmp_path / "two")
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"grid.png", "grid_camera.png", "grid_night.png"}


def test_colours_of_label_maps() -> None:
    assert len(np.unique(palette(21), axis=0)) == 21 and (palette(9)[0] == 0).all()
    label = np.array([[0, 3], [255, 8]], np.uint8)
    shown = painted(label, 9)
    assert (shown[0, 1] == palette(9)[3]).all() and (shown[1, 0] == 255).all() and (shown[0, 0] == 0).all()
    over = overlaid(np.full((2, 2, 3), 200, np.uint8), label, 9)
    assert (over[0, 0] == 90).all() and over.dtype == np.uint8
    (patch,) = legend(["background", "a$b$"], [1])
    assert patch.get_label() == r"a\$b\$"
