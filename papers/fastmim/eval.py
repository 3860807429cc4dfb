"""Accuracy after fine-tuning, and of two cheap read-outs of the frozen encoder; figures."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.utils.data import DataLoader

from shared.experiment import Run, write_atomic

from .classifier import Classifier, load_encoder
from .config import Config
from .data import Data, Evaluation, load
from .train import build_classifier, kept, pretrained_weights

NEIGHBOURS = 5
EVALUATION_BATCH = 256


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Metrics of a trained run, at the last epoch.

    Returns:
        ``accuracy_percent``: top-1 on the test set after fine-tuning (``accuracy_<set>_percent`` for further sets);
        ``probe_percent``: a logistic regression on the frozen pre-trained tokens, mean and maximum;
        ``knn_percent``: the nearest labelled images by the cosine of the same features.
    """
    data = load(config, run.cache)
    model = build_classifier(config, len(data.classes)).to(run.device)
    model.load_state_dict(load_file(run.weights))
    metrics = {}
    for number, (name, (images, labels)) in enumerate(data.tests.items()):
        metric = f"accuracy_{name}_percent" if number else "accuracy_percent"
        metrics[metric] = accuracy(predictions(model, Evaluation(data, images, labels, config.image_size)), labels)
    return metrics | read_outs(config, run, data)


def read_outs(config: Config, run: Run, data: Data) -> dict[str, float]:
    """Linear probe and nearest neighbours on the encoder as pre-training left it (or as it was drawn, for scratch)."""
    torch.manual_seed(run.seed)
    model = build_classifier(config, len(data.classes))
    if config.method != "none":
        load_encoder(model, kept(config, load_file(pretrained_weights(run))))
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


def predictions(model: Classifier, images: Evaluation) -> np.ndarray:
    """Predicted class (N,) of each image."""
    return _over(images, lambda batch: model(batch).argmax(1), model)


def features(model: Classifier, images: Evaluation) -> np.ndarray:
    """Mean and maximum over the frozen encoder's patch tokens, (N, 2 D)."""

    def pooled(batch: Tensor) -> Tensor:
        tokens = model.encoder(batch)[:, model.encoder.prefix :]
        return torch.cat([tokens.mean(1), tokens.amax(1)], dim=1)

    return _over(images, pooled, model)


@torch.no_grad()
def _over(images: Evaluation, compute: Callable[[Tensor], Tensor], model: Classifier) -> np.ndarray:
    model.eval()
    device = next(model.parameters()).device
    return torch.cat([compute(batch.to(device)).cpu() for batch, _ in DataLoader(images, EVALUATION_BATCH)]).numpy()


def accuracy(predicted: np.ndarray, labels: Tensor | np.ndarray) -> float:
    """Share of right answers in percent."""
    return float(100 * np.mean(np.asarray(predicted) == np.asarray(labels)))


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """Draw the pre-training and fine-tuning losses of every variant, first seed."""
    target.mkdir(parents=True, exist_ok=True)
    first_seed = min(seed for _, seed in runs)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for (variant, seed), folder in runs.items():
        if seed != first_seed:
            continue
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for axis, pretraining in zip(axes, (True, False), strict=True):
            chosen = [line for line in lines if ("size" in line) == pretraining]
            steps, losses = (np.array([line[key] for line in chosen]) for key in ("step", "loss"))
            if len(losses):
                width = min(5, len(losses))
                smooth = np.convolve(losses, np.ones(width) / width, "valid")
                axis.plot(steps[width - 1 :] - steps[0], smooth, lw=0.9, label=variant)
    axes[0].set(xlabel="step", ylabel="loss", title="pre-training (HOG and pixels: not comparable in height)")
    axes[1].set(xlabel="step", title="fine-tuning")
    axes[1].legend(fontsize=7)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=90)
    plt.close(figure)
    write_atomic(target / "training.png", drawn.getvalue())
