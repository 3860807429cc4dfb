"""Figures of a reproduction, from what the runs left in ``rounds.npz`` and ``scores.json``."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from shared.support.figures import write_figure

COLOURS = 256  # of a figure's palette
METHODS = {
    "fedavg": "FedAvg",
    "fedavg_st": "FedAvg-ST (tasks told)",
    "assign_then_isolated": "Assign, then isolated",
    "atc_without_assign": "ATC without Assign",
    "atc_without_contrast_loss": "ATC without contrastive loss",
    "atc": "ATC",
}  # bars of the first figure
BASELINE = "isolated"
MAPS = {"assign": "Assign", "atc": "Contrast"}  # heat maps of update likeness, where there are any
SHOWN = (0.0, 0.5, 1.0)  # rounds of the heat maps, as shares of the course


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """Gains over the isolated clients by data set; likeness of updates by round; each from the runs that there are."""
    scores = {key: scores_of(folder) for key, folder in runs.items() if (folder / "scores.json").exists()}
    told = {key: rounds_of(folder) for key, folder in runs.items() if (folder / "rounds.npz").exists()}
    told = {key: x for key, x in told.items() if np.isfinite(x["distances"]).any()}
    if scores:
        write_figure(gains(scores), target / "gains.png", colours=COLOURS)
    if told:
        write_figure(heat_maps(told), target / "likeness.png", colours=COLOURS)
        write_figure(shares(told), target / "neighbours.png", colours=COLOURS)


def scores_of(folder: Path) -> dict[str, float]:
    """Score of every data set."""
    return json.loads((folder / "scores.json").read_text())


def rounds_of(folder: Path) -> dict[str, np.ndarray]:
    """``distances`` (rounds, n, n) and ``clients`` (n,): names of their data sets."""
    with np.load(folder / "rounds.npz") as content:
        return dict(content)


def gains(scores: dict[tuple[str, int], dict[str, float]]) -> Figure:
    """Relative change of every data set's score to the isolated clients of the same seed: mean, and a dot a seed.

    Without isolated runs, the scores themselves.
    """
    seeds = sorted({seed for variant, seed in scores if variant == BASELINE})
    shown = {v: title for v, title in METHODS.items() if any((v, seed) in scores for seed in seeds)}
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axis = figure.subplots()
    if not shown:
        (variant, _), first = next(iter(scores.items()))
        axis.bar(list(first), list(first.values()), label=variant)
        axis.set_ylabel("score (%)")
        axis.legend()
        return figure
    names = list(scores[BASELINE, seeds[0]])
    width = 0.85 / len(shown)
    for k, (variant, title) in enumerate(shown.items()):
        change = np.array(
            [
                [100 * (scores[variant, seed][name] / max(scores[BASELINE, seed][name], 0.01) - 1) for name in names]
                for seed in seeds
                if (variant, seed) in scores
            ]
        )
        places = np.arange(len(names)) + (k - (len(shown) - 1) / 2) * width
        axis.bar(places, change.mean(0), width, label=title)
        axis.plot(np.tile(places, (len(change), 1)), change, "k.", markersize=2.5, alpha=0.6)
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(range(len(names)), names)
    axis.set_ylabel("change to isolated (%)")
    axis.legend(fontsize=7, ncols=2)
    return figure


def heat_maps(told: dict[tuple[str, int], dict[str, np.ndarray]]) -> Figure:
    """Cosine of the clients' updates in the first, a middle and the last round, of the first seed that there is."""
    chosen = {v: first_seed(told, v) for v in MAPS if any(variant == v for variant, _ in told)}
    if not chosen:
        variant = next(iter(told))[0]
        chosen = {variant: first_seed(told, variant)}
    figure = Figure(figsize=(3.1 * len(SHOWN) + 1, 3.0 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), len(SHOWN), squeeze=False)
    for row, (variant, content) in zip(axes, chosen.items(), strict=True):
        distances, clients = content["distances"], content["clients"].tolist()
        for axis, share in zip(row, SHOWN, strict=True):
            number = round(share * (len(distances) - 1))
            likeness = 1 - distances[number]
            np.fill_diagonal(likeness, np.nan)
            image = axis.imshow(likeness, cmap="viridis")
            axis.set_title(f"{MAPS.get(variant, variant)}, round {number + 1}", fontsize=9)
            axis.set_xticks([])
            axis.set_yticks(range(len(clients)), clients if axis is row[0] else [""] * len(clients), fontsize=7)
            figure.colorbar(image, ax=axis, shrink=0.75)
    return figure


def first_seed(told: dict[tuple[str, int], dict[str, np.ndarray]], variant: str) -> dict[str, np.ndarray]:
    return told[min(key for key in told if key[0] == variant)]


def shares(told: dict[tuple[str, int], dict[str, np.ndarray]]) -> Figure:
    """Share of clients whose nearest other client has the same data set, by round, mean over seeds; and chance."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axis = figure.subplots()
    for variant in dict.fromkeys(variant for variant, _ in told if variant in (*MAPS, *METHODS)) or [
        next(iter(told))[0]
    ]:
        curves = [same_data(content) for (name, _), content in told.items() if name == variant]
        mean = np.mean([curve for curve in curves if len(curve) == len(curves[0])], axis=0)
        axis.plot(np.arange(1, len(mean) + 1), 100 * mean, label=METHODS.get(variant, MAPS.get(variant, variant)))
    clients = next(iter(told.values()))["clients"].tolist()
    twins = [clients.count(name) - 1 for name in clients if clients.count(name) > 1]
    if twins:
        axis.axhline(100 * np.mean(twins) / (len(clients) - 1), color="grey", linestyle="--", label="chance")
    axis.set_xlabel("round")
    axis.set_ylabel("nearest client has the same data set (%)")
    axis.legend(fontsize=7)
    return figure


def same_data(content: dict[str, np.ndarray]) -> np.ndarray:
    """(rounds,): share of the clients with a twin whose nearest other client is a twin."""
    clients = content["clients"].tolist()
    found = []
    for matrix in content["distances"]:
        apart = np.where(np.eye(len(matrix), dtype=bool) | ~np.isfinite(matrix), np.inf, matrix)
        hits = [
            clients[int(row.argmin())] == name
            for row, name in zip(apart, clients, strict=True)
            if clients.count(name) > 1
        ]
        found.append(float(np.mean(hits)) if hits else 0.0)
    return np.array(found)
