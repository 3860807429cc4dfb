"""Contrastive losses, one mechanism: per query, the cross-entropy of the softmax over its keys with its positives.

Common to all of them:

* Vectors are L2-normalised here, so a similarity is a cosine; arithmetic is float32 (or float64), under autocast too.
* `gather=True` compares with the samples of every process. Each process then averages over its own rows only, and the
  mean of that over the processes is the loss of one process with the whole batch, in value and, after the averaging
  of gradients by DistributedDataParallel, in gradient. Every process must hold the same number of rows.
* `chunk=n` computes n rows of the similarity matrix at a time and again in the backward pass, so that the whole matrix
  never exists. Value and gradient stay the same.
* A query without positives is left out of the mean. The loss of a batch without any positive is 0.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Rows = Callable[[slice], Tensor]  # what belongs to some of the queries, made when it is needed
ROWS = 512  # of the similarity matrix that are worked on at a time


def all_gather(x: Tensor) -> Tensor:
    """Every process's x (B, ...), in the order of their ranks, (processes * B, ...); gradients flow back to each."""
    return _AllGather.apply(x) if _process_count() > 1 else x


def mean_across_processes(x: Tensor) -> Tensor:
    """Mean of x over the processes, with gradient: for losses that are not linear in a mean over the batch."""
    return all_gather(x[None]).mean(0)


def _process_count() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if _process_count() > 1 else 0


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(_process_count())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process compared its own rows with this one's x, so the gradient of x is the sum of all their gradients.
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(_process_count())[_rank()]


def clip_loss(
    image: Tensor, text: Tensor, logit_scale: Tensor | float, *, gather: bool = False, chunk: int | None = None
) -> Tensor:
    """Symmetric InfoNCE of pairs (Radford et al., 2021, figure 3).

    Without `gather` its rounding error in float32 is some 1e-7 of the scale: next to 0 it may come out below 0.

    Args:
        image, text: (B, D); image i and text i belong together.
        logit_scale: factor of the cosines, 1 / temperature; CLIP learns its logarithm.
    """
    if image.shape != text.shape or image.ndim != 2:
        raise ValueError(
            f"expected image and text of one shape (B, D), found {tuple(image.shape)} and {tuple(text.shape)}"
        )
    if gather:
        image_to_text = info_nce(image, text, temperature=1 / logit_scale, gather=True, chunk=chunk)
        text_to_image = info_nce(text, image, temperature=1 / logit_scale, gather=True, chunk=chunk)
        return (image_to_text + text_to_image) / 2
    with torch.autocast(image.device.type, enabled=False):  # one matrix serves both directions
        image, text = (F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=1) for x in (image, text))
        query = logit_scale * image

        def log_sums(rows: slice) -> tuple[Tensor, Tensor]:
            logits = query[rows] @ text.T
            return logits.logsumexp(1), logits.logsumexp(0)

        parts = _in_chunks(log_sums, len(query), chunk)
        over_texts = torch.cat([of_rows for of_rows, _ in parts])
        over_images = torch.stack([of_columns for _, of_columns in parts]).logsumexp(0)
        return (over_texts + over_images).mean() / 2 - (query * text).sum(1).mean()


def symmetric_info_nce(scores: Tensor, logit_scale: Tensor | float, *, gather: bool = False) -> Tensor:
    """Symmetric InfoNCE of a matrix of scores, for those that are no cosine of two vectors. Nothing is normalised here.

    Args:
        scores: (B, B), entry (i, j) of image i and text j; image i and text i belong together.
        logit_scale: factor of the scores.
        gather: scores are (B, processes * B), this process's images against the texts of all processes in the order of
            `all_gather`.
    """
    processes = _process_count() if gather else 1
    if scores.ndim != 2 or scores.shape[1] != processes * len(scores):
        raise ValueError(f"expected scores (B, {processes} * B), found {tuple(scores.shape)}")
    with torch.autocast(scores.device.type, enabled=False):
        logits = logit_scale * scores.to(torch.promote_types(scores.dtype, torch.float32))
        own = torch.arange(len(scores), device=scores.device) + (_rank() * len(scores) if gather else 0)
        against_images = (all_gather(logits) if gather else logits).T  # (texts, images)
        return (F.cross_entropy(logits, own) + F.cross_entropy(against_images[own], own)) / 2


def info_nce(
    query: Tensor,
    key: Tensor,
    *,
    temperature: Tensor | float,
    positives: Tensor | None = None,
    negatives: Tensor | None = None,
    gather: bool = False,
    chunk: int | None = None,
) -> Tensor:
    """InfoNCE (van den Oord et al., 2018, equation 4) with any number of positives.

    With p(k | q) the softmax over the positives and negatives of q, the loss is -mean over positives of log p(k | q):
    the sum over positives stands outside the logarithm, as in SupCon's L_out. Mean over the queries.

    Args:
        query: (B, D). key: (M, D).
        positives: boolean (B, M); by default key i belongs to query i, and keys beyond B belong to none.
        negatives: boolean (B, M), the pairs to contrast with; by default all that are not positive. A pair in neither
            mask is ignored.
        gather: keys of all processes. Masks then are (B, processes * M), columns in the order of `all_gather(key)`.
    """
    if query.ndim != 2 or key.ndim != 2 or query.shape[1] != key.shape[1]:
        raise ValueError(f"expected query (B, D) and key (M, D), found {tuple(query.shape)} and {tuple(key.shape)}")
    if positives is None and len(key) < len(query):
        raise ValueError(f"{len(query)} queries and {len(key)} keys: without `positives` every query needs its own key")
    own = torch.arange(len(query), device=key.device) + (_rank() * len(key) if gather else 0)
    key = all_gather(key) if gather else key
    for name, mask in (("positives", positives), ("negatives", negatives)):
        if mask is not None and (mask.shape != (len(query), len(key)) or mask.dtype != torch.bool):
            raise ValueError(
                f"expected {name} boolean {(len(query), len(key))}, found {mask.dtype} {tuple(mask.shape)}"
            )
    positive = (own if positives is None else positives).__getitem__
    ignored = None
    if negatives is not None:
        contrasted = negatives.scatter(1, own[:, None], True) if positives is None else negatives | positives
        ignored = (~contrasted).__getitem__
    return _mean_loss(query, key, temperature, positive, ignored, gather, chunk)


def sup_con(
    features: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: Tensor | float,
    gather: bool = False,
    chunk: int | None = None,
) -> Tensor:
    """Supervised contrastive loss L_out (Khosla et al., 2020, equation 2), mean over the anchors.

    Args:
        features: (B, D), or (B, V, D) for V views of each sample. Every view is an anchor.
        labels: (B,) integers; samples of one label, and the views of a sample, are each other's positives. By default
            every sample is its own class.
    """
    features = features.unsqueeze(1) if features.ndim == 2 else features
    if features.ndim != 3 or (labels is not None and labels.shape != features.shape[:1]):
        found = f"{tuple(features.shape)} and {None if labels is None else tuple(labels.shape)}"
        raise ValueError(f"expected features (B, D) or (B, V, D) and labels (B,), found {found}")
    views = features.shape[1]
    query = features.flatten(0, 1)
    key = all_gather(query) if gather else query
    if len(key) < 2:
        raise ValueError(f"one feature vector, {tuple(features.shape)}, has nothing to be compared with")
    columns = torch.arange(len(key), device=key.device)
    own = columns[: len(query)] + (_rank() * len(query) if gather else 0)
    query_label = own // views if labels is None else labels.repeat_interleave(views)
    key_label = all_gather(query_label) if gather else query_label

    def positive(rows: slice) -> Tensor:
        if labels is None and views == 2:
            return own[rows] ^ 1  # the other view
        return (query_label[rows, None] == key_label) & (own[rows, None] != columns)

    return _mean_loss(query, key, temperature, positive, lambda rows: own[rows, None] == columns, gather, chunk)


def nt_xent(
    z1: Tensor, z2: Tensor, *, temperature: Tensor | float, gather: bool = False, chunk: int | None = None
) -> Tensor:
    """SimCLR's loss (Chen et al., 2020, equation 1) of two views (B, D) of the same samples.

    Each of the 2 B vectors is to find its other view among the 2 B - 1 others.
    """
    if z1.shape != z2.shape or z1.ndim != 2:
        raise ValueError(f"expected two views of one shape (B, D), found {tuple(z1.shape)} and {tuple(z2.shape)}")
    return sup_con(torch.stack([z1, z2], dim=1), temperature=temperature, gather=gather, chunk=chunk)


def _mean_loss(
    query: Tensor,
    key: Tensor,
    temperature: Tensor | float,
    positive: Rows,
    ignored: Rows | None,
    gather: bool,
    chunk: int | None,
) -> Tensor:
    """`positive` is the index of a query's only positive, (n,), or a boolean (n, M); `ignored` is boolean (n, M)."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        query = F.normalize(query.to(dtype), dim=-1) / temperature
        key = F.normalize(key.to(dtype), dim=-1)

        def row_losses(rows: slice) -> tuple[Tensor, Tensor]:
            logits = query[rows] @ key.T
            if ignored is not None:  # not -inf, which a weight of 0 would turn into NaN
                logits.masked_fill_(ignored(rows), torch.finfo(dtype).min)
            target = positive(rows)
            if target.dtype != torch.bool:
                return F.cross_entropy(logits, target, reduction="none"), torch.ones_like(target)
            weights = target / target.sum(1, keepdim=True, dtype=dtype).clamp(min=1)
            return F.cross_entropy(logits, weights, reduction="none"), target.any(1)

        parts = _in_chunks(row_losses, len(query), chunk)
        losses, counted = (torch.cat(part) for part in zip(*parts, strict=True))
        count = counted.sum().to(dtype)
        count = mean_across_processes(count) if gather else count
        return losses.sum() / count.clamp(min=torch.finfo(dtype).tiny)


def _in_chunks(
    of_rows: Callable[[slice], tuple[Tensor, Tensor]], count: int, chunk: int | None
) -> list[tuple[Tensor, Tensor]]:
    """`of_rows` of some rows at a time: of `chunk` rows, and again in the backward pass, if it is given.

    Otherwise the matrix is kept, but its derivatives only ever exist for some rows.
    """
    step = ROWS if chunk is None else chunk
    if step < 1:
        raise ValueError(f"expected a chunk of at least 1 row, found {chunk}")
    blocks = [slice(first, first + step) for first in range(0, max(count, 1), step)]
    if chunk is None:
        return [of_rows(rows) for rows in blocks]
    return [checkpoint(of_rows, rows, use_reentrant=False, preserve_rng_state=False) for rows in blocks]
