"""Figures: patches of codes, use of the dictionary, accuracy by kind of question, answers to questions."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from shared.reproduce.verdicts import paired_interval
from shared.support.figures import write_figure

from .datasets.scenes import INSIDE, OUTSIDE

BARS = ("soho-vqa", "no-dictionary-vqa", "regions-vqa", "scratch-vqa", "blind-vqa")
USED = ("soho", "written", "no-mvm", "single-mvm")
COLOURS = 128


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """Draw the figures for which there are runs.

    Args:
        runs: folders of finished runs by (variant, seed).
        target: folder for the figures.
    """
    for variant in ("soho", "written"):
        if shown := _arrays(_first(runs, variant)):
            write_figure(_patches(shown), target / f"dictionary_{variant}.png", colours=COLOURS)
    if used := {variant: log for variant in USED if (log := _usage(_first(runs, variant)))}:
        write_figure(_use(used), target / "usage.png", colours=COLOURS)
    if bars := _kinds(runs):
        write_figure(_bars(bars), target / "kinds.png", colours=COLOURS)
    answers = {name: _arrays(_first(runs, name)) for name in ("soho-vqa", "regions-vqa")}
    if answers["soho-vqa"]:
        write_figure(_answers(answers), target / "answers.png", colours=COLOURS)


def _first(runs: dict[tuple[str, int], Path], variant: str) -> Path | None:
    """The run of a variant with the lowest seed."""
    seeds = [seed for name, seed in runs if name == variant]
    return runs[variant, min(seeds)] if seeds else None


def _arrays(folder: Path | None) -> dict[str, np.ndarray]:
    if folder is None or not (folder / "shown.npz").exists():
        return {}
    with np.load(folder / "shown.npz") as content:
        return {name: content[name] for name in content.files}


def _patches(shown: dict[str, np.ndarray]) -> Figure:
    """A row a code: patches of test scenes that map to it, evenly spread over the scenes and unselected."""
    count, per_code, side = shown["patches"].shape[:3]
    per_column = -(-count // 2)
    figure = Figure(figsize=(10, 0.6 * per_column + 0.5), layout="constrained")
    axes = figure.subplots(per_column, 2, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for k, patches in enumerate(shown["patches"]):
        strip = np.full((side, per_code * (side + 2), 3), 255, np.uint8)
        for column, patch in enumerate(patches):
            strip[:, column * (side + 2) : column * (side + 2) + side] = patch
        axis = axes[k % per_column, k // per_column]
        axis.imshow(strip, interpolation="nearest")
        axis.set_title(f"code {shown['codes'][k]}, {shown['counts'][k]} patches", fontsize=6, loc="left", pad=2)
    figure.suptitle("left: the most frequent codes; right: those of positions that show an object", fontsize=8)
    return figure


def _usage(folder: Path | None) -> list[dict[str, float]]:
    """The lines of a run's log that tell how many codes a batch used."""
    if folder is None or not (folder / "metrics.jsonl").exists():
        return []
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "codes_used" in line]


def _use(used: dict[str, list[dict[str, float]]]) -> Figure:
    """Codes that a batch uses, and their perplexity, over the steps of pre-training."""
    figure = Figure(figsize=(8.5, 3), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, key, title in zip(
        axes, ("codes_used", "perplexity"), ("codes used by a batch", "perplexity"), strict=True
    ):
        for variant, log in used.items():
            axis.plot([line["step"] for line in log], [line[key] for line in log], lw=1, label=variant)
        axis.set(xlabel="step of pre-training", title=title)
    axes[0].legend(fontsize=7)
    return figure


def _kinds(runs: dict[tuple[str, int], Path]) -> dict[str, dict[str, list[float]]]:
    """Accuracy by variant and kind of question, a number a seed."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (variant, _), folder in sorted(runs.items()):
        if variant in BARS and (folder / "result.json").exists():
            metrics = json.loads((folder / "result.json").read_text())["metrics"]
            for kind in (*INSIDE, *OUTSIDE):
                if (value := metrics.get(f"{kind.replace(' ', '_')}_percent")) is not None:
                    found[variant][kind].append(value)
    return {variant: found[variant] for variant in BARS if variant in found}


def _bars(found: dict[str, dict[str, list[float]]]) -> Figure:
    """Accuracy of each kind of question with the 95 % interval over seeds; the kinds outside of boxes stand apart."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axis = figure.subplots()
    kinds = [*INSIDE, *OUTSIDE]
    places = np.array([k + (k >= len(INSIDE)) * 0.5 for k in range(len(kinds))])
    width = 0.85 / len(found)
    for n, (variant, by_kind) in enumerate(found.items()):
        means = np.array([np.mean(by_kind[kind]) if by_kind[kind] else np.nan for kind in kinds])
        intervals = [
            paired_interval(by_kind[kind]) or [mean, mean] for kind, mean in zip(kinds, means.tolist(), strict=True)
        ]
        errors = np.abs(np.array(intervals).T - means)
        offset = (n - (len(found) - 1) / 2) * width
        axis.bar(places + offset, means, width, yerr=errors, capsize=2, label=variant.removesuffix("-vqa"))
    axis.set_xticks(places, kinds)
    axis.set(
        ylabel="accuracy (%)", title="left: inside the boxes; right: outside the boxes (95 % intervals over seeds)"
    )
    figure.legend(fontsize=8, ncols=len(found), loc="outside lower center")
    return figure


def _answers(answers: dict[str, dict[str, np.ndarray]]) -> Figure:
    """Test scenes that were fixed beforehand, with every question about them and the answers of two networks."""
    shown = answers["soho-vqa"]
    images = shown["images"]
    figure = Figure(figsize=(12, 3.1 * -(-len(images) // 2)), layout="constrained")
    axes = figure.subplots(-(-len(images) // 2), 4, squeeze=False).reshape(-1, 2)
    for axis in axes.flat:
        axis.set_axis_off()
    for k, image in enumerate(images):
        axes[k, 0].imshow(image, interpolation="nearest")
        lines = []
        for row in np.flatnonzero(shown["of"] == k):
            given = [found["given"][row] if found else "-" for found in answers.values()]
            marks = [f"{answer}{'' if answer == shown['right'][row] else ' (wrong)'}" for answer in given]
            outside = "* " if shown["kinds"][row] in OUTSIDE else "  "
            lines.append(f"{outside}{shown['questions'][row]}\n      SOHO: {marks[0]}; boxes: {marks[1]}")
        axes[k, 1].text(0, 1, "\n".join(lines), va="top", fontsize=6.5, family="monospace")
    figure.suptitle("* outside the boxes of objects", fontsize=8)
    return figure
