"""Images with their layouts, and what a reader of files has to check."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from shared import UserError
from shared.support.images import UNDECODABLE, decode_image


@dataclass(frozen=True)
class Item:
    """An image with its layout, all of one square size.

    Attributes:
        image: (S, S, 3) uint8.
        label, instances: (S, S) int64, see :mod:`..structure.layout`.
        hole: (S, S) bool, if the data set has one of its own.
    """

    name: str
    image: np.ndarray
    label: np.ndarray
    instances: np.ndarray
    hole: np.ndarray | None = None


class Items(Protocol):
    def __len__(self) -> int: ...

    def item(self, index: int) -> Item: ...


def read_square(path: Path, size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """An image as (size, size, 3) uint8, resized without regard to its aspect as CM-GAN does; and its own (W, H).

    Raises:
        UserError: if the file is missing or damaged.
    """
    try:
        image = decode_image(path, turn=False)
    except UserError as error:
        raise UserError(f"{path} cannot be used. {error}") from None
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; every annotation needs its image.") from error
    except PermissionError:
        raise
    except UNDECODABLE as error:
        raise UserError(f"{path} is damaged or not an image ({error}); get it again.") from error
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS)), image.size


def read_map(path: Path) -> np.ndarray:
    """A map of numbers (H, W) as a PNG holds it, uint8: 8 bits, a palette, or black and white.

    Raises:
        UserError: if the file is missing, damaged, or a picture in colour.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            mode, numbers = picture.mode, np.array(picture)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; every image needs its annotation.") from error
    except PermissionError:
        raise
    except UNDECODABLE as error:
        raise UserError(f"{path} is damaged or not an image ({error}); get it again.") from error
    if mode not in ("L", "P", "1"):
        raise UserError(f"{path} has mode {mode}; expected numbers in 8 bits, as a greyscale or palette PNG.")
    return numbers.astype(np.uint8)


def nearest(numbers: np.ndarray, size: int) -> np.ndarray:
    """A map (H, W) uint8 at another size, without mixing its numbers."""
    return np.asarray(Image.fromarray(numbers).resize((size, size), Image.Resampling.NEAREST))
