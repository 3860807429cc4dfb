"""Points on a noisy plane; every draw moves a point a little."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save

from shared.support.files import write_atomic

from .config import Config

LAYOUT = "plane/points.csv: one point a line"


class Points:
    """20 points; 20 is no multiple of the batch size, so that epochs end within a batch."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``x`` (4,) with noise, ``y`` (), ``name``."""
        noise = torch.from_numpy(rng.normal(0, 0.1, 4).astype(np.float32))
        return {"x": self.x[index] + noise, "y": self.y[index], "name": f"point {index}"}


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Draw the points."""
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    content = save({"x": x, "y": x.sum(1)})
    write_atomic(cache / "points.safetensors", content)
    return {
        "name": "points of a plane",
        "train": 20,
        "test": 20,
        "sha256": hashlib.sha256(content).hexdigest(),
        "scale": f"19 parameters, {config.steps} steps",
    }


def load(cache: Path) -> Points:
    """Read what :func:`prepare` left."""
    stored = load_file(cache / "points.safetensors")
    return Points(stored["x"], stored["y"])


def check(path: Path) -> list[str]:
    """Nothing is expected of any folder."""
    return [f"{path}: nothing is expected"]
