"""Losses: cross-entropy with self-labels, location consistency of pixels and of RoIs, and those of the policies."""

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.losses import all_gather, info_nce, mean_across_processes

IGNORED = 255  # label of a pixel that nothing is known of


def segmentation_loss(logits: Tensor, label: Tensor, class_weights: Tensor) -> Tensor:
    """Weighted cross-entropy over the labelled pixels of all processes; 0 if there is none.

    Args:
        logits: (B, K, h, w). label: (B, h, w) classes or `IGNORED`. class_weights: (K,).
    """
    total = F.cross_entropy(logits.float(), label, class_weights, ignore_index=IGNORED, reduction="sum")
    known = label != IGNORED
    weight = (class_weights[torch.where(known, label, 0)] * known).sum()
    return total / mean_across_processes(weight).clamp(min=1e-6)


def location_consistency(
    first: Tensor,
    second: Tensor,
    place: Tensor,
    label: Tensor,
    house: Tensor,
    *,
    temperature: float = 0.1,
    apart: float = 0.4,
    exclude_same_label: bool = True,
    gather: bool = False,
) -> Tensor:
    """Symmetric InfoNCE of places that two frames see: the pixel form of location consistency.

    The other places are negatives, but for near ones, and those that may be of the same object class.

    Args:
        first, second: (N, D) embeddings of N places in the first and in the second frame of their pair.
        place: (N, 3) metres. house: (N,) places of different houses are never near; a negative house is padding,
            which is neither a query nor a negative.
        label: (N,) self-label of the place, `IGNORED` if it has none.
        apart: metres between places that are each other's negatives, at least.
        exclude_same_label: leave out negatives of the same self-label.
        gather: compare with the places of all processes, of which each has N.
    """
    gathered = all_gather if gather else lambda x: x
    other_place, other_label, other_house = gathered(place), gathered(label), gathered(house)
    real = house >= 0
    own = _own(first, gathered)
    near = (torch.cdist(place, other_place) < apart) & (house[:, None] == other_house)
    negatives = ~near & (other_house >= 0)
    if exclude_same_label:
        negatives &= (label[:, None] != other_label) | (label[:, None] == IGNORED)
    positives = own & real[:, None]
    negatives &= ~own & real[:, None]
    loss = info_nce(
        first, second, temperature=temperature, positives=positives, negatives=negatives, gather=gather
    ) + info_nce(second, first, temperature=temperature, positives=positives, negatives=negatives, gather=gather)
    return loss / 2


def instance_consistency(
    embedding: Tensor, instance: Tensor, label: Tensor | None = None, *, temperature: float = 0.1, gather: bool = False
) -> Tensor:
    """Supervised contrastive loss of RoIs whose classes are 3-D instances: the RoI form of location consistency.

    Args:
        embedding: (N, D). instance: (N,) unique over houses; a negative number is padding.
        label: (N,) self-labels; other instances of the same label are then no negatives.
        gather: compare with the RoIs of all processes, of which each has N.
    """
    gathered = all_gather if gather else lambda x: x
    other = gathered(instance)
    own = _own(embedding, gathered)
    real = (instance >= 0)[:, None] & (other >= 0)
    positives = (instance[:, None] == other) & ~own & real
    negatives = (instance[:, None] != other) & real
    if label is not None:
        negatives &= label[:, None] != gathered(label)
    return info_nce(
        embedding, embedding, temperature=temperature, positives=positives, negatives=negatives, gather=gather
    )


def _own(x: Tensor, gathered: object) -> Tensor:
    """(N, processes * N): the pairs of a row and itself."""
    number = torch.arange(len(x), device=x.device)
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    whole = number[:0].new_zeros(len(gathered(number)))  # type: ignore[operator]
    offset = rank * len(x) if len(whole) > len(x) else 0
    return (number + offset)[:, None] == torch.arange(len(whole), device=x.device)


def triplet_loss(embedding: Tensor, instance: Tensor, margin: float = 0.3, *, hard: bool = True) -> Tensor:
    """Triplet loss of RoIs by instance: the form that Look Around And Learn has.

    Args:
        embedding: (N, D), compared by Euclidean distance. instance: (N,).
        hard: the farthest positive and the nearest negative of each anchor; else the mean over all triplets that
            violate the margin.

    Returns: 0 if there is no RoI, or one instance alone.
    """
    if not len(instance):
        return embedding.sum()
    square = (embedding[:, None] - embedding).square().sum(-1)
    distance = torch.where(square > 0, square.clamp(min=1e-16).sqrt(), square)
    same = instance[:, None] == instance
    positive = same & ~torch.eye(len(instance), dtype=torch.bool, device=instance.device)
    if hard:
        farthest = torch.where(positive, distance, 0).amax(1)
        nearest = torch.where(same, torch.inf, distance).amin(1)
        return F.relu(farthest - nearest + margin).mean()
    violation = F.relu(distance[:, :, None] - distance[:, None] + margin)
    triplets = violation[positive[:, :, None] & ~same[:, None]]
    return triplets.sum() / (triplets > 1e-16).sum().clamp(min=1)


def potential_loss(objects: Tensor, area: Tensor, target: Tensor, target_area: Tensor, known: Tensor) -> Tensor:
    """PONI's loss: squared error of the object potentials over cells with any label, and of the area potential.

    Args:
        objects, target: (B, C, M, M). area, target_area: (B, M, M). known: (B, M, M) cells of the complete map that
            are floor, wall or object.
    """
    error = (objects - target).square() * known[:, None]
    by_class = error.sum((0, 2, 3)) / mean_across_processes(known.sum().float()).clamp(min=1)
    return by_class.mean() + (area - target_area).square().mean()
