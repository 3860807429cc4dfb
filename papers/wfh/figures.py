"""Figures: sums of recalls, what words hallucinate, and scenes with their tags and captions."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .config import VARIANTS

Metrics = Mapping[str, Mapping[int, Mapping[str, float]]]


def bars(metrics: Metrics) -> Figure:
    """Sum of the recalls by pre-training, on the domain of fine-tuning and on the other; a point a seed.

    A dashed line is the mean of U-VisualBERT, the baseline; a dotted line is chance.
    """
    figure = Figure(figsize=(8, 0.32 * len(metrics) + 1.5), layout="constrained")
    axis = figure.subplots()
    rows = np.arange(len(metrics))[::-1]
    for offset, metric, label, colour in (
        (0.19, "rsum_percent", "the domain of fine-tuning", "tab:blue"),
        (-0.19, "other_rsum_percent", "the other domain", "tab:orange"),
    ):
        values = [[row[metric] for row in by_seed.values() if metric in row] for by_seed in metrics.values()]
        means = {name: float(np.mean(x)) for name, x in zip(metrics, values, strict=True) if x}
        axis.barh(rows + offset, [means.get(name, 0.0) for name in metrics], 0.36, color=colour, alpha=0.6, label=label)
        if "uvb-retrieval" in means:
            axis.axvline(means["uvb-retrieval"], color=colour, ls="--", lw=1, label=f"U-VisualBERT, {label}")
        for row, x in zip(rows, values, strict=True):
            axis.plot(x, [row + offset] * len(x), ".", color="black", ms=3)
    found = [row["chance_rsum_percent"] for x in metrics.values() for row in x.values() if "chance_rsum_percent" in row]
    if found:
        axis.axvline(found[0], color="black", ls=":", lw=1, label="chance")
    axis.set_yticks(rows, [VARIANTS[name].description.removeprefix("retrieval, from ") for name in metrics])
    axis.set(
        xlabel="sum of the recalls at 1, 5 and 10 in both directions (%)", title="retrieval after pre-training from"
    )
    figure.legend(fontsize=8, ncols=3, loc="outside lower center")
    return figure


def strips(pictures: np.ndarray, words: Sequence[str]) -> Figure:
    """The regions nearest to the hallucination of each word; pictures (words, n, H, W, 3) uint8."""
    rows, columns = pictures.shape[:2]
    figure = Figure(figsize=(0.8 * columns + 1.6, 0.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, word in enumerate(words):
        for column in range(columns):
            axes[row, column].imshow(pictures[row, column])
            axes[row, column].set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(word, rotation=0, ha="right", va="center")
    return figure


def told_scenes(pictures: np.ndarray, captions: Sequence[str], tags: Sequence[str]) -> Figure:
    """Scenes of pre-training with the detector's tags and their captions; only aligned pairs show both."""
    figure = Figure(figsize=(2.6 * len(pictures), 4), layout="constrained")
    axes = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axis, picture, caption, tag in zip(axes, pictures, captions, tags, strict=True):
        axis.imshow(picture)
        axis.set_axis_off()
        told = f"tags: {tag}", f"caption: {caption}"
        axis.set_title("\n".join(line for text in told for line in textwrap.wrap(text, 34)), fontsize=8)
    return figure
