"""Segmentation of the target domains' test images, and the figures."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from shared.reproduce.verdicts import paired_interval
from shared.run import Run
from shared.support.figures import write_figure
from shared.support.files import write_atomic
from shared.support.weights import weights_file

from .build import domain_file, load_adapted, load_source
from .config import Config
from .data import class_names, test_images
from .datasets.images import Images, Sample
from .losses import IGNORED
from .metrics import ConfusionMatrix
from .model import Segmenter
from .pairs import in_domain, predicted, target_of
from .pictures import legend, painted
from .transforms import ALIGNED, parse

BATCH = 25  # scenes, which have one size; other images are segmented one at a time
SHOWN = 4  # test images of each domain in the figures
COLOURS = 256  # of a figure's palette
GAPS = {"adabn": "supft", "pseudo": "supft", "featreg": "supft", "featreg-new": "supft-new"}
"""Rows whose recovered gap is drawn, and the supervised row on the same pairs."""
ALIGNED_ROWS = {"featreg": "featreg", "labelcopy": "supft"}


@torch.no_grad()
def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Segment the test images of every domain with its network; all processes share the images.

    Target images are aligned with their own labels here, whatever misalignment training had.

    Returns: for each domain that has labels `<domain>_miou_percent` and the others of
        :meth:`.metrics.ConfusionMatrix.percents`; for several domains the means `mean_miou_percent` and so on; for the
        first network also `source_miou_percent`, of source images. For a user's own pairs, which may have no labels of
        time 2, also `time2_agreement_percent`: the share of pixels where the network says of the target image what the
        first network says of the source image.
    """
    source = load_source(config, run.weights).to(run.device)
    images, classes = test_images(config, run.cache), len(class_names(config))
    found: dict[str, float] = {}
    shown: dict[str, np.ndarray] = {}
    by_domain: dict[str, list[float]] = defaultdict(list)
    for domain in config.domains:
        name = parse(domain)[0]
        network = source
        if config.method != "source":
            network = load_adapted(source, weights_file(run.folder, domain_file(domain)))
        measured = segment(config, run, images, domain, network, source, classes)
        found |= {f"{name}_{metric}": value for metric, value in measured.items()}
        for metric, value in measured.items():
            by_domain[metric].append(value)
        if run.accelerator.is_main_process:
            shown |= {f"{name}_{key}": x for key, x in examples(config, images, domain, network, run.device).items()}
    if len(config.domains) > 1:
        found |= {f"mean_{metric}": float(np.mean(values)) for metric, values in by_domain.items()}
    if config.method == "source":
        measured = segment(config, run, images, None, source, source, classes)
        found["source_miou_percent"] = measured["miou_percent"]
    if run.accelerator.is_main_process:
        shown["names"] = np.array(class_names(config))
        write_atomic(run.folder / "shown.npz", lambda file: np.savez_compressed(file, allow_pickle=False, **shown))
    return found


def segment(
    config: Config, run: Run, images: Images, domain: str | None, network: Segmenter, source: Segmenter, classes: int
) -> dict[str, float]:
    """Metrics of a network on test images of a domain; None: on source images."""
    own_images = domain is not None and parse(domain)[0] == ALIGNED
    confusion, agreement = ConfusionMatrix(classes), torch.zeros(2, dtype=torch.int64)
    for batch in batches(config, run, images, domain):
        pixels = torch.stack([sample.source if domain is None else target_of(sample) for sample in batch])
        best = predicted(network, pixels.to(run.device)).cpu()
        if own_images:
            before = predicted(source, torch.stack([sample.source for sample in batch]).to(run.device)).cpu()
            agreement += torch.tensor([int((best == before).sum()), best.numel()])
        for sample, label in zip(batch, best, strict=True):
            truth = sample.label if domain is None else sample.target_label
            if truth is not None:
                confusion.update(label, truth)
    agreement = run.accelerator.reduce(agreement.to(run.device), reduction="sum")
    confusion.counts = run.accelerator.reduce(confusion.counts.to(run.device), reduction="sum").cpu()
    measured = {"agreement_percent": 100 * float(agreement[0] / agreement[1])} if own_images else {}
    return measured | (confusion.percents() if int(confusion.counts.sum()) else {})


def batches(config: Config, run: Run, images: Images, domain: str | None) -> Iterator[list[Sample]]:
    """This process's share of the images, in batches of one size."""
    rank, processes = run.accelerator.process_index, run.accelerator.num_processes
    chosen = list(range(len(images)))[rank::processes]
    count = BATCH if config.data is None else 1
    for start in range(0, len(chosen), count):
        samples = [(index, images[index]) for index in chosen[start : start + count]]
        yield [sample if domain is None else in_domain(sample, domain, index, config) for index, sample in samples]


def examples(
    config: Config, images: Images, domain: str, network: Segmenter, device: torch.device
) -> dict[str, np.ndarray]:
    """The first test images: ``source_0``, ``target_0`` (H, W, 3), ``truth_0`` and ``predicted_0`` (H, W), uint8."""
    kept: dict[str, np.ndarray] = {}
    for index in range(min(SHOWN, len(images))):
        sample = in_domain(images[index], domain, index, config)
        truth = sample.target_label if sample.target_label is not None else torch.full_like(sample.label, IGNORED)
        best = predicted(network, target_of(sample)[None].to(device))[0].cpu()
        kept |= {
            f"source_{index}": _bytes(sample.source),
            f"target_{index}": _bytes(target_of(sample)),
            f"truth_{index}": truth.byte().numpy(),
            f"predicted_{index}": best.byte().numpy(),
        }
    return kept


def _bytes(image: Tensor) -> np.ndarray:
    return (255 * image).round().byte().permute(1, 2, 0).numpy()


# -- figures ----------------------------------------------------------------------------------------------------------


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """Grids of segmented images, bars of the recovered gap, and curves over misalignment, as far as their rows ran."""
    first = min(seed for _, seed in runs)
    unadapted, adapted = (_arrays(runs.get((name, first))) for name in ("noadapt", "featreg"))
    if unadapted and adapted:
        domains = [key.removesuffix("_truth_0") for key in adapted if key.endswith("_truth_0")]
        overview = [(domain, number % SHOWN) for number, domain in enumerate(domains)]
        write_figure(_grid(unadapted, adapted, overview), target / "grid.png", colours=COLOURS)
        for domain in domains:
            rows = [(domain, number) for number in range(SHOWN)]
            write_figure(_grid(unadapted, adapted, rows), target / f"grid_{domain}.png", colours=COLOURS)
    metrics = _metrics(runs)
    if gaps := recovered_gaps(metrics):
        write_figure(_bars(gaps), target / "recovered_gap.png", colours=COLOURS)
    if curves := misalignment(metrics):
        write_figure(_curves(curves), target / "misalignment.png", colours=COLOURS)


def _arrays(folder: Path | None) -> dict[str, np.ndarray]:
    """The arrays that a run shows; none for one that did not run."""
    if folder is None or not (folder / "shown.npz").exists():
        return {}
    with np.load(folder / "shown.npz") as content:
        return {key: content[key] for key in content.files}


def _metrics(runs: dict[tuple[str, int], Path]) -> dict[str, dict[int, dict[str, float]]]:
    """Metrics of every finished run, by variant and seed."""
    found: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    for (variant, seed), folder in runs.items():
        if (folder / "result.json").exists():
            found[variant][seed] = json.loads((folder / "result.json").read_text())["metrics"]
    return found


def _grid(unadapted: dict[str, np.ndarray], adapted: dict[str, np.ndarray], rows: list[tuple[str, int]]) -> Figure:
    """A row an image: source, target, what both networks make of the target, the true labels."""
    columns = ("source image", "target image", "first network", "adapted network", "true labels")
    names = adapted["names"].tolist()
    rows = [
        (domain, k) for domain, k in rows if f"{domain}_truth_{k}" in adapted and f"{domain}_truth_{k}" in unadapted
    ]
    figure = Figure(figsize=(1.75 * len(columns), 1.75 * len(rows) + 0.7), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    present: set[int] = set()
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=9)
    for line, (domain, k) in zip(axes, rows, strict=True):
        maps = [
            unadapted[f"{domain}_predicted_{k}"],
            adapted[f"{domain}_predicted_{k}"],
            adapted[f"{domain}_truth_{k}"],
        ]
        present.update(*(np.unique(x).tolist() for x in maps))
        shown = [adapted[f"{domain}_{key}_{k}"] for key in ("source", "target")]
        for axis, x in zip(line, [*shown, *(painted(x, len(names)) for x in maps)], strict=True):
            axis.imshow(x, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(domain, fontsize=9)
    handles = legend(names, sorted(present - {IGNORED}))
    figure.legend(handles=handles, loc="outside lower center", ncols=9, fontsize=7, frameon=False)
    return figure


def recovered_gaps(metrics: dict[str, dict[int, dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """(method - noadapt) / (supft - noadapt) by method and domain, a number a seed; against supft on the same pairs."""
    gaps: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for method, ceiling in GAPS.items():
        for seed in sorted(metrics[method].keys() & metrics["noadapt"].keys() & metrics[ceiling].keys()):
            own, floor, top = (metrics[name][seed] for name in (method, "noadapt", ceiling))
            for key in own:
                domain = key.removesuffix("_miou_percent")
                if domain != key and key in floor and key in top and top[key] != floor[key]:
                    gaps[method][domain].append((own[key] - floor[key]) / (top[key] - floor[key]))
    return gaps


def _bars(gaps: dict[str, dict[str, list[float]]]) -> Figure:
    """Mean recovered gap of every method in every domain, with the 95 % interval over seeds."""
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axis = figure.subplots()
    domains = [domain for domain in next(iter(gaps.values())) if all(domain in found for found in gaps.values())]
    width = 0.8 / len(gaps)
    for k, (method, by_domain) in enumerate(gaps.items()):
        means = [float(np.mean(by_domain[domain])) for domain in domains]
        intervals = [
            paired_interval(by_domain[domain]) or [mean, mean] for domain, mean in zip(domains, means, strict=True)
        ]
        errors = np.abs(np.array(intervals).T - means)
        axis.bar(
            np.arange(len(domains)) + (k - (len(gaps) - 1) / 2) * width,
            means,
            width,
            yerr=errors,
            capsize=2,
            label=method,
        )
    axis.axhline(1, color="black", lw=0.8, ls=":")
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xticks(range(len(domains)), domains)
    axis.set(
        ylabel="recovered gap", title="0: first network, 1: fine-tuning with target labels (95 % intervals over seeds)"
    )
    figure.legend(fontsize=8, ncols=len(gaps), loc="outside lower center")
    return figure


def misalignment(metrics: dict[str, dict[int, dict[str, float]]]) -> dict[str, dict[int, list[float]]]:
    """mIoU by method and pixels of misalignment, a number a seed, in the domain of the misaligned rows.

    Without misalignment, the source's labels are the target's, and copying them is supervised fine-tuning.
    """
    curves: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for variant, by_seed in metrics.items():
        method, _, pixels = variant.rpartition("-shift")
        if method and pixels.isdigit():
            key = next(key for key in next(iter(by_seed.values())) if key.endswith("_miou_percent"))
            curves[method][int(pixels)] = [by_seed[seed][key] for seed in sorted(by_seed)]
            aligned = metrics.get(ALIGNED_ROWS.get(method, ""), {})
            if values := [aligned[seed][key] for seed in sorted(aligned) if key in aligned[seed]]:
                curves[method][0] = values
    return curves


def _curves(curves: dict[str, dict[int, list[float]]]) -> Figure:
    """mIoU over the misalignment of training pairs, with 95 % intervals over seeds."""
    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    axis = figure.subplots()
    for method, by_shift in curves.items():
        shifts = sorted(by_shift)
        means = [float(np.mean(by_shift[shift])) for shift in shifts]
        intervals = [
            paired_interval(by_shift[shift]) or [mean, mean] for shift, mean in zip(shifts, means, strict=True)
        ]
        errors = np.abs(np.array(intervals).T - means)
        axis.errorbar(shifts, means, errors, marker="o", ms=3, capsize=2, label=method)
    axis.set(xlabel="misalignment of training pairs (pixels)", ylabel="mIoU (%) of aligned test images")
    axis.legend(fontsize=8)
    return figure
