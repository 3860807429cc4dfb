"""Readers for the paper's datasets in their published layout, and the offline default: points of a plane."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared import UserError
from shared.support.files import write_atomic

from .config import Config

LAYOUT = "points.csv: one point a line, x1,x2,y"
POINTS = {"train": 64, "validation": 32, "test": 32}


class Points:
    """Training samples: points (2,) with their height ()."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``x`` (2,), ``y`` () and ``name``; augmentation draws from ``rng``."""
        return {"x": self.x[index], "y": self.y[index], "name": f"point {index}"}


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Compute once what all runs share; describe the data: ``{"name", "train", "test", "sha256", "scale"}``.

    Give ``"test_sha256"`` if the test data can change without the training data: runs then are evaluated again, not
    trained again.
    """
    if config.data:
        raise UserError(f"--data {config.data}: write the reader of {LAYOUT} first.")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(sum(POINTS.values()), 2)).astype(np.float32)
    y = x @ np.array([1, -2], np.float32) + 3 + rng.normal(0, 0.1, len(x)).astype(np.float32)
    write_atomic(cache / "points.npz", lambda file: np.savez(file, x=x, y=y, allow_pickle=False))
    return {
        "name": "points of a plane",
        "train": POINTS["train"],
        "test": POINTS[config.split],
        "sha256": hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest(),
        "scale": f"{config.steps} steps of {config.batch_size} points",
    }


def load(cache: Path, split: str) -> Points:
    """The points of a split, as :func:`prepare` left them."""
    first = sum(list(POINTS.values())[: list(POINTS).index(split)])
    with np.load(cache / "points.npz") as content:
        x, y = (torch.from_numpy(content[name][first : first + POINTS[split]]) for name in "xy")
    return Points(x, y)


def check(path: Path) -> list[str]:
    """Lines that say what is in ``path``, what is missing, and how much of it there is."""
    found = path / "points.csv"
    return [f"{found}: {len(found.read_text().splitlines())} points" if found.is_file() else f"{found} is missing"]
