"""Figures of a reproduction, from what the runs left in ``shown.npz``."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t

from shared.support.figures import write_figure

from .config import VARIANTS

METHODS = {
    "scratch": "random initialisation",
    "r": "G$^R$ (SimCLR)",
    "d": "G$^D$",
    "proposed": "G$^D$ + L$^R$",
    "proposed-mixup": "G$^D$ + L$^R$ + mixup",
}  # lines of the first figure, and columns of the overlays
COUNTS = (1, 2, 8)
OVERLAID = 2  # labelled volumes of the runs whose predictions are shown
BENCHMARK = "scratch-all"
ENCODERS = {"encoder-none": "as initialised", "encoder-r": "after G$^R$", "encoder-d": "after G$^D$"}
CLASS_COLOURS = np.array([[0, 0, 0], [240, 150, 40], [70, 170, 80], [220, 60, 60], [150, 100, 210], [70, 130, 230],
                          [240, 210, 60], [60, 190, 190]])  # fmt: skip
COLOURS = 256  # of a figure's palette

Shown = dict[str, np.ndarray]


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """Dice by labelled volumes, overlays, maps of slice embeddings, and the data; each from the runs that there are."""
    shown: dict[str, dict[int, Shown]] = {}
    for (variant, seed), folder in sorted(runs.items()):
        if (folder / "shown.npz").exists():
            with np.load(folder / "shown.npz") as content:
                shown.setdefault(variant, {})[seed] = dict(content)
    segmented = {name: runs for name, runs in shown.items() if VARIANTS[name].changes["stage"] == "segmentation"}
    if segmented:
        write_figure(dice_by_labels(segmented), target / "dice_by_labels.png", colours=COLOURS)
        first = {name: runs[min(runs)] for name, runs in segmented.items()}
        write_figure(overlays(first), target / "overlays.png", colours=COLOURS)
        write_figure(data(next(iter(first.values()))), target / "data.png", colours=COLOURS)
    if maps := {title: shown[name][min(shown[name])] for name, title in ENCODERS.items() if name in shown}:
        write_figure(embeddings(maps), target / "embeddings.png", colours=COLOURS)


def dice_by_labels(segmented: dict[str, dict[int, Shown]]) -> Figure:
    """Mean test Dice against the number of labelled volumes, with 95 % intervals over the seeds."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axis = figure.subplots()
    for shift, (method, title) in enumerate(METHODS.items()):
        points = [(n, *interval(segmented[f"{method}-{n}"])) for n in COUNTS if f"{method}-{n}" in segmented]
        if points:
            counts, means, halves = np.array(points).T
            axis.errorbar(counts * 1.03 ** (shift - 2), means, halves, marker="o", markersize=4, capsize=3, label=title)
    if BENCHMARK in segmented:
        height, half = interval(segmented[BENCHMARK])
        axis.axhline(height, color="grey", linestyle="--", label="all volumes labelled")
        axis.axhspan(height - half, height + half, color="grey", alpha=0.15)
    axis.set_xscale("log", base=2)
    axis.set_xticks(COUNTS, [str(n) for n in COUNTS])
    axis.set_xlabel("labelled volumes")
    axis.set_ylabel("test Dice (%)")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8)
    return figure


def interval(runs: dict[int, Shown]) -> tuple[float, float]:
    """Mean Dice over the seeds in per cent, and half of its 95 % Student interval (0 for one seed)."""
    means = [100 * float(run["dice"].mean()) for run in runs.values()]
    if len(means) < 2:
        return means[0], 0.0
    return float(np.mean(means)), float(t.ppf(0.975, len(means) - 1) * np.std(means, ddof=1) / np.sqrt(len(means)))


def overlays(first: dict[str, Shown]) -> Figure:
    """Three slices of one test volume: the image, the truth, and the labels that each method gives."""
    columns = {f"{method}-{OVERLAID}": f"{title}, {OVERLAID}" for method, title in METHODS.items()}
    columns[BENCHMARK] = "all labelled"
    chosen = {title: first[name] for name, title in columns.items() if name in first} or {
        name: run for name, run in list(first.items())[:1]
    }
    some = next(iter(chosen.values()))
    figure, axes = grid(len(some["images"]), 2 + len(chosen))
    axes[0, 0].set_title("image", fontsize=8)
    axes[0, 1].set_title("truth", fontsize=8)
    for row, image, truth in zip(axes, some["images"], some["truth"], strict=True):
        paint(row[0], image, np.zeros_like(truth))
        paint(row[1], image, truth)
    for column, (title, run) in enumerate(chosen.items(), 2):
        axes[0, column].set_title(title, fontsize=8)
        for axis, image, predicted in zip(axes[:, column], run["images"], run["predicted"], strict=True):
            paint(axis, image, predicted)
    return figure


def data(some: Shown) -> Figure:
    """Middle slices of some test volumes, and their labels."""
    figure, axes = grid(2, len(some["data_images"]))
    for column, image, truth in zip(axes.T, some["data_images"], some["data_truth"], strict=True):
        paint(column[0], image, np.zeros_like(truth))
        paint(column[1], image, truth)
    return figure


def embeddings(maps: dict[str, Shown]) -> Figure:
    """Slices of all test volumes in the plane of their two principal components, coloured by position."""
    figure = Figure(figsize=(3.1 * len(maps) + 0.8, 3.0), layout="constrained")
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for axis, (title, run) in zip(axes, maps.items(), strict=True):
        points = axis.scatter(*run["map"].T, c=run["position"], cmap="viridis", s=9)
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.colorbar(points, ax=axes, label="position in the volume")
    return figure


def grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """Axes (rows, columns) without ticks."""
    figure = Figure(figsize=(1.5 * columns, 1.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    return figure, axes


def paint(axis: Axes, image: np.ndarray, labels: np.ndarray) -> None:
    """A slice in grey, its second axis upwards, with its labels in colour."""
    grey = np.clip(image, 0, 1)[..., None].repeat(3, -1)
    colour = CLASS_COLOURS[labels % len(CLASS_COLOURS)] / 255
    mixed = np.where((labels > 0)[..., None], 0.35 * grey + 0.65 * colour, grey)
    axis.imshow(mixed, origin="lower", interpolation="nearest")
