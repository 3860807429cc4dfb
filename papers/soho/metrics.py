"""Scores of the tasks, and of the dictionary."""

import torch
from torch import Tensor

TOP = (1, 5, 10)


def soft_score(logits: Tensor, target: Tensor) -> Tensor:
    """VQA's score of each question (B,): the soft target of the answer with the largest logit (B, A)."""
    return target.gather(1, logits.argmax(1, keepdim=True))[:, 0]


def recalls(scores: Tensor, image_of: Tensor) -> dict[str, float]:
    """Recall in percent of images (N) and their texts (M) by a matrix of scores (N, M).

    Args:
        image_of: (M,) int64, the image of each text.

    Returns:
        ``tr1_percent`` and so on, text retrieval: an image counts if any of its texts is among the first k; and
        ``ir1_percent`` and so on, image retrieval: a text counts if its image is. Others of the same score
        stand before the right one.
    """
    own = image_of == torch.arange(len(scores))[:, None]
    best_text = scores.masked_fill(~own, -torch.inf).amax(1)
    text_rank = ((scores >= best_text[:, None]) & ~own).sum(1)
    own_image = scores[image_of, torch.arange(scores.shape[1])]
    image_rank = ((scores >= own_image) & ~own).sum(0)
    by_direction = (("tr", text_rank), ("ir", image_rank))
    return {f"{name}{k}_percent": 100 * (rank < k).float().mean().item() for name, rank in by_direction for k in TOP}


def ranks(scores: Tensor) -> dict[int, float]:
    """Recall in percent of queries with scores (Q, C), the right candidate first: {1: ..., 5: ..., 10: ...}.

    A candidate of the same score stands before the right one.
    """
    rank = (scores[:, 1:] >= scores[:, :1]).sum(1)
    return {k: 100 * (rank < k).float().mean().item() for k in TOP}


def fold_recalls(scores: Tensor, image_of: Tensor, folds: int) -> dict[str, float]:
    """The mean of `recalls` over folds of consecutive images: COCO's 1k protocol has 5, its 5k protocol 1."""
    size = len(scores) // folds
    found = []
    for k in range(folds):
        images = torch.arange(k * size, (k + 1) * size)
        texts = (image_of >= images[0]) & (image_of <= images[-1])
        found.append(recalls(scores[images][:, texts], image_of[texts] - images[0]))
    return {name: sum(fold[name] for fold in found) / folds for name in found[0]}


def perplexity(index: Tensor, codes: int) -> float:
    """exp of the entropy of the codes' frequencies: the number of codes if all are equally frequent."""
    share = torch.bincount(index.flatten(), minlength=codes) / index.numel()
    return float(torch.special.entr(share).sum().exp())


def purity(index: Tensor, content: Tensor, classes: int, codes: int) -> float:
    """Share of positions that show what is most frequent among the positions of their code (majority class).

    Args:
        index, content: int64 of the same shape: code, and class of what the position shows.
    """
    table = torch.zeros(codes, classes, dtype=torch.int64)
    table.index_put_((index.flatten(), content.flatten()), torch.ones(index.numel(), dtype=torch.int64), True)
    return float(table.amax(1).sum() / index.numel())


def normalised_information(index: Tensor, content: Tensor, classes: int, codes: int) -> float:
    """Mutual information of code and content as a share of the content's entropy, in [0, 1]; see `purity`."""
    joint = torch.zeros(codes, classes, dtype=torch.float64)
    joint.index_put_((index.flatten(), content.flatten()), torch.ones(index.numel(), dtype=torch.float64), True)
    joint /= joint.sum()
    of_content, of_code = torch.special.entr(joint.sum(0)).sum(), torch.special.entr(joint.sum(1)).sum()
    return float((of_content + of_code - torch.special.entr(joint).sum()) / of_content)
