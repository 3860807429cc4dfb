"""Histograms of oriented gradients of image batches, on any device.

Masked image modelling predicts these features, as MaskFeat (Wei et al., 2022) and FastMIM define them: Sobel gradients
of every channel, hard votes of their magnitude, cells that do not overlap, the L2 norm of one cell. The features of
Dalal and Triggs (2005) share the name and little else; `skimage.feature.hog` computes those.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.no_grad()
def hog(
    images: Tensor,
    *,
    bins: int = 9,
    cell: int = 8,
    signed: bool = False,
    normalize: bool = True,
) -> Tensor:
    """HOG of every channel (FastMIM, util/hog_layer.py; the same as MaskFeat's in SlowFast).

    The orientation is atan2(g_x, g_y), x first, with g_x = left - right and g_y = top - bottom: bin 0 holds gradients
    that point up or down, the middle one of nine those that point sideways. Borders are reflected.

    Args:
        images: (B, C, H, W), any real type, any range whose squares float32 can hold; sides of at least `cell` and of
            at least 2. Rows and columns at the end that do not fill a cell get no vote.
        bins: parts of the half circle, or of the circle if `signed`.
        cell: side of a cell in pixels.
        normalize: divide the bins of one cell and channel by their L2 norm. Without gradient they stay 0.

    Returns:
        (B, C * bins, H // cell, W // cell), float32, at c * bins + bin; without gradient.
    """
    _check_options(bins, cell)
    _check_images(images, smallest=max(2, cell))
    batch, channels, height, width = images.shape
    planes = images.flatten(0, 1)
    # What lies between image and cells is larger than either. On a CPU a part of the images at a time stays in its
    # cache; a compiler melts the steps together and needs no parts.
    pixels = 2**19 if images.device.type == "cpu" else 2**23
    parts = (planes,) if torch.compiler.is_compiling() else planes.split(max(1, pixels // (height * width)))
    cells = torch.cat([_cells(part, bins, cell, signed, normalize) for part in parts])
    return cells.view(batch, channels * bins, height // cell, width // cell)


class HOG(nn.Module):
    """:func:`hog` with its options, as a module without parameters."""

    def __init__(self, *, bins: int = 9, cell: int = 8, signed: bool = False, normalize: bool = True) -> None:
        super().__init__()
        _check_options(bins, cell)
        self.options: dict[str, Any] = {"bins": bins, "cell": cell, "signed": signed, "normalize": normalize}

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C * bins, H // cell, W // cell)."""
        return hog(images, **self.options)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.options.items())


def _cells(planes: Tensor, bins: int, cell: int, signed: bool, normalize: bool) -> Tensor:
    """(N, H, W) to (N, bins, H // cell, W // cell)."""
    rows, columns = (side // cell for side in planes.shape[1:])
    padded = F.pad(planes.to(torch.float32)[None], (1, 1, 1, 1), mode="reflect")[0]
    padded = padded[:, : rows * cell + 2, : columns * cell + 2]
    # Differences first, then smoothing: the same Sobel filter, but where neighbours are equal it is exactly 0. Summed
    # in another order the rounding error of flat regions remains, which the norm would blow up to length 1.
    across = padded[:, :, :-2] - padded[:, :, 2:]
    down = padded[:, :-2] - padded[:, 2:]
    g_x = (across[:, :-2] + across[:, 2:]).add_(across[:, 1:-1], alpha=2)
    g_y = (down[:, :, :-2] + down[:, :, 2:]).add_(down[:, :, 1:-1], alpha=2)
    del padded, across, down
    magnitude = g_x.square().addcmul_(g_y, g_y).sqrt_()
    # Divided by pi before anything else: half a turn must give exactly `bins`, as it belongs to bin 0, not to the last.
    slot = torch.atan2(g_x, g_y).div_(2 * math.pi if signed else math.pi).mul_(bins).floor_()
    # -bins ... bins, still without modulo, which is cheaper on the cells. A NaN has to show in its own cell.
    slot = slot.nan_to_num_().to(torch.int32).add_(bins)
    votes = _vote(slot, magnitude, cell, 2 * bins + 1)
    histogram = votes[..., :bins] + votes[..., bins:-1]
    histogram[..., 0] += votes[..., -1]
    if normalize:
        histogram = F.normalize(histogram, dim=-1, eps=1e-12)
    return histogram.permute(0, 3, 1, 2).contiguous()


def _vote(slot: Tensor, weight: Tensor, cell: int, slots: int) -> Tensor:
    """Sums of weight (N, H, W) by cell and by slot (N, H, W) int32: (N, H / cell, W / cell, slots).

    Votes go straight to their cells, so that no image per slot is ever made.
    """
    count, height, width = slot.shape
    rows, columns = height // cell, width // cell
    row = torch.arange(height, device=slot.device, dtype=torch.int32)[:, None] // cell
    column = torch.arange(width, device=slot.device, dtype=torch.int32) // cell
    # int32 until the last step: half the memory traffic, and float to int64 is slow on CPUs
    index = (slot + (row * columns + column) * slots).to(torch.int64)
    votes = weight.new_zeros(count, rows * columns * slots)
    return votes.scatter_add_(1, index.flatten(1), weight.flatten(1)).view(count, rows, columns, slots)


def _check_options(bins: int, cell: int) -> None:
    if bins < 1 or cell < 1:
        raise ValueError(f"expected bins and cell of at least 1, found {bins} and {cell}")


def _check_images(images: Tensor, smallest: int) -> None:
    if images.ndim != 4 or min(images.shape[:2]) < 1 or min(images.shape[2:]) < smallest:
        raise ValueError(
            f"expected images (B, C, H, W) with sides of at least {smallest}, found shape {tuple(images.shape)}"
        )
    if images.is_complex():
        raise ValueError(f"expected images of a real type, found {images.dtype}")
