"""Texts with labels about images: what every downstream dataset is read into."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A question, statement or hypothesis about one image or two.

    Attributes:
        images: numbers of the images.
        scores: of each answer, in [0, 1]; empty where the answer is not published.
        kind: for tables of accuracy by kind.
    """

    images: tuple[int, ...]
    text: str
    scores: dict[str, float]
    kind: str = ""


def by_images(texts: Sequence[Text]) -> list[list[Text]]:
    """The texts in groups with the same images, so that an image is seen once for several of its texts."""
    groups: dict[tuple[int, ...], list[Text]] = defaultdict(list)
    for text in texts:
        groups[text.images].append(text)
    return list(groups.values())
