"""Evaluation on fixed mixtures, and the figures of the README."""

import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import librosa.display
import numpy as np
import soundfile
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor, nn

from shared.run import Run
from shared.support.audio import read_audio
from shared.support.figures import write_figure
from shared.support.files import write_atomic, write_json

from .audio import Spectrogram, magnitude
from .build import UNTRAINED, build_spectrogram, load_model
from .config import Config
from .data import load, mixtures
from .datasets.clips import Pair, Queries
from .metrics import bss_eval, sdr, si_sdr

ITEMS = {"headline test set": "items.json", "recordings of other players": "items-recordings.json"}  # SDR by class
COLOURS = 96  # of a figure's palette
MARKERS = {"mixture": "_", "half-volume": "|", "clipsep": "o", "labelsep": "s", "ideal-mask": "x"}  # SDR by class


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Separate every test mixture with every kind of query the variant understands; the main process does it alone.

    The mask is applied soft and only the target's row counts, as in the official evaluation. The noise heads are left
    out: its ``--no-pit`` (its default adds noise head 1 to the query's mask).

    Returns: for every variant, over mixtures and with its own query, the means ``sdr_db``, ``sir_db``, ``sar_db`` and
        ``si_sdr_db``, their medians (``sdr_median_db``) and their standard errors (``sdr_sem_db``). A SAR above 100 dB
        is round-off and dropped; the mixture and half volume then have none.

        For models asked with text, also the means of SDR, SIR and SI-SDR with the target's frames as the query
        (``sdr_image_db``) and with the text of another class (``sdr_shuffled_db``), and ``sdr_image_median_db``.

        PIT has two candidates, its first mask and the complement; the second trained mask is not used, as in the
        official evaluation. Its own values are those of the candidate with the better SDR, an oracle's choice;
        ``sdr_unselected_db`` and ``si_sdr_unselected_db`` are the means of both.

        With noise heads also ``noise_activation_fraction``, their A. All names of test sets after the first begin with
        the set's name.
    """
    if not run.accelerator.is_main_process:
        return {}
    data = load(config, run.cache)
    spectrogram = build_spectrogram(config).to(run.device)
    model = (nn.Identity() if config.model in UNTRAINED else load_model(config, run.weights)).to(run.device)
    metrics: dict[str, float] = {}
    trained = {clip.label for clip in data.train}
    for number, (name, pairs) in enumerate(data.held_out[config.split].items()):
        if config.model == "labelsep" and any(pair.target.label not in trained for pair in pairs):
            continue  # a label without training clips has no embedding (MUSIC+)
        prefix = "" if number == 0 else f"{name}_"
        projected = number == 0 or config.data is not None
        values = separate_all(config, model, spectrogram, pairs, data.queries, projected)
        metrics |= {prefix + key: value for key, value in summary(values).items()}
        write_json(run.folder / f"items{prefix and f'-{name}'}.json", _items(pairs, values, data.queries))
        if config.noise_heads:
            metrics[f"{prefix}noise_activation_fraction"] = noise_activation(config, model, spectrogram, pairs)
    pairs = data.examples[config.split]
    _, estimates = separated(config, model, spectrogram, pairs, data.queries)
    _write_examples(run.folder / "examples", config, pairs, next(iter(estimates.values())), data.queries)
    return metrics


def separate_all(
    config: Config,
    model: Any,
    spectrogram: Spectrogram,
    pairs: list[Pair],
    queries: Queries,
    projected: bool = True,
) -> dict[str, dict[str, Tensor]]:
    """Metrics of every mixture by kind of query, ``{"own": {"sdr_db": (P,), ...}, ...}``.

    A metric is NaN where a reference or the estimate is silent; such mixtures are left out of the means, as in the
    official evaluation. That also drops a mixture where the estimate of the interference (of 1 - mask) is silent,
    which counts here.

    Args:
        projected: with SIR and SAR, whose projections take most of the time.
    """
    values: dict[str, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    for start in range(0, len(pairs), config.batch_size):
        references, estimates = separated(config, model, spectrogram, pairs[start : start + config.batch_size], queries)
        for reference, estimate in zip(references, torch.stack(list(estimates.values()), dim=1), strict=True):
            row = bss_eval(reference, estimate) if projected else {"sdr_db": sdr(reference[0], estimate)}
            row["si_sdr_db"] = si_sdr(reference[0], estimate)
            for metric, of_kind in row.items():
                for kind, value in zip(estimates, of_kind, strict=True):
                    values[kind][metric].append(value.cpu())
    return {kind: {metric: torch.stack(of) for metric, of in by.items()} for kind, by in values.items()}


@torch.no_grad()
def separated(
    config: Config, model: Any, spectrogram: Spectrogram, pairs: list[Pair], queries: Queries
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sources (B, 2, N) of some mixtures, and estimates (B, N) of the targets by kind of query; see :func:`_masks`."""
    sources = mixtures(pairs, config).to(spectrogram.window.device)
    spectra = spectrogram.stft(sources.unsqueeze(2))
    masks = _masks(config, model, spectrogram, spectra, pairs, queries)
    estimates = {kind: spectrogram.reconstruct(mask, spectra.sum(1)).squeeze(1) for kind, mask in masks.items()}
    return sources[..., : next(iter(estimates.values())).shape[-1]], estimates


@torch.no_grad()
def noise_activation(config: Config, model: Any, spectrogram: Spectrogram, pairs: list[Pair]) -> float:
    """A, the noise heads' summed mean activation (0..2), on test mixtures asked for with both image queries."""
    activations = []
    for start in range(0, len(pairs), config.batch_size):
        chunk = pairs[start : start + config.batch_size]
        mixture = spectrogram.stft(mixtures(chunk, config).sum(1, keepdim=True).to(spectrogram.window.device))
        images = torch.stack([torch.stack([pair.image, pair.swapped.image]) for pair in chunk])
        _, noise_logits = model(spectrogram.network_input(magnitude(mixture)), images.to(mixture.device))
        activations.append(noise_logits.sigmoid().sum(1).mean(dim=(1, 2, 3)))
    return float(torch.cat(activations).mean())


def _masks(
    config: Config, model: Any, spectrogram: Spectrogram, spectra: Tensor, pairs: list[Pair], queries: Queries
) -> dict[str, Tensor]:
    """Masks (B, 1, bins, T) of the targets by kind of query; the first kind is the variant's own."""
    log_mixture, targets, _ = spectrogram.targets(magnitude(spectra), magnitude(spectra.sum(1)))
    if config.model == "mixture":
        return {"own": torch.ones_like(log_mixture)}
    if config.model == "half-volume":
        return {"own": torch.full_like(log_mixture, 0.5)}
    if config.model == "ideal-mask":
        return {"own": targets[:, 0]}
    if config.model == "pit":  # as in the official evaluation: the first mask, or its complement
        first = model.separate(log_mixture)
        return {"first": first, "second": 1 - first}
    label = torch.tensor([pair.target.label for pair in pairs])
    if config.model in ("labelsep", "bertsep"):
        return {"own": model.separate(log_mixture, label.to(log_mixture.device))}
    asked = {
        "own": queries.text[label],
        "image": torch.stack([pair.image for pair in pairs]),
        "shuffled": queries.shuffled()[label],
    }
    return {kind: model.separate(log_mixture, q.to(log_mixture.device)) for kind, q in asked.items()}


def summary(values: dict[str, dict[str, Tensor]]) -> dict[str, float]:
    """Means, medians and standard errors over mixtures of :func:`separate_all`'s values; see :func:`evaluate`."""
    if "first" in values:
        first, second = values["first"], values["second"]
        better = second["sdr_db"] > first["sdr_db"]  # the oracle looks at the SDR alone
        values = {"own": {m: torch.where(better, second[m], first[m]) for m in first}}
        unselected = {
            f"{metric.removesuffix('_db')}_unselected_db": float(torch.stack([first[metric], second[metric]]).nanmean())
            for metric in ("sdr_db", "si_sdr_db")
        }
    else:
        unselected = {}
    own = dict(values["own"])
    if "sar_db" in own:
        own["sar_db"] = own["sar_db"].where(own["sar_db"] <= 100, torch.nan)
    of_own = {}
    for metric, of in own.items():
        defined = of[~of.isnan()]
        if not defined.isfinite().any():
            continue
        name = metric.removesuffix("_db")
        of_own[metric] = float(defined.mean())
        if len(defined) > 1:
            of_own[f"{name}_median_db"] = float(np.median(defined))
            of_own[f"{name}_sem_db"] = float(defined.std() / len(defined) ** 0.5)
    others = {
        f"{metric.removesuffix('_db')}_{kind}_db": float(of[metric].nanmean())
        for kind, of in values.items()
        for metric in ("sdr_db", "sir_db", "si_sdr_db")
        if kind != "own" and metric in of
    }
    if "image" in values:
        others["sdr_image_median_db"] = float(np.nanmedian(values["image"]["sdr_db"]))
    return of_own | others | unselected


def _items(pairs: list[Pair], values: dict[str, dict[str, Tensor]], queries: Queries) -> list[dict[str, Any]]:
    """One row a mixture: what it is made of, and the SDR by kind of query (None where undefined)."""
    rows = []
    for i, pair in enumerate(pairs):
        of_mixture = {kind: float(by["sdr_db"][i]) for kind, by in values.items()}
        rows.append(
            {
                "target": pair.target.name,
                "interferer": pair.interferer.name,
                "label": queries.labels[pair.target.label],
                "sdr_db": {kind: None if x != x else x for kind, x in of_mixture.items()},
            }
        )
    return rows


# -- figures ----------------------------------------------------------------------------------------------------------


def _write_examples(folder: Path, config: Config, pairs: list[Pair], estimates: Tensor, queries: Queries) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (sources, estimate) in enumerate(zip(mixtures(pairs, config), estimates.cpu(), strict=True)):
        for name, wave in {"mixture": sources.sum(0), "target": sources[0], "estimate": estimate}.items():
            soundfile.write(folder / f"{number}-{name}.wav", wave.numpy(), config.rate)
    labels = [[queries.labels[clip.label] for clip in (pair.target, pair.interferer)] for pair in pairs]
    write_json(folder / "examples.json", {"labels": labels})


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """Draw the spectrograms of the examples, SDR by class (also a CSV) and the training curves; copy the sounds.

    SDR by class is a mean over seeds; all else shows the seed of :func:`_median_seed`.
    """
    target.mkdir(parents=True, exist_ok=True)
    median = _median_seed(runs)
    shown = {variant: folder for (variant, seed), folder in runs.items() if seed == median}
    main = "clipsep" if "clipsep" in shown else next(iter(shown))
    _copy_examples(shown, target / "audio")
    _keep_examples(shown[main], main, target / "sounds")
    write_figure(_separation(shown[main], main, median), target / "spectrograms.png", colours=COLOURS)
    write_figure(_spectrograms(shown, median), target / "spectrograms_all.png", colours=COLOURS)
    by_class = {title: of for title, file in ITEMS.items() if (of := _sdr_by_class(runs, file))}
    write_atomic(target / "sdr_by_class.csv", _csv(by_class).encode())
    write_figure(_classes(by_class), target / "sdr_by_class.png", colours=COLOURS)
    write_figure(_training(shown, median), target / "training.png", colours=COLOURS)


def _median_seed(runs: dict[tuple[str, int], Path]) -> int:
    """The seed with the median SDR of ``clipsep``, or of the first variant if that did not run."""
    variants = [variant for variant, _ in runs]
    main = "clipsep" if "clipsep" in variants else variants[0]
    folders = {seed: folder for (variant, seed), folder in runs.items() if variant == main}
    found = {seed: json.loads((run / "result.json").read_text())["metrics"]["sdr_db"] for seed, run in folders.items()}
    return sorted(found, key=lambda seed: found[seed])[(len(found) - 1) // 2]


def _labels(folder: Path) -> list[tuple[str, str]]:
    """Names of the target and the interference of each example of a run."""
    labels = json.loads((folder / "examples" / "examples.json").read_text())["labels"]
    return [(wanted, other) for wanted, other in labels]


def _columns(shown: dict[str, Path]) -> dict[str, tuple[Path, str]]:
    """Folder and kind of the sounds of each column: the mixture, the target, every variant's estimate."""
    any_run = next(iter(shown.values())) / "examples"
    estimates = {v: (folder / "examples", "estimate") for v, folder in shown.items() if v != "mixture"}
    return {"mixture": (any_run, "mixture"), "target": (any_run, "target")} | estimates


def _copy_examples(shown: dict[str, Path], audio: Path) -> None:
    labels = _labels(next(iter(shown.values())))
    for name, (folder, kind) in _columns(shown).items():
        for row in range(len(labels)):
            write_atomic(audio / f"{row}-{name}.wav", (folder / f"{row}-{kind}.wav").read_bytes())
    write_json(audio / "rows.json", [f"{wanted} (with {other})" for wanted, other in labels])


def _keep_examples(run: Path, variant: str, sounds: Path) -> None:
    """The mixture, one variant's estimate and the target of every example, small enough to be committed."""
    for row, (wanted, other) in enumerate(_labels(run)):
        stem = f"{row + 1}-{wanted}-with-{other}".replace(" ", "-")
        for order, kind in enumerate(("mixture", "estimate", "target"), 1):
            wave, rate, _ = read_audio(run / "examples" / f"{row}-{kind}.wav")
            name = variant if kind == "estimate" else kind
            content = io.BytesIO()
            soundfile.write(content, wave[0].numpy(), rate, format="FLAC", subtype="PCM_16")
            write_atomic(sounds / f"{stem}-{order}-{name}.flac", content.getvalue())


def _separation(run: Path, variant: str, seed: int) -> Figure:
    """One row an example: the mixture, a variant's estimate asked for with text, the target alone; 50 dB are shown."""
    labels = _labels(run)
    figure = Figure(figsize=(9, 1.9 * len(labels) + 0.7), layout="constrained")
    figure.suptitle(f"Mixtures of two sounds, and the one that a text asks for ({variant}, seed {seed})", fontsize=10)
    axes = figure.subplots(len(labels), 3, squeeze=False, sharey=True)
    for row, (wanted, other) in enumerate(labels):
        waves = {kind: read_audio(run / "examples" / f"{row}-{kind}.wav") for kind in ("mixture", "estimate", "target")}
        length = min(wave.shape[1] for wave, _, _ in waves.values())
        level = float(_decibel(waves["mixture"][0][0]).max())
        titles = (
            f"heard: {wanted} and {other}",
            f'asked for: "{wanted}"',
            f"truth: {wanted} alone",
        )
        for axis, title, (kind, (wave, rate, _)) in zip(axes[row], titles, waves.items(), strict=True):
            _draw(axis, wave[0], rate, level, 50, "log")
            axis.set_ylim(80, rate / 2)
            axis.set_title(title, fontsize=8)
            if kind != "target":
                decibel = float(sdr(waves["target"][0][0, :length], wave[0, :length]))
                axis.text(
                    0.98, 0.96, f"SDR {decibel:.1f} dB", transform=axis.transAxes, ha="right", va="top", fontsize=8,
                    color="white", bbox={"facecolor": "black", "alpha": 0.6, "lw": 0, "pad": 2},
                )  # fmt: skip
            if kind != "mixture":
                axis.set_ylabel("")
            if row < len(labels) - 1:
                axis.set_xlabel("")
    return figure


def _spectrograms(shown: dict[str, Path], seed: int) -> Figure:
    """One row an example: the mixture, the target, every variant's estimate; 60 dB from black to white."""
    columns = _columns(shown)
    labels = _labels(next(iter(shown.values())))
    figure = Figure(figsize=(1.15 * len(columns), 1.3 * len(labels) + 0.7), layout="constrained")
    figure.suptitle(f"The examples, seed {seed} (the median seed)", fontsize=8)
    axes = figure.subplots(len(labels), len(columns), squeeze=False)
    for row, (wanted, other) in enumerate(labels):
        level = None
        for axis, (name, (folder, kind)) in zip(axes[row], columns.items(), strict=True):
            wave, rate, _ = read_audio(folder / f"{row}-{kind}.wav")
            level = float(_decibel(wave[0]).max()) if level is None else level
            _draw(axis, wave[0], rate, level, 60, "hz")
            axis.label_outer()
            if row == 0:
                axis.set_title(f"{name}\n(first output)" if name == "pit" else name, fontsize=7)
        axes[row][0].set_ylabel(f"{wanted}\n+ {other}\nHz", fontsize=6)
    return figure


def _decibel(wave: Tensor) -> np.ndarray:
    spectrum = torch.stft(wave, 512, _hop(wave), window=torch.hann_window(512), return_complex=True)
    return (20 * torch.log10(magnitude(spectrum) + 1e-5)).numpy()


def _hop(wave: Tensor) -> int:
    return max(64, len(wave) // 256)


def _draw(axis: Any, wave: Tensor, rate: int, level: float, span: float, scale: str) -> None:
    """The spectrogram of a sound (N,) between ``level - span`` and ``level`` dB."""
    librosa.display.specshow(
        _decibel(wave),
        sr=rate,
        hop_length=_hop(wave),
        x_axis="s",
        y_axis=scale,
        ax=axis,
        vmin=level - span,
        vmax=level,
        cmap="magma",
    )
    axis.locator_params(axis="x", nbins=2)
    axis.xaxis.label.set_size(6)
    axis.tick_params(labelsize=5, length=2)


def _sdr_by_class(runs: dict[tuple[str, int], Path], file: str) -> dict[str, dict[str, float]]:
    """Mean SDR over the mixtures of a test set and seeds, by class and variant; nothing if no run has this set."""
    ran = dict.fromkeys(variant for variant, _ in runs)
    variants = [variant for variant in MARKERS if variant in ran] or list(ran)
    by_class: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (variant, _), folder in runs.items():
        if variant in variants and (folder / file).exists():
            for item in json.loads((folder / file).read_text()):
                if (value := item["sdr_db"].get("own")) is not None:  # PIT has two candidates
                    by_class[item["label"]][variant].append(value)
    return {label: {v: float(np.mean(of[v] or np.nan)) for v in variants} for label, of in by_class.items()}


def _csv(by_class: dict[str, dict[str, dict[str, float]]]) -> str:
    variants = [variant for means in by_class.values() for variant in next(iter(means.values()))]
    lines = [",".join(["test set", "class", *(f"{v} (dB)" for v in dict.fromkeys(variants))])]
    for title, means in by_class.items():
        lines += [",".join([title, label, *(f"{x:.2f}" for x in means[label].values())]) for label in sorted(means)]
    return "\n".join([*lines, ""])


def _classes(by_class: dict[str, dict[str, dict[str, float]]]) -> Figure:
    """The means of :func:`_sdr_by_class`, a panel a test set, a column of markers a class."""
    figure = Figure(figsize=(9, 3.2 * max(len(by_class), 1)), layout="constrained")
    for axis, (title, means) in zip(
        np.atleast_1d(figure.subplots(max(len(by_class), 1))), by_class.items(), strict=False
    ):
        order = sorted(means, key=lambda label: means[label].get("clipsep", 0.0))
        for variant in means[order[0]]:
            axis.plot([means[label][variant] for label in order], MARKERS.get(variant, "o"), ms=5, ls="", label=variant)
        axis.set_xticks(range(len(order)), order, rotation=60, fontsize=7, ha="right", rotation_mode="anchor")
        axis.set_title(f"{title} (mean over mixtures and seeds)", fontsize=9)
        axis.set_ylabel("SDR (dB)")
        axis.grid(axis="y", lw=0.3)
        axis.legend(fontsize=7, ncols=len(means[order[0]]))
    return figure


def _training(shown: dict[str, Path], seed: int) -> Figure:
    """Training loss of every variant; running mean over five logged steps."""
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    axis = figure.subplots()
    axis.set_prop_cycle(color=[colormaps["tab20"](i) for i in range(20)])
    for variant, folder in shown.items():
        if not (log := folder / "metrics.jsonl").exists():
            continue
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        loss = np.array([line["loss"] for line in lines])
        width = min(5, len(loss))
        smooth = np.convolve(loss, np.ones(width) / width, "valid")
        axis.plot([line["step"] for line in lines][width - 1 :], smooth, lw=0.9, label=variant)
    axis.set(
        xlabel="step",
        ylabel="training loss",
        yscale="log",
        title=f"Each variant's own loss (not comparable in height), seed {seed}",
    )
    if axis.lines:  # else nothing that ran is trained
        figure.legend(fontsize=6, loc="outside right center")
    return figure
