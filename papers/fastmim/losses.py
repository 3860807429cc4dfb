"""FastMIM's targets and losses: HOG features of masked regions, and normalised pixels as the paper's ablation.

Shapes: B images of side S, tokens of side ``stride`` (N = (S / stride)^2, row-major), HOG cells of side ``cell``,
u = stride / cell cells a token's side. Masks (B, 1, n, n) are block grids, 1 = masked; a block may be larger than,
equal to or smaller than a token. Losses are means over the masked elements of the whole batch, visible ones cost
nothing. Losses are computed in float32 also where mixed precision made the predictions. Source: official code.
"""

from torch import Tensor

from shared import UserError
from shared.hog import hog

from .masking import enlarge


def hog_targets(images: Tensor, stride: int, cell: int = 8, normalize: bool = True) -> Tensor:
    """``(B, 3, S, S)`` -> ``(B, N, 27 u^2)``: the HOG cells every token covers, in the order (27, cell row, cell col).

    9 unsigned orientations of 3 channels; ``normalize`` divides by the L2 norm of each cell and channel.
    """
    return _tokens(hog(images, cell=cell, normalize=normalize), stride // cell)


def pixel_targets(images: Tensor, stride: int, normalize: bool = True) -> Tensor:
    """``(B, 3, S, S)`` -> ``(B, N, 3 stride^2)``: every token's pixels, in the order (row, col, channel).

    ``normalize`` subtracts the token's mean and divides by sqrt(var + 1e-6), var unbiased, over all its values.
    """
    targets = _patches(images.float(), stride)
    if not normalize:
        return targets
    mean, var = targets.mean(dim=-1, keepdim=True), targets.var(dim=-1, keepdim=True)
    return (targets - mean) / (var + 1e-6).sqrt()


def hog_loss(pred: Tensor, images: Tensor, mask: Tensor, stride: int, cell: int = 8, normalize: bool = True) -> Tensor:
    """Mean squared error between HOG features and ``pred`` (B, N, 27 u^2) over the masked tokens -> scalar.

    With blocks smaller than a token, over the masked cells instead. ``images`` (B, 3, S, S), ``mask`` (B, 1, n, n).
    Raises UserError where blocks are smaller than a token and not a multiple of the cell.
    """
    pred, tokens, blocks = pred.float(), images.shape[-1] // stride, mask.shape[-1]
    if blocks <= tokens:
        error = (pred - hog_targets(images, stride, cell, normalize)).square().mean(dim=-1)
        return _masked_mean(error, enlarge(mask, tokens // blocks).flatten(1))
    target = hog(images, cell=cell, normalize=normalize)
    cells = target.shape[-1]
    if cells % blocks:
        raise UserError(
            f"mask blocks of {images.shape[-1] // blocks} pixels do not align with HOG cells of {cell}; "
            f"choose a block that is a multiple of {cell}."
        )
    error = (_cell_map(pred, target.shape[1], stride // cell) - target).square().mean(dim=1)
    return _masked_mean(error, enlarge(mask, cells // blocks).squeeze(1))


def pixel_loss(pred: Tensor, images: Tensor, mask: Tensor, stride: int, normalize: bool = True) -> Tensor:
    """Mean squared error between pixels and ``pred`` (B, N, 3 stride^2) over the masked tokens -> scalar.

    With blocks smaller than a token, over the masked blocks, and pixels are normalised in each block instead of each
    token; a token's outputs are then in the order (values of a block, block row, block col), as those of HOG cells.
    ``images`` (B, 3, S, S), ``mask`` (B, 1, n, n).
    """
    pred, tokens, blocks = pred.float(), images.shape[-1] // stride, mask.shape[-1]
    if blocks > tokens:
        block = images.shape[-1] // blocks
        pred = _cell_map(pred, 3 * block**2, stride // block).flatten(2).transpose(1, 2)
        error = (pred - pixel_targets(images, block, normalize)).square().mean(dim=-1)
        return _masked_mean(error, mask.flatten(1))
    error = (pred - pixel_targets(images, stride, normalize)).square().mean(dim=-1)
    return _masked_mean(error, enlarge(mask, tokens // blocks).flatten(1))


def _masked_mean(error: Tensor, mask: Tensor) -> Tensor:
    return (error * mask).sum() / mask.sum()


def _tokens(cell_map: Tensor, side: int) -> Tensor:
    """``(B, C, n*side, n*side)`` -> ``(B, n*n, C*side*side)``, each token in the order (channel, row, col)."""
    batch, channels, cells, _ = cell_map.shape
    grid = cell_map.view(batch, channels, cells // side, side, cells // side, side)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, (cells // side) ** 2, -1)


def _cell_map(tokens: Tensor, channels: int, side: int) -> Tensor:
    """The inverse of ``_tokens``."""
    grid = round(tokens.shape[1] ** 0.5)
    cells = tokens.view(-1, grid, grid, channels, side, side)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, grid * side, grid * side)


def _patches(images: Tensor, side: int) -> Tensor:
    """``(B, C, n*side, n*side)`` -> ``(B, n*n, side*side*C)``, each patch in the order (row, col, channel)."""
    batch, channels, size, _ = images.shape
    grid = images.view(batch, channels, size // side, side, size // side, side)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, (size // side) ** 2, -1)
