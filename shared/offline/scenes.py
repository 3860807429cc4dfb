"""Composed scenes: cut-outs pasted onto photographs, with exact masks, boxes, relations, captions and questions."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .cutouts import (
    Background,
    Cutout,
    background_canvas,
    load_backgrounds,
    load_cutouts,
    paste,
    random_position,
    resized_cutout,
)


@dataclass(frozen=True)
class Scene:
    """Objects on a background with everything there is to know about them; n objects in z-order, the last in front."""

    image: np.ndarray  # (size, size, 3) uint8
    class_map: np.ndarray  # (size, size) int16: 0 background, k the cutout at index k - 1 of those given
    instance_map: np.ndarray  # (size, size) int16: 0 background, i + 1 object i
    boxes: np.ndarray  # (n, 4) float32 xyxy in pixels, around the visible part; x2 and y2 are exclusive
    classes: list[int]  # index of each object's cutout among those given
    tags: list[str]  # label of each object
    captions: list[str]  # different wordings; each names every object
    relations: list[tuple[int, str, int]]  # (i, "left of" | "right of" | "above" | "below" | "in front of", j)
    questions: list[tuple[str, str]]  # (question, answer)
    background: str


def compose_scene(
    seed: int | np.random.Generator,
    size: int = 128,
    cutouts: Sequence[Cutout] | None = None,
    backgrounds: Sequence[Background] | None = None,
    objects: tuple[int, int] = (1, 4),
    scale: tuple[float, float] = (0.25, 0.45),
    min_visible: float = 0.5,
) -> Scene:
    """Place a few different cutouts on a photograph; the same seed and arguments give the same scene.

    Args:
        cutouts: what may appear, by default every cutout; `class_map` and `classes` refer to this list.
        backgrounds: photographs to choose from, by default the monuments (the animals would answer questions wrongly).
        objects: least and most number of objects; one that finds no place is left out, but never the first.
        scale: range of an object's size, the square root of its box's area as a share of `size`.
        min_visible: share of each object's pixels that later objects leave uncovered; one pixel at least.

    Raises ValueError if there is nothing to place, or nothing that has a pixel at this size.
    """
    rng = np.random.default_rng(seed)
    cutouts = load_cutouts() if cutouts is None else cutouts
    if objects[0] < 1 or not cutouts:
        raise ValueError(f"expected one object at least and cutouts to choose from, found {objects} and {len(cutouts)}")
    backgrounds = load_backgrounds("monument") if backgrounds is None else backgrounds
    background = backgrounds[int(rng.integers(len(backgrounds)))]
    canvas = background_canvas(background, size, rng)
    count = min(int(rng.integers(objects[0], objects[1] + 1)), len(cutouts))
    classes: list[int] = []
    silhouettes = np.zeros((0, size, size), bool)  # whole objects, hidden parts included
    owner = np.zeros((size, size), np.int16)
    for index in rng.choice(len(cutouts), count, replace=False):
        cutout = resized_cutout(cutouts[index], size, rng, scale)
        for _ in range(10):
            x, y = random_position(cutout, size, rng)
            silhouette = np.zeros((size, size), bool)
            silhouette[y : y + cutout.shape[0], x : x + cutout.shape[1]] = cutout[..., 3] > 127
            covered = np.where(silhouette, len(classes) + 1, owner)
            visible = np.bincount(covered.ravel(), minlength=len(classes) + 2)[1:]
            whole = np.concatenate([silhouettes, silhouette[None]])
            if np.all(visible >= np.maximum(1, min_visible * whole.sum((1, 2)))):
                paste(canvas, cutout, x, y)
                owner, silhouettes = covered.astype(np.int16), whole
                classes.append(int(index))
                break

    if not classes:
        raise ValueError(f"no object has a pixel in a scene of {size} pixels")
    tags = [cutouts[index].label for index in classes]
    boxes = np.stack([_extent(owner == i + 1) for i in range(len(classes))])
    relations = spatial_relations(boxes, size)
    relations += [
        (i, "in front of", j) for j in range(len(tags)) for i in range(j + 1, len(tags))
        if np.any(silhouettes[j] & (owner == i + 1))
    ]  # fmt: skip
    return Scene(
        image=canvas,
        class_map=np.array([0, *(index + 1 for index in classes)], np.int16)[owner],
        instance_map=owner,
        boxes=boxes,
        classes=classes,
        tags=tags,
        captions=_captions(tags, relations, rng),
        relations=relations,
        questions=_questions([cutouts[index] for index in classes], cutouts, relations, rng),
        background=background.name,
    )


def spatial_relations(boxes: np.ndarray, size: int) -> list[tuple[int, str, int]]:
    """How the centres of (n, 4) xyxy boxes lie to each other along the axis on which they are further apart.

    Pairs whose centres are nearer than a tenth of `size` on that axis have no relation.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    found = []
    for i, j in itertools.permutations(range(len(boxes)), 2):
        dx, dy = centres[j] - centres[i]
        if max(abs(dx), abs(dy)) >= size / 10:
            horizontal, vertical = ("left of" if dx > 0 else "right of"), ("above" if dy > 0 else "below")
            found.append((i, horizontal if abs(dx) > abs(dy) else vertical, j))
    return found


def with_article(label: str) -> str:
    """ "owl" -> "an owl"."""
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def _captions(tags: list[str], relations: list[tuple[int, str, int]], rng: np.random.Generator) -> list[str]:
    """A list, a sentence, a description and, with a relation, one that states it; the order of objects varies."""

    def listed() -> str:
        names = [with_article(tags[i]) for i in rng.permutation(len(tags))]
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

    captions = [f"a photo of {listed()}.", f"There is {listed()} in this picture.", f"This image shows {listed()}."]
    if relations:
        i, relation, j = relations[rng.integers(len(relations))]
        fact = f"{with_article(tags[i])} {relation} {with_article(tags[j])}"
        others = [with_article(tag) for k, tag in enumerate(tags) if k not in (i, j)]
        captions.append(f"{fact}{', with ' + ' and '.join(others) if others else ''}.")
    return captions


def _questions(
    shown: list[Cutout], cutouts: Sequence[Cutout], relations: list[tuple[int, str, int]], rng: np.random.Generator
) -> list[tuple[str, str]]:
    """Existence (one yes, one no), counts, kind, and what stands in each relation that has a single answer."""
    present = shown[rng.integers(len(shown))]
    questions = [
        (f"Is there {with_article(present.label)}?", "yes"),
        ("How many objects are there?", str(len(shown))),
    ]
    said = {word for cutout in shown for word in (cutout.label, cutout.kind, *cutout.label.split())}
    absent = [cutout.label for cutout in cutouts if cutout.label not in said]  # no orange beside a mandarin orange
    if absent:
        questions.append((f"Is there {with_article(absent[rng.integers(len(absent))])}?", "no"))
    for kind, kinds in sorted({(cutout.kind, cutout.kinds) for cutout in shown if cutout.kind}):
        questions.append((f"How many {kinds} are there?", str(sum(cutout.kind == kind for cutout in shown))))
    questions += [(f"What is the {cutout.label}?", with_article(cutout.kind)) for cutout in shown if cutout.kind]
    answers: dict[tuple[str, int], list[int]] = {}
    for i, relation, j in relations:
        answers.setdefault((relation, j), []).append(i)
    for (relation, j), subjects in answers.items():
        if len(subjects) == 1:
            questions.append((f"What is {relation} the {shown[j].label}?", shown[subjects[0]].label))
    return questions


def _extent(mask: np.ndarray) -> np.ndarray:
    """(4,) float32 xyxy of the set pixels of a mask, x2 and y2 exclusive."""
    return np.array(Image.fromarray(mask).getbbox(), np.float32)
