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
import torch

from shared import UserError
from shared.loading import cache_file
from shared.offline import cutouts, packs
from shared.offline import scenes as composer
from shared.support.files import write_atomic

from .config import Config
from .datasets import aligned, scenes, voc
from .datasets.images import Images, Sample
from .transforms import ALIGNED, parse

LAYOUT = "\n".join([voc.LAYOUT, aligned.LAYOUT])


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
        counts = {"train": 2 * config.scenes} | _tested(config)
        for split, count in counts.items():
            content[f"{split}_images"], content[f"{split}_labels"] = scenes.compose(split, count)
        write_atomic(path, lambda file: np.savez(file, allow_pickle=False, **content))
    return {
        "name": "scenes composed of the embedded cut-outs and photographs",
        "train": config.scenes,
        "test": _tested(config)[config.split],
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
    for name, count in (("scenes", config.scenes), ("test-scenes", config.test_scenes), ("labelled", config.labelled)):
        if count is not None and count < 1:
            raise UserError(f"--{name} is {count}; expected 1 or more.")
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
    return cache_file(cache, "scenes.npz", scenes, composer, cutouts, packs, config.scenes, config.test_scenes)


def _tested(config: Config) -> dict[str, int]:
    """Scenes of the splits that are not trained on."""
    return {"validation": max(1, config.test_scenes // 2), "test": config.test_scenes}


def check(root: Path) -> list[str]:
    """Lines on the data below ``root``, and on what is missing.

    Raises:
        UserError: if nothing of it is there.
    """
    lines = [*voc.check(root), *aligned.check(root)]
    if not lines:
        raise UserError(f"{root} has neither PASCAL VOC nor two aligned sets of images. Expected there:\n{LAYOUT}")
    return lines
