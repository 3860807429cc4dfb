"""From a volume to the slices that the network sees, and back from its probabilities to a label volume.

Slices are (Q, H, W): along the third axis of the volume, its first axis from left to right, its second upwards. Source
of the steps: official code (`dataloaders.py`, `utils.py`, `f1_utils.py`).
"""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import zoom

from shared import UserError

from .datasets.nifti import Volume


@dataclass(frozen=True)
class Grid:
    """How slices of a volume lie in the network's input."""

    size: int
    """Pixels, height and width of the input."""
    resolution: float
    """Millimetres a pixel."""
    shape: tuple[int, int]
    """Native height and width of the volume's slices."""
    spacing: tuple[float, float]
    """Native millimetres along height and width."""

    @classmethod
    def of(cls, volume: Volume, size: int, resolution: float) -> "Grid":
        x, y, _ = volume.spacing
        return cls(size, resolution, (volume.image.shape[1], volume.image.shape[0]), (y, x))

    @property
    def resampled(self) -> tuple[int, int]:
        """Height and width at the network's resolution, before anything is cut off or padded."""
        height, width = (
            max(1, round(n * mm / self.resolution)) for n, mm in zip(self.shape, self.spacing, strict=True)
        )
        return height, width

    def slices(self, volume: np.ndarray, order: int) -> np.ndarray:
        """The network's slices (Q, size, size) of a volume (X, Y, Z).

        Args:
            order: 1 interpolates linearly (images), 0 takes the nearest voxel (labels).
        """
        native = np.transpose(volume, (2, 1, 0))
        return crop_or_pad(resize(native, self.resampled, order), self.size)

    def labels(self, probability: np.ndarray) -> np.ndarray:
        """Label volume (X, Y, Z) uint8 of probabilities (C, Q, size, size).

        They are put back in their place, with zeros around, and resized bilinearly to the native grid, where the best
        class is taken: outside of what the network saw it is the background.
        """
        canvas = resize(crop_or_pad(probability, *self.resampled), self.shape, order=1)
        return np.transpose(canvas.argmax(0).astype(np.uint8), (2, 1, 0))


def normalise(image: np.ndarray) -> np.ndarray:
    """(x - p1) / (p99 - p1) with percentiles of the whole volume; not clipped.

    Raises:
        UserError: if the percentiles are equal: the volume is all but constant.
    """
    low, high = np.percentile(image, (1, 99))
    if not high > low:
        raise UserError(f"98 % of the intensities are {low:g}; expected an image with some contrast.")
    return (image - low) / (high - low)


def resize(slices: np.ndarray, size: tuple[int, int], order: int) -> np.ndarray:
    """Resample the last two axes to ``size``: pixels are areas, the edge is continued."""
    if slices.shape[-2:] == tuple(size):
        return slices
    factors = [1.0] * (slices.ndim - 2) + [n / m for n, m in zip(size, slices.shape[-2:], strict=True)]
    return zoom(slices, factors, order=order, mode="nearest", grid_mode=True)


def crop_or_pad(slices: np.ndarray, height: int, width: int | None = None) -> np.ndarray:
    """Centre the last two axes in ``height`` x ``width`` (default: square), each cut or padded with zeros.

    What is cut off, or padded, before the first pixel is half of the difference, rounded down; so padding undoes a cut.
    """
    for axis, size in ((-2, height), (-1, width or height)):
        have = slices.shape[axis]
        if have > size:
            slices = np.take(slices, range((have - size) // 2, (have - size) // 2 + size), axis)
        elif have < size:
            before = (size - have) // 2
            margins = [(0, 0)] * slices.ndim
            margins[axis] = (before, size - have - before)
            slices = np.pad(slices, margins)
    return slices


def correct_bias(volume: Volume) -> np.ndarray:
    """The image (X, Y, Z) after N4 bias field correction, at 4 levels of at most 50 iterations.

    Raises:
        UserError: if SimpleITK is not installed.
    """
    try:
        SimpleITK: Any = importlib.import_module("SimpleITK")  # not among the requirements
    except ImportError:
        raise UserError("N4 needs SimpleITK: pip install SimpleITK, or leave the bias field in with --no-n4.") from None
    image = SimpleITK.GetImageFromArray(volume.image)
    image.SetSpacing(volume.spacing[::-1])  # its axes run the other way round
    corrector = SimpleITK.N4BiasFieldCorrectionImageFilter()
    corrector.SetConvergenceThreshold(0.001)
    corrector.SetMaximumNumberOfIterations([50] * 4)
    return SimpleITK.GetArrayFromImage(corrector.Execute(image))
