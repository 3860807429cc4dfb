"""The segmenter applied to frames."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .model import Segmenter

BATCH = 32


def as_images(rgb: np.ndarray) -> Tensor:
    """(n, 3, H, W) float in [0, 1] of (n, H, W, 3) uint8."""
    return torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def probabilities(network: Segmenter, rgb: np.ndarray, device: torch.device) -> np.ndarray:
    """(n, 1 + C, H / 2, W / 2) float32 class probabilities of images (n, H, W, 3) uint8."""
    parts = [network(as_images(rgb[k : k + BATCH]).to(device))[0].softmax(1).cpu() for k in range(0, len(rgb), BATCH)]
    return torch.cat(parts).numpy()


def halved(x: np.ndarray) -> np.ndarray:
    """Arrays (n, H, W, ...) of pixels at the network's resolution: one pixel of every two by two."""
    return x[:, 1::2, 1::2]


def full_size(probability: np.ndarray) -> np.ndarray:
    """(n, 1 + C, H, W) probabilities at the images' own resolution."""
    x = torch.from_numpy(probability)
    return torch.nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False).numpy()


def labeller(
    network: Segmenter, device: torch.device, *, confidence: float, blob: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Labels (H, W) of an image (H, W, 3): 1 + class where it is confident and enough pixels agree, else 0.

    Args:
        confidence: least probability. blob: least pixels of a class in the image.
    """

    def labels(rgb: np.ndarray) -> np.ndarray:
        found = full_size(probabilities(network, rgb[None], device))[0]
        label = np.where(found.max(0) >= confidence, found.argmax(0), 0)
        counts = np.bincount(label.ravel(), minlength=len(found))
        return np.where(counts[label] >= blob, label, 0)

    return labels
