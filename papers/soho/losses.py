"""The three losses of pre-training (official `soho_pre_head.py`), and those of the downstream tasks.

The paper's own sections could not be read; the official code stands in for them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.losses import mean_across_processes

IGNORED = -100  # label of what is not masked


def masked_loss(logits: Tensor, labels: Tensor, rows: Tensor | None = None) -> Tensor:
    """Cross-entropy of masked words or masked codes: the mean over all that are masked, in every process together.

    It is 0, with a gradient of 0, if nothing is masked.

    Args:
        logits: (..., classes). labels: (...) int64, -100 where nothing is masked.
        rows: (B,) bool, rows of the batch that count; None: all.
    """
    if rows is not None:
        labels = labels.masked_fill(~rows.view(-1, *[1] * (labels.ndim - 1)), IGNORED)
    total = F.cross_entropy(logits.flatten(0, -2).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum")
    return total / (mean_across_processes((labels != IGNORED).sum().float()) + 1e-6)


def code_scores(states: Tensor, embed: Tensor) -> Tensor:
    """Cosine similarities (..., K) of states (..., c) and codes (K, c): the logits of masked visual modelling.

    There is no temperature, so that the loss cannot fall below log(1 + (K - 1) / e^2).
    """
    return F.normalize(states.float(), dim=-1, eps=1e-8) @ F.normalize(embed.detach(), dim=-1, eps=1e-8).T


def match_loss(logits: Tensor, match: Tensor) -> Tensor:
    """Image-text matching: cross-entropy of (B, 2) logits, class 1 for a text of the image."""
    return F.cross_entropy(logits.float(), match)


def answer_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of answers (B, A) with soft targets: the sum over answers, the mean over questions."""
    return F.binary_cross_entropy_with_logits(logits.float(), target) * target.shape[1]


def decayed(step: int, *, warmup: int, warmup_ratio: float, milestones: tuple[int, ...]) -> float:
    """Factor on both learning rates: linear warm-up, then a tenth after each milestone; all in steps.

    During warm-up it rises from ``warmup_ratio`` to 1, on top of the milestones' factor.
    """
    factor = 0.1 ** sum(step >= milestone for milestone in milestones)
    if step < warmup:
        factor *= 1 - (1 - step / warmup) * (1 - warmup_ratio)
    return factor


def text_rows(match: Tensor, *, positives_only: bool) -> Tensor:
    """Rows of a batch (B,) whose masked words and codes are predicted: matched pairs, or all of them."""
    return match == 1 if positives_only else torch.ones_like(match, dtype=torch.bool)
