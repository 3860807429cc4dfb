"""Images as the network takes them: composed scenes whose early maps are computed once, and photographs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shared import UserError
from shared.support.images import UNDECODABLE, decode_image

MULTIPLE = 32  # to which photographs are padded


@dataclass(frozen=True)
class Image:
    """One image: pixels or early map (C, H, W); or boxes: their crops (R, C, h, w) and places (R, 4)."""

    pixels: Tensor
    boxes: Tensor | None = None


class Source(Protocol):
    """Images by number."""

    def __len__(self) -> int: ...

    def image(self, index: int, rng: np.random.Generator | None = None) -> Image:
        """One image; training draws its size from ``rng`` where the size varies."""


@dataclass(frozen=True)
class Scenes:
    """Early maps of composed scenes."""

    maps: np.ndarray
    """(N, C, h, w) float16, or (N, R, C, h, w) of boxes."""
    boxes: np.ndarray | None = None
    """(N, R, 4) float32 xyxy as shares of the scene; -1 where there are fewer."""

    def __len__(self) -> int:
        return len(self.maps)

    def image(self, index: int, rng: np.random.Generator | None = None) -> Image:
        pixels = torch.from_numpy(self.maps[index]).float()
        if self.boxes is None:
            return Image(pixels)
        boxes = torch.from_numpy(self.boxes[index])
        there = boxes[:, 0] >= 0
        return Image(pixels[there], boxes[there])


class Photographs:
    """Image files: resized, normalised; with ``boxes`` their crops.

    Args:
        files: one an image.
        mean, std: of the trunk, for RGB in [0, 1].
        short_side, long_side: pixels; the long side may make the short one shorter.
        training_sides: least and most pixels of the short side that training draws, and the most of the long side.
        boxes: (R, 4) xyxy shares of each image, for the baseline of regions.
        crop: pixels of a box after resizing.
    """

    def __init__(
        self,
        files: Sequence[Path],
        mean: Sequence[float],
        std: Sequence[float],
        *,
        short_side: int,
        long_side: int,
        training_sides: tuple[int, int, int] | None = None,
        boxes: Sequence[np.ndarray] | None = None,
        crop: int = 224,
    ) -> None:
        self.files, self.boxes, self.crop = files, boxes, crop
        self.mean, self.std = (torch.tensor(x)[:, None, None] for x in (mean, std))
        self.short_side, self.long_side, self.training_sides = short_side, long_side, training_sides

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int, rng: np.random.Generator | None = None) -> Image:
        """Raises UserError if the file is missing, damaged or no image."""
        pixels = read_pixels(self.files[index])
        if self.boxes is not None:
            boxes = torch.from_numpy(self.boxes[index])
            return Image(self.normalised(crops(pixels, boxes, self.crop)), boxes)
        short, long = self.short_side, self.long_side
        if rng is not None and self.training_sides is not None:
            least, most, long = self.training_sides
            short = int(rng.integers(least, most + 1))
        return Image(self.normalised(resized(pixels, short, long)))

    def normalised(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean) / self.std


def read_pixels(path: Path) -> Tensor:
    """An image file as (3, H, W) float32, RGB in [0, 1]. Raises UserError as `Photographs.image`."""
    try:
        return torch.from_numpy(np.array(decode_image(path))).permute(2, 0, 1).float() / 255
    except UserError as error:
        raise UserError(f"{path} cannot be used. {error}") from None
    except FileNotFoundError:
        raise UserError(f"{path} is missing; unpack the images of its data set again.") from None
    except PermissionError:
        raise UserError(f"No permission to read {path}; make it readable.") from None
    except UNDECODABLE as error:
        raise UserError(
            f"{path} is damaged or not an image ({error}); copy it again from where it came from."
        ) from error


def resized(pixels: Tensor, short_side: int, long_side: int) -> Tensor:
    """(3, H, W) at the given short side, or smaller so that the long side fits."""
    size = pixels.shape[1:]
    factor = min(short_side / min(size), long_side / max(size))
    target = [max(1, round(factor * n)) for n in size]
    return F.interpolate(pixels[None], target, mode="bilinear", antialias=True, align_corners=False)[0]


def crops(pixels: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Boxes (R, 4), xyxy as shares of an image (3, H, W), cut out and resized: (R, 3, size, size)."""
    height, width = pixels.shape[1:]
    found = []
    for x1, y1, x2, y2 in boxes.tolist():
        left, top = min(int(x1 * width), width - 1), min(int(y1 * height), height - 1)
        right, bottom = max(left + 1, round(x2 * width)), max(top + 1, round(y2 * height))
        part = pixels[None, :, top:bottom, left:right]
        found.append(F.interpolate(part, (size, size), mode="bilinear", antialias=True, align_corners=False)[0])
    return torch.stack(found) if found else pixels.new_zeros(0, 3, size, size)


def batch(images: Sequence[Image], most_boxes: int) -> dict[str, Tensor]:
    """A batch of images: ``pixels`` and ``valid``; of boxes ``boxes`` and ``real`` as well. See `Images`.

    Photographs are padded with 0 to the largest of the batch, and to a multiple of 32.
    """
    if images[0].boxes is not None:
        pixels = images[0].pixels.new_zeros(len(images), most_boxes, *images[0].pixels.shape[1:])
        boxes, real = torch.zeros(len(images), most_boxes, 4), torch.zeros(len(images), most_boxes, dtype=torch.bool)
        for k, image in enumerate(images):
            assert image.boxes is not None
            count = min(len(image.boxes), most_boxes)
            pixels[k, :count], boxes[k, :count], real[k, :count] = image.pixels[:count], image.boxes[:count], True
        return {"pixels": pixels, "valid": torch.ones(len(images), 2), "boxes": boxes, "real": real}
    height, width = (max(image.pixels.shape[axis] for image in images) for axis in (1, 2))
    if len(images[0].pixels) == 3:
        height, width = (-(-n // MULTIPLE) * MULTIPLE for n in (height, width))
    pixels = torch.stack(
        [F.pad(x.pixels, (0, width - x.pixels.shape[2], 0, height - x.pixels.shape[1])) for x in images]
    )
    sizes = torch.tensor([x.pixels.shape[1:] for x in images])
    return {"pixels": pixels, "valid": sizes / torch.tensor([height, width])}
