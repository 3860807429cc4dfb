"""Samples of both corpora and of downstream tasks, and how they become batches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.loading import Batches

from ..config import Config
from ..data import Captions, Corpora, Texts
from ..datasets.regions import Images, Regions
from ..model import Inputs
from .masking import IGNORED, mask_regions, mask_tags, mask_words, tag_pieces, whole_words
from .text import Vocabulary, phrase_pieces

PADDING = {"word_labels": IGNORED, "tag_labels": IGNORED, "owner": -1}
"""Fill values for the ends of shorter samples; 0 for all others."""
Sample = dict[str, Any]
IMAGE = ("features", "regions_mask", "boxes", "tags", "tags_mask", "tags_boxes")
"""The part of a batch that a network sees of an image."""


class Encoder:
    """Images and texts as the arrays of a sample.

    Args:
        names: of the detector's objects and attributes.
    """

    def __init__(self, config: Config, vocabulary: Vocabulary, names: tuple[Sequence[str], Sequence[str]]) -> None:
        self.config, self.vocabulary = config, vocabulary
        self.objects, self.attributes = (phrase_pieces(vocabulary, kind) for kind in names)
        self.comma = vocabulary.split(",")

    def image(self, x: Regions) -> Sample:
        """Regions and tags as they are seen after pre-training: nothing is masked, tags name objects."""
        pieces = [self.objects[k] for k in x.objects.tolist()]
        tags = np.array([piece for tag in pieces for piece in tag], np.int64)
        owners = np.repeat(np.arange(len(pieces)), [len(tag) for tag in pieces])
        return self._image(x, x.features, tags, owners)

    def masked_image(self, x: Regions, rng: np.random.Generator) -> Sample:
        """Regions and tags for pre-training, masked together, with what is to be predicted.

        Returns: also the tags in random order as a sentence, for the hallucinator: ``sentence`` (S,), and the region of
            each of its pieces, ``owner`` (S,).
        """
        config, count = self.config, len(x.features)
        features, predicted, replaced = mask_regions(x.features, rng.random(count), config.mask_rate)
        pieces = tag_pieces(
            x.objects, x.attributes, self.objects, self.attributes, rng.random(count), config.attribute_rate
        )
        tags, labels, owners = mask_tags(
            pieces, predicted, rng.random, lambda: int(rng.integers(len(self.vocabulary))), mask=self.vocabulary.mask,
            rate=config.mask_rate, joint_rate=config.joint_mask_rate,
        )  # fmt: skip
        sentence, owner = self._sentence(x, rng)
        return self._image(x, features, tags, owners) | {
            "tag_labels": labels[: config.tag_length],
            "targets": x.features,
            "predicted": predicted,
            "replaced": replaced,
            "replacement": rng.random((count, 2)),
            "objects": x.objects,
            "object_confidence": x.object_confidence,
            "attributes": x.attributes,
            "attribute_confidence": x.attribute_confidence,
            "sentence": sentence,
            "sentence_mask": np.ones(len(sentence), bool),
            "owner": owner,
        }

    def _image(self, x: Regions, features: np.ndarray, tags: np.ndarray, owners: np.ndarray) -> Sample:
        tags, owners = tags[: self.config.tag_length], owners[: self.config.tag_length]
        return {
            "features": features,
            "regions_mask": np.ones(len(features), bool),
            "boxes": x.boxes,
            "tags": tags,
            "tags_mask": np.ones(len(tags), bool),
            "tags_boxes": x.boxes[owners],
        }

    def _sentence(self, x: Regions, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        words, owner = [self.vocabulary.cls], [-1]
        for place, region in enumerate(rng.permutation(len(x.objects)).tolist()):
            tag = self.objects[x.objects[region]]
            between = self.comma if place else []
            words += [*between, *tag]
            owner += [*(-1 for _ in between), *(region for _ in tag)]
        most = self.config.passage_length
        return np.array(words[:most], np.int64), np.array(owner[:most], np.int64)

    def caption(self, text: str) -> np.ndarray:
        """[CLS], the word pieces, [SEP]."""
        return self.vocabulary.encode(self.vocabulary.split(text), length=self.config.length)

    def words(self, words: np.ndarray) -> Sample:
        return {"words": words, "words_mask": np.ones(len(words), bool)}

    def masked_words(self, words: np.ndarray, whole: bool, rng: np.random.Generator) -> Sample:
        """Words as they are, and masked, with what is to be predicted."""
        uniforms, other = rng.random(len(words)), rng.integers(len(self.vocabulary), size=len(words))
        if whole:
            uniforms = whole_words(uniforms, self.vocabulary.continues[words])
        uniforms[(words == self.vocabulary.cls) | (words == self.vocabulary.sep)] = 1
        masked, labels = mask_words(words, uniforms, other, self.vocabulary.mask, self.config.mask_rate)
        return self.words(words) | {"masked_words": masked, "word_labels": labels}


# -- pre-training -----------------------------------------------------------------------------------------------------


class ImagesAlone:
    """The image-only corpus: tags and regions, no text."""

    def __init__(self, images: Images, encoder: Encoder) -> None:
        self.images, self.encoder = images, encoder

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        return {"name": f"image {index}"} | self.encoder.masked_image(self.images[index], rng)


class CaptionsAlone:
    """The text-only corpus of captions; ``match`` adds a second caption, as often of the same image as of another."""

    def __init__(self, captions: Sequence[Sequence[str]], encoder: Encoder, match: bool) -> None:
        self.captions, self.encoder, self.match = captions, encoder, match
        self.which = [(group, k) for group, texts in enumerate(captions) for k in range(len(texts))]

    def __len__(self) -> int:
        return len(self.which)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        group, k = self.which[index]
        config, words = self.encoder.config, self.encoder.caption(self.captions[group][k])
        found: Sample = {"name": f"caption {index}", "group": np.array(group)}
        if self.match:
            match = int(rng.integers(2))
            texts = [self.captions[group][k], _follower(self.captions, group, k, match, rng)]
            pieces = [self.encoder.vocabulary.split(text) for text in texts]
            words = self.encoder.vocabulary.encode(*pieces, length=config.passage_length)
            found["match"] = np.array(match)
        return found | self.encoder.masked_words(words, config.whole_words, rng)


class RunningText:
    """Two segments of running text: the second follows the first, or is of another passage, half and half."""

    def __init__(self, passages: Sequence[Sequence[str]], encoder: Encoder) -> None:
        self.passages, self.encoder = passages, encoder

    def __len__(self) -> int:
        return len(self.passages)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        k = int(rng.integers(len(self.passages[index]) - 1))
        match = int(rng.integers(2))
        texts = [self.passages[index][k], _follower(self.passages, index, k, match, rng)]
        pieces = [self.encoder.vocabulary.split(text) for text in texts]
        words = self.encoder.vocabulary.encode(*pieces, length=self.encoder.config.passage_length)
        found: Sample = {"name": f"passage {index}", "match": np.array(match)}
        return found | self.encoder.masked_words(words, True, rng)


def _follower(texts: Sequence[Sequence[str]], group: int, k: int, match: int, rng: np.random.Generator) -> str:
    """The text after number k of a group, in a circle; or one of another group."""
    if match or len(texts) == 1:
        return texts[group][(k + 1) % len(texts[group])]
    other = texts[(group + int(rng.integers(1, len(texts)))) % len(texts)]
    return other[int(rng.integers(len(other)))]


class AlignedPairs:
    """Images with one of their own captions (paired pre-training)."""

    def __init__(self, pairs: Captions, encoder: Encoder) -> None:
        self.pairs, self.encoder = pairs, encoder

    def __len__(self) -> int:
        return len(self.pairs.images)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        texts = self.pairs.captions[index]
        words = self.encoder.caption(texts[int(rng.integers(len(texts)))])
        found = self.encoder.masked_words(words, self.encoder.config.whole_words, rng)
        return found | self.encoder.masked_image(self.pairs.images[index], rng) | {"name": f"pair {index}"}


Source = ImagesAlone | CaptionsAlone | RunningText | AlignedPairs


def sources(config: Config, corpora: Corpora, encoder: Encoder) -> dict[str, Source]:
    """The corpora that a pre-training sees, by kind."""
    if config.objective == "paired":
        return {"paired": AlignedPairs(corpora.paired, encoder)}
    found: dict[str, Source] = {
        "images": ImagesAlone(corpora.images, encoder),
        "captions": CaptionsAlone(corpora.captions, encoder, config.text_match),
    }
    return found | ({"passages": RunningText(corpora.passages, encoder)} if corpora.passages else {})


class Interleaved:
    """Batches of one corpus each, in a random order in which every corpus has its share."""

    def __init__(self, batches: Mapping[str, Batches], counts: Mapping[str, int], seed: int) -> None:
        self.batches, self.seed = batches, seed
        self.kinds = [kind for kind, count in counts.items() for _ in range(count)]

    def at(self, step: int) -> tuple[str, dict[str, Any]]:
        """Kind and content of the batch of a step; steps are asked for one after the other."""
        epoch, k = divmod(step, len(self.kinds))
        order = np.random.default_rng((self.seed, 3, epoch)).permutation(len(self.kinds))
        kind = self.kinds[order[k]]
        return kind, next(self.batches[kind])

    def state_dict(self) -> dict[str, Any]:
        return {kind: batches.state_dict() for kind, batches in self.batches.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for kind, batches in self.batches.items():
            batches.load_state_dict(state[kind])


# -- downstream tasks -------------------------------------------------------------------------------------------------


class RetrievalPairs:
    """A matching pair, the image with another caption, and the caption with another image."""

    def __init__(self, pairs: Captions, encoder: Encoder) -> None:
        self.pairs, self.encoder = pairs, encoder

    def __len__(self) -> int:
        return len(self.pairs.images)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        other_text, other_image = ((index + int(rng.integers(1, len(self)))) % len(self) for _ in range(2))
        own = self._text(index, rng)
        rows = [
            self.encoder.image(self.pairs.images[index]) | own,
            self.encoder.image(self.pairs.images[index]) | self._text(other_text, rng),
            self.encoder.image(self.pairs.images[other_image]) | own,
        ]
        return {"name": f"pair {index}", "rows": rows, "target": np.array([1, 0, 0])}

    def _text(self, index: int, rng: np.random.Generator) -> Sample:
        texts = self.pairs.captions[index]
        return self.encoder.words(self.encoder.caption(texts[int(rng.integers(len(texts)))]))


class LabelledTexts:
    """Questions, statements or hypotheses, with the score of each answer."""

    def __init__(self, found: Texts, answers: Sequence[str], encoder: Encoder) -> None:
        self.found, self.encoder = found, encoder
        self.number = {answer: k for k, answer in enumerate(answers)}

    def __len__(self) -> int:
        return len(self.found.texts)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        text = self.found.texts[index]
        words = self.encoder.words(self.encoder.caption(text.text))
        target = np.zeros((1, len(self.number)), np.float32)
        for answer, score in text.scores.items():
            if answer in self.number:
                target[0, self.number[answer]] = score
        rows = [self.encoder.image(self.found.images[k]) | words for k in text.images]
        return {"name": f"text {index}", "rows": rows, "target": target}


# -- batches ----------------------------------------------------------------------------------------------------------


def pad(rows: Sequence[Sample]) -> dict[str, Tensor]:
    """Stack arrays, (N, ...) each; those that differ in length are padded at the end."""
    found = {}
    for key, first in rows[0].items():
        tensors = [torch.as_tensor(row[key]) for row in rows]
        if first.ndim:
            found[key] = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=PADDING.get(key, 0))
        else:
            found[key] = torch.stack(tensors)
    return found


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """A batch of pre-training; masked regions that show another image's feature get it here."""
    for k, sample in enumerate(samples):
        for region in np.flatnonzero(sample.get("replaced", ())):
            which, where = sample["replacement"][region]
            other = samples[(k + 1 + int(which * (len(samples) - 1))) % len(samples)]["targets"]
            sample["features"][region] = other[int(where * len(other))]
    kept = [
        {key: x for key, x in sample.items() if key not in ("name", "replaced", "replacement")} for sample in samples
    ]
    return {"name": [sample["name"] for sample in samples], **pad(kept)}


def collate_rows(samples: Sequence[Sample]) -> dict[str, Any]:
    """A batch of a downstream task: the rows of all samples one after the other, and their targets."""
    names = [sample["name"] for sample in samples]
    rows = [row for sample in samples for row in sample["rows"]]
    return {"name": names, **pad(rows), "target": torch.from_numpy(np.concatenate([x["target"] for x in samples]))}


def inputs(batch: Mapping[str, Tensor], words: str | None = "words", image: bool = True) -> Inputs:
    """The tokens of a batch; ``words`` names the words to take, None: none."""
    text = {"words": batch[words], "words_mask": batch["words_mask"]} if words else {}
    return Inputs(**text, **{name: batch[name] for name in (IMAGE if image else ())})


def rows_of(batch: Mapping[str, Tensor], chosen: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Some rows of every tensor of a batch."""
    return ((name, x[chosen]) for name, x in batch.items())
