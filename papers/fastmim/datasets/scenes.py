"""Composed scenes: one embedded cut-out on a photograph each. Many unlabelled images, few labelled ones.

Two tasks on the same unlabelled images. *Fine*: which of 21 objects it is; each has one cut-out, so new are its place,
size, direction and background. *Coarse*: of which of 7 kinds it is; one test set has objects that no training image
shows, labelled or not. No background of a test image is in a training image.
"""

import numpy as np

from shared.offline.cutouts import Background, Cutout, load_backgrounds, load_cutouts
from shared.offline.scenes import compose_scene
from shared.support.progress import track

SIZE = 48
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINDS = ("animal", "plant", "fruit", "vehicle", "tool", "vegetable", "musical instrument")  # ten objects or more each
FINE_PER_KIND = 3
HELD_OUT = 4  # every fourth object of a kind, and every fourth background
UNLABELLED, LABELLED, VALIDATION, TEST = 1300, 1050, 210, 630  # scenes
SCALE = (0.45, 0.8)  # size of the object in the scene
SEED = 0


def objects() -> tuple[dict[str, list[Cutout]], dict[str, list[Cutout]]]:
    """Cut-outs by kind: those of training, and those that are kept for the test of unseen objects."""
    rng = np.random.default_rng(SEED)
    seen, unseen = {}, {}
    for kind in KINDS:
        cutouts = [cutout for cutout in load_cutouts() if cutout.kind == kind]
        shuffled = [cutouts[i] for i in rng.permutation(len(cutouts))]
        unseen[kind] = shuffled[::HELD_OUT]
        seen[kind] = [cutout for i, cutout in enumerate(shuffled) if i % HELD_OUT]
    return seen, unseen


def backgrounds() -> tuple[list[Background], list[Background]]:
    """Photographs of places for training and validation, and for testing."""
    places = load_backgrounds("monument")
    return [place for i, place in enumerate(places) if i % HELD_OUT], places[::HELD_OUT]


def fine_classes() -> list[str]:
    """The labels of the fine task, three objects of each kind."""
    return [cutout.label for group in _fine() for cutout in group]


def build() -> dict[str, np.ndarray]:
    """Compose all scenes (about 20 seconds on one core).

    Returns: images (N, 3, 48, 48) uint8 and, but for ``pretrain``, int64 labels (N,) under ``<name>_labels``, classes
    in turn: ``pretrain``, and ``train``, ``validation``, ``test`` of each task as ``fine_train`` and so on, with
    ``coarse_unseen``.
    """
    seen, unseen = objects()
    by_kind, new_by_kind = list(seen.values()), list(unseen.values())
    by_label = [[cutout] for group in _fine() for cutout in group]
    here, there = backgrounds()
    everything = [[cutout for group in by_kind for cutout in group]]
    parts: list[tuple[str, list[list[Cutout]], int, list[Background]]] = [
        ("pretrain", everything, UNLABELLED, here),
        ("fine_train", by_label, LABELLED, here),
        ("fine_validation", by_label, VALIDATION, here),
        ("fine_test", by_label, TEST, there),
        ("coarse_train", by_kind, LABELLED, here),
        ("coarse_validation", by_kind, VALIDATION, here),
        ("coarse_test", by_kind, TEST, there),
        ("coarse_unseen", new_by_kind, TEST, there),
    ]
    rng = np.random.default_rng((SEED, 1))
    labels = {name: np.arange(count, dtype=np.int64) % len(groups) for name, groups, count, _ in parts}
    images: dict[str, list[np.ndarray]] = {name: [] for name in labels}
    shown = [(name, groups[k], places) for name, groups, _, places in parts for k in labels[name].tolist()]
    for name, group, places in track(shown, "composing scenes"):
        scene = compose_scene(rng, SIZE, group, places, objects=(1, 1), scale=SCALE)
        images[name].append(scene.image.transpose(2, 0, 1))
    content: dict[str, np.ndarray] = {}
    for name, composed in images.items():
        content[name] = np.stack(composed)
        if name != "pretrain":
            content[f"{name}_labels"] = labels[name]
    return content


def _fine() -> list[list[Cutout]]:
    return [cutouts[:FINE_PER_KIND] for cutouts in objects()[0].values()]
