"""Accuracy after fine-tuning, and of two cheap read-outs of the frozen encoder; figures."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file, save
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm.optim import param_groups_weight_decay
from torch import Tensor
from torch.utils.data import DataLoader

from shared.run import Run
from shared.support.figures import write_figure
from shared.support.files import write_atomic
from shared.support.weights import load_weights

from .build import build_classifier, build_pretraining, carried_over, pretrained_weights, trained_network
from .config import VARIANTS, Config
from .data import Data, Evaluation, load, normalisation
from .encoders.classifier import Classifier, load_encoder
from .pictures import reconstruction

NEIGHBOURS = 5
FINE_LABELS = 210  # ten of each object
TIMED_STEPS = 15
TIMED_BATCH = 32  # images at least
PAPER_EPOCHS = {"fastmim": 800, "mae": 1600}  # behind the paper's Figure 1
EVALUATION_BATCH = 256
COLOURS = 128  # of a figure's palette
SHOWN = 4  # test images of the reconstructions
EXAMPLES = "examples.safetensors"  # these images, in the folder of a run


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Metrics of a trained run, at the last epoch; the main process alone computes them, the others return nothing.

    Returns:
        ``accuracy_percent``: top-1 on the test set after fine-tuning (``accuracy_<set>_percent`` for further sets);
        and of the offline images only (all of ImageNet is too much for these read-outs, and the variants whose steps
        are compared are offline ones):
        ``probe_percent``: a logistic regression on the frozen pre-trained tokens, mean and maximum;
        ``knn_percent``: the nearest labelled images by the cosine of the same features;
        ``fine_probe_percent``, ``fine_knn_percent``: the same for the 21 objects of the scenes;
        the ratios of :func:`step_costs`, for the variants in ``config.compared_steps``.
    """
    if not run.accelerator.is_main_process:
        return {}
    data = load(config, run.cache)
    model = build_classifier(config, len(data.classes)).to(run.device)
    model.load_state_dict(load_weights(run.weights))
    metrics = {}
    for number, (name, (images, labels)) in enumerate(data.tests.items()):
        metric = f"accuracy_{name}_percent" if number else "accuracy_percent"
        shown = Evaluation(data, images, labels, config.image_size)
        metrics[metric] = accuracy(predictions(model, shown, config.workers), labels)
    if config.method == "fastmim" and not config.checkpoint:
        write_atomic(run.folder / EXAMPLES, save({"images": examples(config, data)}))
    if config.data:
        return metrics
    metrics |= read_outs(config, run, data)
    if config.source == "scenes-coarse":
        fine = replace(config, source="scenes", labels=FINE_LABELS)
        metrics |= {f"fine_{name}": x for name, x in read_outs(fine, run, load(fine, run.cache)).items()}
    return metrics | step_costs(config, run)


def examples(config: Config, data: Data) -> Tensor:
    """The test images that :func:`figures` shows, (4, 3, R, R) at the last resolution of pre-training, normalised."""
    images, labels = next(iter(data.tests.values()))
    shown = Evaluation(data, images, labels, config.resolutions[-1])
    return torch.stack([shown[k][0] for k in range(SHOWN)])


def read_outs(config: Config, run: Run, data: Data) -> dict[str, float]:
    """Linear probe and nearest neighbours on the encoder as pre-training left it (or as it was drawn, for scratch).

    Without the blocks that pre-training left out; of a variant that carries only some blocks over, the others as drawn.
    """
    torch.manual_seed(run.seed)
    model = build_classifier(config, len(data.classes), config.discard)
    if config.method != "none":
        load_encoder(model, carried_over(config, load_weights(pretrained_weights(run))))
    model.to(run.device)
    images, labels = next(iter(data.tests.values()))
    train = features(model, Evaluation(data, data.train_images, data.train_labels, config.image_size))
    test = features(model, Evaluation(data, images, labels, config.image_size))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)).fit(train, data.train_labels)
    neighbours = KNeighborsClassifier(NEIGHBOURS, weights="distance", metric="cosine").fit(train, data.train_labels)
    return {
        "probe_percent": accuracy(probe.predict(test), labels),
        "knn_percent": accuracy(neighbours.predict(test), labels),
    }


def step_costs(config: Config, run: Run) -> dict[str, float]:
    """Costs of a pre-training step of the variants in ``config.compared_steps``, as multiples of this variant's step.

    Returns:
        ``step_ratio``: 1, its own, for claims to compare with;
        ``<variant>_step_ratio``: of median seconds (forward, backward and AdamW), the steps of all taken in turn;
        ``<variant>_memory_ratio``: of the bytes that autograd keeps for the backward pass;
        ``<variant>_total_ratio``: of step seconds times the epochs that the paper compares (MAE: 1600, others: 800).
    The batch is the same for all, so a ratio of steps is one of images.
    """
    if not config.compared_steps:
        return {}
    steps = {"": PretrainingStep(config, run)} | {
        name: PretrainingStep(replace(config, **VARIANTS[name].changes), run) for name in config.compared_steps
    }
    kept_bytes = {name: step.kept_bytes() for name, step in steps.items()}  # warms up as well
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(TIMED_STEPS):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    costs = {"step_ratio": 1.0}
    for name in config.compared_steps:
        ratio = float(np.median(seconds[name]) / np.median(seconds[""]))
        costs[f"{name}_step_ratio"] = ratio
        costs[f"{name}_memory_ratio"] = kept_bytes[name] / kept_bytes[""]
        costs[f"{name}_total_ratio"] = ratio * PAPER_EPOCHS.get(name, PAPER_EPOCHS["fastmim"]) / PAPER_EPOCHS["fastmim"]
    return costs


class PretrainingStep:
    """One step of a variant's pre-training on random images: forward, backward, AdamW."""

    def __init__(self, config: Config, run: Run) -> None:
        self.model = build_pretraining(config).to(run.device)
        self.optimizer = torch.optim.AdamW(param_groups_weight_decay(self.model, config.weight_decay), fused=True)
        size = config.resolutions[0]
        batch = max(TIMED_BATCH, min(config.batch_size, config.micro_batch_size))
        self.images = torch.randn(batch, 3, size, size, device=run.device)
        self.noise = torch.rand(batch, (size // config.block) ** 2, device=run.device)
        self.ratio, self.run = config.mask_ratio, run

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        with self.run.accelerator.autocast():
            loss = self.model(self.images, self.noise, self.ratio).loss
        loss.backward()
        self.optimizer.step()
        if self.run.device.type == "cuda":
            torch.cuda.synchronize()

    def kept_bytes(self) -> int:
        """Bytes of the tensors that a forward pass keeps for the backward pass, parameters not counted."""
        parameters = {parameter.untyped_storage().data_ptr() for parameter in self.model.parameters()}
        storages: dict[int, int] = {}

        def keep(x: Tensor) -> Tensor:
            storage = x.untyped_storage()
            if storage.data_ptr() not in parameters:
                storages[storage.data_ptr()] = storage.nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            loss = self.model(self.images, self.noise, self.ratio).loss
        loss.backward()
        return sum(storages.values())


def predictions(model: Classifier, images: Evaluation, workers: int) -> np.ndarray:
    """Predicted class (N,) of each image; ``workers`` processes read images ahead."""
    return _over(images, lambda batch: model(batch).argmax(1), model, workers)


def features(model: Classifier, images: Evaluation) -> np.ndarray:
    """Mean and maximum over the frozen encoder's patch tokens, (N, 2 D)."""

    def pooled(batch: Tensor) -> Tensor:
        tokens = model.encoder(batch)[:, model.encoder.prefix :]
        return torch.cat([tokens.mean(1), tokens.amax(1)], dim=1)

    return _over(images, pooled, model)


@torch.no_grad()
def _over(images: Evaluation, compute: Callable[[Tensor], Tensor], model: Classifier, workers: int = 0) -> np.ndarray:
    model.eval()
    device = next(model.parameters()).device
    batches = DataLoader(images, EVALUATION_BATCH, num_workers=workers)
    return torch.cat([compute(batch.to(device)).cpu() for batch, _ in batches]).numpy()


def accuracy(predicted: np.ndarray, labels: Tensor | np.ndarray) -> float:
    """Share of right answers in percent."""
    return float(100 * np.mean(np.asarray(predicted) == np.asarray(labels)))


# -- figures ----------------------------------------------------------------------------------------------------------

RESOLUTIONS = {  # of pre-training, in pixels, of the offline variants
    "HOG": {16: "fastmim", 24: "mid", 32: "full"},
    "pixels": {16: "pixel", 32: "pixel-full"},
}


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """Draw losses, accuracy by resolution, costs, and reconstructions from the run folders, by (variant, seed).

    Losses and reconstructions are those of the seed with the variant's median accuracy, the others of all seeds.
    """
    metrics = {job: json.loads((folder / "result.json").read_text())["metrics"] for job, folder in runs.items()}
    median = {variant: runs[variant, median_seed(metrics, variant)] for variant, _ in runs}
    write_figure(_training(median), target / "training.png", colours=COLOURS)
    resolutions = _accuracy_by_resolution(metrics)
    if resolutions:
        write_figure(resolutions, target / "resolution.png", colours=COLOURS)
    costs = _costs(metrics)
    if costs:
        write_figure(costs, target / "costs.png", colours=COLOURS)
    for variant in ("fastmim", "scenes"):
        if variant in median and (median[variant] / EXAMPLES).exists():
            write_figure(_reconstructions(median[variant]), target / f"reconstructions_{variant}.png", colours=COLOURS)


def median_seed(metrics: dict[tuple[str, int], dict[str, float]], variant: str) -> int:
    """The seed of ``variant`` with the median accuracy, the lower one of two in the middle."""
    seeds = sorted((found["accuracy_percent"], seed) for (name, seed), found in metrics.items() if name == variant)
    return seeds[(len(seeds) - 1) // 2][1]


def _training(runs: dict[str, Path]) -> Figure:
    """Losses of pre-training and fine-tuning of one run of each variant."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for number, (variant, folder) in enumerate(runs.items()):
        colour, dash = f"C{number % 10}", ("-", "--", ":")[number // 10 % 3]
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for axis, pretraining in zip(axes, (True, False), strict=True):
            chosen = [line for line in lines if ("size" in line) == pretraining]
            steps, losses = (np.array([line[key] for line in chosen]) for key in ("step", "loss"))
            if len(losses):
                width = min(5, len(losses))
                smooth = np.convolve(losses, np.ones(width) / width, "valid")
                dot = "." if len(smooth) == 1 else ""
                axis.plot(steps[width - 1 :] - steps[0], smooth, lw=0.9, c=colour, ls=dash, marker=dot, label=variant)
    axes[0].set(xlabel="step", ylabel="loss", yscale="log", title="pre-training (targets differ)")
    axes[1].set(xlabel="step", title="fine-tuning")
    handles = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    figure.legend(handles=list(handles.values()), loc="outside right center", fontsize=7)
    return figure


def _accuracy_by_resolution(metrics: dict[tuple[str, int], dict[str, float]]) -> Figure | None:
    """Accuracy and linear probe against the resolution of pre-training, mean and standard deviation over seeds."""
    seeds = sorted({seed for _, seed in metrics})
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True)
    readouts = {"accuracy_percent": "fine-tuned", "probe_percent": "linear probe"}
    for axis, (metric, title) in zip(axes, readouts.items(), strict=True):
        for label, variants in RESOLUTIONS.items():
            found = {size: v for size, v in variants.items() if all((v, seed) in metrics for seed in seeds)}
            if len(found) < 2:
                return None
            values = np.array([[metrics[v, seed][metric] for seed in seeds] for v in found.values()])
            spread = values.std(1, ddof=1) if len(seeds) > 1 else None
            axis.errorbar(list(found), values.mean(1), spread, marker="o", capsize=3, label=label)
        scratch = [metrics["scratch", seed][metric] for seed in seeds if ("scratch", seed) in metrics]
        if scratch:
            axis.axhline(np.mean(scratch), color="grey", ls="--", label="no pre-training")
        axis.set(xlabel="pixels in pre-training", ylabel="accuracy (%)", title=title, xticks=[16, 24, 32])
    axes[0].legend(fontsize=8)
    return figure


def _costs(metrics: dict[tuple[str, int], dict[str, float]]) -> Figure | None:
    """Bars of the costs that ``step_costs`` measured, as multiples of FastMIM's."""
    rows = [found for (variant, _), found in metrics.items() if variant == "fastmim"]
    names = [name.removesuffix("_step_ratio") for name in (rows[0] if rows else {}) if "_step_" in name]
    if not names:
        return None
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    titles = {"step": "seconds a step", "memory": "memory for the backward pass", "total": "seconds in all"}
    for axis, (kind, title) in zip(axes, titles.items(), strict=True):
        values = np.array([[row[f"{name}_{kind}_ratio"] for name in names] for row in rows])
        means = np.append(values.mean(0), 1.0)
        spread = np.append(values.std(0, ddof=1) if len(rows) > 1 else np.zeros(len(names)), 0.0)
        bars = axis.barh([*names, "fastmim"], means, xerr=spread, color=["C0"] * len(names) + ["C1"])
        axis.bar_label(bars, fmt="%.2f", padding=4, fontsize=8)
        axis.set(title=title, xlim=(0, 1.25 * means.max()), xlabel="times FastMIM's")
        axis.title.set_fontsize(9)
    return figure


def _reconstructions(folder: Path) -> Figure:
    """Predictions of a run's pre-trained network for test images under random masks."""
    config, model = trained_network(folder)
    images = load_file(folder / EXAMPLES)["images"]
    blocks = (config.resolutions[-1] // config.block) ** 2
    noise = torch.rand(SHOWN, blocks, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prediction = model(images, noise, config.mask_ratio)
    return reconstruction(model, images, prediction, *normalisation(config))
