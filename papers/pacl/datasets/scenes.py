"""Composed scenes: one to three embedded cut-outs on a photograph, with captions that name them.

A concept is a cut-out. *Seen* concepts stand in training scenes, so their test scenes are new only in composition,
place, size, direction and background; *held-out* concepts stand in none, and no training text holds a word of their
names. No background of a test or validation scene is in a training scene. Label maps are for evaluation: :func:`build`
keeps none of training scenes.
"""

import functools
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shared.offline.cutouts import Background, Cutout, load_backgrounds, load_cutouts
from shared.offline.scenes import Scene, compose_scene, with_article
from shared.offline.towers import efficientnet_lite0
from shared.support.progress import track

from ..texts.nouns import nouns

SIZE = 224
CELL = 4  # pixels of a scene to a side of one of its label map
SCALE = (0.35, 0.55)  # size of an object in the scene
OBJECTS = (1, 3)
WORDINGS = 3  # captions of the composer that are taken
HELD_OUT, HELD_OUT_VALIDATION = 60, 30  # concepts
EVERY_BACKGROUND = 4  # every fourth is kept for testing, the one after it for validation
SHOWN = 12  # scenes of a test set whose pixels are kept for figures
SEED = 0
MEAN, STD = 0.5, 0.5  # normalisation of the image tower


@dataclass(frozen=True)
class Split:
    """Cut-outs and backgrounds that may appear in the scenes of a split, and the number of scenes."""

    stamps: list[Cutout]
    backgrounds: list[Background]
    count: int
    objects: tuple[int, int] = OBJECTS

    @property
    def names(self) -> list[str]:
        return [stamp.label for stamp in self.stamps]


@functools.cache
def splits(train: int, test: int) -> dict[str, Split]:
    """The splits by name, with ``train`` and ``test`` scenes.

    ``single_*`` have one object each, every concept in turn, for image-level classification. Validation scenes have
    the seen concepts or held-out ones of their own, so that no setting is chosen on a tested scene or held-out concept.
    A held-out concept, tested or not, has a name with a noun, and shares no word with any other name or kind.
    """
    stamps, places = load_cutouts(), load_backgrounds("monument")
    order = np.random.default_rng(SEED).permutation(len(stamps))
    said = Counter(word for text in (*(stamp.label for stamp in stamps), *kinds(stamps)) for word in _words(text))
    alone = [all(said[word] == 1 for word in _words(stamp.label)) and bool(_nouns(stamp.label)) for stamp in stamps]
    apart = [i for i in order if alone[i]]
    unseen = [stamps[i] for i in apart[:HELD_OUT]]
    spare = [stamps[i] for i in apart[HELD_OUT : HELD_OUT + HELD_OUT_VALIDATION]]
    seen = [stamps[i] for i in order if i not in apart[: HELD_OUT + HELD_OUT_VALIDATION]]
    by_use: dict[int, list[Background]] = {0: [], 1: [], 2: [], 3: []}
    for i, place in enumerate(places):
        by_use[i % EVERY_BACKGROUND].append(place)
    tested, validated, trained = by_use[0], by_use[1], by_use[2] + by_use[3]
    return {
        "train": Split(seen, trained, train),
        "validation_seen": Split(seen, validated, test // 2),
        "validation_held_out": Split(spare, validated, test // 2),
        "seen": Split(seen, tested, test),
        "held_out": Split(unseen, tested, test),
        "single_seen": Split(seen, tested, test, (1, 1)),
        "single_held_out": Split(unseen, tested, test, (1, 1)),
        "single_validation_seen": Split(seen, validated, test // 2, (1, 1)),
        "single_validation_held_out": Split(spare, validated, test // 2, (1, 1)),
    }


def kinds(stamps: list[Cutout]) -> set[str]:
    """Kinds of the cut-outs, in one word each."""
    return {stamp.kind for stamp in stamps if stamp.kind}


def _nouns(text: str) -> set[str]:
    """Nouns of a training text that names it."""
    return set(nouns(f"a photo of {with_article(text)}."))


def _words(text: str) -> set[str]:
    """Words of a name as it stands, and of its nouns, which are singular."""
    return {word for part in (text, *_nouns(text)) for word in part.split()}


def compose(split: Split, rng: np.random.Generator, what: str = "composing scenes") -> list[Scene]:
    """The scenes of a split; those with single objects show each concept in turn."""
    scenes = []
    for i in track(range(split.count), what):
        single = split.objects == (1, 1)
        shown = [split.stamps[i % len(split.stamps)]] if single else split.stamps
        scenes.append(compose_scene(rng, SIZE, shown, split.backgrounds, split.objects, SCALE))
    return scenes


def classes(split: Split, index: int, scene: Scene) -> list[int]:
    """Concepts of the split that a scene shows."""
    return [index % len(split.stamps)] if split.objects == (1, 1) else scene.classes


def captions(split: Split, scene: Scene) -> list[str]:
    """Wordings of one scene: three that name the objects, and one that names their kinds where they have one.

    The last is the text augmentation that raised the numbers of held-out concepts: the kinds of a held-out object are
    words that training texts hold, its name is not.
    """
    stamps = [split.stamps[k] for k in scene.classes]
    kinds = list(dict.fromkeys(stamp.kind or stamp.label for stamp in stamps))
    named = [with_article(kind) for kind in kinds]
    listed = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
    return [*scene.captions[:WORDINGS], f"a photo of {listed}."]


def build(train: int, test: int, size: int) -> dict[str, np.ndarray]:
    """Compose the scenes of every split and pass them through the image tower at ``size`` pixels.

    Returns: the arrays of :func:`build_split` as ``<split>_features`` and so on; the captions, of training alone, as
    ``captions``.
    """
    content: dict[str, np.ndarray] = {}
    for name in splits(train, test):
        built = build_split(train, test, name, size)
        content |= {kind if kind == "captions" else f"{name}_{kind}": array for kind, array in built.items()}
    return content


def build_split(train: int, test: int, name: str, size: int) -> dict[str, np.ndarray]:
    """Compose the scenes of one split, the same whether or not others are composed, and pass them through the tower.

    Returns: ``features`` (N, h * w, 1280) float16; for training ``captions`` (N, 4) of str; for the others ``maps``
    (N, 56, 56) int16, 0 background, k concept k - 1 of the split, and ``images`` (12, 224, 224, 3) uint8, the first
    ones.
    """
    split, number = splits(train, test)[name], list(splits(train, test)).index(name)
    told = f"{name.replace('_', ' ')} scenes"
    scenes = compose(split, np.random.default_rng((SEED, number)), f"composing {told}")
    images = np.stack([scene.image for scene in scenes])
    found = {"features": features(images, size, f"encoding {told}")}
    if name == "train":
        return found | {"captions": np.array([captions(split, scene) for scene in scenes])}
    shift = [classes(split, i, scene)[0] if split.objects == (1, 1) else 0 for i, scene in enumerate(scenes)]
    class_maps = [scene.class_map[CELL // 2 :: CELL, CELL // 2 :: CELL] for scene in scenes]
    maps = np.stack([np.where(x > 0, x + k, 0) for x, k in zip(class_maps, shift, strict=True)])
    return found | {"maps": maps.astype(np.int16), "images": images[:SHOWN]}


def features(images: np.ndarray, size: int, what: str) -> np.ndarray:
    """(N, H, W, 3) uint8 -> (N, h * w, 1280) float16: EfficientNet-Lite0's last feature map, row by row."""
    tower, batches = efficientnet_lite0(), np.array_split(images, -(-len(images) // 32))
    return np.concatenate(
        [_features(tower, preprocess(torch.from_numpy(x), size)).half().numpy() for x in track(batches, what)]
    )


def preprocess(images: Tensor, size: int) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, size, size) as the image tower expects."""
    pixels = images.permute(0, 3, 1, 2).float() / 255
    if pixels.shape[-1] != size:
        pixels = F.interpolate(pixels, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
    return (pixels - MEAN) / STD


@torch.inference_mode()
def _features(tower: torch.nn.Module, images: Tensor) -> Tensor:
    found: Tensor = tower.forward_features(images)  # type: ignore[operator]
    return found.flatten(2).transpose(1, 2)
