"""The contrastive losses of slices and of regions, and the segmentation losses.

All contrastive losses here are means over directed terms

    l(a -> p) = -log( e^{sim(a,p)} / (e^{sim(a,p)} + sum over negatives n of a of e^{sim(a,n)}) ),  sim = cosine / tau,

so that a term has one positive: other positives of the anchor stand nowhere in it. The official code sums the terms and
divides by a number of rows. Its loss is 2 (G^D-), 4 (G^D) or 1.5 (L^D) times the mean, which Adam does not notice.

Over several processes the caller gathers the vectors first (`shared.losses.all_gather`): every process then computes
the loss of the whole batch, and the average of the processes' gradients is its gradient.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.losses import info_nce, nt_xent

from .regions import Regions

SegmentationLoss = Literal["dice", "dice-foreground", "cross-entropy", "weighted-cross-entropy"]
L_D_VOLUMES = 2  # volumes that L^D compares a volume with: the next ones of the batch
L_D_NEGATIVES = 4  # L^D takes the first four of the five listed negatives, for the sake of memory
BACKGROUND_WEIGHT = 0.1  # of the weighted cross-entropy; the other classes share the rest


# -- stage 1: slices --------------------------------------------------------------------------------------------------


def global_loss_r(z: Tensor, *, temperature: float) -> Tensor:
    """G^R: the two views of a slice are positives, everything else is negative (SimCLR).

    Args:
        z: (B, 2, D), two views of B slices.
    """
    return nt_xent(z[:, 0], z[:, 1], temperature=temperature)


def global_loss_d_minus(z: Tensor, partition: Tensor, *, temperature: float) -> Tensor:
    """G^D-: the versions of a slice are positives; slices of other partitions, whatever their volume, are negatives.

    Args:
        z: (V, 3, S, D): of V volumes S slices as they are, and two views of each.
        partition: (V, S) integers.
    """
    rows = _numbered(z)
    positives = torch.stack([rows.roll(1, 1), rows.roll(2, 1)], dim=3)  # the two other versions
    return _mean_over_pairs(z, partition, positives, temperature)


def global_loss_d(z: Tensor, partition: Tensor, *, temperature: float) -> Tensor:
    """G^D: as G^D-, and slices of the same partition in another volume are positives, too.

    The volumes of the batch form a ring. A slice and its view are a pair twice; the slices of one partition in two
    neighbours on the ring are a pair once, original with original and view with view. All pairs go both ways.

    Args:
        z: (V, 2, S, D): of V volumes S slices as they are, and one view of each.
        partition: (V, S) integers, in the same order for all volumes.
    """
    rows = _numbered(z)
    version = rows.roll(1, 1)
    positives = torch.stack([version, version, rows.roll(-1, 0), rows.roll(1, 0)], dim=3)
    return _mean_over_pairs(z, partition, positives, temperature)


def _numbered(z: Tensor) -> Tensor:
    """The row that every vector of z (..., D) has in z.flatten(0, -2)."""
    return torch.arange(z[..., 0].numel(), device=z.device).view(z.shape[:-1])


def _mean_over_pairs(z: Tensor, partition: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """Mean of l(a -> p) over the anchors of z (V, n, S, D) and their ``positives`` (V, n, S, K), rows of z."""
    label = partition[:, None].expand(z.shape[:-1]).flatten()
    anchor = torch.arange(positives.numel(), device=z.device) // positives.shape[-1]
    z = z.flatten(0, -2)
    return info_nce(
        z[anchor],
        z,
        temperature=temperature,
        positives=F.one_hot(positives.flatten(), len(z)).bool(),
        negatives=(label[:, None] != label)[anchor],
    )


# -- stage 2: regions -------------------------------------------------------------------------------------------------


def local_loss_r(vectors: Tensor, regions: Regions, *, temperature: float) -> Tensor:
    """L^R: a region and the same region in the other view are positives; the listed regions of both are negatives.

    Args:
        vectors: (B, 2, U, D): of two views of B slices, a vector for each of the U corners.
    """
    maps = _numbered(vectors[..., 0, :])  # (B, 2)
    return _mean_over_regions(vectors.flatten(0, 1), maps.flatten(), maps.roll(1, 1).flatten()[:, None], regions, 5,
                              temperature)  # fmt: skip


def local_loss_d(vectors: Tensor, regions: Regions, *, temperature: float) -> Tensor:
    """L^D: positives are the same region in the slice's other view, and in the slices of the next two volumes.

    Only first views are anchors; the slices of other volumes are first views, too.

    Args:
        vectors: (V, 2, S, U, D): of V volumes (three or more), two views of S slices, one of each partition.

    Raises:
        ValueError: if there are too few volumes.
    """
    if len(vectors) <= L_D_VOLUMES:
        raise ValueError(f"expected {L_D_VOLUMES + 1} volumes or more, found {len(vectors)}")
    maps = _numbered(vectors[..., 0, :])  # (V, 2, S)
    first = maps[:, 0]
    others = torch.stack([maps[:, 1], *(first.roll(-k, 0) for k in range(1, L_D_VOLUMES + 1))], dim=2)  # (V, S, 3)
    return _mean_over_regions(vectors.flatten(0, 2), first.flatten(), others.flatten(0, 1), regions, L_D_NEGATIVES,
                              temperature)  # fmt: skip


def _mean_over_regions(
    vectors: Tensor, own: Tensor, others: Tensor, regions: Regions, negatives: int, temperature: float
) -> Tensor:
    """Mean over N maps, their A regions and P positives of l(region in a map -> the same region in another).

    Negatives of a term are the first ``negatives`` listed regions, in both maps.

    Args:
        vectors: (M, U, D), a vector for each corner of M maps.
        own: (N,): maps whose regions are anchors. others: (N, P): maps with their positives.
    """
    maps, corners = vectors.shape[:2]
    keys = vectors.flatten(0, 1)
    anchors, listed = regions.anchors.to(keys.device), regions.negatives[:, :negatives].to(keys.device)
    anchor = own[:, None, None] * corners + anchors[None, :, None]  # (N, A, 1)
    positive = others[:, None, :] * corners + anchors[None, :, None]  # (N, A, P)
    both = torch.stack([own[:, None].expand_as(others), others], dim=2)  # (N, P, 2)
    negative = both[:, None, :, :, None] * corners + listed[None, :, None, None, :]  # (N, A, P, 2, n)
    terms = positive.numel()
    contrasted = torch.zeros(terms, maps * corners, dtype=torch.bool, device=keys.device)
    return info_nce(
        keys[anchor.expand_as(positive).flatten()],
        keys,
        temperature=temperature,
        positives=F.one_hot(positive.flatten(), maps * corners).bool(),
        negatives=contrasted.scatter(1, negative.reshape(terms, -1), True),
    )


# -- stage 3: segmentation --------------------------------------------------------------------------------------------


def dice_scores(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft Dice of every image and class, (B, C), of logits (B, C, H, W) and (soft) one-hot labels of that shape.

    The numerator is not smoothed: a class that an image does not have scores 0, whatever is predicted, and gives no
    gradient.
    """
    probability = logits.float().softmax(1)
    shared = (probability * labels).sum((2, 3))
    return 2 * shared / (probability.sum((2, 3)) + labels.sum((2, 3)) + 1e-10)


def segmentation_loss(logits: Tensor, labels: Tensor, kind: SegmentationLoss = "dice") -> Tensor:
    """Loss of stage 3; `dice`, which counts the background as a class, is the paper's.

    Args:
        logits, labels: (B, C, H, W), labels one-hot or soft; class 0 is the background.
    """
    if kind == "dice":
        return 1 - dice_scores(logits, labels).mean()
    if kind == "dice-foreground":
        return 1 - dice_scores(logits, labels)[:, 1:].mean()
    pixel = F.cross_entropy(logits.float(), labels, reduction="none")
    if kind == "cross-entropy":
        return pixel.mean()
    classes = logits.shape[1]
    weight = torch.full((classes,), (1 - BACKGROUND_WEIGHT) / (classes - 1), device=logits.device)
    weight[0] = BACKGROUND_WEIGHT
    return (pixel * torch.einsum("bchw,c->bhw", labels, weight.to(labels.dtype))).mean()
