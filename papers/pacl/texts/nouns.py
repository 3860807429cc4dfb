"""Nouns of a caption, found with the embedded lexicon, or with spaCy where it is installed."""

import importlib
import re
from functools import cache
from typing import Any

from shared import UserError

from ..config import Parser
from .lexicon import load_lexicon

# Words that end a noun phrase; after those in DETERMINERS any word that may be a noun is taken for one.
_DETERMINERS = "a an the this that these those some any each every no my your his her its our their of"
_BREAKS = (
    "and or but with without in on at to from by for into onto over under above below behind beside near between "
    "through across around against along as than is are was were be been being has have had it he she they we you i "
    "there here who which what while when where not very too also just only "
    "show shows showing depict depicts depicting feature features featuring"
)
# They name the caption's frame, not what the picture shows.
_FRAME = "photo photograph picture image view shot close-up closeup snapshot front side background"
DETERMINERS, FRAME = frozenset(_DETERMINERS.split()), frozenset(_FRAME.split())
BREAKS = DETERMINERS | frozenset(_BREAKS.split())
LONGEST = 4  # words of an entry of the lexicon


def nouns(caption: str, parser: Parser = "lexicon") -> list[str]:
    """Singular nouns of a caption, each once, in the order in which they stand there.

    With the lexicon the longest entry wins ("fire hydrant"), of nouns in a row the last one ("emperor tamarin" gives
    "tamarin"), and a word that more often is no noun counts only at the end of a phrase that a determiner opens ("a
    duck").

    Args:
        parser: "spacy" takes the nouns and compounds of spaCy's small English model.

    Raises:
        UserError: if spaCy or its model is asked for and not installed.
    """
    found = _spacy_nouns(caption) if parser == "spacy" else _lexicon_nouns(caption)
    return [noun for noun in dict.fromkeys(found) if noun not in FRAME and len(noun) > 1]


def _lexicon_nouns(caption: str) -> list[str]:
    found = []
    for phrase, determined in _phrases(caption):
        heads: list[str] = []
        end, followed = len(phrase), False  # by a noun, which makes this one a part of its name
        while end > 0:
            noun, length = _longest(phrase, end, determined)
            if noun is not None and not followed:
                heads.insert(0, noun)
            end, followed = end - length, noun is not None
        found += heads
    return found


def _phrases(caption: str) -> list[tuple[list[str], bool]]:
    """Stretches of words between function words and punctuation, and whether a determiner opens each."""
    phrases: list[tuple[list[str], bool]] = [([], False)]
    for word in re.findall(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]", caption.lower()):
        if word in BREAKS or not word[0].isalnum():
            phrases.append(([], word in DETERMINERS))
        else:
            phrases[-1][0].append(word)
    return [phrase for phrase in phrases if phrase[0]]


def _longest(phrase: list[str], end: int, determined: bool) -> tuple[str | None, int]:
    """The longest noun that ends before a word, and how many words it takes; (None, 1) if there is none."""
    lexicon = load_lexicon()
    for length in range(min(LONGEST, end), 0, -1):
        words = phrase[end - length : end]
        lemma = lexicon.singular(" ".join(words))
        participle = length == 1 and end > 1 and words[0].endswith("ing")  # "a man riding"
        if lemma is not None and not participle and (lemma in lexicon.nouns or (determined and end == len(phrase))):
            return lemma, length
    return None, 1


def _spacy_nouns(caption: str) -> list[str]:
    found, compound = [], []
    for token in _spacy_model()(caption):
        if token.dep_ == "compound":
            compound.append(token.text.lower())
        elif token.pos_ in ("NOUN", "PROPN"):
            found.append(" ".join([*compound, token.lemma_.lower()]))
            compound = []
        else:
            compound = []
    return found


@cache
def _spacy_model() -> Any:
    try:
        return importlib.import_module("spacy").load("en_core_web_sm")  # not among the requirements
    except (ImportError, OSError):
        raise UserError(
            "The parser 'spacy' needs spaCy and its small English model: pip install spacy, then "
            "python -m spacy download en_core_web_sm. The parser 'lexicon' needs neither."
        ) from None
