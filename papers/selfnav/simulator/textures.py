"""Procedural textures, and photographs as wall pictures: small tiles that repeat every metre."""

import functools

import numpy as np
from PIL import Image

from shared.offline.cutouts import load_backgrounds

SIZE = 48  # pixels of a side


def plain(rng: np.random.Generator, colour: np.ndarray, rough: float) -> np.ndarray:
    """(SIZE, SIZE, 3) float in [0, 1]: a colour with smooth and fine noise of the strength ``rough``."""
    noise = np.zeros((SIZE, SIZE))
    for cells in (4, 12):
        grid = rng.normal(size=(cells, cells))
        noise += np.asarray(Image.fromarray(grid.astype(np.float32)).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return np.clip(colour * (1 + rough * 0.15 * noise[..., None]) + rough * rng.normal(0, 0.02, (SIZE, SIZE, 1)), 0, 1)


def texture(rng: np.random.Generator, kind: str, colour: np.ndarray, rough: float) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8.

    Args:
        kind: ``plain``, ``wood``, ``stripes``, ``tiles``, ``bricks`` or ``checks``.
        colour: (3,) in [0, 1]. rough: strength of the noise, 0 to 1.
    """
    base = plain(rng, colour, rough)
    row, column = np.mgrid[:SIZE, :SIZE]
    dark = 1 - rng.uniform(0.15, 0.4)
    period = int(rng.choice([6, 8, 12, 16]))
    if kind == "wood":
        board = row // period
        base *= rng.uniform(0.8, 1.1, SIZE)[board][..., None]
        base[row % period == 0] *= dark
    elif kind == "stripes":
        base[(column // max(2, period // 2)) % 2 == 0] *= dark
    elif kind == "tiles":
        base[(row % period == 0) | (column % period == 0)] *= dark
    elif kind == "bricks":
        shifted = column + (row // (period // 2)) % 2 * period // 2
        base[(row % (period // 2) == 0) | (shifted % period == 0)] *= dark
    elif kind == "checks":
        base[(row // period + column // period) % 2 == 0] *= dark
    return (255 * np.clip(base, 0, 1)).astype(np.uint8)


@functools.cache
def pictures() -> tuple[np.ndarray, ...]:
    """The embedded photographs, each (SIZE, SIZE, 3) uint8."""
    return tuple(
        np.asarray(Image.fromarray(x.image()).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        for x in load_backgrounds()
    )
