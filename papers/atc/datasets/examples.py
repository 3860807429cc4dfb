"""Raw items of the three kinds of tasks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["classification", "span", "generation"]


@dataclass(frozen=True)
class Text:
    """A text with its class, from 0."""

    text: str
    label: int

    @property
    def source(self) -> str:
        """Text of the Assign stage."""
        return self.text


@dataclass(frozen=True)
class Question:
    """A question, its context, and the answers: the first one begins at character ``start`` of the context."""

    question: str
    context: str
    answers: tuple[str, ...]
    start: int

    @property
    def source(self) -> str:
        return f"{self.question.rstrip('.')}. {self.context}"


@dataclass(frozen=True)
class Pair:
    """A source text and the text that is to be written."""

    source: str
    target: str


Example = Text | Question | Pair
Examples = Iterator[Example]
SEPARATOR = " [SEP] "
