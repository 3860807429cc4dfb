"""Adversarial losses, masked R1 and reconstruction."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.losses import mean_across_processes

Adversarial = Literal["logistic", "smooth", "hinge"]
SMOOTH_TARGET = 0.8  # of real images, for discriminator and generator alike (vision-aided GAN)
Logits = Tensor | Sequence[Tensor]


def discriminator_loss(real: Logits, fake: Logits, kind: Adversarial = "logistic") -> Tensor:
    """The discriminator's loss of each sample, (N,).

    Args:
        real, fake: logits (N, ...), or those of several levels; positions are averaged, levels are summed.
        kind: ``logistic`` (non-saturating, StyleGAN2), ``smooth`` (the same with a target of 0.8 for real images,
            vision-aided GAN) or ``hinge`` (Projected GAN).
    """
    if kind == "hinge":
        return _summed(real, lambda x: F.relu(1 - x)) + _summed(fake, lambda x: F.relu(1 + x))
    return generator_loss(real, kind) + _summed(fake, F.softplus)


def generator_loss(fake: Logits, kind: Adversarial = "logistic") -> Tensor:
    """The generator's loss of each sample, (N,): its images are to pass for real."""
    if kind == "hinge":
        return _summed(fake, torch.neg)
    target = SMOOTH_TARGET if kind == "smooth" else 1.0
    return _summed(fake, lambda x: F.softplus(x) - target * x)  # cross-entropy with that target


def _summed(logits: Logits, of_logit: Callable[[Tensor], Tensor]) -> Tensor:
    levels = [logits] if isinstance(logits, Tensor) else logits
    return torch.stack([of_logit(x).flatten(1).mean(1) for x in levels]).sum(0)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of values (K,) with weights (K,), over the values of all processes; 0 if no weight is positive.

    Its mean over processes is the weighted mean of all values, so that each crop counts alike wherever it is.
    """
    return (values * weights).sum() / mean_across_processes(weights.sum()).clamp(min=1e-8)


def r1_penalty(logits: Logits, image: Tensor, hole: Tensor | None = None) -> Tensor:
    """Squared norm of the gradient of each sample's logit, (N,), with a graph for the second derivative.

    With ``hole`` (N, 1, H, W) this is CM-GAN's masked R1: the gradient counts only where pixels are missing, since
    known pixels are the same in real and completed images.

    Args:
        image: (N, 3, H, W), a leaf that the logits depend on.
    """
    total = logits.sum() if isinstance(logits, Tensor) else torch.stack([x.sum() for x in logits]).sum()
    (gradient,) = torch.autograd.grad(total, image, create_graph=True)
    return (gradient if hole is None else gradient * hole).square().sum((1, 2, 3))


def masked_l1(prediction: Tensor, target: Tensor, hole: Tensor, known_weight: float, missing_weight: float) -> Tensor:
    """Mean over all elements of the absolute difference, weighted in the known part and in the hole (LaMa)."""
    return ((prediction - target).abs() * (missing_weight * hole + known_weight * (1 - hole))).mean()


def hole_l1(prediction: Tensor, target: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute difference inside the hole of each image, averaged over images."""
    error = ((prediction - target).abs().mean(1, keepdim=True) * hole).sum((1, 2, 3))
    return (error / hole.sum((1, 2, 3)).clamp(min=1)).mean()


def perceptual_loss(prediction: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Mean squared difference between frozen features of two images, summed over levels (LaMa, with other features)."""
    return torch.stack([F.mse_loss(x, y) for x, y in zip(prediction, target, strict=True)]).sum()


def layout_loss(classes: Tensor, boundary: Tensor, label: Tensor, edges: Tensor, hole: Tensor) -> Tensor:
    """Cross-entropy of the layout network inside the hole: the class of each pixel, and whether it is a boundary.

    Args:
        classes: logits (N, K + 1, H, W); index 0 is void.
        boundary: logits (N, 1, H, W).
        label: (N, H, W) int64.
        edges, hole: (N, 1, H, W).
    """
    each = F.cross_entropy(classes, label, reduction="none")[:, None]
    each = each + F.binary_cross_entropy_with_logits(boundary, edges, reduction="none")
    return ((each * hole).sum((1, 2, 3)) / hole.sum((1, 2, 3)).clamp(min=1)).mean()
