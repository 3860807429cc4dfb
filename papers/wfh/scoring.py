"""Scores of pairs and of texts, and the ranks of what is searched for: for validation in training, and for testing."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .data import Captions, Texts
from .sampling.samples import Encoder, inputs, pad, rows_of

ROWS = 480  # pairs of an image and a text that are scored together
RANKS = (1, 5, 10)


def pools(count: int, size: int) -> Iterator[range]:
    """Numbers of the images of each pool; the last, smaller one is left out unless it is the only one."""
    size = min(size, count)
    return (range(first, first + size) for first in range(0, count - size + 1, size))


@torch.no_grad()
def pair_scores(
    network: nn.Module, pairs: Captions, pool: range, texts: Sequence[str], encoder: Encoder, device: torch.device
) -> np.ndarray:
    """Log-odds that a text and an image match, (texts, images of the pool)."""
    images = pad([encoder.image(pairs.images[k]) for k in pool])
    words = pad([encoder.words(encoder.caption(text)) for text in texts])
    images, words = ({name: x.to(device) for name, x in part.items()} for part in (images, words))
    number = torch.arange(len(pool) * len(texts), device=device)
    found = []
    for chosen in number.split(ROWS):
        batch = dict(rows_of(words, chosen // len(pool))) | dict(rows_of(images, chosen % len(pool)))
        scores = network(inputs(batch)).float()
        found.append(scores[:, 1] - scores[:, 0])
    return torch.cat(found).view(len(texts), len(pool)).cpu().numpy()


def ranks(scores: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks from 0 on; what has the same score as the right one counts as before it.

    Args:
        scores: (T, I) of texts and images.
        own: (T,) the image of each text.

    Returns:
        rank of the best of an image's own texts among all texts, (I,); rank of each text's image, (T,).
    """
    of_text = scores[np.arange(len(own)), own]
    image_ranks = (scores >= of_text[:, None]).sum(1) - 1
    text_ranks = np.full(scores.shape[1], len(own))
    for text, image in enumerate(own):
        others = own != image
        before = int((scores[others, image] >= of_text[text]).sum())
        text_ranks[image] = min(text_ranks[image], before)
    return text_ranks, image_ranks


def retrieval_ranks(
    network: nn.Module, pairs: Captions, size: int, encoder: Encoder, device: torch.device, texts: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ranks in both directions within each pool, and the numbers of the images they belong to.

    Args:
        size: images of a pool.
        texts: captions of an image that are used, None: all. With one, image k has its caption number k modulo theirs.

    Returns:
        rank of each image's texts, number of that image, rank of each text's image, number of that image.
    """
    network.eval()
    found: list[list[np.ndarray]] = [[], [], [], []]
    for pool in pools(len(pairs.images), size):
        used, own = [], []
        for place, k in enumerate(pool):
            given = pairs.captions[k]
            chosen = [given[k % len(given)]] if texts == 1 else given[:texts]
            used += chosen
            own += [place] * len(chosen)
        text_ranks, image_ranks = ranks(pair_scores(network, pairs, pool, used, encoder, device), np.array(own))
        numbers = np.array(pool)
        for kept, x in zip(found, (text_ranks, numbers, image_ranks, numbers[own]), strict=True):
            kept.append(x)
    a, b, c, d = (np.concatenate(x) for x in found)
    return a, b, c, d


def recalls(text_ranks: np.ndarray, image_ranks: np.ndarray) -> dict[str, float]:
    """Recall at 1, 5 and 10 of texts (tr) and of images (ir), in percent, and their sum."""
    found = {f"{name}{k}_percent": 100 * float((x < k).mean()) for name, x in (("tr", text_ranks), ("ir", image_ranks))
             for k in RANKS}  # fmt: skip
    return found | {"rsum_percent": sum(found.values())}


def chance(images: int) -> float:
    """Sum of the recalls of random ranks in both directions, in percent; a pool of so many images with a text each."""
    return sum(200 * min(1.0, k / images) for k in RANKS)


@torch.no_grad()
def text_scores(
    network: nn.Module, found: Texts, numbers: Sequence[int], encoder: Encoder, device: torch.device
) -> np.ndarray:
    """Scores of the answers to some texts, (N, answers)."""
    network.eval()
    scores: list[Tensor] = []
    for first in range(0, len(numbers), ROWS):
        chosen = [found.texts[k] for k in numbers[first : first + ROWS]]
        rows = [
            encoder.image(found.images[k]) | encoder.words(encoder.caption(text.text))
            for text in chosen
            for k in text.images
        ]
        batch = {name: x.to(device) for name, x in pad(rows).items()}
        scores.append(network(inputs(batch)).float().cpu())
    return torch.cat(scores).numpy()


def accuracy(scores: np.ndarray, found: Texts, numbers: Sequence[int], answers: Sequence[str]) -> float:
    """Mean score of the best answers, in percent; an answer that is no class counts 0."""
    best = scores.argmax(1)
    given = [found.texts[k].scores.get(answers[b], 0.0) for k, b in zip(numbers, best.tolist(), strict=True)]
    return 100 * float(np.mean(given))
