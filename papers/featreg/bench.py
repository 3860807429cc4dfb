"""Comparisons of ``make bench``: a regression step that does no more than it must, and one that does."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .build import adapted, first_network
from .config import PRESETS, Config
from .losses import feature_distance

CLASSES, SIZE = 9, 96


def bench() -> Iterator[dict[str, Any]]:
    cpu = PRESETS["cpu"]
    for config in (cpu, replace(cpu, layers=("stride8",)), replace(cpu, backbone="small")):
        yield regression_step(config)


def regression_step(config: Config) -> dict[str, Any]:
    """A step with cached maps that stops at the regressed layer, against both networks in their whole at every step."""
    torch.manual_seed(0)
    (layer,) = config.layers
    source = first_network(config, CLASSES).requires_grad_(False).eval()
    images = torch.rand(2, config.batch_size, 3, SIZE, SIZE)
    cached = source(images[0], config.layers)[layer]
    students = [adapted(config, source) for _ in range(2)]
    optimizers = [torch.optim.Adam([p for p in x.parameters() if p.requires_grad], lr=0.0) for x in students]

    def lean() -> Tensor:
        loss = feature_distance(students[0](images[1], config.layers)[layer], cached)
        return _step(loss, optimizers[0])

    def naive() -> Tensor:
        with torch.no_grad():
            maps = _whole(source(images[0], source.LAYERS))
        loss = feature_distance(_whole(students[1](images[1], source.LAYERS))[layer], maps[layer])
        return _step(loss, optimizers[1])

    torch.testing.assert_close(lean(), naive())
    return {
        "name": f"regression step, {config.backbone}, layer {layer}",
        "detail": f"{config.batch_size} images of {SIZE} px; reference: both networks in their whole at every step",
        "ours": lean,
        "reference": naive,
        "per": config.batch_size,
        "unit": "image",
    }


def _whole(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """With the upsampling that segmentation has at its end."""
    F.interpolate(outputs["logits"], (SIZE, SIZE), mode="bilinear", align_corners=False)
    return outputs


def _step(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
