"""A video as CLIPSep sees it: a sound, the embeddings of its frames, a label."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# The official evaluation's prompt ensemble, the repeated entry included; embeddings are averaged without normalising.
PROMPTS = (
    "a photo of {}.",
    "a photo of the small {}.",
    "a photo of the small {}.",
    "a low resolution photo of a {}.",
    "a photo of many {}.",
)
TRAINING_PROMPT = "a photo of {}"  # CLIPSep-Text
QUERY_NORM = 10.0  # about that of CLIP's embeddings


@dataclass(frozen=True)
class Clip:
    """One video."""

    name: str
    label: int
    wave: Callable[[], Tensor]
    """Reads the sound: float32 (N,) in [-1, 1] at the configuration's rate."""
    frames: Tensor
    """Un-normalised image embeddings (F, D), one a frame."""
    frames_per_second: float

    def image_query(self, frame: int) -> Tensor:
        """Mean embedding (D,) of a frame (counted from 1) and its two neighbours."""
        return self.frames[max(frame - 2, 0) : frame + 1].mean(0)


@dataclass(frozen=True)
class Pair:
    """One test mixture: what to separate, from what."""

    target: Clip
    interferer: Clip

    @property
    def image(self) -> Tensor:
        """The target's image query (D,), of its middle frames."""
        return self.target.image_query(len(self.target.frames) // 2)

    @property
    def swapped(self) -> "Pair":
        """The same mixture with the interferer as what to separate."""
        return Pair(self.interferer, self.target)


def interference_index(item: int, n_interferers: int) -> int:
    """Interferer that the official evaluation mixes with test item ``item`` (0-based): one seeded draw an item."""
    return random.Random(item).randint(0, n_interferers - 1)


def scaled_as_queries(sentence: Tensor) -> Tensor:
    """Sentence embeddings (n_labels, D) without their mean over the labels, each of norm 10.

    CLIP's embeddings have a norm of about 10, which decides where the sigmoid of the projection operates. Sentence
    embeddings have a norm of 1 and a direction in common; as they are, BERTSep would be no fair baseline.
    """
    return QUERY_NORM * F.normalize(sentence - sentence.mean(0), dim=-1)


@dataclass(frozen=True)
class Queries:
    """Text embeddings of every label, (n_labels, D) each."""

    labels: list[str]
    text: Tensor
    """Prompt ensemble, for evaluation."""
    training_text: Tensor
    """One prompt, for CLIPSep-Text and -Hybrid."""
    sentence: Tensor
    """Embeddings of a text-only encoder, for BERTSep; see :func:`scaled_as_queries`."""

    def __len__(self) -> int:
        return len(self.labels)

    def shuffled(self) -> Tensor:
        """The evaluation texts, each given to another label: the control for text queries."""
        generator = torch.Generator().manual_seed(0)
        cycle = torch.randperm(len(self), generator=generator)
        other = torch.empty_like(cycle)
        other[cycle] = cycle.roll(1)  # one cycle through all labels leaves none in place
        return self.text[other]
