"""The inputs of each discriminator: image or aligned crops, with their condition and frozen features."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shared.run import Run

from .build import CALIBRATED, frozen_features, is_of_objects, is_semantic
from .config import Config
from .data import real_images, train_items
from .losses import Logits, weighted_mean
from .networks.frozen import Features, FrozenFeatures
from .structure.crops import Instances, aligned_crops, find_instances, own_masks
from .structure.layout import ClassTable, encode, one_hot


@dataclass(frozen=True)
class Scene:
    """A batch with its guidance and the instances that are judged.

    Attributes:
        image: (N, 3, S, S) in [-1, 1].
        hole: (N, 1, S, S).
        guidance: (N, C, S, S), or None.
        instances: K instances that lie mostly in the hole.
        crop_hole: (K, 1, s, s) hole of each crop.
        crop_condition: (K, C', s, s): mask, guidance, and the object's own mask.
        kinds: (K, things) one-hot classes.
    """

    image: Tensor
    hole: Tensor
    guidance: Tensor | None
    instances: Instances
    crop_hole: Tensor
    crop_condition: Tensor
    kinds: Tensor


@dataclass(frozen=True)
class View:
    """The input of a discriminator, from real or completed images: pixels, condition, frozen features."""

    pixels: Tensor
    condition: Tensor
    frozen: list[Tensor]
    kinds: Tensor
    weights: Tensor
    """Weight of each row in the loss: 1, or that of a crop."""

    def detached(self) -> "View":
        """The same without a graph."""
        return View(self.pixels.detach(), self.condition, [x.detach() for x in self.frozen], self.kinds, self.weights)


def scene_of(config: Config, table: ClassTable, batch: dict[str, Any], most: int | None = None) -> Scene:
    """Guidance and instances of a batch.

    Args:
        most: instances that are kept, a random choice; None: all.
    """
    image, hole, label, instances = (batch[name] for name in ("image", "hole", "label", "instances"))
    guidance = encode(config.guidance, image, label, instances, table.count)
    found = find_instances(instances, label, hole, least_area=config.least_area)
    if most is not None and len(found) > most:
        found = found.take(torch.randperm(len(found), device=image.device)[:most])
    crop_hole = aligned_crops(hole, found.boxes, config.crop_size)
    parts = [0.5 - crop_hole, own_masks(instances, found, config.crop_size)]
    if guidance is not None:
        parts.append(aligned_crops(guidance, found.boxes, config.crop_size))
    kinds = one_hot(found.classes[:, None, None], table.things)[:, :, 0, 0]
    return Scene(image, hole, guidance, found, crop_hole, torch.cat(parts, 1), kinds)


def views_of(
    config: Config, scene: Scene, image: Tensor, frozen: FrozenFeatures | None, maps: list[Tensor] | None = None
) -> dict[str, View]:
    """The view of every discriminator of a configuration, by role.

    Args:
        image: (N, 3, S, S), real or completed.
        frozen: features for the semantic ones.
        maps: what ``frozen`` says of the whole images, if it is known already.
    """
    found: dict[str, View] = {}
    crops: Tensor | None = None
    for role in config.discriminators:
        if is_of_objects(role):
            if crops is None:
                crops = aligned_crops(image, scene.instances.boxes, config.crop_size)
            pixels, condition, weights = crops, scene.crop_condition, scene.instances.weights
        else:
            parts = [x for x in (0.5 - scene.hole, scene.guidance) if x is not None]
            pixels, condition, weights = image, torch.cat(parts, 1), torch.ones(len(image), device=image.device)
        features: list[Tensor] = []
        if is_semantic(role) and frozen is not None:
            features = maps if maps is not None and role == "semantic" else frozen(pixels)
        found[role] = View(pixels, condition, features, scene.kinds, weights)
    return found


def judged(network: nn.Module, role: str, view: View) -> Logits:
    """A discriminator's logits of a view."""
    x = torch.cat([view.pixels, view.condition], 1)
    if is_semantic(role):
        return network(x, view.frozen)
    return network(x, view.kinds if is_of_objects(role) else None)


def mean_loss(values: Tensor, view: View) -> Tensor:
    """Mean of a loss (K,) over the rows of a view; crops count alike over all processes."""
    return weighted_mean(values, view.weights)


def calibrated_features(config: Config, run: Run, kind: Features) -> FrozenFeatures:
    """Frozen features of a run, normalised on some of its training images."""
    images = real_images(train_items(config, run.cache), CALIBRATED).to(run.device)
    return frozen_features(config, kind, images, run.seed)
