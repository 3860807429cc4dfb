"""Losses of infusion (relational knowledge) and of distillation (TextBrewer's; K-AID's are unknown).

Every loss is a mean over its own rows, tokens or pairs. Those that count valid tokens take the `mask` (B, L) of them.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.losses import all_gather, info_nce

LogitLoss = Literal["ce", "mse"]
HiddenLoss = Literal["mse", "cos", "pkd", "mmd"]
AttentionLoss = Literal["mse", "ce", "mse_sum"]

# -- infusion ---------------------------------------------------------------------------------------------------------


def alignment_loss(
    query: Tensor,
    phrase: Tensor,
    phrase_ids: Tensor,
    related: Callable[[Tensor], Tensor],
    temperature: float,
) -> Tensor:
    """InfoNCE of queries and the phrases of the batch, over all processes: contrastive alignment.

    A phrase that occurs more than once is one column, and every phrase that is related to a query is a positive.

    Args:
        query: (B, d), the features of sentences with a term in each.
        phrase: (B, d); phrase i is related to query i.
        phrase_ids: (B,) integers; equal ids are the same phrase.
        related: boolean (B, M) of all processes' ids (M,): which of the phrases are related to each query.
        temperature: tau of cos / tau.
    """
    ids = all_gather(phrase_ids)
    earlier = (ids[:, None] == ids).tril(-1).any(1)  # the phrase has a column already
    positives = related(ids)
    return info_nce(
        query,
        phrase,
        temperature=temperature,
        positives=positives & ~earlier,
        negatives=~positives & ~earlier,
        gather=True,
    )


# -- distillation -----------------------------------------------------------------------------------------------------


def logit_loss(student: Tensor, teacher: Tensor, temperature: float, kind: LogitLoss = "ce") -> Tensor:
    """Cross-entropy of the softened distributions, or squared distance of the softened logits (B, C).

    There is no factor T^2 here, and no teacher's entropy is subtracted: the value is not the KL divergence.
    """
    student, teacher = student / temperature, teacher / temperature
    if kind == "mse":
        return F.mse_loss(student, teacher)
    return F.cross_entropy(student, teacher.softmax(-1))


def hidden_loss(student: Tensor, teacher: Tensor, mask: Tensor | None, kind: HiddenLoss = "mse") -> Tensor:
    """Distance of hidden states (B, L, d): of valid tokens ("mse", "cos"), the first one ("pkd"), or all ("mmd")."""
    match kind:
        case "mse":
            squared = (student - teacher).square().mean(-1)
            return squared.mean() if mask is None else _masked_mean(squared, mask)
        case "cos":
            distance = 1 - F.cosine_similarity(student, teacher, dim=-1)
            return distance.mean() if mask is None else _masked_mean(distance, mask)
        case "pkd":
            difference = F.normalize(student[:, 0], dim=-1) - F.normalize(teacher[:, 0], dim=-1)
            return difference.square().sum(-1).mean()
        case "mmd":
            gram, target = (x @ x.transpose(1, 2) / x.shape[2] for x in (student, teacher))
            return F.mse_loss(gram, target)


def attention_loss(student: Tensor, teacher: Tensor, mask: Tensor | None, kind: AttentionLoss = "mse") -> Tensor:
    """Distance of attention scores, or of probabilities ("mse"), both (B, h, L, L).

    "mse_sum" adds up the heads first; "ce" is the cross-entropy of the scores' softmax. Without a mask, values at or
    below -0.001 count as 0, as TextBrewer has it for scores that are masked already. This also erases ordinary negative
    scores: give the mask.
    """
    if kind == "mse_sum":
        student, teacher = student.sum(1, keepdim=True), teacher.sum(1, keepdim=True)
    distribution = teacher.softmax(-1)
    if mask is None:
        distribution = distribution.where(teacher > -1e-3, torch.zeros_like(distribution))
        student, teacher = (x if kind == "ce" else x.where(x > -1e-3, torch.zeros_like(x)) for x in (student, teacher))
        mask = student.new_ones(student.shape[0], student.shape[-1])
    query, key = (x.to(student.dtype).expand_as(student) for x in (mask[:, None, :, None], mask[:, None, None, :]))
    if kind == "ce":
        cross = -(distribution * student.log_softmax(-1) * key).sum(-1)
        return (cross * query[..., 0]).sum() / query[..., 0].sum()
    pairs = query * key
    return ((student - teacher).square() * pairs).sum() / pairs.sum()


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, L) over the tokens that `mask` (B, L) marks."""
    weights = mask.to(values.dtype)
    return (values * weights).sum() / weights.sum()
