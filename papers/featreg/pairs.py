"""Training samples: labelled source images, and pairs of a source image and its target image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from shared import UserError

from .config import Config
from .datasets.images import Images, Sample
from .losses import IGNORED
from .model import Segmenter
from .transforms import ALIGNED, misaligned, parse, transform

TEACHER_BATCH = 32  # images whose maps are computed at a time


class Labelled:
    """Images of the source domain with their labels, in a random scale, crop and direction."""

    def __init__(self, images: Images, config: Config) -> None:
        self.images, self.config = images, config

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``image`` (3, h, w), ``label`` (h, w) and ``name``."""
        sample = self.images[index]
        (image,), (label,) = augmented(self.config, [sample.source], [sample.label], rng)
        return {"image": image, "label": label, "name": sample.name}


class Pairs:
    """Pairs of a source image and its target image, in one random scale, crop and direction for both."""

    def __init__(self, images: Images, domain: str, config: Config) -> None:
        self.images, self.domain, self.config = images, domain, config

    def __len__(self) -> int:
        few = self.config.labelled if self.config.method == "supft" else None
        return len(self.images) if few is None else min(few, len(self.images))

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``source`` and ``target`` (3, h, w), ``label`` (h, w) of the target, and ``name``."""
        sample, label = self.pair(index)
        (source, target), (label,) = augmented(self.config, [sample.source, target_of(sample)], [label], rng)
        return {"source": source, "target": target, "label": label, "name": sample.name}

    def pair(self, index: int) -> tuple[Sample, Tensor]:
        """An image with its target, misaligned if the configuration says so, and the label map that it trains with.

        That is the target's own for `supft`, the source's for `labelcopy`, and is not looked at by the others.

        Raises:
            UserError: if the target has no labels, but the method needs them.
        """
        config = self.config
        sample = in_domain(self.images[index], self.domain, index, config, config.shift, config.rotation)
        if config.method != "supft":
            return sample, sample.label
        if sample.target_label is None:
            raise UserError(f"{sample.name} has no labels of time 2, and supft trains with them: add its label file.")
        return sample, sample.target_label


class CachedPairs:
    """Pairs in their whole, and mirrored, with what the first network makes of the source images, computed once.

    Args:
        teacher: the first network.
        layers: maps that a sample holds under their names, float16; none for methods with labels.

    Raises:
        UserError: if training is to see random crops.
    """

    def __init__(self, pairs: Pairs, teacher: Segmenter, layers: Sequence[str], device: torch.device) -> None:
        config = pairs.config
        if config.crop is not None:
            raise UserError(f"--cache-teacher needs whole images, but --crop is {config.crop}; give --crop None.")
        self.samples: list[dict[str, Any]] = []
        whole = [pairs.pair(i) for i in range(len(pairs))]
        for start in range(0, len(whole), TEACHER_BATCH):
            for flip in (False, True) if config.mirror else (False,):
                self.samples += self._samples(
                    whole[start : start + TEACHER_BATCH], flip, config, teacher, layers, device
                )

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``target`` (3, H, W), ``label`` (H, W), ``name`` and the maps of the source image."""
        return self.samples[index]

    @staticmethod
    def _samples(
        pairs: Sequence[tuple[Sample, Tensor]],
        flip: bool,
        config: Config,
        teacher: Segmenter,
        layers: Sequence[str],
        device: torch.device,
    ) -> list[dict[str, Any]]:
        source, target, label = (
            torch.stack(x).flip(-1) if flip else torch.stack(x)
            for x in zip(*((sample.source, target_of(sample), label) for sample, label in pairs), strict=True)
        )
        if config.method == "pseudo":
            label = predicted(teacher, source.to(device)).cpu()
        known = {"target": target, "label": label}
        if layers:
            with torch.no_grad():
                known |= {name: x.half().cpu() for name, x in teacher(source.to(device), layers).items()}
        return [
            {name: x[i].clone() for name, x in known.items()} | {"name": sample.name}
            for i, (sample, _) in enumerate(pairs)
        ]


def in_domain(sample: Sample, domain: str, seed: int, config: Config, shift: float = 0, rotation: float = 0) -> Sample:
    """The sample with its target image: that of the dataset, or the transformed source image.

    Args:
        seed: of the image, for its noise and misalignment.
        shift, rotation: pixels and degrees of misalignment.
    """
    target, label = (
        (sample.target, sample.target_label) if parse(domain)[0] == ALIGNED else (sample.source, sample.label)
    )
    if target is None:
        raise UserError(f"{sample.name} has no target image of its own; the domain {ALIGNED} needs --dataset aligned.")
    if shift or rotation:
        known = label if label is not None else torch.full(target.shape[-2:], IGNORED)
        target, known = misaligned(target, known, seed, shift, rotation)
        label = known if label is not None else None
    if parse(domain)[0] != ALIGNED:
        target = transform(target, domain, seed, config.rounded)
    return Sample(sample.name, sample.source, sample.label, target, label)


def target_of(sample: Sample) -> Tensor:
    assert sample.target is not None, "in_domain was not called"
    return sample.target


def augmented(
    config: Config, images: list[Tensor], labels: list[Tensor], rng: np.random.Generator
) -> tuple[list[Tensor], list[Tensor]]:
    """The same random scale, crop and mirroring of images (3, H, W) and label maps (H, W) of one size.

    Where an image is smaller than the crop, it is padded with grey, and its label map with `IGNORED`.
    """
    if config.crop is not None:
        factor = float(rng.choice(config.scales))
        size = [max(1, round(factor * n)) for n in images[0].shape[-2:]]
        images = [TF.resize(x, size, antialias=True) for x in images]
        labels = [TF.resize(x[None], size, TF.InterpolationMode.NEAREST)[0] for x in labels]
        below, right = (max(0, config.crop - n) for n in size)
        images = [F.pad(x, (0, right, 0, below), value=0.5) for x in images]
        labels = [F.pad(x, (0, right, 0, below), value=IGNORED) for x in labels]
        top, left = (int(rng.integers(n - config.crop + 1)) for n in images[0].shape[-2:])
        place = (..., slice(top, top + config.crop), slice(left, left + config.crop))
        images, labels = [x[place] for x in images], [x[place] for x in labels]
    if config.mirror and rng.random() < 0.5:
        images, labels = [x.flip(-1) for x in images], [x.flip(-1) for x in labels]
    return images, labels


@torch.no_grad()
def predicted(model: Segmenter, images: Tensor) -> Tensor:
    """Label maps (B, H, W) int64 that a network gives images (B, 3, H, W): the best class of the upsampled logits."""
    logits = model(images)["logits"]
    return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False).argmax(1)
