"""Furniture of boxes: the six goal categories, and things that are no goal."""

from dataclasses import dataclass

import numpy as np

CATEGORIES = ("chair", "couch", "potted plant", "bed", "toilet", "tv")
COCO_NUMBERS = (62, 63, 64, 65, 70, 72)  # of the categories, in torchvision's list of 91


@dataclass(frozen=True)
class Box:
    """An axis-aligned box: lowest and highest corner in metres; the object's own axes have its back at y = 0.

    ``material`` is a name that the house gives a texture for.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    material: str


@dataclass(frozen=True)
class Furniture:
    """Boxes within x in [-width / 2, width / 2] and y in [0, depth]; ``category`` is empty for what is no goal."""

    category: str
    boxes: tuple[Box, ...]

    @property
    def width(self) -> float:
        return 2 * max(max(-b.low[0], b.high[0]) for b in self.boxes)

    @property
    def depth(self) -> float:
        return max(b.high[1] for b in self.boxes)


def _block(x: float, y0: float, y1: float, z0: float, z1: float, material: str, centre: float = 0.0) -> Box:
    return Box((centre - x / 2, y0, z0), (centre + x / 2, y1, z1), material)


def _legs(width: float, y0: float, y1: float, height: float, thick: float, material: str) -> list[Box]:
    sides = (-(width - thick) / 2, (width - thick) / 2)
    return [_block(thick, y, y + thick, 0, height, material, x) for x in sides for y in (y0, y1 - thick)]


def build(category: str, rng: np.random.Generator) -> Furniture:
    """One piece of furniture with random proportions: a category, or ``table``, ``shelf`` or ``crate``."""
    s = rng.uniform(0.9, 1.12)
    u = rng.uniform
    boxes: list[Box]
    match category:
        case "chair":
            w, seat = 0.46 * s, 0.45 * u(0.92, 1.05)
            boxes = [
                *_legs(w, 0, w, seat - 0.05, 0.05, "legs"),
                _block(w, 0, w, seat - 0.05, seat, "chair"),
                _block(w, 0, 0.06, seat + u(0, 0.12), seat + 0.5 * s, "chair"),
            ]
        case "couch":
            w, d, arm = u(1.4, 2.0), 0.85 * s, u(0.14, 0.24)
            boxes = [
                _block(w, 0.1, d, 0.06, 0.24, "couch"),
                *[_block(w / 2 - arm - 0.02, 0.22, d, 0.24, 0.44, "cushion", x * (w / 4 - arm / 2)) for x in (-1, 1)],
                _block(w, 0, 0.22, 0.06, 0.85 * u(0.9, 1.1), "couch"),
                *[_block(arm, 0, d, 0.06, 0.62, "couch", x * (w - arm) / 2) for x in (-1, 1)],
            ]
        case "potted plant":
            pot, height = u(0.26, 0.36), u(0.8, 1.3)
            middle = 0.3
            boxes = [_block(pot, middle - pot / 2, middle + pot / 2, 0, 0.32, "pot")]
            boxes.append(_block(0.04, middle - 0.02, middle + 0.02, 0.32, height * 0.7, "legs"))
            for _ in range(9):
                x, y = u(-0.2, 0.2), middle + u(-0.2, 0.2)
                z, wide, long, tall = u(0.4, height), u(0.08, 0.24), u(0.08, 0.2), u(0.05, 0.25)
                boxes.append(Box((x - wide / 2, y - long / 2, z), (x + wide / 2, y + long / 2, z + tall), "leaves"))
            boxes = [Box(b.low, b.high, b.material) for b in boxes if b.low[1] >= 0]
        case "bed":
            w, d = u(1.1, 1.6), 2.0 * s
            boxes = [
                _block(w, 0.05, d, 0.12, 0.3, "legs"),
                _block(w - 0.04, 0.08, d - 0.02, 0.3, 0.5, "sheet"),
                _block(w, d * 0.38, d, 0.28, 0.54, "blanket"),
                *[_block(w * 0.38, 0.12, 0.5, 0.5, 0.62, "sheet", x * w / 4) for x in (-1, 1)],
                _block(w, 0, 0.07, 0, u(0.8, 1.1), "legs"),
            ]
        case "toilet":
            w = 0.38 * s
            boxes = [
                _block(w * 1.1, 0, 0.2, 0.38, 0.8 * s, "porcelain"),
                _block(w * 0.6, 0.15, 0.5, 0, 0.3, "porcelain"),
                _block(w, 0.18, 0.68, 0.28, 0.42, "porcelain"),
                _block(w * 0.9, 0.2, 0.66, 0.42, 0.45, "lid"),
                _block(w, 0.2, 0.24, 0.45, 0.8 * s if u() < 0.3 else 0.46, "lid"),
            ]
        case "tv":
            w, low = u(0.9, 1.4), u(0.4, 0.6)
            boxes = [
                _block(w * 1.1, 0, 0.4, 0, low, "cabinet"),
                _block(0.2, 0.15, 0.25, low, low + 0.08, "frame"),
                _block(w, 0.16, 0.2, low + 0.08, low + 0.08 + w * 0.56, "frame"),
                _block(w - 0.06, 0.2, 0.215, low + 0.11, low + 0.05 + w * 0.56, "screen"),
            ]
        case "table":
            w, d, h = u(0.8, 1.4), u(0.6, 0.9), u(0.68, 0.78)
            boxes = [*_legs(w, 0, d, h - 0.04, 0.06, "cabinet"), _block(w, 0, d, h - 0.04, h, "cabinet")]
        case "shelf":
            w, h = u(0.6, 1.2), u(0.8, 1.9)
            boxes = [_block(w, 0, 0.35, 0, h, "cabinet"), _block(w * 0.94, 0.35, 0.37, h * 0.1, h * 0.95, "crate")]
        case "crate":
            w, d = u(0.3, 0.5), u(0.3, 0.5)
            boxes = [_block(w, 0, d, 0, u(0.25, 0.7), "crate")]
        case _:
            raise ValueError(f"unknown furniture {category!r}")
    return Furniture(category if category in CATEGORIES else "", tuple(boxes))
