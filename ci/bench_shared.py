"""Comparisons of ``make bench`` for ``shared``."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from skimage.feature import hog as skimage_hog
from torch import Tensor

from shared.hog import hog
from shared.losses import clip_loss


def bench() -> Iterator[dict[str, Any]]:
    yield from bench_losses()
    yield from bench_hog()


def bench_losses() -> Iterator[dict[str, Any]]:
    """The contrastive loss of CLIP against open_clip's, forward and backward."""
    batch, width, chunk = 4096, 512, 512
    image, text = torch.randn(2, batch, width, generator=torch.Generator().manual_seed(0)).unbind()
    logit_scale = torch.tensor(1 / 0.07)
    inputs = [x.requires_grad_() for x in (image, text, logit_scale)]
    open_clip_loss = ClipLoss()

    def step(loss: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss(), inputs)

    def theirs() -> Tensor:  # open_clip normalises in its models
        return open_clip_loss(F.normalize(image, dim=-1), F.normalize(text, dim=-1), logit_scale)

    for name, rows in (("clip_loss", None), ("clip_loss, recomputed in the backward pass", chunk)):

        def ours(rows: int | None = rows) -> Tensor:
            return clip_loss(image, text, logit_scale, chunk=rows)

        torch.testing.assert_close(step(ours), step(theirs), rtol=1e-3, atol=1e-6)
        yield {
            "name": name,
            "detail": f"forward and backward, {batch} pairs of width {width}; reference: open_clip's ClipLoss",
            "ours": lambda ours=ours: step(ours),
            "reference": lambda: step(theirs),
            "memory": True,
        }


def scattered_hog(images: Tensor, bins: int = 9, cell: int = 8) -> Tensor:
    """HOG in the structure of FastMIM's and MaskFeat's layers: an image of votes per bin, then sums over cells."""
    batch, channels, height, width = images.shape
    sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    g_x, g_y = (
        F.conv2d(padded, kernel.expand(channels, 1, 3, 3), groups=channels) for kernel in (sobel, sobel.T.contiguous())
    )
    magnitude = torch.hypot(g_x, g_y)  # much faster than the norm of a stack
    bin_ = (torch.atan2(g_x, g_y) / math.pi * bins).floor().long() % bins
    votes = torch.zeros(batch, channels, bins, height, width)
    votes.scatter_add_(2, bin_[:, :, None], magnitude[:, :, None])
    cells = votes.unfold(3, cell, cell).unfold(4, cell, cell).sum((-2, -1))
    return F.normalize(cells, dim=2, eps=1e-12).flatten(1, 2)


def bench_hog() -> Iterator[dict[str, Any]]:
    """HOG against the usual structure of the same, and against scikit-image."""
    batch = 64
    generator = torch.Generator().manual_seed(0)
    for size in (128, 224):
        # Multiples of 1/64, so that no gradient is rounded and no orientation falls into another bin on one side.
        images = torch.randint(-128, 129, (batch, 3, size, size), generator=generator) / 64
        torch.testing.assert_close(hog(images), scattered_hog(images), rtol=1e-5, atol=1e-6)
        yield {
            "name": f"hog, {size} pixels",
            "detail": f"{batch} images of 3 x {size} x {size}; reference: votes in a (B, C, bins, H, W) tensor",
            "ours": lambda images=images: hog(images),
            "reference": lambda images=images: scattered_hog(images),
            "per": batch,
            "unit": "image",
            "memory": True,
        }

    planes = images[:8].flatten(0, 1)[:, None]  # scikit-image's HOG is another feature, one per image
    options: dict[str, Any] = {"cells_per_block": (1, 1), "block_norm": "L2"}

    def theirs() -> list[np.ndarray]:
        return [skimage_hog(plane[0].numpy(), feature_vector=False, **options) for plane in planes]

    yield {
        "name": "hog, against scikit-image",
        "detail": f"{len(planes)} channels of {size} x {size}; reference: skimage.feature.hog, 1 x 1 blocks",
        "ours": lambda: hog(planes),
        "reference": theirs,
        "per": len(planes),
        "unit": "channel",
    }
