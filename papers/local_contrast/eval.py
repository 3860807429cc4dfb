"""Metrics of a trained stage: Dice and Hausdorff distance of test volumes, and what pre-training has arranged."""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.run import Run
from shared.support.files import write_atomic
from shared.support.weights import load_weights

from .build import build, segmenter
from .config import Config
from .data import Slices, dataset_of, load, native, split_of
from .figures import figures
from .metrics import hausdorff95
from .model import LEVELS
from .regions import regions
from .sampling import partition_bounds
from .segment import dice, label_volume, mean

__all__ = ["evaluate", "figures"]
SHOWN = 3  # slices of a volume in the figures
PICTURED = 4  # volumes of which the figures show a slice


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Metrics of a trained stage, on the test volumes (or those of validation); leaves ``shown.npz`` for the figures.

    Returns, on the main process:
        stage 1: ``partition_percent``, see :func:`partition_accuracy`;
        stage 2: ``region_percent``, see :func:`region_accuracy`;
        stage 3: ``dice_percent`` and ``hd95_mm``, means over foreground classes, then over volumes, in native
        resolution; and ``dice_<class>_percent``, means over volumes.
    """
    if not run.accelerator.is_main_process:
        return {}
    split = split_of(config, run.seed)
    subjects = split.validation if config.split == "validation" else split.test
    volumes = load(config, run.cache, subjects)
    weights = load_weights(run.weights)
    if config.stage == "segmentation":
        network, _ = segmenter(config, weights)
        return segmentation_metrics(config, run, network.to(run.device), volumes)
    projector = build(config, dataset_of(config))
    projector.load_state_dict(weights)
    projector = projector.to(run.device).eval()
    if config.stage == "encoder":
        return encoder_metrics(config, run, projector, volumes)
    return {"region_percent": 100 * region_accuracy(config, projector, volumes, run.device)}


# -- stage 3 ----------------------------------------------------------------------------------------------------------


def segmentation_metrics(config: Config, run: Run, network: nn.Module, volumes: list[Slices]) -> dict[str, float]:
    """See :func:`evaluate`."""
    names = dataset_of(config).classes
    scores: list[list[float | None]] = []
    distances: list[list[float | None]] = []
    predictions = []
    for volume in volumes:
        truth, grid, spacing = native(config, run.cache, volume.subject)
        predicted = label_volume(network, volume.images.to(run.device), grid)
        scores.append(dice(predicted, truth, len(names)))
        distances.append(hausdorff95(predicted, truth, len(names), spacing))
        predictions.append(grid.slices(predicted, order=0))
    by_volume = [mean(of_classes) for of_classes in scores]
    show(run, volumes, predictions, by_volume)
    by_class = {name: mean([of_classes[k] for of_classes in scores]) for k, name in enumerate(names[1:])}
    return {
        "dice_percent": 100 * mean(by_volume),
        "hd95_mm": mean([mean(of_classes) for of_classes in distances]),
        **{f"dice_{name.replace(' ', '_')}_percent": 100 * score for name, score in by_class.items()},
    }


def show(run: Run, volumes: list[Slices], predictions: list[np.ndarray], by_volume: list[float]) -> None:
    """Keep what the figures show: evenly spread slices of the first volume, and the middle slices of some volumes."""
    first = volumes[0]
    chosen = np.linspace(0, len(first.images) - 1, SHOWN + 2).round().astype(int)[1:-1]
    middles = [(volume, len(volume.images) // 2) for volume in volumes[:PICTURED]]
    kept = {
        "images": first.images[chosen].numpy(),
        "truth": first.labels[chosen].numpy(),
        "predicted": predictions[0][chosen],
        "data_images": np.stack([volume.images[k].numpy() for volume, k in middles]),
        "data_truth": np.stack([volume.labels[k].numpy() for volume, k in middles]),
        "dice": np.array(by_volume),
    }
    write_atomic(run.folder / "shown.npz", lambda file: np.savez_compressed(file, allow_pickle=False, **kept))


# -- pre-training -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def encoder_metrics(config: Config, run: Run, projector: nn.Module, volumes: list[Slices]) -> dict[str, float]:
    """``partition_percent`` of the bottleneck's vectors, and those of g1 for the figure."""
    encoder = projector.get_submodule("encoder")
    bottlenecks = [encoder(volume.images[:, None].to(run.device))[1] for volume in volumes]
    subject = torch.cat([torch.full((len(x),), i) for i, x in enumerate(bottlenecks)])
    partition = torch.cat([partitions_of(len(x), config.partitions) for x in bottlenecks])
    features = torch.cat(bottlenecks).flatten(1).cpu()
    position = torch.cat([torch.linspace(0, 1, len(x)) for x in bottlenecks])
    kept = {"map": principal_map(features).numpy(), "position": position.numpy()}
    write_atomic(run.folder / "shown.npz", lambda file: np.savez_compressed(file, allow_pickle=False, **kept))
    return {"partition_percent": 100 * partition_accuracy(features, subject, partition)}


def partitions_of(slices: int, partitions: int) -> Tensor:
    """The partition of every slice of a volume; the slices that are left over belong to the last one."""
    step = partition_bounds(slices, partitions)[1]
    return (torch.arange(slices) // step).clamp(max=partitions - 1)


def partition_accuracy(features: Tensor, subject: Tensor, partition: Tensor) -> float:
    """Share of slices whose nearest slice of another subject, by the cosine of features (N, D), is of its partition."""
    unit = F.normalize(features - features.mean(0), dim=1)
    likeness = unit @ unit.T
    likeness[subject[:, None] == subject] = -torch.inf
    return float((partition[likeness.argmax(1)] == partition).float().mean())


def principal_map(features: Tensor) -> Tensor:
    """(N, 2): features (N, D), normalised, along the two directions in which they vary most."""
    unit = F.normalize(features, dim=1)
    centred = unit - unit.mean(0)
    _, _, directions = torch.linalg.svd(centred.double(), full_matrices=False)
    return (centred.double() @ directions[:2].T).float()


@torch.no_grad()
def region_accuracy(config: Config, projector: nn.Module, volumes: list[Slices], device: torch.device) -> float:
    """Share of regions whose nearest region, in the slice of the next subject at the same place, is at their own place.

    One slice is taken from the middle of every partition.
    """
    size = volumes[0].images.shape[-1]
    grid = regions(size >> (LEVELS - config.decoder_blocks), config.region, config.regions)
    corners = grid.corners[grid.anchors].to(device)
    vectors = []
    for volume in volumes:
        bounds = partition_bounds(len(volume.images), config.partitions)
        middles = [(first + end) // 2 for first, end in pairwise(bounds)]
        vectors.append(F.normalize(projector(volume.images[middles][:, None].to(device), corners), dim=-1))
    found = torch.stack(vectors)  # (V, S, A, D)
    nearest = torch.einsum("vsad,vsbd->vsab", found, found.roll(1, 0)).argmax(-1)
    return float((nearest == torch.arange(len(corners), device=device)).float().mean())
