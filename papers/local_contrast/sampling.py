"""Samples of the three stages: slices by partition, pairs of slices, labelled slices, and what is drawn for each.

A sample carries the parameters of its transformations; :mod:`.train` applies them to a batch at once, on its device.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared import UserError

from .config import Config
from .data import Slices

MULTIPLES_OF_45 = 8
RESCALED = (0.95, 1.05)
ROTATED = 15.0  # degrees, to either side
COARSE = 3  # rows and columns of the elastic grid
BRIGHTNESS, CONTRAST = 0.1, 0.2  # largest changes in stage 3
MIXUP_ALPHA = 0.1  # of the Beta distribution of a mixture's weights


def partition_bounds(slices: int, partitions: int) -> list[int]:
    """First slice of each partition, and the end of the last one: ``slices`` mod ``partitions`` slices are left over.

    Raises:
        UserError: if there are fewer slices than partitions.
    """
    step = slices // partitions
    if step < 1:
        raise UserError(
            f"A volume of {slices} slices has no {partitions} partitions; give fewer partitions, or leave it out."
        )
    return [k * step for k in range(partitions + 1)]


class PartitionedVolumes:
    """A volume a sample: one slice of each partition, at random, in the order of the partitions."""

    def __init__(self, volumes: Sequence[Slices], views: int, config: Config) -> None:
        for volume in volumes:
            if len(volume.images) < config.partitions:
                raise UserError(
                    f"Subject {volume.subject} has {len(volume.images)} slices; expected {config.partitions} or more, "
                    "one for each partition. Leave the subject out, or give fewer --partitions."
                )
        self.volumes, self.views, self.config = volumes, views, config

    def __len__(self) -> int:
        return len(self.volumes)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``images`` (S, H, W), ``partition`` (S,), parameters of ``views`` views of each, and the ``name``."""
        volume = self.volumes[index]
        bounds = partition_bounds(len(volume.images), self.config.partitions)
        chosen = [int(rng.integers(first, end)) for first, end in pairwise(bounds)]
        return {
            "images": volume.images[chosen],
            "partition": torch.arange(self.config.partitions),
            **view_parameters(self.config, (self.views, self.config.partitions), rng),
            "name": volume.subject,
        }


class AnySlices:
    """A slice a sample, at random and with replacement, of all slices of all volumes."""

    def __init__(self, volumes: Sequence[Slices], views: int, config: Config) -> None:
        self.images = torch.cat([volume.images for volume in volumes])
        self.names = [f"{volume.subject} slice {k}" for volume in volumes for k in range(len(volume.images))]
        self.views, self.config = views, config

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``images`` (H, W), parameters of ``views`` views of it, and its ``name``; ``index`` is not used."""
        chosen = int(rng.integers(len(self.images)))
        parameters = view_parameters(self.config, (self.views,), rng)
        return {"images": self.images[chosen], **parameters, "name": self.names[chosen]}


class LabelledSlices:
    """A labelled slice a sample, at random and with replacement, and the parameters of its augmentation."""

    def __init__(self, volumes: Sequence[Slices], config: Config) -> None:
        self.images = torch.cat([volume.images for volume in volumes])
        self.labels = torch.cat([volume.labels for volume in volumes])
        self.names = [f"{volume.subject} slice {k}" for volume in volumes for k in range(len(volume.images))]
        self.config = config

    def __len__(self) -> int:
        return max(len(self.images), self.config.batch_size)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``images``, ``labels`` (H, W), the parameters of its augmentation, and its ``name``; no use of ``index``."""
        chosen = int(rng.integers(len(self.images)))
        return {
            "images": self.images[chosen],
            "labels": self.labels[chosen],
            **augmentation_parameters(self.config, rng),
            "name": self.names[chosen],
        }


def view_parameters(config: Config, shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, Tensor]:
    """Draws for random views: ``box`` (..., 3), see :func:`.augment.crop`, and ``delta`` and ``factor`` (...).

    The official code draws brightness and contrast once for all images of a call; here every view has its own.
    """
    side, first, last = 100 / 192, 10 / 192, 70 / 192  # of a slice, as the official code has it for 192 pixels
    corner = rng.uniform(first, last, (*shape, 2))
    return {
        "box": _tensor(np.concatenate([corner, np.full((*shape, 1), side)], axis=-1)),
        "delta": _tensor(rng.uniform(-config.brightness, config.brightness, shape)),
        "factor": _tensor(rng.uniform(1 - config.contrast, 1 + config.contrast, shape)),
    }


def augmentation_parameters(config: Config, rng: np.random.Generator) -> dict[str, Tensor]:
    """A slice's ``angle``, ``scale``, ``flip``, ``displacement`` (2, 3, 3), ``delta``, ``factor``, and those of mixup.

    One of five changes of place is taken: a turn of up to 15 degrees, a scale, a flip, a turn by a multiple of 45
    degrees (if ``rotations_of_45``), none. Then a share of the slices is deformed, and contrast or brightness change.
    """
    changes = ["turn", "scale", "flip", "none", *(["multiple of 45"] if config.rotations_of_45 else [])]
    change = changes[int(rng.integers(len(changes)))]
    angle = {"turn": rng.uniform(-ROTATED, ROTATED), "multiple of 45": 45 * rng.integers(MULTIPLES_OF_45)}
    deformed = rng.random() < config.elastic_share
    contrast = rng.random() < 0.5
    return {
        "angle": _tensor(angle.get(change, 0.0)),
        "scale": _tensor(round(rng.uniform(*RESCALED), 2) if change == "scale" else 1.0),
        "flip": torch.tensor(bool(change == "flip" and rng.random() < 0.5)),
        "displacement": _tensor(rng.normal(0, config.elastic_sigma, (2, COARSE, COARSE)) * deformed),
        "delta": _tensor(0.0 if contrast else rng.uniform(-BRIGHTNESS, BRIGHTNESS)),
        "factor": _tensor(rng.uniform(1 - CONTRAST, 1 + CONTRAST) if contrast else 1.0),
        "mixup_weight": _tensor(rng.beta(MIXUP_ALPHA, MIXUP_ALPHA)),
        "mixup_partners": _tensor(rng.random(2)),
    }


def _tensor(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
