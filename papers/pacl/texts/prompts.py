"""Prompts around nouns and class names, and the one text an image that a training step sees."""

import numpy as np

from ..config import Parser
from .nouns import nouns

# Those of the paper's appendix A.2.2, as orensul/PACL-reproduction quotes it (unverified); CLIP and another third party
# have "a {} in a video game."
PACL_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "{} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


def noun_prompt(caption: str, rng: np.random.Generator, parser: Parser = "lexicon") -> str | None:
    """One noun of the caption in one of the seven prompts, or None if it has no noun."""
    found = nouns(caption, parser)
    if not found:
        return None
    noun = found[int(rng.integers(len(found)))]
    return PACL_TEMPLATES[int(rng.integers(len(PACL_TEMPLATES)))].format(noun)


def training_text(caption: str, rng: np.random.Generator, probability: float, parser: Parser = "lexicon") -> str:
    """The caption or, with ``probability``, a noun prompt of it: one text an image a step.

    Both are true of the image; in one batch they would be each other's false negatives.
    """
    if rng.random() >= probability:
        return caption
    return noun_prompt(caption, rng, parser) or caption
