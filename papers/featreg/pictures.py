"""Label maps as colours."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Patch


def palette(count: int) -> np.ndarray:
    """(count, 3) uint8, all different; black for class 0."""
    shades = [*colormaps["tab10"].colors, *colormaps["tab20b"].colors]  # type: ignore[attr-defined]
    if count - 1 > len(shades):
        shades = colormaps["hsv"](np.arange(count - 1) / (count - 1))[:, :3].tolist()
    named = np.rint(255 * np.array([shade[:3] for shade in shades[: count - 1]])).astype(np.uint8)
    return np.concatenate([np.zeros((1, 3), np.uint8), named])


def painted(label: np.ndarray, classes: int) -> np.ndarray:
    """A label map (H, W) as (H, W, 3) uint8; white where it is no class."""
    colours = np.full((256, 3), 255, np.uint8)
    colours[:classes] = palette(classes)
    return colours[label]


def overlaid(image: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """An image (H, W, 3) uint8 with its classes in colour; class 0 stays a darkened image."""
    return (0.45 * image + 0.55 * painted(label, classes)).astype(np.uint8)


def legend(names: Sequence[str], present: Sequence[int]) -> list[Patch]:
    """A patch of colour for each class that occurs. A dollar sign would be a formula to matplotlib."""
    colours = palette(len(names)) / 255
    return [Patch(color=colours[k], label=names[k].replace("$", r"\$")) for k in present]
