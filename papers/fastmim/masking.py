"""Random block masks. Source: the official code; the order from noise to mask is that of MAE's random masking."""

import math
from typing import Any

import numpy as np
from torch import Tensor

from shared import UserError
from shared.loading import SampledDataset


def block_mask(noise: Tensor, ratio: float, *, round_up: bool = False) -> Tensor:
    """Masks the blocks with the largest noise: ``(B, n*n)`` in [0, 1) -> ``(B, 1, n, n)`` float32, 1 = masked.

    FastMIM and MAE keep int(n*n * (1 - ratio)) blocks an image, in double precision and truncated: of 400 blocks at a
    ratio of 0.9, 39 are kept, not 40. SimMIM masks ceil(n*n * ratio) of them: ``round_up``. Raises UserError where the
    ratio is outside (0, 1] or the grid is not square.
    """
    blocks = noise.shape[1]
    side = math.isqrt(blocks)
    if side * side != blocks:
        raise UserError(f"noise for {blocks} blocks is no square grid; draw (image side / block)^2 numbers an image.")
    if not 0 < ratio <= 1:
        raise UserError(f"mask ratio {ratio} is not in (0, 1]; the paper's is 0.75.")
    kept = blocks - math.ceil(blocks * ratio) if round_up else int(blocks * (1 - ratio))
    rank = noise.argsort(dim=1, stable=True).argsort(dim=1)
    return (rank >= kept).float().view(-1, 1, side, side)


def check_noise(noise: Tensor, size: int, block: int) -> None:
    """Raises UserError if noise (B, n) is not one number a block of images of ``size`` pixels."""
    if noise.shape[1] != (size / block) ** 2:
        raise UserError(
            f"noise for {noise.shape[1]} blocks does not fit images of {size} pixels in blocks of {block}; draw (image "
            "side / block)^2 numbers an image, and choose a block that divides the image."
        )


def enlarge(mask: Tensor, factor: int) -> Tensor:
    """Repeats every entry ``factor`` times in both directions: ``(..., h, w)`` -> ``(..., h*factor, w*factor)``."""
    return mask.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


class Noised:
    """A dataset whose samples come with the noise (n^2,) that decides which blocks are masked."""

    def __init__(self, dataset: SampledDataset, blocks: int) -> None:
        self.dataset, self.blocks = dataset, blocks

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return self.dataset.sample(index, rng) | {"noise": rng.random(self.blocks, dtype=np.float32)}
