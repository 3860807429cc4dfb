"""Histograms of oriented gradients of image batches, on any device.

Two features share the name and little else:

* `hog` and `HOG`: what masked image modelling predicts, as MaskFeat (Wei et al., 2022) and FastMIM define it: Sobel
  gradients of every channel, hard votes of their magnitude, cells that do not overlap, L2 norm of one cell.
* `conventional_hog`: the features of Dalal and Triggs (2005) as scikit-image computes them: central differences of the
  strongest channel, and cells normalised within overlapping blocks.
"""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BlockNorm = Literal["L1", "L1-sqrt", "L2", "L2-Hys"]


@torch.no_grad()
def hog(
    images: Tensor,
    *,
    bins: int = 9,
    cell: int = 8,
    signed: bool = False,
    gaussian: int = 0,
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
        gaussian: side of the square windows in which votes fall off from the middle with a Gaussian of deviation
            gaussian // 2 (MaskFeat in mmselfsup: 16); needs H = W = a multiple of it. 0: every pixel counts the same.
        normalize: divide the bins of one cell and channel by their L2 norm. Without gradient they stay 0.

    Returns:
        (B, C * bins, H // cell, W // cell), float32, at c * bins + bin; without gradient.
    """
    _check_options(bins, cell, gaussian)
    _check_images(images, smallest=max(2, cell))
    batch, channels, height, width = images.shape
    if gaussian and (height != width or height % gaussian):
        raise ValueError(f"a window of {gaussian} needs square images of a multiple of it, found {height} x {width}")
    weight = _gaussian_windows(gaussian, height, cell, images.device) if gaussian else None
    planes = images.flatten(0, 1)
    # What lies between image and cells is larger than either. On a CPU a part of the images at a time stays in its
    # cache; a compiler melts the steps together and needs no parts.
    pixels = 2**19 if images.device.type == "cpu" else 2**23
    parts = (planes,) if torch.compiler.is_compiling() else planes.split(max(1, pixels // (height * width)))
    cells = torch.cat([_cells(part, bins, cell, signed, weight, normalize) for part in parts])
    return cells.view(batch, channels * bins, height // cell, width // cell)


class HOG(nn.Module):
    """:func:`hog` with its options, as a module without parameters."""

    def __init__(
        self, *, bins: int = 9, cell: int = 8, signed: bool = False, gaussian: int = 0, normalize: bool = True
    ) -> None:
        super().__init__()
        _check_options(bins, cell, gaussian)
        self.options: dict[str, Any] = {
            "bins": bins, "cell": cell, "signed": signed, "gaussian": gaussian, "normalize": normalize,
        }  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C * bins, H // cell, W // cell)."""
        return hog(images, **self.options)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.options.items())


def _cells(planes: Tensor, bins: int, cell: int, signed: bool, weight: Tensor | None, normalize: bool) -> Tensor:
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
    if weight is not None:
        magnitude *= weight
    # Divided by pi before anything else: half a turn must give exactly `bins`, as it belongs to bin 0, not to the last.
    slot = torch.atan2(g_x, g_y).div_(2 * math.pi if signed else math.pi).mul_(bins).floor_()
    # -bins ... bins, still without modulo, which is cheaper on the cells. A NaN has to show in its own cell.
    slot = slot.nan_to_num_().to(torch.int32).add_(bins)
    votes = _vote(slot, magnitude, cell, cell, 2 * bins + 1)
    histogram = votes[..., :bins] + votes[..., bins:-1]
    histogram[..., 0] += votes[..., -1]
    if normalize:
        histogram = F.normalize(histogram, dim=-1, eps=1e-12)
    return histogram.permute(0, 3, 1, 2).contiguous()


def _vote(slot: Tensor, weight: Tensor, cell_height: int, cell_width: int, slots: int) -> Tensor:
    """Sums of weight (N, H, W) by cell and by slot (N, H, W) int32: (N, H / cell height, W / cell width, slots).

    Votes go straight to their cells, so that no image per slot is ever made.
    """
    count, height, width = slot.shape
    rows, columns = height // cell_height, width // cell_width
    row = torch.arange(height, device=slot.device, dtype=torch.int32)[:, None] // cell_height
    column = torch.arange(width, device=slot.device, dtype=torch.int32) // cell_width
    # int32 until the last step: half the memory traffic, and float to int64 is slow on CPUs
    index = (slot + (row * columns + column) * slots).to(torch.int64)
    votes = weight.new_zeros(count, rows * columns * slots)
    return votes.scatter_add_(1, index.flatten(1), weight.flatten(1)).view(count, rows, columns, slots)


def _gaussian_windows(window: int, side: int, cell: int, device: torch.device) -> Tensor:
    """Windows that sum to 1 beside each other, over the pixels that fill cells."""
    offset = torch.arange(window, dtype=torch.float64) - (window - 1) / 2
    line = torch.exp(-0.5 * (offset / (window // 2)) ** 2)
    square = torch.outer(line, line) / line.sum() ** 2
    used = side // cell * cell
    return square.to(device, torch.float32).repeat(side // window, side // window)[:used, :used]


@torch.no_grad()
def conventional_hog(
    images: Tensor,
    *,
    orientations: int = 9,
    pixels_per_cell: tuple[int, int] = (8, 8),
    cells_per_block: tuple[int, int] = (3, 3),
    block_norm: BlockNorm = "L2-Hys",
) -> Tensor:
    """HOG as `skimage.feature.hog` of each image, where every pixel votes with its channel of largest gradient.

    Args:
        images: (B, C, H, W), any real type and range. As there, 8-bit images are not divided by 255 (it matters where
            gradients are near the small constant in the block norms).
        orientations: parts of the half circle.
        pixels_per_cell, cells_per_block: rows, columns.

    Returns:
        (B, block rows, block columns, cell rows, cell columns, orientations), float32, without gradient: for each
        image what scikit-image returns with feature_vector=False.
    """
    (cell_height, cell_width), (block_rows, block_columns) = pixels_per_cell, cells_per_block
    if min(orientations, cell_height, cell_width, block_rows, block_columns) < 1:
        raise ValueError(
            f"expected positive orientations, pixels_per_cell and cells_per_block, found {orientations}, "
            f"{pixels_per_cell} and {cells_per_block}"
        )
    if block_norm not in ("L1", "L1-sqrt", "L2", "L2-Hys"):
        raise ValueError(f"block_norm is L1, L1-sqrt, L2 or L2-Hys, found {block_norm!r}")
    _check_images(images, smallest=1)
    height, width = images.shape[-2:]
    if height < block_rows * cell_height or width < block_columns * cell_width:
        raise ValueError(
            f"one block needs images of {block_rows * cell_height} x {block_columns * cell_width} pixels at least, "
            f"found {height} x {width}"
        )
    # scikit-image takes differences in the precision of the image, and votes in float64 (which some devices lack).
    double = torch.float32 if images.device.type == "mps" else torch.float64
    x = images if images.dtype == torch.float64 else images.to(torch.float32 if images.is_floating_point() else double)
    g_row, g_column = torch.zeros_like(x), torch.zeros_like(x)
    g_row[:, :, 1:-1] = x[:, :, 2:] - x[:, :, :-2]
    g_column[..., 1:-1] = x[..., 2:] - x[..., :-2]
    strongest = torch.hypot(g_row, g_column).argmax(dim=1, keepdim=True)
    rows, columns = height // cell_height, width // cell_width
    g_row, g_column = (
        g.gather(1, strongest)[:, 0, : rows * cell_height, : columns * cell_width].to(double) for g in (g_row, g_column)
    )
    angle = torch.rad2deg(torch.atan2(g_row, g_column)) % 180
    ends = torch.arange(1, orientations + 1, dtype=double, device=x.device) * (180 / orientations)
    slot = torch.bucketize(angle, ends, right=True, out_int32=True)  # the last slot: an angle rounded up to 180
    histogram = _vote(slot, torch.hypot(g_row, g_column), cell_height, cell_width, orientations + 1)[..., :-1]
    histogram = histogram / (cell_height * cell_width)
    blocks = histogram.unfold(1, block_rows, 1).unfold(2, block_columns, 1).permute(0, 1, 2, 4, 5, 3)
    return _normalize_blocks(blocks, block_norm).to(torch.float32).contiguous()


def _normalize_blocks(blocks: Tensor, norm: BlockNorm) -> Tensor:
    epsilon = 1e-5  # scikit-image's

    def l2(x: Tensor) -> Tensor:
        return x / (x.square().sum(dim=(3, 4, 5), keepdim=True) + epsilon**2).sqrt()

    if norm == "L2":
        return l2(blocks)
    if norm == "L2-Hys":
        return l2(l2(blocks).clamp(max=0.2))
    blocks = blocks / (blocks.sum(dim=(3, 4, 5), keepdim=True) + epsilon)
    return blocks.sqrt() if norm == "L1-sqrt" else blocks


def _check_options(bins: int, cell: int, gaussian: int) -> None:
    if bins < 1 or cell < 1:
        raise ValueError(f"expected bins and cell of at least 1, found {bins} and {cell}")
    if gaussian < 0 or gaussian == 1:
        raise ValueError(f"a Gaussian window has a side of at least 2, or 0 for none; found {gaussian}")


def _check_images(images: Tensor, smallest: int) -> None:
    if images.ndim != 4 or min(images.shape[:2]) < 1 or min(images.shape[2:]) < smallest:
        raise ValueError(
            f"expected images (B, C, H, W) with sides of at least {smallest}, found shape {tuple(images.shape)}"
        )
    if images.is_complex():
        raise ValueError(f"expected images of a real type, found {images.dtype}")
