"""Corruption of texts for the two tasks of the Assign stage: masked words, and denoising as in BART.

A text is ``[BOS] sentence [EOQ] sentence ... [EOS]``, padded. The functions that corrupt take draws as
arguments, so that they can be checked; `mlm` and `denoise` draw.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Draw = Callable[[int], np.ndarray]
IGNORED = -100  # label of what the loss leaves out
MASKED, REPLACED, RANDOM = 0.15, 0.8, 0.5  # shares of BERT's masking; RANDOM is one of what is not replaced


@dataclass(frozen=True)
class Special:
    """Ids of the vocabulary's special entries."""

    pad: int
    bos: int
    eos: int
    eoq: int
    mask: int
    all: tuple[int, ...]


def mlm(tokens: np.ndarray, special: Special, words: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Texts (B, S) with masked words, and labels (B, S): the masked words, else IGNORED.

    Args:
        words: size of the vocabulary, for replacement by a random word.
    """
    chosen = (rng.random(tokens.shape) < MASKED) & ~np.isin(tokens, special.all)
    replaced = rng.random(tokens.shape) < REPLACED
    at_random = rng.random(tokens.shape) < RANDOM
    return mask_words(tokens, chosen, replaced, at_random, rng.integers(0, words, tokens.shape), special.mask)


def mask_words(
    tokens: np.ndarray,
    chosen: np.ndarray,
    replaced: np.ndarray,
    at_random: np.ndarray,
    words: np.ndarray,
    mask: int,
) -> tuple[np.ndarray, np.ndarray]:
    """``chosen`` positions become [MASK] if ``replaced``, else ``words`` if ``at_random``; labels: the words chosen."""
    corrupted = np.where(chosen & replaced, mask, tokens)
    corrupted = np.where(chosen & ~replaced & at_random, words, corrupted)
    return corrupted, np.where(chosen, tokens, IGNORED)


def denoise(tokens: np.ndarray, special: Special, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Texts (B, S) with their sentences in another order and spans collapsed into one [MASK] each.

    Args:
        ratio: share of the batch's words that are masked.
    """
    orders = [rng.permutation(len(sentences(row, special))) for row in tokens]
    permuted = permute_sentences(tokens, orders, special)
    maskable = ~np.isin(permuted, special.all)
    lengths = span_lengths(int(np.ceil(ratio * maskable.sum())), lambda size: rng.poisson(3.0, size))
    starts = rng.permutation(int(maskable.sum()))[: len(lengths)]
    return mask_spans(permuted, maskable, lengths[: len(starts)], starts, special)


def sentences(row: np.ndarray, special: Special) -> list[np.ndarray]:
    """The sentences of one text, without the marks around them."""
    body = row[row != special.pad][1:-1]
    parts = np.split(body, np.flatnonzero(body == special.eoq))
    return [part[part != special.eoq] for part in parts]


def permute_sentences(tokens: np.ndarray, orders: Sequence[np.ndarray], special: Special) -> np.ndarray:
    """Texts (B, S) whose sentences stand in the given orders."""
    permuted = np.full_like(tokens, special.pad)
    for row, order, out in zip(tokens, orders, permuted, strict=True):
        parts = sentences(row, special)
        words = [np.append(parts[k], special.eoq) for k in order]
        text = np.concatenate([row[:1], *words])
        text[-1] = special.eos
        out[: len(text)] = text
    return permuted


def span_lengths(count: int, poisson: Draw) -> np.ndarray:
    """Lengths of spans that mask about ``count`` words, and one span more; ``poisson(n)`` draws n lengths."""
    if count == 0:
        return np.zeros(0, np.int64)
    lengths = poisson(count)
    while lengths.sum() < count:
        lengths = np.concatenate([lengths, poisson(count)])
    lengths = lengths[lengths > 0]
    return lengths[: np.abs(np.cumsum(lengths) - count).argmin() + 2]


def mask_spans(
    tokens: np.ndarray, maskable: np.ndarray, lengths: np.ndarray, starts: np.ndarray, special: Special
) -> np.ndarray:
    """Texts (B, S) whose spans became one [MASK] each, padded again.

    Args:
        lengths: of the spans; a span ends at the end of its row at the latest and masks no special entry.
        starts: of the spans, as places in the row-major list of ``maskable`` positions.
    """
    masked = np.zeros(tokens.shape, bool)
    places = np.argwhere(maskable)[starts]
    for (row, column), length in zip(places, lengths, strict=True):
        masked[row, column : column + length] = True
    masked &= ~np.isin(tokens, special.all)
    corrupted = np.where(masked, special.mask, tokens)
    repeated = masked & np.roll(masked, 1, axis=1)
    collapsed = np.full_like(tokens, special.pad)
    for row, dropped, out in zip(corrupted, repeated, collapsed, strict=True):
        kept = row[~dropped]
        out[: len(kept)] = kept
    return collapsed
