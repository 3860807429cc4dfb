"""Losses of the tasks, and the contrastive loss between a client's projections and those of its neighbours."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def span_loss(start_logits: Tensor, end_logits: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Mean cross-entropy of the first and the last position of an answer.

    Args:
        start_logits, end_logits: (B, S).
        starts, ends: (B,) int64; a position outside the window, 0..S-1, is left out of the mean.
    """
    outside = start_logits.shape[1]
    losses = [
        F.cross_entropy(logits, positions.clamp(0, outside), ignore_index=outside)
        for logits, positions in ((start_logits, starts), (end_logits, ends))
    ]
    return torch.stack(losses).mean()


def label_smoothed_loss(logits: Tensor, targets: Tensor, smoothing: float, pad: int) -> Tensor:
    """KL(q || p) a target that is not padding, with 1 - smoothing on the target and none on the padding.

    The rest of q is spread evenly over the V - 2 other entries, so the loss holds the entropy of q as a constant.

    Args:
        logits: (N, V).
        targets: (N,) int64.
        smoothing: share of q that is not on the target.
        pad: entry of the vocabulary that pads.
    """
    others = smoothing / (logits.shape[1] - 2)
    log_p = logits.log_softmax(-1)
    kept = targets != pad
    at_target = log_p.gather(1, targets[:, None])[:, 0]
    elsewhere = log_p.sum(1) - at_target - log_p[:, pad]
    entropy = (1 - smoothing) * torch.tensor(1 - smoothing).log() + smoothing * torch.tensor(others).clamp(1e-30).log()
    divergence = entropy.to(logits) - (1 - smoothing) * at_target - others * elsewhere
    return divergence[kept].sum() / kept.sum().clamp(min=1)


def contrastive_loss(z: Tensor, positives: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """-log of the share of a client's neighbours among its neighbours and the clients that are none.

    The mean of the neighbours' projections is one positive; each other client is one negative.

    Args:
        z: (B, D) projections of the client, with gradient.
        positives: (P, B, D) projections of the same items by its neighbours, as constants; P is at least 1.
        negatives: (R, B, D) projections by the others; without any the loss is 0.
        temperature: tau, above 0.
    """
    candidates = torch.cat([positives.mean(0, keepdim=True), negatives])
    similar = F.cosine_similarity(z[None], candidates, dim=-1) / temperature  # (1 + R, B)
    return (similar.logsumexp(0) - similar[0]).mean()


def contrasted(
    client: int, nearest: Sequence[int], neighbours: Sequence[int], present: Sequence[int], most: int
) -> tuple[list[int], list[int]]:
    """Clients that are positives and negatives of one client's contrastive loss.

    Args:
        client: number of the client.
        nearest: all clients from the nearest to the farthest, by their last updates.
        neighbours: those whose updates the client receives, itself included.
        present: clients whose projections are at hand.
        most: positives at most, the nearest first, and negatives at most, the farthest first.
    """
    there = [j for j in nearest if j in present and j != client]
    positives = [j for j in there if j in neighbours][:most]
    negatives = [j for j in there if j not in neighbours][-most:]
    return positives, negatives
