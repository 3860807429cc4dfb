"""Slices through the trained network, a volume to its label map, and the Dice of label maps."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .volumes import Grid

SLICES = 32  # at a time


@torch.no_grad()
def probabilities(network: nn.Module, images: Tensor) -> Tensor:
    """Class probabilities (C, Q, H, W) of the slices (Q, H, W) of a volume."""
    logits = [network(x.contiguous(memory_format=torch.channels_last)) for x in images[:, None].split(SLICES)]
    return torch.cat(logits).float().softmax(1).transpose(0, 1)


def label_volume(network: nn.Module, images: Tensor, grid: Grid) -> np.ndarray:
    """Labels (X, Y, Z) uint8 in a volume's native grid, of its slices (Q, H, W)."""
    return grid.labels(probabilities(network, images).cpu().numpy())


def dice(predicted: np.ndarray, truth: np.ndarray, classes: int) -> list[float | None]:
    """3-D Dice of every class but the background, of label volumes (X, Y, Z).

    A class that neither volume has is None, and is left out of means; one that only one of them has scores 0.
    """
    scores: list[float | None] = []
    for k in range(1, classes):
        a, b = predicted == k, truth == k
        total = int(a.sum()) + int(b.sum())
        scores.append(2 * int((a & b).sum()) / total if total else None)
    return scores


def mean(values: Sequence[float | None]) -> float:
    """The mean of the values that there are; 0 if there are none."""
    known = [x for x in values if x is not None]
    return float(np.mean(known)) if known else 0.0
