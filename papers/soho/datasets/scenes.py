"""Composed scenes with places: captions, questions, statements on two images, and hypotheses, all of known truth.

A scene shows one to three cut-outs in front of one of twelve places. A box around an object shows little of the place:
questions about it are *outside the boxes*. The scenes of a split are drawn with a generator of its own; the scenes of
`unseen` show objects that no training scene has, and are asked what can be asked without their names.
"""

from collections.abc import Callable, Sequence

import numpy as np

from shared.offline.cutouts import Background, Cutout, load_backgrounds, load_cutouts
from shared.offline.scenes import Scene, compose_scene, with_article
from shared.support.progress import track

from .texts import Text

SIZE = 128  # pixels of a scene
CELLS = 4  # of the grid on which it is known what a scene shows
OBJECTS = (1, 3)
SCALE = (0.3, 0.45)
COLOURS = {
    "black": ("crow", "gorilla", "bull", "camera"),
    "white": ("owl", "sheep", "rabbit", "toilet"),
    "green": ("frog", "banana", "tank"),
    "grey": ("pigeon", "dog", "badger"),
    "blue": ("dolphin", "airplane"),
    "brown": ("bison", "camel", "horse", "violin", "pear"),
    "orange": ("tiger", "carrot", "pumpkin", "basketball"),
    "yellow": ("lemon", "trumpet", "potato"),
    "red": ("strawberry", "rose"),
    "pink": ("pig",),
    "purple": ("iris",),
}
"""Objects of training scenes by their colour."""
UNSEEN = {"black": ("bear", "mouse"), "white": ("mushroom",), "blue": ("whale",), "brown": ("donkey", "almond", "deer")}
"""Objects of the split `unseen`, whose colours are those of others."""
PLACES = {
    "pyramid": "redPyramid", "canyon": "canyondeChelly", "castle": "neuschwansteinCastle", "tower": "eiffelTower",
    "statue": "statueofLiberty", "mountain": "machuPicchu", "wall": "greatWallofChina", "gate": "brandenburgGate",
    "bridge": "pontduGard", "palace": "hawaMahal", "cathedral": "berlinCathedral", "coast": "montStMichel",
}  # fmt: skip
"""Photograph of each place; a scene shows a random part of it."""
SIDES = ("left", "right", "top", "bottom")
NUMBERS = ("one", "two", "three")
INSIDE = ("object", "colour", "count", "presence")
"""Kinds of question about what boxes show."""
BACKGROUND = ("place", "place check")
"""Kinds of question about what lies outside of the boxes."""
OUTSIDE = (*BACKGROUND, "empty side")
"""The same, and which side is empty: a picture shows it, but so do the coordinates of the boxes."""
OBJECT_NAMES = tuple(name for names in COLOURS.values() for name in names)
COLOUR_OF = {name: colour for table in (COLOURS, UNSEEN) for colour, names in table.items() for name in names}
ANSWERS = ("yes", "no", *NUMBERS, *SIDES, *PLACES, *OBJECT_NAMES, *COLOURS)
"""Answers of the questions: "orange" is a colour alone, as no orange is shown."""
TRUTH = ("false", "true")
ENTAILMENT = ("contradiction", "neutral", "entailment")


def cutouts(unseen: bool = False) -> list[Cutout]:
    """The objects of a split."""
    by_name = {cutout.label: cutout for cutout in load_cutouts()}
    table = UNSEEN if unseen else COLOURS
    return [by_name[name] for names in table.values() for name in names]


def places() -> list[Background]:
    by_name = {place.name: place for place in load_backgrounds("monument")}
    return [by_name[name] for name in PLACES.values()]


def compose(count: int, rng: np.random.Generator, unseen: bool = False, what: str = "composing scenes") -> list[Scene]:
    """``count`` scenes; each shows different objects."""
    shown, backgrounds = cutouts(unseen), places()
    return [compose_scene(rng, SIZE, shown, backgrounds, OBJECTS, SCALE, 0.8) for _ in track(range(count), what)]


def place_of(scene: Scene) -> str:
    """Name of the place that a scene shows."""
    return next(name for name, photograph in PLACES.items() if photograph == scene.background)


# -- texts ------------------------------------------------------------------------------------------------------------


def listed(names: Sequence[str]) -> str:
    """ "an owl, a pig and a rose"."""
    named = [with_article(name) for name in names]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def captions(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Four captions: objects and place, the other way round, objects alone, and a relation or the place alone."""
    names = [scene.tags[i] for i in rng.permutation(len(scene.tags))]
    place = place_of(scene)
    related = f"there is {listed(names)} in front of the {place}"
    if scene.relations:
        i, relation, j = scene.relations[rng.integers(len(scene.relations))]
        related = f"{with_article(scene.tags[i])} {relation} {with_article(scene.tags[j])}"
    return [
        f"{listed(names)} by the {place}",
        f"the {place} with {listed(names[::-1])}",
        f"a photo of {listed(names)}",
        related,
    ]


def masked_nouns(scene: Scene) -> list[tuple[str, str]]:
    """Captions with one noun to be found, and the noun: each object, and the place."""
    caption, place = f"{listed(scene.tags)} by the {place_of(scene)}", place_of(scene)
    return [(caption, noun) for noun in (*scene.tags, place)]


def empty_side(scene: Scene) -> str | None:
    """The side whose half shows no object, if there is exactly one such side."""
    half = SIZE / 2
    x1, y1 = scene.boxes[:, :2].min(0)
    x2, y2 = scene.boxes[:, 2:].max(0)
    empty = [x1 >= half, x2 <= half, y1 >= half, y2 <= half]
    return SIDES[empty.index(True)] if sum(empty) == 1 else None


def extreme(scene: Scene, side: str) -> int | None:
    """The object at the left or right, if its centre is a tenth of the scene further out than that of any other."""
    centres = (scene.boxes[:, 0] + scene.boxes[:, 2]) / 2 * (1 if side == "left" else -1)
    order = centres.argsort()
    apart = len(order) > 1 and centres[order[1]] - centres[order[0]] >= SIZE / 10
    return int(order[0]) if apart else None


def questions(number: int, scene: Scene, rng: np.random.Generator, unseen: bool = False) -> list[Text]:
    """Questions about one scene; those with yes and no are as often answered with either."""
    place, asked = place_of(scene), []
    for side in ("left", "right"):
        if (k := extreme(scene, side)) is not None:
            asked.append((f"what is on the {side}?", scene.tags[k], "object"))
            asked.append((f"what colour is the thing on the {side}?", COLOUR_OF[scene.tags[k]], "colour"))
    if len(scene.tags) == 1:
        asked.append(("what is in the picture?", scene.tags[0], "object"))
        asked.append(("what colour is the thing in the picture?", COLOUR_OF[scene.tags[0]], "colour"))
    asked.append(("how many things are there?", NUMBERS[len(scene.tags) - 1], "count"))
    if rng.random() < 0.5:
        there, answer = scene.tags[rng.integers(len(scene.tags))], "yes"
    else:
        there, answer = _other(OBJECT_NAMES, scene.tags, rng), "no"
    asked.append((f"is there {with_article(there)}?", answer, "presence"))
    asked.append(("where is it?", place, "place"))
    where, answer = (place, "yes") if rng.random() < 0.5 else (_other(tuple(PLACES), [place], rng), "no")
    asked.append((f"is it by the {where}?", answer, "place check"))
    if (empty := empty_side(scene)) is not None:
        asked.append(("which side is empty?", empty, "empty side"))
    if unseen:
        asked = [row for row in asked if row[2] not in ("object", "presence")]
    return [Text((number,), text, {answer: 1.0}, kind) for text, answer, kind in asked]


def statements(scenes: Sequence[Scene], numbers: tuple[int, int], rng: np.random.Generator) -> list[Text]:
    """Three or four statements about two images, as often true as false (NLVR2): on objects, places and numbers.

    Each is drawn until its truth is the one that a coin asks for, so that the text alone tells nothing.
    """
    first, second = (scenes[k] for k in numbers)
    tags, there = (first.tags, second.tags), (place_of(first), place_of(second))

    def one() -> tuple[str, bool]:
        name = _either([*first.tags, *second.tags], OBJECT_NAMES, rng)
        k = int(rng.integers(2))
        return f"there is {with_article(name)} in the {SIDES[k]} image", name in tags[k]

    def neither() -> tuple[str, bool]:
        name = _either([*first.tags, *second.tags], OBJECT_NAMES, rng)
        return f"neither image shows {with_article(name)}", name not in tags[0] + tags[1]

    def place() -> tuple[str, bool]:
        name, k = _either(list(there), tuple(PLACES), rng), int(rng.integers(2))
        return f"the {SIDES[k]} image shows the {name}", name == there[k]

    def more() -> tuple[str, bool]:
        k = int(rng.integers(2))
        return f"there are more things in the {SIDES[k]} image", len(tags[k]) > len(tags[1 - k])

    kinds: dict[str, Callable[[], tuple[str, bool]]] = {"one": one, "neither": neither, "place": place}
    if len(first.tags) != len(second.tags):  # otherwise "more" would be false of either image
        kinds["more"] = more
    found = []
    for kind, draw in kinds.items():
        wanted = bool(rng.integers(2))
        for _ in range(20):
            text, truth = draw()
            if truth == wanted:
                found.append(Text(numbers, text, {TRUTH[truth]: 1.0}, kind))
                break
    return found


def hypotheses(number: int, scene: Scene, rng: np.random.Generator) -> list[Text]:
    """One hypothesis of each label on where an object is, and one of each on how two objects lie (SNLI-VE).

    A hypothesis about an object that is not in the picture is neutral: the picture says nothing about it. The wording
    does not give the label away.
    """
    place, other = place_of(scene), _other(OBJECT_NAMES, scene.tags, rng)
    shown = scene.tags[rng.integers(len(scene.tags))]
    elsewhere = _other(tuple(PLACES), [place], rng)
    neutral = place if rng.random() < 0.5 else elsewhere
    texts = [
        (f"the {shown} is by the {place}", "entailment", "place"),
        (f"the {shown} is by the {elsewhere}", "contradiction", "place"),
        (f"the {other} is by the {neutral}", "neutral", "place"),
    ]
    sideways = [relation for relation in scene.relations if relation[1] in ("left of", "right of")]
    if sideways:
        i, relation, j = sideways[rng.integers(len(sideways))]
        a, b = scene.tags[i], scene.tags[j]
        unknown = (a, other) if rng.random() < 0.5 else (other, b)
        texts += [
            (f"the {a} is {relation} the {b}", "entailment", "relation"),
            (f"the {b} is {relation} the {a}", "contradiction", "relation"),
            (f"the {unknown[0]} is {relation} the {unknown[1]}", "neutral", "relation"),
        ]
    return [Text((number,), text, {label: 1.0}, kind) for text, label, kind in texts]


def _other(names: Sequence[str], without: Sequence[str], rng: np.random.Generator) -> str:
    left = [name for name in names if name not in without]
    return left[rng.integers(len(left))]


def _either(shown: Sequence[str], names: Sequence[str], rng: np.random.Generator) -> str:
    """One of those shown, or as often any."""
    chosen = shown if rng.random() < 0.5 else names
    return chosen[int(rng.integers(len(chosen)))]


def corpus() -> list[str]:
    """Every word that a text may hold."""
    sentences = [
        "a photo of an by the with and in front there is", "left of right of above below in front of",
        "what is on the left right? what colour is thing picture? how many things are there? where is it?",
        "which side is empty? is there an in the image neither shows more than", ", .",
    ]  # fmt: skip
    return [*sentences, *OBJECT_NAMES, *COLOURS, *PLACES, *NUMBERS]


def content(scene: Scene) -> np.ndarray:
    """The object in each cell of a grid, (CELLS, CELLS): k + 1 if object k fills a quarter of the cell, else 0."""
    side = SIZE // CELLS
    cells = scene.class_map.reshape(CELLS, side, CELLS, side).swapaxes(1, 2).reshape(CELLS, CELLS, -1)
    found = np.zeros((CELLS, CELLS), np.int16)
    for row, column in np.ndindex(CELLS, CELLS):
        counts = np.bincount(cells[row, column])
        counts[0] = 0
        if counts.max() >= side * side / 4:
            found[row, column] = counts.argmax()
    return found
