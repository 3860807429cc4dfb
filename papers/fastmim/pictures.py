"""Pictures of what FastMIM predicts: HOG features as oriented lines, pixels as an image, beside what was masked.

Shapes: an image of side S, tokens of side ``stride`` (N = (S / stride)^2, row by row), h HOG cells or blocks a side.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shared.hog import hog

from .losses import pixel_targets
from .masking import enlarge
from .model import FastMIM, Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 9
DIM = 0.45  # brightness of what was visible and not predicted, beside what was


def glyphs(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The lines that show HOG ``features`` (C * 9, h, w): one for each cell and bin with a weight above 0.

    A line lies along the edge, at right angles to the gradient, as in scikit-image. The gradient of bin k is at
    20 k + 10 degrees (the middle of the bin) from the vertical, so bin 0 gives nearly horizontal lines and bin 4
    vertical ones. The channels are averaged, and what a network predicts below 0 counts as 0.

    Returns:
        Ends (M, 2, 2) as (x, y) in cells, y downwards: the cell of row i and column j is centred on (j + 1/2, i + 1/2),
        and a line of weight 1 or more is as long as a cell; weights (M,), weakest first.
    """
    weight = features.detach().float().cpu().unflatten(0, (-1, BINS)).mean(0).clamp(min=0)  # (9, h, w)
    k, row, column = weight.nonzero(as_tuple=True)
    weights = weight[k, row, column]
    phi = (k + 0.5) * math.pi / BINS  # atan2(g_x, g_y): the gradient is along (sin, cos), so the edge along (cos, -sin)
    half = torch.stack([phi.cos(), -phi.sin()], dim=1) * (weights.clamp(max=1) / 2)[:, None]
    middle = torch.stack([column, row], dim=1) + 0.5
    order = weights.argsort(stable=True)
    return torch.stack([middle - half, middle + half], dim=1)[order].numpy(), weights[order].numpy()


def draw_hog(axis: "Axes", features: Tensor, scale: float | None = None, dimmed: Tensor | None = None) -> None:
    """Draw HOG ``features`` (C * 9, h, w) on ``axis``: a line's length and brightness are its weight over ``scale``.

    ``scale`` is the weight of the longest line, by default the largest there is; give two maps the same to compare
    them. Cells where ``dimmed`` (h, w) is 1 are drawn darker.
    """
    from matplotlib.collections import LineCollection

    rows, columns = features.shape[-2:]
    if scale is None:
        scale = strongest(features)
    ends, weights = glyphs(features / scale)
    brightness = weights.clip(max=1)
    if dimmed is not None:
        column, row = ends.mean(axis=1).astype(int).T
        brightness = np.where(dimmed.cpu().numpy()[row, column] > 0, DIM * brightness, brightness)
    lines = LineCollection(list(ends), array=brightness, cmap="gray", clim=(0, 1), linewidths=1.2)
    axis.add_collection(lines)
    axis.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal", facecolor="black", xticks=[], yticks=[])


def strongest(features: Tensor) -> float:
    """The weight of the longest line of HOG ``features`` (C * 9, h, w); 1 if all are 0."""
    return float(features.unflatten(0, (-1, BINS)).mean(0).max()) or 1.0


def token_map(tokens: Tensor, side: int) -> Tensor:
    """Tokens (N, K * side^2) in the order (K, row, column) -> (K, h, h), h = sqrt(N) * side."""
    size = math.isqrt(len(tokens)) * side
    return F.fold(tokens.T[None], (size, size), kernel_size=side, stride=side)[0]


def predicted_pixels(model: FastMIM, pred: Tensor, image: Tensor) -> Tensor:
    """The pixels (3, S, S) that the outputs ``pred`` (N, 3 stride^2) for ``image`` (3, S, S) stand for.

    A network of normalised targets says nothing about mean and contrast of a patch: those are the true ones, as in the
    pictures of MAE.
    """
    side = min(model.stride, model.block)  # of the patches that targets are made of
    patches = token_map(pred.float(), model.stride // side).flatten(1).T  # (patches, side * side * 3)
    if model.normalize:
        true = pixel_targets(image[None], side, normalize=False)[0]
        patches = patches * (true.var(dim=1, keepdim=True) + 1e-6).sqrt() + true.mean(dim=1, keepdim=True)
    return token_map(patches.unflatten(1, (side, side, 3)).permute(0, 3, 1, 2).flatten(1), side)


def reconstruction(model: FastMIM, images: Tensor, prediction: Prediction, mean: Any, std: Any) -> "Figure":
    """Image, masked image, prediction and (of HOG) target side by side, one row an image.

    Prediction and target are shown where they differ: in visible regions, which the loss leaves out, the prediction is
    replaced by the target, dimmed.

    Args:
        model: the network that ``prediction`` is from.
        images: (B, 3, S, S), normalised with ``mean`` and ``std``, three numbers each.
    """
    from matplotlib.figure import Figure

    names = ["predicted HOG", "HOG"] if model.target == "hog" else ["predicted pixels"]
    rows, columns = len(images), 2 + len(names)
    figure = Figure(figsize=(3 * columns, 3 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    share = round(100 * float(prediction.mask.mean()))
    titles = [f"{images.shape[-1]} x {images.shape[-1]} pixels", f"{share} % masked", *names]
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    for row, image, pred, mask in zip(axes, images, prediction.pred.detach(), prediction.mask, strict=True):
        for axis in row:
            axis.set(xticks=[], yticks=[])
        _draw_row(row, model, image, pred, mask, mean, std)
    return figure


def _draw_row(axes: Any, model: FastMIM, image: Tensor, pred: Tensor, mask: Tensor, mean: Any, std: Any) -> None:
    """One image (3, S, S) with its outputs (N, outputs) and mask (1, n, n)."""
    masked = enlarge(mask, model.block)
    covered = image * (1 - masked) + masked * model.mask_token.detach()[0]

    def colours(normalised: Tensor) -> np.ndarray:
        mean_, std_ = (torch.tensor(x).view(3, 1, 1) for x in (mean, std))
        return (normalised.cpu() * std_ + mean_).clamp(0, 1).permute(1, 2, 0).numpy()

    axes[0].imshow(colours(image), interpolation="nearest")
    axes[1].imshow(colours(covered), interpolation="nearest")
    if model.target == "hog":
        target = hog(image[None], cell=model.cell, normalize=model.normalize)[0]
        hidden = F.interpolate(masked[None], target.shape[-2:])[0]  # a cell is masked as a whole
        shown = hidden * token_map(pred.float(), model.stride // model.cell) + (1 - hidden) * target
        scale = strongest(target)
        draw_hog(axes[2], shown, scale, dimmed=1 - hidden[0])
        draw_hog(axes[3], target, scale)
    else:
        shown = masked * predicted_pixels(model, pred, image) + (1 - masked) * image
        axes[2].imshow(colours(shown) * np.where(masked[0, :, :, None].cpu() > 0, 1, DIM), interpolation="nearest")
