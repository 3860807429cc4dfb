"""Losses of U-VisualBERT, and of the hallucinator.

Every mean is over the words or regions that count of all processes together, so that each of them counts alike.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.losses import mean_across_processes

SCALE = 1 / 0.15
"""Factor of the losses of regions: the inverse of the share that is masked."""


def mean_over(losses: Tensor, counted: Tensor) -> Tensor:
    """Mean of the losses that count; 0 if none does. Both are of one shape, ``counted`` is bool."""
    count = mean_across_processes(counted.sum().float())
    return (losses * counted).sum() / count.clamp(min=1e-9)


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the masked words or tags; 0 if none is masked (the official mean is not a number then).

    Args:
        logits: (n, V) of the n masked ones.
        labels: (n,) int64.
    """
    losses = F.cross_entropy(logits.float(), labels, reduction="none")
    return mean_over(losses, torch.ones_like(labels, dtype=torch.bool))


def detector_loss(logits: Tensor, labels: Tensor, confidence: Tensor, present: Tensor) -> Tensor:
    """Cross-entropy with the detector's class, weighted by its confidence: mean over all regions, masked or not.

    Args:
        logits: (B, R, C). labels: (B, R) int64. confidence: (B, R) in [0, 1].
        present: (B, R) bool, false for padding.
    """
    losses = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none").view_as(labels)
    return SCALE * mean_over(losses * confidence, present)


def feature_loss(predicted: Tensor, features: Tensor, masked: Tensor, present: Tensor) -> Tensor:
    """Smooth L1 distance of masked regions to their features, summed over those, divided by the number of all regions.

    Args:
        predicted, features: (B, R, F). masked: (B, R) of 0 and 1.
        present: (B, R) bool, false for padding.
    """
    losses = F.smooth_l1_loss(predicted.float(), features.float(), reduction="none").mean(-1)
    return SCALE * mean_over(losses * masked, present)


def match_loss(logits: Tensor, match: Tensor) -> Tensor:
    """Cross-entropy of "belongs together" (1) against "does not" (0); logits (B, 2), match (B,) int64."""
    return F.cross_entropy(logits.float(), match)


def tag_scores(scores: Tensor, owner: Tensor, regions: int) -> tuple[Tensor, Tensor]:
    """Mean over the word pieces of each region's tag.

    Args:
        scores: (B, T, K) of word pieces.
        owner: (B, T) int64, the region of each piece; negative: of none.
        regions: R.

    Returns:
        (B, R, K), and which regions have a tag, (B, R) bool.
    """
    belongs = F.one_hot(owner.clamp(min=0), regions).to(scores.dtype) * (owner >= 0).unsqueeze(-1)  # (B, T, R)
    count = belongs.sum(1)
    return torch.einsum("btr,btk->brk", belongs, scores) / count.clamp(min=1).unsqueeze(-1), count > 0


def visual_word_loss(scores: Tensor, nearest: Tensor, valid: Tensor) -> Tensor:
    """L_hal: cross-entropy of a tag's scores over the visual words with the word nearest to its region's feature.

    Args:
        scores: (B, R, K). nearest: (B, R) int64. valid: (B, R) bool, regions that count.
    """
    return masked_loss(scores[valid], nearest[valid])


def regression_loss(hallucinated: Tensor, features: Tensor, valid: Tensor) -> Tensor:
    """Smooth L1 distance of a tag's hallucination to its region's feature; (B, R, F) each, valid (B, R) bool."""
    losses = F.smooth_l1_loss(hallucinated.float(), features.float(), reduction="none").mean(-1)
    return mean_over(losses, valid)
