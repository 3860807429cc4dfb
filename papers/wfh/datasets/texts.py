"""Texts with labels about images: what every labelled dataset is read into."""

from dataclasses import dataclass
from typing import Generic, TypeVar

Image = TypeVar("Image", int, str)


@dataclass(frozen=True)
class Text(Generic[Image]):
    """A question, statement or hypothesis about one image or two.

    Attributes:
        images: names of the images, or their numbers.
        scores: of each answer, in [0, 1].
    """

    images: tuple[Image, ...]
    text: str
    scores: dict[str, float]
