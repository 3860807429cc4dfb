"""Accuracy against CPU time, gain with and without knowledge of the terms, and accuracy over labels."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from shared.reproduce.verdicts import paired_interval
from shared.support.figures import write_figure

COLOURS = 256  # of a figure's palette
Metrics = dict[str, dict[int, dict[str, float]]]
ROWS = ("plm+params", "plm+cont", "entity-no-genus", "entity", "kaid-mined", "kaid", "text")
MODELS = {
    "teacher": ("teacher (6 layers, adapters)", "tab:blue"),
    "encoder": ("plain encoder (6 layers)", "tab:orange"),
    "student": ("student (3 layers)", "tab:green"),
}
FORMS = {"fp32": ("fp32", "o"), "int8": ("int8", "s"), "onnx": ("ONNX", "^"), "onnx_int8": ("ONNX int8", "D")}
TICKS = (0.05, 0.1, 0.2, 0.5, 1)  # of the times


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """The three pictures, as far as their rows ran."""
    found = _metrics(runs)
    gains = {row: gain for row in ROWS if (gain := _gains(found, row))}
    if gains:
        write_figure(_bars(gains), target / "gains.png", colours=COLOURS)
    if found["kaid"] and found["plm"]:
        write_figure(_labels(found), target / "labels.png", colours=COLOURS)
    deployed = [x for x in found["3L-kd-kaid"].values() if "teacher_fp32_accuracy_percent" in x]
    if deployed:
        write_figure(_latency(deployed, found), target / "latency.png", colours=COLOURS)
    if not target.exists() or not any(target.glob("*.png")):
        write_figure(_means(found), target / "accuracy.png", colours=COLOURS)


def _metrics(runs: dict[tuple[str, int], Path]) -> Metrics:
    """Metrics of every finished run, by variant and seed."""
    found: Metrics = defaultdict(dict)
    for (variant, seed), folder in runs.items():
        if (folder / "result.json").exists():
            found[variant][seed] = json.loads((folder / "result.json").read_text())["metrics"]
    return found


def _gains(found: Metrics, row: str) -> dict[str, list[float]]:
    """Accuracy minus that of the plain encoder, a number a seed, by group of terms."""
    gains: dict[str, list[float]] = defaultdict(list)
    for seed in sorted(found[row].keys() & found["plm"].keys()):
        own, plain = found[row][seed], found["plm"][seed]
        for group, key in (("in the knowledge", "knowledge_covered"), ("withheld", "knowledge_uncovered")):
            if f"{key}_percent" in own and f"{key}_percent" in plain:
                gains[group].append(own[f"{key}_percent"] - plain[f"{key}_percent"])
        if "control_percent" in own and "control_percent" in plain:
            gains["sentiment"].append(own["control_percent"] - plain["control_percent"])
    return gains


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and how far the 95 % interval over seeds reaches below and above it."""
    mean = float(np.mean(values))
    low, high = paired_interval(list(values)) or (mean, mean)
    return mean, mean - low, high - mean


def _bars(gains: dict[str, dict[str, list[float]]]) -> Figure:
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axis = figure.subplots()
    groups = list(next(iter(gains.values())))
    for k, group in enumerate(groups):
        means, below, above = zip(*(_interval(gain[group]) for gain in gains.values()), strict=True)
        places = np.arange(len(gains)) + 0.27 * (k - 1)
        axis.bar(places, means, 0.27, yerr=[below, above], capsize=2, label=group)
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xticks(range(len(gains)), list(gains), fontsize=8)
    axis.set(ylabel="accuracy over plm (points)", title="Gain by group of test terms (95 % intervals over seeds)")
    axis.legend(fontsize=8)
    return figure


def _labels(found: Metrics) -> Figure:
    """Mean accuracy over the number of labels a class."""
    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    axis = figure.subplots()
    shown: set[int] = set()
    for row in ("plm", "plm+cont", "entity", "kaid", "text"):
        by_labels: dict[int, list[float]] = defaultdict(list)
        for metrics in found[row].values():
            for key, value in metrics.items():
                middle = key.removeprefix("knowledge_").removesuffix("_percent")
                if key.startswith("knowledge_") and middle.isdigit():
                    by_labels[int(middle)].append(value)
        if by_labels:
            labels = sorted(by_labels)
            shown |= by_labels.keys()
            means, below, above = zip(*(_interval(by_labels[n]) for n in labels), strict=True)
            axis.errorbar(labels, means, [below, above], marker="o", ms=3, capsize=2, label=row)
    axis.set(xlabel="labels a class", ylabel="mean accuracy of tasks (%)")
    axis.set_xscale("log")
    axis.minorticks_off()
    axis.set_xticks(sorted(shown), [str(n) for n in sorted(shown)])
    axis.legend(fontsize=8)
    return figure


def _latency(deployed: Sequence[dict[str, float]], found: Metrics) -> Figure:
    """Accuracy of the product classification against CPU time: a colour a model, a marker a form.

    The encoder of 6 layers has the accuracy of the variant `plm` in every form: its time alone is measured.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    lengths = sorted({int(key.split("_")[-3]) for key in deployed[0] if key.endswith("_time_ratio")})
    plain = [
        x["distilled_cls_products_percent"] for x in found["plm"].values() if "distilled_cls_products_percent" in x
    ]
    for axis, length in zip(figure.subplots(1, len(lengths), sharey=True, squeeze=False)[0], lengths, strict=True):
        for model, (name, colour) in MODELS.items():
            for form, (form_name, marker) in FORMS.items():
                time = np.exp(np.mean([np.log(x[f"{model}_{form}_{length}_time_ratio"]) for x in deployed]))
                own = [x[f"{model}_{form}_accuracy_percent"] for x in deployed]
                accuracy = np.mean(plain if model == "encoder" and plain else own)
                axis.plot(time, accuracy, marker, color=colour, ms=7, label=f"{name}, {form_name}")
        axis.set_xscale("log")
        axis.minorticks_off()
        axis.set_xticks(TICKS, [str(x) for x in TICKS])
        axis.set(xlabel="CPU time of a sentence (teacher in fp32 = 1)", title=f"{length} tokens, batch 1, one thread")
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("accuracy (%), product classification")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize=8, ncols=3, loc="outside lower center")
    return figure


def _means(found: Metrics) -> Figure:
    """Any metric in percent of the rows that ran, where they are too few for the other pictures."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axis = figure.subplots()
    for row, by_seed in found.items():
        if not by_seed:
            continue
        shown = {key: x for key, x in next(iter(by_seed.values())).items() if key.endswith("_percent")}
        axis.plot(list(shown.values()), marker="o", ms=3, label=row)
    axis.set(ylabel="%", xlabel="metric")
    axis.legend(fontsize=8)
    return figure
