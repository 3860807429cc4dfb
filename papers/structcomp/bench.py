"""Comparisons of ``make bench``: modulated convolution with shared weights."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .networks.stylegan import EPSILON, modulated_conv

BATCH, CHANNELS = 8, 64


def bench() -> Iterator[dict[str, Any]]:
    for resolution in (16, 64):
        yield modulation(resolution)


def modulation(resolution: int) -> dict[str, Any]:
    """Scaled inputs and outputs around one convolution, against a weight of each image in a grouped convolution."""
    torch.manual_seed(0)
    x = torch.randn(BATCH, CHANNELS, resolution, resolution)
    weight, styles = torch.randn(CHANNELS, CHANNELS, 3, 3), torch.randn(BATCH, CHANNELS)

    def shared() -> Tensor:
        return modulated_conv(x, weight, styles)

    def grouped() -> Tensor:
        own = weight * styles[:, None, :, None, None]
        own = own * (own.square().sum((2, 3, 4), keepdim=True) + EPSILON).rsqrt()
        kernels = own.view(-1, CHANNELS, 3, 3)
        return F.conv2d(x.view(1, -1, resolution, resolution), kernels, padding=1, groups=BATCH).view_as(x)

    torch.testing.assert_close(shared(), grouped(), rtol=1e-3, atol=1e-4)
    return {
        "name": f"modulated convolution, {resolution} px",
        "detail": f"{BATCH} images, {CHANNELS} channels; reference: a weight of each image, grouped convolution",
        "ours": shared,
        "reference": grouped,
        "per": BATCH,
        "unit": "image",
    }
