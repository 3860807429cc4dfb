"""Comparisons of ``make bench``: modulated convolution with shared weights, and one pass through the frozen features."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .networks.frozen import FrozenFeatures
from .networks.stylegan import EPSILON, modulated_conv
from .views import Scene, views_of
from .config import PRESETS, Config
from .crops import Instances

BATCH, CHANNELS = 8, 64


def bench() -> Iterator[dict[str, Any]]:
    for resolution in (16, 64):
        yield modulation(resolution)
    yield discriminator_inputs(PRESETS["cpu"])


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


def discriminator_inputs(config: Config) -> dict[str, Any]:
    """Inputs of all four discriminators from one pass each over images and crops, against a pass a discriminator."""
    torch.manual_seed(0)
    frozen = FrozenFeatures("random", config.feature_size)
    images = torch.rand(BATCH, 3, config.size, config.size) * 2 - 1
    frozen.calibrate(images)
    count, side, crop = 6, float(config.size), config.crop_size
    boxes = torch.tensor([[float(i), 8.0, 8.0, side - 8, side - 8] for i in range(count)])
    ones = torch.ones(count)
    instances = Instances(boxes, ones.long(), ones.long(), ones)
    scene = Scene(
        images,
        torch.ones(BATCH, 1, config.size, config.size),
        None,
        instances,
        torch.ones(count, 1, crop, crop),
        torch.zeros(count, 2, crop, crop),
        torch.zeros(count, 8),
    )
    roles = config.discriminators

    @torch.no_grad()
    def together() -> Tensor:
        return _sum(views_of(config, scene, images, frozen))

    @torch.no_grad()
    def apart() -> Tensor:
        total = torch.zeros(())
        for role in roles:
            frozen(images)  # as a loss that computes its own features for every use
            view = views_of(config, scene, images, frozen)[role]
            total = total + sum((x.mean() for x in view.frozen), torch.zeros(()))
        return total

    torch.testing.assert_close(together(), apart())
    return {
        "name": "inputs of the four discriminators",
        "detail": f"{BATCH} images of {config.size} px, {count} crops; reference: all of it again for each of them",
        "ours": together,
        "reference": apart,
        "per": BATCH,
        "unit": "image",
    }


def _sum(views: dict[str, Any]) -> Tensor:
    return sum((x.mean() for view in views.values() for x in view.frozen), torch.zeros(()))
