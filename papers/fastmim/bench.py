"""Speed and memory of a pre-training step, for ``make bench``."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from timm.optim import param_groups_weight_decay

from .build import build_pretraining
from .config import PRESETS, Config

BATCH = 32
FASTMIM = replace(PRESETS["paper"], widths=(384,), heads=(6,))
ENCODER = "ViT-S/16 (the paper's ViT-B is too slow for one core)"
FULL = replace(FASTMIM, resolutions=(224,))
SIMMIM = replace(FULL, method="simmim", block=32, mask_ratio=0.6)
MAE = replace(FULL, method="mae", decoder_width=512, decoder_depth=8)
DISCARD = 2
PER_IMAGE = {"per": BATCH, "unit": "image", "memory": True}


def bench() -> Iterator[dict[str, Any]]:
    """A pre-training step on random images against those of the other methods, with the same encoder and batch."""
    fastmim = pretraining_step(FASTMIM)
    for name, reference, config in (
        ("SimMIM", "SimMIM at 224 pixels", SIMMIM),
        ("MAE", "MAE at 224 pixels, decoder 512 x 8", MAE),
        ("HOG at full resolution", "the same at 224 pixels", FULL),
    ):
        yield {
            "name": f"pre-training step, against {name}",
            "detail": f"{BATCH} images of 128 pixels, {ENCODER}, decoder 256 x 1; reference: {reference}",
            "ours": fastmim,
            "reference": pretraining_step(config),
        } | PER_IMAGE
    yield {
        "name": f"pre-training step without the last {DISCARD} blocks",
        "detail": f"{BATCH} images of 128 pixels, {ENCODER}; reference: all {FASTMIM.depths[0]} blocks",
        "ours": pretraining_step(replace(FASTMIM, discard=DISCARD)),
        "reference": fastmim,
    } | PER_IMAGE


def pretraining_step(config: Config) -> Callable[[], float]:
    """Forward, backward and AdamW on one batch, tried once; a call returns the loss."""
    torch.manual_seed(0)
    size = config.resolutions[0]
    images, noise = torch.randn(BATCH, 3, size, size), torch.rand(BATCH, (size // config.block) ** 2)
    model = build_pretraining(config)
    optimizer = torch.optim.AdamW(
        param_groups_weight_decay(model, config.weight_decay), lr=config.learning_rate * BATCH / 256, betas=(0.9, 0.95)
    )

    def step() -> float:
        optimizer.zero_grad()
        loss = model(images, noise, config.mask_ratio).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    assert math.isfinite(step()), f"the loss of {config.method} is not finite"
    return step
