"""Labelled source images, pairs of source and target images, and what is tested on.

One interface for PASCAL VOC (:mod:`.datasets.voc`), a user's two aligned folders (:mod:`.datasets.aligned`) and
the composed scenes (:mod:`.datasets.scenes`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shared.stamps
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from shared import UserError
from shared.experiment import write_atomic
from shared.loading import cache_file

from .config import Config
from .datasets import aligned, scenes, voc
from .datasets.images import Images, Sample
from .losses import IGNORED
from .model import Segmenter
from .transforms import ALIGNED, misaligned, parse, transform

LAYOUT = "\n".join([voc.LAYOUT, aligned.LAYOUT])
TEACHER_BATCH = 32  # images whose maps are computed at a time


@dataclass(frozen=True)
class Scenes:
    """Composed scenes as `Images`."""

    images: np.ndarray
    """(N, 96, 96, 3) uint8."""
    labels: np.ndarray
    """(N, 96, 96) uint8."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        pixels = torch.from_numpy(self.images[index]).permute(2, 0, 1).float() / 255
        return Sample(f"scene {index}", pixels, torch.from_numpy(self.labels[index]).long())


# -- sets of images ---------------------------------------------------------------------------------------------------


def class_names(config: Config) -> Sequence[str]:
    """Names of the classes in the order of their labels."""
    if config.data is None:
        return scenes.NAMES
    return voc.NAMES if config.dataset == "voc" else aligned.class_names(Path(config.data))


def source_images(config: Config, cache: Path, seed: int) -> Images:
    """Labelled images of the source domain."""
    if config.data is None:
        return _scenes(config, cache, "train", _drawn(config, seed)[: config.scenes])
    if config.dataset == "voc":
        return voc.train(Path(config.data), config.sbd and config.pairs == "same")
    return aligned.read(Path(config.data), "train")


def pair_images(config: Config, cache: Path, seed: int) -> Images:
    """Images whose pairs adapt a network: the labelled ones, or others."""
    if config.pairs == "same":
        return source_images(config, cache, seed)
    if config.data is None:
        return _scenes(config, cache, "train", _drawn(config, seed)[config.scenes :])
    return voc.augmentation(Path(config.data))


def test_images(config: Config, cache: Path) -> Images:
    if config.data is None:
        return _scenes(config, cache, config.split)
    return voc.validation(Path(config.data)) if config.dataset == "voc" else aligned.read(Path(config.data), "test")


def _drawn(config: Config, seed: int) -> np.ndarray:
    """Training scenes in an order of the seed's own: the first half is the source's, the other half makes new pairs."""
    return np.random.default_rng((seed, 2)).permutation(2 * config.scenes)


def _scenes(config: Config, cache: Path, split: str, chosen: np.ndarray | slice = slice(None)) -> Scenes:
    with np.load(stored_file(config, cache)) as content:
        return Scenes(content[f"{split}_images"][chosen], content[f"{split}_labels"][chosen])


# -- pairs for training -----------------------------------------------------------------------------------------------


class Labelled:
    """Images of the source domain with their labels, in a random scale, crop and direction."""

    def __init__(self, images: Images, config: Config) -> None:
        self.images, self.config = images, config

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``image`` (3, h, w), ``label`` (h, w) and ``name``."""
        sample = self.images[index]
        (image,), (label,) = augmented(self.config, [sample.source], [sample.label], rng)
        return {"image": image, "label": label, "name": sample.name}


class Pairs:
    """Pairs of a source image and its target image, in one random scale, crop and direction for both."""

    def __init__(self, images: Images, domain: str, config: Config) -> None:
        self.images, self.domain, self.config = images, domain, config
        self.count = min(config.labelled or len(images), len(images)) if config.method == "supft" else len(images)

    def __len__(self) -> int:
        return self.count

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``source`` and ``target`` (3, h, w), ``label`` (h, w) of the target or, copied, of the source, ``name``."""
        sample = self.pair(index)
        label = sample.label if self.config.method == "labelcopy" else sample.target_label
        if label is None:
            label = torch.full_like(sample.label, IGNORED)
        (source, target), (label,) = augmented(self.config, [sample.source, target_of(sample)], [label], rng)
        return {"source": source, "target": target, "label": label, "name": sample.name}

    def pair(self, index: int) -> Sample:
        """A sample with its target image, misaligned if the configuration says so."""
        return in_domain(self.images[index], self.domain, index, self.config, self.config.shift, self.config.rotation)


class CachedPairs:
    """Pairs in their whole, and mirrored, with what the first network makes of the source images, computed once.

    Args:
        teacher: the first network.
        layers: maps that a sample holds under their names, float16; none for methods with labels.
    """

    def __init__(self, pairs: Pairs, teacher: Segmenter, layers: Sequence[str], device: torch.device) -> None:
        config = pairs.config
        if config.crop is not None:
            raise UserError(f"--cache-teacher needs whole images, but --crop is {config.crop}; give --crop None.")
        samples = [pairs.pair(i) for i in range(len(pairs))]
        self.samples: list[dict[str, Any]] = []
        for flip in (False, True) if config.mirror else (False,):
            for sample in samples:
                label = sample.label if config.method == "labelcopy" else sample.target_label
                if label is None:
                    label = torch.full_like(sample.label, IGNORED)
                entry = {"source": sample.source, "target": target_of(sample), "label": label}
                self.samples.append({k: x.flip(-1) if flip else x for k, x in entry.items()} | {"name": sample.name})
        for start in range(0, len(self.samples), TEACHER_BATCH):
            batch = self.samples[start : start + TEACHER_BATCH]
            images = torch.stack([sample.pop("source") for sample in batch]).to(device)
            if config.method == "pseudo":
                for sample, label in zip(batch, predicted(teacher, images).cpu(), strict=True):
                    sample["label"] = label
            elif layers:
                with torch.no_grad():
                    maps = {name: x.half().cpu() for name, x in teacher(images, layers).items()}
                for i, sample in enumerate(batch):
                    sample |= {name: x[i].clone() for name, x in maps.items()}

    def __len__(self) -> int:
        return len(self.samples)

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``target``, ``label``, ``name`` and the maps of the source image."""
        return self.samples[index]


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


# -- what reproduce asks for ------------------------------------------------------------------------------------------


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Compose the scenes once for all runs (some 10 seconds), or look at the user's data; describe them.

    Returns: ``{"name", "train", "test", "sha256", "scale"}`` for the results file.

    Raises:
        UserError: if ``config.data`` does not hold what LAYOUT says, or options do not fit it.
    """
    _check(config)
    if config.data is not None:
        found = (
            voc.describe(Path(config.data), config.sbd or config.pairs == "new")
            if config.dataset == "voc"
            else (aligned.describe(Path(config.data)))
        )
        return found | {"scale": f"{config.backbone}, {config.source_steps} and {config.steps} steps"}
    path = stored_file(config, cache)
    if not path.exists():
        content: dict[str, np.ndarray] = {}
        counts = {"train": 2 * config.scenes, "validation": scenes.VALIDATION, "test": scenes.TEST}
        for split, count in counts.items():
            content[f"{split}_images"], content[f"{split}_labels"] = scenes.compose(split, count)
        write_atomic(path, lambda file: np.savez(file, allow_pickle=False, **content))
    return {
        "name": "scenes composed of the embedded cut-outs and photographs",
        "train": config.scenes,
        "test": scenes.TEST if config.split == "test" else scenes.VALIDATION,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "scale": f"{scenes.SIZE} px, {len(scenes.NAMES)} classes, {config.source_steps} steps of source training, "
        f"{config.steps} of each adaptation, {config.batch_size} images a step",
    }


def _check(config: Config) -> None:
    """Raises UserError for options that contradict each other, before anything is trained."""
    names = [parse(domain)[0] for domain in config.domains]
    if not names or len(set(names)) < len(names):
        raise UserError(f"--domains is {' '.join(config.domains) or 'empty'}; expected one or more, each of them once.")
    if config.data is None and ALIGNED in names:
        raise UserError(f"The domain {ALIGNED} needs target images, --data with --dataset aligned.")
    if config.data is None and config.split == "test" and config.scenes < 1:
        raise UserError(f"--scenes is {config.scenes}; expected 1 or more.")
    if config.data is not None and config.split == "validation":
        raise UserError("--split validation is for the composed scenes alone; leave it out, or leave out --data.")
    if config.data is not None and config.dataset == "aligned" and (config.pairs == "new" or names != [ALIGNED]):
        raise UserError(
            f"--dataset aligned has one domain, --domains {ALIGNED}, and --pairs same; found --domains "
            f"{' '.join(config.domains)} and --pairs {config.pairs}."
        )
    if config.layer_weights and len(config.layer_weights) != len(config.layers):
        raise UserError(f"--layer-weights has {len(config.layer_weights)} numbers for {len(config.layers)} layers.")


def stored_file(config: Config, cache: Path) -> Path:
    """The prepared scenes."""
    return cache_file(cache, "scenes.npz", scenes, shared.stamps, config.scenes)


def check(root: Path) -> list[str]:
    """What of the data is below ``root``, and what is missing.

    Raises:
        UserError: if nothing of it is there.
    """
    lines = [*voc.check(root), *aligned.check(root)]
    if not lines:
        raise UserError(f"{root} has neither PASCAL VOC nor two aligned sets of images. Expected there:\n{LAYOUT}")
    return lines
