"""Figures: completions of every variant, use cases, object crops, and bars of the main metrics."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from shared.reproduce.verdicts import paired_interval
from shared.support.figures import write_figure

from .evaluation.editing import KINDS

HOLE = (230, 0, 230)  # a colour that neither photographs nor objects have
MAIN = ("warm", "base", "structcomp", "unguided")  # variants of the main grid, which a page of text can hold
BARS = (
    ("image_p_ids_percent", "image P-IDS (%), higher is better"),
    ("object_p_ids_percent", "object P-IDS (%), higher is better"),
    ("object_fd", "object FD, lower is better"),
    ("hole_miou_percent", "mIoU in the hole (%), higher is better"),
)
SHADES = np.concatenate([np.zeros((1, 3), np.uint8), colormaps["tab20"](np.arange(255) % 20, bytes=True)[:, :3]])
"""Colour (256, 3) of each class."""
Shown = dict[str, np.ndarray]


def draw(shown: dict[str, Shown], metrics: Mapping[str, Mapping[int, Mapping[str, float]]], target: Path) -> None:
    """Write the figures whose rows ran."""
    if shown:
        main = {name: shown[name] for name in MAIN if name in shown}
        write_figure(completions(main or shown), target / "grid.png")
        write_figure(completions(shown), target / "grid_all.png")
    for name in ("structcomp", *shown):
        if "edit_image" in shown.get(name, {}):
            write_figure(use_cases(shown[name]), target / "edits.png")
            break
    if any(len(arrays["crop_image"]) for arrays in shown.values()):
        write_figure(crops(shown), target / "crops.png")
    measured = {name: by_seed for name, by_seed in metrics.items() if any("image_fd" in x for x in by_seed.values())}
    if measured:
        write_figure(bars(measured), target / "metrics.png")


def holed(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) with its hole (H, W) in one colour."""
    return np.where(hole[..., None] > 0, HOLE, image).astype(np.uint8)


def painted(label: np.ndarray) -> np.ndarray:
    """A class map (S, S) as colours (S, S, 3) uint8; the void is black."""
    return SHADES[label.astype(int)]


def completions(shown: dict[str, Shown]) -> Figure:
    """A row a test image: with its hole, its layout, completed by each variant, and as it is."""
    any_row = next(iter(shown.values()))
    columns = [
        ("hole", [holed(x, h) for x, h in zip(any_row["image"], any_row["hole"][:, 0], strict=True)]),
        ("layout", [painted(x) for x in any_row["label"]]),
    ]
    for variant, arrays in shown.items():
        columns.append((titled(variant), list(arrays["completed"])))
        if "automatic" in arrays and variant == "structcomp":
            columns.append(("structcomp,\nimagined layout", list(arrays["automatic"])))
    columns.append(("real", list(any_row["image"])))
    return _grid(columns)


def use_cases(arrays: Shown) -> Figure:
    """Insertion, replacement and removal by one generator: a row an image."""
    columns = [("image", list(arrays["edit_image"]))]
    for kind in KINDS:
        holes = zip(arrays["edit_image"], arrays[f"edit_{kind}_hole"], strict=True)
        columns.append((f"hole of the\n{kind}", [holed(x, hole) for x, hole in holes]))
        columns.append((kind, list(arrays[f"edit_{kind}"])))
    return _grid(columns)


def crops(shown: dict[str, Shown]) -> Figure:
    """Objects that lie mostly in the hole, as the object discriminators see them: by each variant, and real."""
    columns = [(titled(variant), list(arrays["crop_completed"])) for variant, arrays in shown.items()]
    return _grid([*columns, ("real", list(next(iter(shown.values()))["crop_image"]))])


def titled(variant: str) -> str:
    """The name of a variant in lines that fit a column."""
    return variant.replace("-", "-\n")


def _grid(columns: list[tuple[str, list[np.ndarray]]]) -> Figure:
    height = len(columns[0][1])
    figure = Figure(figsize=(1.2 * len(columns), 1.2 * height + 0.4), layout="constrained")
    axes = figure.subplots(height, len(columns), squeeze=False)
    for j, (title, images) in enumerate(columns):
        axes[0][j].set_title(title, fontsize=9)
        for i, image in enumerate(images):
            axes[i][j].imshow(image, interpolation="nearest")
            axes[i][j].set_axis_off()
    return figure


def bars(metrics: Mapping[str, Mapping[int, Mapping[str, float]]]) -> Figure:
    """Mean of each variant over seeds with its 95 % interval, a panel a metric."""
    figure = Figure(figsize=(3.0 * len(BARS), 3.2), layout="constrained")
    for axis, (metric, title) in zip(np.atleast_1d(figure.subplots(1, len(BARS))), BARS, strict=True):
        for i, by_seed in enumerate(metrics.values()):
            values = [by_seed[seed][metric] for seed in sorted(by_seed) if metric in by_seed[seed]]
            if values:
                mean = float(np.mean(values))
                low, high = paired_interval(values) or (mean, mean)
                axis.bar(i, mean, yerr=[[mean - low], [high - mean]], capsize=2)
        axis.set_xticks(range(len(metrics)), list(metrics), rotation=60, ha="right", fontsize=8)
        axis.set_title(title, fontsize=9)
    return figure
