"""Metrics and figures."""

from pathlib import Path

import torch
from matplotlib.figure import Figure

from shared.run import Run
from shared.support.figures import write_figure
from shared.support.weights import weights_file

from .build import build_model
from .config import VARIANTS, Config
from .data import load


@torch.no_grad()
def evaluate(config: Config, run: Run) -> dict[str, float]:
    """``error``: root mean squared error on the points of ``config.split``; names carry their unit where there is one.

    Called on every process of a launch; the main one's return value counts. An evaluation that leaves the others
    nothing to do begins with ``if not run.accelerator.is_main_process: return {}``. Metrics of measured times end in
    ``_ratio``: all others have to repeat bit for bit.
    """
    points = load(run.cache, config.split)
    model = build_model(config, run.weights).eval()
    return {"error": float((model(points.x) - points.y).square().mean().sqrt())}


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """``weights.png``: the planes that were found, from the run folders by (variant, seed)."""
    figure = Figure((4, 3), layout="constrained")
    axes = figure.subplots()
    for (variant, seed), folder in runs.items():
        weights = build_model(Config(**VARIANTS[variant].changes), weights_file(folder)).linear.weight[0].tolist()
        axes.plot(*weights, "o", label=f"{variant}, seed {seed}")
    axes.set(xlabel="first weight", ylabel="second weight")
    axes.legend(fontsize=6)
    write_figure(figure, target / "weights.png")
