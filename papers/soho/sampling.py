"""Training samples: an image with some of its captions or questions, and how samples become a batch."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .data import Captions, Texts
from .datasets.images import Image, batch
from .datasets.texts import Text, by_images
from .losses import IGNORED
from .model import Images
from .wordpiece import Vocabulary, mask_words

OTHER = 0.5  # probability that a caption is one of another image


class Pairs:
    """An image with n of its captions, each replaced by one of another image half of the time.

    Args:
        mask: share of words that are masked; 0 for retrieval.
    """

    def __init__(self, found: Captions, vocabulary: Vocabulary, *, texts: int, length: int, mask: float) -> None:
        self.source, self.vocabulary, self.texts, self.mask = found.source, vocabulary, texts, mask
        self.words = [vocabulary.encode(captions, length).numpy() for captions in found.captions]

    def __len__(self) -> int:
        return len(self.words)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``images``, ``words`` and ``word_labels`` (n, L), ``match`` (n,): 1 for a caption of the image."""
        own = self.words[index]
        order = rng.permutation(len(own)) if len(own) >= self.texts else rng.integers(len(own), size=self.texts)
        words = own[order[: self.texts]].copy()
        match = rng.random(self.texts) >= OTHER
        for k in np.flatnonzero(~match):
            other = (index + rng.integers(1, len(self.words))) % len(self.words)
            words[k] = self.words[other][rng.integers(len(self.words[other]))]
        labels = np.full_like(words, IGNORED)
        if self.mask:
            words, labels = mask_words(words, self.vocabulary, self.mask, rng)
        return {
            "images": [self.source.image(index, rng)],
            "words": torch.from_numpy(words),
            "word_labels": torch.from_numpy(labels),
            "match": torch.from_numpy(match.astype(np.int64)),
            "name": f"image {index}",
        }


class Questions:
    """An image, or two, with n of the texts about it and the scores of the answers."""

    def __init__(
        self, found: Texts, classes: Sequence[str], vocabulary: Vocabulary, *, texts: int, length: int
    ) -> None:
        self.source, self.texts, self.classes = found.source, texts, classes
        known = set(classes)
        self.groups = by_images([text for text in found.texts if known & text.scores.keys()])
        self.words = [vocabulary.encode([x.text for x in group], length).numpy() for group in self.groups]

    def __len__(self) -> int:
        return len(self.groups)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``images``, ``words`` (n, L), ``target`` (n, A)."""
        group = self.groups[index]
        several = len(group) >= self.texts
        chosen = rng.permutation(len(group))[: self.texts] if several else rng.integers(len(group), size=self.texts)
        return {
            "images": [self.source.image(k, rng) for k in group[0].images],
            "words": torch.from_numpy(self.words[index][chosen]),
            "target": targets([group[k] for k in chosen], self.classes),
            "name": f"images {group[0].images}",
        }


def targets(texts: Sequence[Text], classes: Sequence[str]) -> Tensor:
    """Scores of the classes (N, A)."""
    return torch.tensor([[text.scores.get(name, 0.0) for name in classes] for text in texts])


class Sampled(Protocol):
    """A dataset of samples as above."""

    def __len__(self) -> int: ...

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]: ...


class OneOrientation:
    """Groups of samples whose photographs are all wide, or all tall, so that a batch is padded little.

    The members of a group are drawn at random; its first one decides on the orientation.
    """

    def __init__(self, dataset: Sampled, size: int) -> None:
        self.dataset, self.size = dataset, size

    def __len__(self) -> int:
        return len(self.dataset) // self.size

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``group``, the samples."""
        group = [self.dataset.sample(int(rng.integers(len(self.dataset))), rng)]
        while len(group) < self.size:
            another = self.dataset.sample(int(rng.integers(len(self.dataset))), rng)
            if wide(another["images"][0]) == wide(group[0]["images"][0]):
                group.append(another)
        return {"group": group}


def wide(image: Image) -> bool:
    """Whether an image is wider than high."""
    return image.pixels.shape[-1] > image.pixels.shape[-2]


def collate(samples: Sequence[dict[str, Any]], most_boxes: int) -> dict[str, Any]:
    """A batch of samples, or of groups of them.

    Returns: ``pixels``, ``valid``, ``boxes`` and ``real`` of the images, one after another; ``words`` and labels of all
        texts; ``of`` (R, k), the images of each text; ``name``, a list.
    """
    samples = [x for sample in samples for x in sample.get("group", [sample])]
    images = [image for sample in samples for image in sample["images"]]
    found: dict[str, Any] = dict(batch(images, most_boxes))
    for key in ("words", "word_labels", "match", "target"):
        if key in samples[0]:
            found[key] = torch.cat([sample[key] for sample in samples])
    count, each = len(samples[0]["images"]), len(samples[0]["words"])
    found["of"] = torch.arange(len(images)).view(-1, count).repeat_interleave(each, 0)
    length = int((found["words"] != 0).sum(1).max())  # columns of nothing but padding cost time
    for key in ("words", "word_labels"):
        if key in found:
            found[key] = found[key][:, :length]
    found["name"] = [sample["name"] for sample in samples]
    return found


def images(found: dict[str, Any], blind: bool = False) -> Images:
    """The images of a batch; blank ones, without boxes, for the control that sees the text alone."""
    pixels, real = found["pixels"], found.get("real")
    return Images(torch.zeros_like(pixels) if blind else pixels, found["valid"], found.get("boxes"), real)
