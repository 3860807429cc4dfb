"""An image with what is known of it, and how image and label files are read."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shared import UserError
from shared.support.images import UNDECODABLE, as_rgb

from ..losses import IGNORED


@dataclass(frozen=True)
class Sample:
    """An image of the source domain, and its pair in the target domain if the dataset brings one."""

    name: str
    source: Tensor
    """(3, H, W), RGB in [0, 1]."""
    label: Tensor
    """(H, W) int64, `IGNORED` where unknown."""
    target: Tensor | None = None
    """(3, H, W); None: the source image is to be transformed."""
    target_label: Tensor | None = None
    """(H, W) int64; None: not known."""


class Images(Protocol):
    """Images that are read one at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def read_pixels(path: Path) -> Tensor:
    """An image file as (3, H, W) float32, RGB in [0, 1].

    Raises:
        UserError: if it is missing, damaged or no image.
    """
    try:
        with _opened(path) as image:
            return torch.from_numpy(np.array(as_rgb(image))).permute(2, 0, 1).float() / 255
    except UserError as error:
        raise UserError(f"{path} cannot be used. {error}") from None
    except UNDECODABLE as error:
        raise _unreadable(path, error) from error


def read_label(path: Path, classes: int) -> Tensor:
    """A palette or grey PNG whose pixels are class numbers, as (H, W) int64.

    Raises:
        UserError: if it is missing, damaged, in colour, or holds a number that is neither a class nor `IGNORED`.
    """
    try:
        with _opened(path) as image:
            if image.mode not in ("P", "L", "1", "I", "I;16"):
                raise UserError(
                    f"{path} has pixels of mode {image.mode}; expected class numbers, a palette or grey PNG. Convert "
                    "colours to class numbers first."
                )
            label = torch.from_numpy(np.array(image).astype(np.int64))
    except UNDECODABLE as error:
        raise _unreadable(path, error) from error
    return check_label(label, classes, str(path))


def check_label(label: Tensor, classes: int, name: str) -> Tensor:
    """The label map as it is; UserError, with the name, for a number that is neither a class nor `IGNORED`."""
    bad = label[(label >= classes) & (label != IGNORED) | (label < 0)]
    if len(bad):
        raise UserError(f"{name} holds the label {int(bad[0])}; expected 0 to {classes - 1}, or {IGNORED} for unknown.")
    return label


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of an image file, from its header alone. Raises UserError as :func:`read_pixels`."""
    try:
        with _opened(path) as image:
            return image.size
    except UNDECODABLE as error:
        raise _unreadable(path, error) from error


def _opened(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # aerial photographs are large
        return Image.open(path)


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path} is missing; add it, or take its name out of the lists.")
    if isinstance(error, PermissionError):
        return UserError(f"No permission to read {path}; make it readable.")
    return UserError(f"{path} is damaged or not an image ({error}); copy it again from where it came from.")
