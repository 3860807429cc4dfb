"""Layouts: class and instance maps, their encoding as guidance, and edits of them.

Classes are numbered 0 void, then things, then stuff. Instance maps hold 0 for stuff and void. Everything here is ours:
how the paper encodes its guidance could not be read.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ..masks.objects import CROSS

Guidance = Literal["panoptic", "segmentation", "edge", "none"]
EDGE = 0.35  # gradient of the brightness (0 to 1, over 2 pixels) above which a pixel is an edge


@dataclass(frozen=True)
class ClassTable:
    """Names of the classes; the first is void, the next ``things`` are things, the others stuff."""

    names: tuple[str, ...]
    things: int

    @property
    def count(self) -> int:
        """Number of classes without void."""
        return len(self.names) - 1


def guidance_channels(kind: Guidance, classes: int) -> int:
    """Channels of the encoded guidance."""
    return {"panoptic": classes + 1, "segmentation": classes, "edge": 1, "none": 0}[kind]


def encode(kind: Guidance, image: Tensor, label: Tensor, instances: Tensor, classes: int) -> Tensor | None:
    """Guidance (N, C, H, W) for the whole image, None without guidance.

    Args:
        image: (N, 3, H, W) in [-1, 1]; only edges look at it.
        label, instances: (N, H, W) int64.
        classes: number of classes without void, which is all zero.
    """
    if kind == "none":
        return None
    if kind == "edge":
        return edges(image)
    planes = one_hot(label, classes)
    return planes if kind == "segmentation" else torch.cat([planes, boundaries(instances)], 1)


def one_hot(label: Tensor, classes: int) -> Tensor:
    """(N, H, W) -> (N, classes, H, W) float; void is zero everywhere."""
    return F.one_hot(label, classes + 1).permute(0, 3, 1, 2)[:, 1:].float()


def boundaries(instances: Tensor, valid: Tensor | None = None) -> Tensor:
    """Pixels with a 4-neighbour of another instance, on both sides of the boundary, (N, 1, H, W).

    Two instances of one class that touch are told apart here alone.

    Args:
        instances: (N, H, W).
        valid: (N, H, W) bool; pixels beside one that is not valid are no boundary for that.
    """
    found = torch.zeros_like(instances, dtype=torch.bool)
    for axis in (1, 2):
        length = instances.shape[axis] - 1
        before, after = instances.narrow(axis, 0, length), instances.narrow(axis, 1, length)
        different = before != after
        if valid is not None:
            different &= valid.narrow(axis, 0, length) & valid.narrow(axis, 1, length)
        found.narrow(axis, 0, length).logical_or_(different)
        found.narrow(axis, 1, length).logical_or_(different)
    return found[:, None].float()


def edges(image: Tensor) -> Tensor:
    """Binary edge map (N, 1, H, W): thresholded Sobel gradient of the brightness."""
    grey = F.pad((image * 0.5 + 0.5).mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    sobel = torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]], device=image.device) / 4
    gradient = F.conv2d(grey, torch.stack([sobel, sobel.T])[:, None])
    return (gradient.square().sum(1, keepdim=True).sqrt() > EDGE).float()


# -- edits ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """A hole and the layout that is wanted; (H, W) each.

    Attributes:
        hole: bool, True where the image is to be painted anew.
        label, instances: int64, of the whole image.
    """

    hole: np.ndarray
    label: np.ndarray
    instances: np.ndarray


def rim(size: int) -> int:
    """Pixels by which the hole is larger than a silhouette: shadows and soft outlines have to go, too."""
    return max(1, round(0.03 * size))


def grown(silhouette: np.ndarray) -> np.ndarray:
    """The silhouette (H, W) bool with a rim."""
    return ndimage.binary_dilation(silhouette, CROSS, rim(len(silhouette)))


def insertion(layout: Edit, silhouette: np.ndarray, new_class: int) -> Edit:
    """A new object of a class with that silhouette (H, W) bool, in front of everything.

    Raises:
        ValueError: if the silhouette is empty.
    """
    if not silhouette.any():
        raise ValueError("the silhouette of the new object is empty")
    number = int(layout.instances.max()) + 1
    return Edit(
        hole=grown(silhouette),
        label=np.where(silhouette, new_class, layout.label),
        instances=np.where(silhouette, number, layout.instances),
    )


def replacement(layout: Edit, number: int, new_class: int) -> Edit:
    """The object ``number`` becomes one of another class, with the same silhouette."""
    silhouette = _silhouette(layout, number)
    return replace(layout, hole=grown(silhouette), label=np.where(silhouette, new_class, layout.label))


def removal(layout: Edit, number: int, table: ClassTable) -> Edit:
    """The object ``number`` makes way for the stuff that is most common around it."""
    silhouette = _silhouette(layout, number)
    hole = grown(silhouette)
    around = layout.label[ndimage.binary_dilation(hole, CROSS, rim(len(hole)) + 1) & ~silhouette]
    stuff = around[around > table.things]
    common = np.bincount(stuff).argmax() if len(stuff) else table.things + 1
    return Edit(
        hole=hole,
        label=np.where(silhouette, common, layout.label),
        instances=np.where(silhouette, 0, layout.instances),
    )


def _silhouette(layout: Edit, number: int) -> np.ndarray:
    silhouette = layout.instances == number
    if number < 1 or not silhouette.any():
        raise ValueError(f"there is no object {number} in the layout")
    return silhouette
