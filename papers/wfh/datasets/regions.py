"""Regions of images: what a detector found, with their features; those of the scenes through the offline tower."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shared.offline.towers import efficientnet_lite0
from shared.support.progress import track

WIDTH = 320  # channels of EfficientNet-Lite0's last block
CROP = 96  # pixels of a region's crop
BATCH = 32


@dataclass(frozen=True)
class Regions:
    """Regions of one image.

    Attributes:
        features: (R, F) float32. boxes: (R, 4) float32 xyxy in 0..1.
        objects, attributes: (R,) int64 classes. object_confidence, attribute_confidence: (R,) float32 in 0..1.
    """

    features: np.ndarray
    boxes: np.ndarray
    objects: np.ndarray
    object_confidence: np.ndarray
    attributes: np.ndarray
    attribute_confidence: np.ndarray


class Images(Protocol):
    """The regions of images, by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Regions: ...


@dataclass(frozen=True)
class StoredImages:
    """Regions of all images one after the other; image k has those from ``start[k]`` to ``start[k + 1]``."""

    regions: Regions
    start: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1

    def __getitem__(self, index: int) -> Regions:
        own = slice(self.start[index], self.start[index + 1])
        return Regions(**{name: x[own] for name, x in vars(self.regions).items()})


@dataclass(frozen=True)
class SomeImages:
    """Some of the images of a set, by their numbers there."""

    images: Images
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Regions:
        return self.images[int(self.numbers[index])]


@torch.no_grad()
def lite0_features(images: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Features of boxes through the frozen EfficientNet-Lite0: the mean of its last block's map.

    Args:
        images: (H, W, 3) uint8 each.
        boxes: (R, 4) xyxy in 0..1 for each image.

    Returns:
        (all regions, `WIDTH`) float32.
    """
    network = efficientnet_lite0().to(memory_format=torch.channels_last)
    crops = [(image, box) for image, row in zip(images, boxes, strict=True) for box in row]
    found = []
    for first in track(range(0, len(crops), BATCH), "features of regions"):
        pixels = torch.cat([crop(*each) for each in crops[first : first + BATCH]])
        maps = network.bn1(network.conv_stem(pixels.contiguous(memory_format=torch.channels_last)))
        found.append(network.blocks(maps).mean((2, 3)))
    return torch.cat(found).numpy()


def crop(image: np.ndarray, box: np.ndarray) -> Tensor:
    """A box of an image at the size and scale that the tower sees: (1, 3, CROP, CROP) in -1..1."""
    height, width = image.shape[:2]
    x1, y1 = (int(np.floor(share * length)) for share, length in zip(box[:2], (width, height), strict=True))
    x2, y2 = (int(np.ceil(share * length)) for share, length in zip(box[2:], (width, height), strict=True))
    part = image[min(y1, height - 1) : max(y2, y1 + 1), min(x1, width - 1) : max(x2, x1 + 1)]
    pixels = torch.from_numpy(part.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    return F.interpolate(pixels, (CROP, CROP), mode="bilinear", antialias=True, align_corners=False).clamp(-1, 1)
