"""The figures: mIoU, what the agent sees and labels, the quality of self-labels, floor plans with walks, success."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from shared.support.figures import write_figure

from .labelling.mesh import COLOURS
from .simulator.furniture import CATEGORIES
from .simulator.world import CELL

Runs = dict[tuple[str, int], Path]
PALETTE = 256
SEGMENTERS = ("frozen", "self-training", "seal", "loccon", "supervised")
LABELLERS = ("self-training", "seal", "voting", "loccon", "loccon-rounds")
NAVIGATORS = (
    "nav-random",
    "nav-frontier",
    "nav-frozen",
    "nav-truth-maps",
    "nav-semexp",
    "selfnav",
    "nav-truth-perception",
)
RESAMPLES = 500


def figures(runs: Runs, target: Path) -> None:
    """Draw what the finished runs have something to show of."""
    first = min(seed for _, seed in runs)
    if perceived := {name: w for name in SEGMENTERS if (w := _in_situ(runs, name))}:
        write_figure(perception_bars(perceived), target / "perception.png", colours=PALETTE)
    seen = {name: x for name in SEGMENTERS if (x := _arrays(runs.get((name, first)))) and "rgb" in x}
    if seen:
        write_figure(views(seen), target / "views.png", colours=PALETTE)
    if labels := {name: y for name in LABELLERS if (y := _labels(runs, name))}:
        write_figure(label_bars(labels), target / "labels.png", colours=PALETTE)
    walks = {name: x for name in NAVIGATORS if (x := _arrays(runs.get((name, first)))) and "track_0" in x}
    if walks:
        write_figure(plans(walks), target / "walks.png", colours=PALETTE)
    if episodes := {name: z for name in NAVIGATORS if (z := _episodes(runs, name))}:
        write_figure(curves(episodes), target / "success.png", colours=PALETTE)


def _arrays(folder: Path | None) -> dict[str, np.ndarray]:
    if folder is None or not (folder / "shown.npz").exists():
        return {}
    with np.load(folder / "shown.npz") as content:
        return {key: content[key] for key in content.files}


def _in_situ(runs: Runs, variant: str) -> dict[int, float]:
    """mIoU in situ of each finished run by seed."""
    paths = {seed: folder / "result.json" for (name, seed), folder in runs.items() if name == variant}
    found = {seed: json.loads(path.read_text())["metrics"] for seed, path in paths.items() if path.exists()}
    return {seed: x["insitu_miou_percent"] for seed, x in found.items() if "insitu_miou_percent" in x}


def _labels(runs: Runs, variant: str) -> list[list[dict[str, float]]]:
    """Quality of the self-labels of each finished run, round by round."""
    folders = [folder for (name, _), folder in runs.items() if name == variant]
    found = [[json.loads(path.read_text()) for path in sorted(folder.glob("labels*.json"))] for folder in folders]
    return [x for x in found if x]


def _episodes(runs: Runs, variant: str) -> list[dict[str, Any]]:
    paths = [folder / "episodes.json" for (name, _), folder in runs.items() if name == variant]
    return [row for path in paths if path.exists() for row in json.loads(path.read_text())]


def views(seen: dict[str, dict[str, np.ndarray]]) -> Figure:
    """A row a frame of an explored house: the image, what each network says, the truth."""
    one = next(iter(seen.values()))
    columns = ["image", *seen, "truth"]
    rows = len(one["rgb"])
    figure = Figure(figsize=(1.7 * len(columns), 1.7 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for k, line in enumerate(axes):
        pictures = [one["rgb"][k], *(COLOURS[x["predicted"][k]] for x in seen.values()), COLOURS[one["truth"][k]]]
        for axis, picture, title in zip(line, pictures, columns, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if k == 0:
                axis.set_title(title, fontsize=9)
    _legend(figure)
    return figure


def perception_bars(perceived: dict[str, dict[int, float]]) -> Figure:
    """Mean mIoU in the explored houses by segmenter; a line joins the runs of a seed."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axis = figure.subplots()
    for k, values in enumerate(perceived.values()):
        axis.bar(k, np.mean(list(values.values())), 0.6, color=f"C{k}", alpha=0.5)
    for seed in next(iter(perceived.values())):
        places = [k for k, values in enumerate(perceived.values()) if seed in values]
        axis.plot(places, [x[seed] for x in perceived.values() if seed in x], ".-", color="0.3", linewidth=0.8)
    axis.set_xticks(range(len(perceived)), list(perceived))
    axis.set(ylabel="mIoU in explored houses (%)")
    return figure


def _legend(figure: Figure) -> None:
    handles = [Patch(color=COLOURS[1 + k] / 255, label=name) for k, name in enumerate(CATEGORIES)]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8, frameon=False)


def label_bars(labels: dict[str, list[list[dict[str, float]]]]) -> Figure:
    """Recall and precision of self-labels over object pixels, a dot a seed, a group a round."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, key, title in zip(
        axes, ("label_precision_percent", "label_recall_percent"), ("precision", "recall"), strict=True
    ):
        for k, runs in enumerate(labels.values()):
            rounds = max(len(x) for x in runs)
            for number in range(rounds):
                values = [x[number][key] for x in runs if len(x) > number]
                place = k + 0.75 / rounds * (number - (rounds - 1) / 2)
                axis.bar(place, np.mean(values), 0.7 / rounds, color=f"C{k}", alpha=0.5)
                axis.plot([place] * len(values), values, "k.", markersize=4)
        axis.set_xticks(range(len(labels)), [name.replace("-", "-\n") for name in labels], fontsize=8)
        axis.set_title(f"{title} of self-labels over objects (%)", fontsize=9)
    return figure


def plans(walks: dict[str, dict[str, np.ndarray]]) -> Figure:
    """A row a policy, a column an episode: the floor plan and the walk, green if it succeeded."""
    count = sum(key.startswith("track_") for key in next(iter(walks.values())))
    figure = Figure(figsize=(2.6 * count, 2.1 * len(walks) + 0.5), layout="constrained")
    axes = figure.subplots(len(walks), count, squeeze=False)
    for line, (name, shown) in zip(axes, walks.items(), strict=True):
        for k, axis in enumerate(line):
            picture = np.where(shown[f"obstacles_{k}"][..., None], 90, 255).repeat(3, 2).astype(np.uint8)
            for category, where in enumerate(shown[f"objects_{k}"]):
                picture[where] = COLOURS[1 + category]
            axis.imshow(picture, origin="lower", interpolation="nearest")
            track = shown[f"track_{k}"] / CELL
            axis.plot(track[:, 0], track[:, 1], color="green" if shown[f"success_{k}"] else "red", linewidth=1.5)
            axis.plot(*track[0, :2], "ko", markersize=4)
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"to a {CATEGORIES[int(shown[f'goal_{k}'])]}", fontsize=8)
        line[0].set_ylabel(name, fontsize=9)
    _legend(figure)
    return figure


def curves(episodes: dict[str, list[dict[str, Any]]]) -> Figure:
    """Share of episodes that ended in success within so many steps, with the 95 % interval of a bootstrap.

    The legend has the difference to the frontier policy in the same episodes, with its paired interval.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axis = figure.subplots()
    rng = np.random.default_rng(0)
    frontier = np.array([row["success"] for row in episodes.get("nav-frontier", [])])
    for k, (name, rows) in enumerate(episodes.items()):
        steps = np.array([row["steps"] for row in rows])
        success = np.array([row["success"] for row in rows])
        grid = np.arange(0, steps.max() + 1, 5)
        done = (steps[:, None] <= grid) * success[:, None]
        samples = rng.integers(len(rows), size=(RESAMPLES, len(rows)))
        low, high = np.percentile(done[samples].mean(1), [2.5, 97.5], axis=0)
        label = name
        if len(frontier) == len(rows) and name != "nav-frontier":
            difference = 100 * (success - frontier)
            least, most = np.percentile(difference[samples].mean(1), [2.5, 97.5])
            label = f"{name} ({difference.mean():+.0f} [{least:+.0f}, {most:+.0f}])"
        axis.plot(grid, 100 * done.mean(0), color=f"C{k}", label=label)
        axis.fill_between(grid, 100 * low, 100 * high, color=f"C{k}", alpha=0.12)
    axis.set(xlabel="steps", ylabel="success (%)")
    axis.legend(fontsize=8, frameon=False, title="difference to nav-frontier [95 %]", title_fontsize=8)
    return figure
