"""Images with layouts and holes: composed scenes, or Places365 with panoptic annotations."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared import UserError
from shared.loading import cache_file
from shared.offline import cutouts, packs
from shared.offline import scenes as composer
from shared.support.files import write_atomic

from .config import Config
from .datasets import places, scenes
from .datasets.items import Item, Items
from .evaluation import evaluators
from .masks.objects import cmgan_hole, random_hole
from .networks import unet
from .structure import crops, layout
from .structure.layout import ClassTable

LAYOUT = places.LAYOUT
TEST_SEED = 11  # of the fixed holes and latents of evaluation


def class_table(config: Config) -> ClassTable:
    """Names of the classes, and how many of them are things."""
    return scenes.TABLE if config.data is None else places.TABLE


def train_items(config: Config, cache: Path) -> Items:
    return _stored(config, cache, "train") if config.data is None else places.read(_root(config), "train", config.size)


def test_items(config: Config, cache: Path) -> Items:
    """The images that ``config.split`` says."""
    if config.data is None:
        return _stored(config, cache, config.split)
    return places.read(_root(config), config.split, config.size)


def _root(config: Config) -> Path:
    return Path(config.data or "")


def _stored(config: Config, cache: Path, split: str) -> scenes.Scenes:
    with np.load(scenes_file(config, cache)) as content:
        names = ("images", "labels", "instances")
        return scenes.Scenes({name: content[f"{split}_{name}"] for name in names})


# -- samples ----------------------------------------------------------------------------------------------------------


def as_tensors(item: Item, hole: np.ndarray) -> dict[str, Any]:
    """``image`` (3, S, S) in [-1, 1], ``label`` and ``instances`` (S, S) int64, ``hole`` (1, S, S), ``name``."""
    return {
        "image": torch.from_numpy(np.array(item.image)).permute(2, 0, 1).float() / 127.5 - 1,
        "label": torch.from_numpy(np.array(item.label)),
        "instances": torch.from_numpy(np.array(item.instances)),
        "hole": torch.from_numpy(np.array(hole)).float()[None],
        "name": item.name,
    }


@dataclass(frozen=True)
class Training:
    """Images with random holes, mirrored or not; see `shared.loading.SampledDataset`."""

    items: Items
    config: Config

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        item = self.items.item(index)
        if self.config.mirror and rng.random() < 0.5:
            item = Item(item.name, item.image[:, ::-1], item.label[:, ::-1], item.instances[:, ::-1])
        return as_tensors(item, draw_hole(self.config, item.instances, rng))


def draw_hole(config: Config, instances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hole (S, S) bool as training has it."""
    if config.holes == "cmgan":
        return cmgan_hole(instances, rng)
    return random_hole(instances, rng, config.object_holes)


def test_batch(config: Config, items: Items, indices: range) -> dict[str, Any]:
    """Images of evaluation as a batch, with the hole and the latent ``z`` that belong to each index for ever."""
    samples = []
    for index in indices:
        item, rng = items.item(index), np.random.default_rng((TEST_SEED, index))
        hole = draw_hole(config, item.instances, rng) if item.hole is None else item.hole
        latent = torch.from_numpy(rng.standard_normal(config.z_dim)).float()
        samples.append(as_tensors(item, hole) | {"z": latent})
    batch: dict[str, Any] = {
        name: torch.stack([sample[name] for sample in samples]) for name in samples[0] if name != "name"
    }
    return batch | {"name": [sample["name"] for sample in samples]}


def real_images(items: Items, count: int) -> Tensor:
    """Images (count, 3, S, S) in [-1, 1] from all over a set, for statistics of frozen features."""
    chosen = np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)
    empty = np.zeros((1, 1), bool)
    return torch.stack([as_tensors(items.item(int(i)), empty)["image"] for i in chosen])


# -- what reproduce asks for ------------------------------------------------------------------------------------------


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Compose the scenes and train the networks that evaluate, once for all runs (some minutes); describe the data.

    Returns: ``{"name", "train", "test", "sha256", "scale"}`` for the results file.

    Raises:
        UserError: if ``config.data`` does not hold what LAYOUT says, or options contradict each other.
    """
    _check(config)
    if config.data is not None:
        found = places.describe(_root(config), config.split, config.size)
    else:
        path = scenes_file(config, cache)
        if not path.exists():
            counts = {"train": config.scenes, "validation": config.test_scenes, "test": config.test_scenes}
            content = {
                f"{split}_{name}": x
                for split, count in counts.items()
                for name, x in scenes.compose(split, count, config.size).items()
            }
            write_atomic(path, lambda file: np.savez(file, allow_pickle=False, **content))
        found = {
            "name": "scenes composed of the embedded cut-outs and photographs",
            "train": config.scenes,
            "test": config.test_scenes,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    evaluators.train_once(config, class_table(config), train_items(config, cache), evaluators_file(config, cache))
    scale = (
        f"{config.size} px, {config.warm_steps} steps of reconstruction, then {config.steps} adversarial steps, "
        f"{config.batch_size} images a step"
    )
    return found | {"scale": scale}


def _check(config: Config) -> None:
    """Raises UserError for options that do not fit each other, before anything is trained."""
    if config.size < 16 or config.size & (config.size - 1):
        raise UserError(f"--size is {config.size}; expected a power of two, 16 or more.")
    for name, channels, size in (
        ("channels", config.channels, config.size),
        ("discriminator-channels", config.discriminator_channels, config.size),
        ("object-channels", config.object_channels, config.crop_size),
    ):
        if 4 << (len(channels) - 1) != size:
            raise UserError(
                f"--{name} has {len(channels)} numbers; expected one for each scale from {size} pixels down to 4."
            )
    if not config.discriminators or len(config.discriminators) != len(config.shares):
        raise UserError(
            f"--shares has {len(config.shares)} numbers for {len(config.discriminators)} discriminators; expected one "
            "for each, and one discriminator at least."
        )
    if config.method == "probe" and len(config.discriminators) > 1:
        raise UserError("A probe has one discriminator; give --discriminators and --shares one value each.")
    if (config.split == "evaluation") == (config.data is None) and config.split != "test":
        raise UserError(
            f"--split {config.split} does not fit: validation is for composed scenes, evaluation for --data."
        )


def scenes_file(config: Config, cache: Path) -> Path:
    """The composed scenes."""
    made_of = (scenes, layout, composer, cutouts, packs, config.scenes, config.test_scenes, config.size)
    return cache_file(cache, "scenes.npz", *made_of)


def evaluators_file(config: Config, cache: Path) -> Path:
    """The independent networks; they see training images alone."""
    data = scenes_file(config, cache).name if config.data is None else config.data
    options = (config.evaluator_steps, config.size, config.crop_size, config.least_area, data)
    return cache_file(cache, "evaluators.safetensors", sys.modules[__name__], evaluators, crops, unet, *options)


def check(root: Path) -> list[str]:
    """Lines on the data below ``root``, and on what is missing.

    Raises:
        UserError: if nothing of it is there.
    """
    if not any((root / folder).is_dir() for folder in ("data_large", "val_large", "image")):
        raise UserError(f"{root} has no images with panoptic annotations. Expected there:\n{LAYOUT}")
    return places.check(root)
