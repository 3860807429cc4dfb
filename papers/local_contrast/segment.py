"""Slices through the trained network, and a whole volume to its label map."""

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
