"""Metrics and a figure."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from shared.run import Run
from shared.support.files import write_atomic

from .config import Config
from .data import load
from .train import build_model


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """``error``: mean squared error on the points as they are."""
    points = load(run.cache)
    model = build_model(config).eval()
    model.load_state_dict(load_file(run.weights))
    with torch.no_grad():
        return {"error": float((model(points.x + config.shift).squeeze(1) - points.y).square().mean())}


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """A list of the runs stands in for a figure."""
    lines = "".join(f"{variant} {seed}\n" for variant, seed in runs)
    write_atomic(target / "figure.txt", lines.encode())
