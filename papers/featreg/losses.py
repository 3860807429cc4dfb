"""Stage 1, cross-entropy over labelled pixels; stage 2, regression between feature maps."""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.losses import mean_across_processes

IGNORED = 255
"""Label of pixels that count neither in a loss nor in a metric."""

Convention = Literal["mean", "caffe", "tensorflow"]
Alignment = Literal["none", "maxpool", "search"]


def segmentation_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy, mean over the labelled pixels of the whole batch, that of all processes (spec, stage 1).

    Args:
        logits: (B, K, h, w), upsampled bilinearly if the label map is larger.
        label: (B, H, W) int64, `IGNORED` where unknown.
    """
    if logits.shape[-2:] != label.shape[-2:]:
        logits = F.interpolate(logits, label.shape[-2:], mode="bilinear", align_corners=False)
    total = F.cross_entropy(logits, label, ignore_index=IGNORED, reduction="sum")
    # The mean of this quotient over processes is the sum of all losses over the number of all labelled pixels.
    return total / mean_across_processes((label != IGNORED).sum().float()).clamp(min=1)


def shrink_label(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Label map (..., H, W) at the resolution (h, w) of a network's output.

    Samples lie where Caffe's Interp layer has them, corners aligned. That layer is bilinear; the nearest pixel is taken
    here, so that ids are never mixed: the same values where H - 1 and W - 1 are multiples of h - 1 and w - 1.
    """
    rows, columns = (
        torch.linspace(0, long - 1, short, device=label.device, dtype=torch.float64).round().long()
        for long, short in zip(label.shape[-2:], size, strict=True)
    )
    return label[..., rows[:, None], columns]


def regression_loss(
    student: Mapping[str, Tensor],
    teacher: Mapping[str, Tensor],
    weights: Mapping[str, float],
    convention: Convention = "mean",
    alignment: Alignment = "none",
) -> Tensor:
    """Weighted sum over the regressed layers of the squared distance between two networks' feature maps (stage 2).

    Args:
        student: maps (B, C, H, W) of the target images, by layer.
        teacher: maps of the source images, without gradient.
        weights: factor of each layer, its scaling included.
    """
    distances = [
        weights[layer] * feature_distance(student[layer], target, convention, alignment)
        for layer, target in teacher.items()
    ]
    return torch.stack(distances).sum()


def feature_distance(
    student: Tensor, teacher: Tensor, convention: Convention = "mean", alignment: Alignment = "none"
) -> Tensor:
    """Squared L2 distance between feature maps (B, C, H, W).

    Args:
        convention: ``mean`` over all elements; ``caffe`` (EuclideanLoss), the sum over 2 B; ``tensorflow`` (l2_loss),
            half the sum, with all processes' images.
        alignment: ``none``; ``maxpool``, both maps through a 3 x 3 maximum first; ``search``, for each image the least
            mean square over shifts of one cell in either direction, on the cells that all nine shifts have.
    """
    teacher = teacher.detach().to(student.dtype)
    if alignment == "maxpool":
        student, teacher = (F.max_pool2d(x, 3, stride=1, padding=1) for x in (student, teacher))
    if alignment == "search":
        _, _, height, width = student.shape
        inner = teacher[:, :, 1:-1, 1:-1]
        shifted = [student[:, :, y : y + height - 2, x : x + width - 2] for y in range(3) for x in range(3)]
        image = torch.stack([(cells - inner).square().mean((1, 2, 3)) for cells in shifted]).amin(0)
    else:
        image = (student - teacher).square().mean((1, 2, 3))
    if convention == "mean":
        return image.mean()
    elements = teacher[0].numel()
    if convention == "caffe":
        return elements * image.mean() / 2
    # Gradients are averaged over processes, so that a sum over all of them needs their number as a factor.
    images = mean_across_processes(torch.tensor(float(len(image)), device=image.device)) * _processes()
    return elements * images * image.mean() / 2


def _processes() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
