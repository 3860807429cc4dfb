"""Losses of U-VisualBERT, and of the hallucinator."""

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.losses import mean_across_processes

SCALE = 1 / 0.15
"""Factor of the losses of regions: the inverse of the share that is masked."""


def masked_loss(logits: Tensor, labels: Tensor, *, gather: bool = False) -> Tensor:
    """Mean cross-entropy over the masked words or tags; 0 if none is masked (the official mean is not a number then).

    Args:
        logits: (n, V) of the n masked ones.
        labels: (n,) int64.
        gather: divide by the mean number over the processes, so that every masked word counts alike.
    """
    count = torch.tensor(float(len(labels)), device=logits.device)
    count = mean_across_processes(count) if gather else count
    return F.cross_entropy(logits.float(), labels, reduction="sum") / count.clamp(min=1e-9)


def detector_loss(logits: Tensor, labels: Tensor, confidence: Tensor) -> Tensor:
    """Cross-entropy with the detector's class, weighted by its confidence: mean over all regions, masked or not.

    Args:
        logits: (B, R, C). labels: (B, R) int64. confidence: (B, R) in [0, 1].
    """
    losses = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")
    return SCALE * (losses * confidence.flatten()).mean()


def feature_loss(predicted: Tensor, features: Tensor, masked: Tensor) -> Tensor:
    """Smooth L1 distance of masked regions to their features, summed over those, divided by the number of all regions.

    Args:
        predicted, features: (B, R, F). masked: (B, R) of 0 and 1.
    """
    losses = F.smooth_l1_loss(predicted.float(), features.float(), reduction="none").mean(-1)
    return SCALE * (losses * masked).mean()


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
    return F.cross_entropy(scores[valid].float(), nearest[valid])


def regression_loss(hallucinated: Tensor, features: Tensor, valid: Tensor) -> Tensor:
    """Smooth L1 distance of a tag's hallucination to its region's feature; (B, R, F) each, valid (B, R) bool."""
    return F.smooth_l1_loss(hallucinated[valid].float(), features[valid].float())
