"""Measures of pre-training whose values are known, and what an evaluation leaves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from papers.local_contrast.config import PRESETS, VARIANTS, Config
from papers.local_contrast.data import Slices, load, native, split_of
from papers.local_contrast.eval import (
    evaluate,
    figures,
    partition_accuracy,
    partitions_of,
    principal_map,
    region_accuracy,
)
from papers.local_contrast.segment import label_volume, probabilities
from papers.local_contrast.train import train
from shared.run import Run


def config_of(variant: str) -> Config:
    return replace(PRESETS["smoke"], **VARIANTS[variant].changes)


def test_partition_of_every_slice() -> None:
    assert partitions_of(10, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3, 3]


def test_partition_accuracy() -> None:
    """Features that tell the partition, or the subject: the nearest slice of another subject is meant."""
    partition, subject = torch.arange(4).repeat(3), torch.arange(3).repeat_interleave(4)
    telling = torch.eye(4)[partition] + 0.01 * torch.randn(12, 4)
    assert partition_accuracy(telling, subject, partition) == 1.0
    own = torch.cat([telling, 10 * torch.eye(3)[subject]], dim=1)
    assert partition_accuracy(own, subject, partition) == 1.0
    wrong = torch.eye(4)[(partition + subject) % 4]
    assert partition_accuracy(wrong, subject, partition) == 0.0


def test_principal_map_has_the_most_variance() -> None:
    features = torch.randn(200, 5) * torch.tensor([0.1, 3.0, 0.1, 2.0, 0.1]) + 9
    found = principal_map(features)
    assert found.shape == (200, 2) and found[:, 0].var() > found[:, 1].var() > 0
    assert found.mean(0).abs().max() < 1e-5


class PlaceCode(nn.Module):
    """Vectors that tell the place of a region, or nothing."""

    def __init__(self, tells: bool) -> None:
        super().__init__()
        self.tells = tells

    def forward(self, images: Tensor, corners: Tensor) -> Tensor:
        code = torch.eye(len(corners)) if self.tells else torch.ones(len(corners), 3)
        return code.expand(len(images), -1, -1)


@pytest.mark.parametrize(("tells", "expected"), [(True, 1.0), (False, 1 / 13)])
def test_region_accuracy(tells: bool, expected: float) -> None:
    volumes = [Slices(str(k), torch.zeros(9, 64, 64), torch.zeros(9, 64, 64).long()) for k in range(3)]
    found = region_accuracy(config_of("decoder-r"), PlaceCode(tells), volumes, torch.device("cpu"))
    assert found == pytest.approx(expected)


class Oracle(nn.Module):
    """A network that knows the labels of the slices it is given."""

    def __init__(self, volume: Slices) -> None:
        super().__init__()
        self.volume = volume

    def forward(self, images: Tensor) -> Tensor:
        at = [next(k for k, x in enumerate(self.volume.images) if torch.equal(x, image[0])) for image in images]
        return 50 * nn.functional.one_hot(self.volume.labels[at], 5).permute(0, 3, 1, 2).float()


def test_perfect_predictions_score_one_in_native_resolution(cache: Path) -> None:
    config = config_of("scratch-2")
    (volume, *_) = load(config, cache, split_of(config, 0).test)
    truth, grid, spacing = native(config, cache, volume.subject)
    assert np.array_equal(label_volume(Oracle(volume), volume.images, grid), truth)
    assert spacing[:2] == (2.0, 2.0) and truth.shape[2] == len(volume.images)
    shares = probabilities(Oracle(volume), volume.images)
    torch.testing.assert_close(shares.sum(0), torch.ones(volume.images.shape))


def test_evaluation_and_figures(tmp_path: Path, cache: Path) -> None:
    runs = {}
    for variant in ("encoder-none", "scratch-2"):
        run = Run(tmp_path / variant, cache, seed=0)
        train(config_of(variant), run)
        found = evaluate(config_of(variant), run)
        runs[variant, 0] = run.folder
        if variant == "scratch-2":
            classes = [value for name, value in found.items() if name.startswith("dice_") and name != "dice_percent"]
            assert len(classes) == 4 and found["dice_percent"] == pytest.approx(np.mean(classes))
            assert found["hd95_mm"] > 0
            validation = evaluate(replace(config_of(variant), split="validation"), run)
            assert validation.keys() == found.keys() and validation["dice_percent"] != found["dice_percent"]
        else:
            assert 0 <= found["partition_percent"] <= 100
    figures(runs, tmp_path / "figures")
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"dice_by_labels.png", "overlays.png", "data.png", "embeddings.png"}
