"""Composed scenes in two domains: fine captions, coarse tags of a detector, questions, statements and hypotheses.

A scene shows two or three objects in front of a place. Its captions name every object ("crow") and the place. The
detector says of some objects no more than their kind ("bird"): their names are *out of its vocabulary*. Domains A and B
share 60 % of their objects; places and wordings are their own. The scenes of pre-training show the objects and places
of both, in a third wording; running text tells of them in a fourth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from shared.offline.cutouts import Background, Cutout, load_backgrounds, load_cutouts
from shared.offline.scenes import Scene, compose_scene, with_article
from shared.support.progress import track

Domain = Literal["a", "b", "both"]
Row = tuple[list[int], str, str, str]
"""Numbers of the scenes, text, answer, kind."""


class Thing(NamedTuple):
    """An object, what the detector calls it, its colour, and where it occurs."""

    name: str
    tag: str
    colour: str
    domains: str


_TABLE = {
    # What the detector knows by name.
    "": (
        "dog:grey:ab horse:brown:a bear:black:ab sheep:white:ab pig:pink:b camel:brown:ab "
        "elephant:grey:a frog:green:ab deer:brown:b rabbit:white:a tiger:orange:b dolphin:blue:b "
        "camera:black:ab airplane:blue:a tank:green:ab toilet:white:b key:grey:a carrot:orange:ab "
        "mushroom:white:b pumpkin:orange:a fox:orange:a lion:brown:ab basketball:orange:ab "
        "potato:yellow:b"
    ),
    # What it knows by kind.
    "bird": "crow:black:ab owl:white:a pigeon:grey:b",
    "fruit": "pear:brown:ab strawberry:red:a lemon:yellow:b",
    "instrument": "trumpet:yellow:ab violin:brown:a cello:orange:b",
    "tool": "hammer:brown:ab saw:grey:a wrench:brown:b",
    "flower": "rose:red:ab iris:purple:a marigold:yellow:b",
    "rodent": "mouse:black:ab squirrel:grey:ab beaver:brown:ab",
}
THINGS = tuple(
    Thing(name, kind or name, colour, domains)
    for kind, rows in _TABLE.items()
    for name, colour, domains in (row.split(":") for row in rows.split())
)
BY_NAME = {thing.name: thing for thing in THINGS}
PLACES: dict[str, dict[str, str]] = {
    "a": {"pyramid": "redPyramid", "castle": "neuschwansteinCastle", "bridge": "pontduGard", "mountain": "machuPicchu"},
    "b": {
        "tower": "eiffelTower",
        "cathedral": "berlinCathedral",
        "canyon": "canyondeChelly",
        "gate": "brandenburgGate",
    },
}
PLACES["both"] = PLACES["a"] | PLACES["b"]
"""Photograph of each place; a scene shows a random part of it."""
TEMPLATES = {
    "a": ("{all} in front of the {place}", "{relation} by the {place}"),
    "b": ("the {place} behind {all}", "at the {place} there is {relation}"),
    "both": ("a photo of {all} near the {place}", "{relation} and the {place} in the background"),
}
"""Wordings of captions."""
STORIES = (
    "we went to the {place} and there was {all}",
    "one day {all} came to the {place}",
    "who left {all} near the {place}?",
    "{was} near the {place}",
    "at the {place} {was}",
    "we left the {place} with {coloured}",
    "{coloured} are all that the {place} has",
    "we found {coloured}, and then the {place}",
)
"""Wordings of sentences of running text."""
WHOLE = "background"
"""The detector's name for the whole image."""
OBJECT_NAMES = tuple(sorted({thing.tag for thing in THINGS} | {WHOLE}))
SEEN = (*BY_NAME, *(name for name in OBJECT_NAMES if name != WHOLE))
"""Names of objects and tags, which alone are hallucinated: words of the wording would let matching recognise it."""
ATTRIBUTE_NAMES = tuple(sorted({thing.colour for thing in THINGS} | {"wide"}))
SIZE = 128  # pixels of a scene
OBJECTS = (2, 3)
SCALE = (0.3, 0.45)
VISIBLE = 0.8
JITTER = 0.05  # of a box's sides, by which the detector is off
MISTAKES = 0.1  # share of the tags that are wrong
NUMBERS = ("one", "two", "three")
TRUTH = ("false", "true")
ENTAILMENT = ("contradiction", "neutral", "entailment")
ANSWERS = ("yes", "no", *NUMBERS, *BY_NAME, *(name for name in ATTRIBUTE_NAMES if name != "wide"))


@dataclass(frozen=True)
class Detections:
    """Findings of the detector in a scene: its objects, and the whole image.

    Attributes:
        boxes: (R, 4) float32 xyxy in 0..1.
        objects, attributes: (R,) int64 numbers of `OBJECT_NAMES` and `ATTRIBUTE_NAMES`.
        object_confidence, attribute_confidence: (R,) float32.
    """

    boxes: np.ndarray
    objects: np.ndarray
    object_confidence: np.ndarray
    attributes: np.ndarray
    attribute_confidence: np.ndarray


def things(domain: Domain) -> list[Thing]:
    """The objects of a domain."""
    return [thing for thing in THINGS if domain == "both" or domain in thing.domains]


def compose(count: int, domain: Domain, seed: int) -> list[Scene]:
    """``count`` scenes of a domain; no two have the same objects in front of the same place."""
    rng = np.random.default_rng(seed)
    cutouts = {cutout.label: cutout for cutout in load_cutouts()}
    shown: list[Cutout] = [cutouts[thing.name] for thing in things(domain)]
    photographs = {place.name: place for place in load_backgrounds("monument")}
    places: list[Background] = [photographs[name] for name in PLACES[domain].values()]
    found: list[Scene] = []
    seen: set[tuple[frozenset[str], str]] = set()
    for _ in track(range(count), f"composing scenes of {domain}"):
        while True:
            scene = compose_scene(rng, SIZE, shown, places, OBJECTS, SCALE, VISIBLE)
            content = (frozenset(scene.tags), scene.background)
            if content not in seen:
                break
        seen.add(content)
        found.append(scene)
    return found


def place_of(scene: Scene) -> str:
    """Name of the place that a scene shows."""
    return next(name for name, photograph in PLACES["both"].items() if photograph == scene.background)


def detect(scene: Scene, rng: np.random.Generator) -> Detections:
    """Boxes that are slightly off, the tag and colour of each object, with mistakes; and the whole image."""
    count = len(scene.tags)
    sides = np.tile(scene.boxes[:, 2:] - scene.boxes[:, :2], 2)
    boxes = scene.boxes + rng.uniform(-JITTER, JITTER, (count, 4)) * sides
    tags = [OBJECT_NAMES.index(BY_NAME[name].tag) for name in scene.tags]
    colours = [ATTRIBUTE_NAMES.index(BY_NAME[name].colour) for name in scene.tags]
    wrong = rng.random(count) < MISTAKES
    tags = np.where(wrong, rng.integers(len(OBJECT_NAMES), size=count), tags).tolist()
    confidence = np.where(wrong, rng.uniform(0.3, 0.6, count), rng.uniform(0.6, 1, count))
    return Detections(
        np.concatenate([boxes.clip(0, SIZE) / SIZE, [[0, 0, 1, 1]]]).astype(np.float32),
        np.array([*tags, OBJECT_NAMES.index(WHOLE)], np.int64),
        np.array([*confidence, 0.5], np.float32),
        np.array([*colours, ATTRIBUTE_NAMES.index("wide")], np.int64),
        np.array([*rng.uniform(0.5, 1, count), 0.5], np.float32),
    )


# -- texts ------------------------------------------------------------------------------------------------------------


def listed(names: Sequence[str]) -> str:
    """ "an owl, a pig and a rose"."""
    return _joined([with_article(name) for name in names])


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def captions(scene: Scene, domain: Domain, rng: np.random.Generator) -> list[str]:
    """Two captions; each names every object and the place, and one says how two objects lie."""
    names = [scene.tags[i] for i in rng.permutation(len(scene.tags))]
    related = listed(names)
    if scene.relations:
        i, relation, j = scene.relations[rng.integers(len(scene.relations))]
        others = [tag for k, tag in enumerate(scene.tags) if k not in (i, j)]
        related = f"{with_article(scene.tags[i])} {relation} {with_article(scene.tags[j])}"
        related += f" with {listed(others)}" if others else ""
    words = {"all": listed(names), "relation": related, "place": place_of(scene)}
    return [template.format(**words) for template in TEMPLATES[domain]]


def stories(count: int, rng: np.random.Generator) -> list[list[str]]:
    """``count`` passages of running text, three sentences each, about things and a place, without pictures."""
    places = tuple(PLACES["both"])
    found = []
    for _ in range(count):
        shown = [THINGS[k] for k in rng.choice(len(THINGS), rng.integers(OBJECTS[0], OBJECTS[1] + 1), replace=False)]
        place, forms = places[rng.integers(len(places))], rng.permutation(len(STORIES))[:3]
        found.append([_sentence(STORIES[k], [shown[i] for i in rng.permutation(len(shown))], place) for k in forms])
    return found


def _sentence(form: str, shown: Sequence[Thing], place: str) -> str:
    return form.format(
        all=listed([thing.name for thing in shown]),
        was=_joined([f"the {thing.name} was {thing.colour}" for thing in shown]),
        coloured=_joined([f"the {thing.colour} {thing.name}" for thing in shown]),
        place=place,
    )


def questions(number: int, scene: Scene, rng: np.random.Generator) -> list[Row]:
    """Questions about one scene; yes and no are as often right."""
    places, found = tuple(PLACES["a"]), []
    named = scene.tags[rng.integers(len(scene.tags))]
    found.append((f"what colour is the {named}?", BY_NAME[named].colour, "colour"))
    centres = (scene.boxes[:, 0] + scene.boxes[:, 2]) / 2
    order = centres.argsort()
    if len(order) > 1 and centres[order[1]] - centres[order[0]] >= SIZE / 10:
        found.append(("what is on the left?", scene.tags[order[0]], "object"))
    found.append(("how many things are there?", NUMBERS[len(scene.tags) - 1], "count"))
    there, answer = (named, "yes") if rng.random() < 0.5 else (_other(tuple(BY_NAME), scene.tags, rng), "no")
    found.append((f"is there {with_article(there)}?", answer, "presence"))
    place = place_of(scene)
    where, answer = (place, "yes") if rng.random() < 0.5 else (_other(places, [place], rng), "no")
    found.append((f"is it near the {where}?", answer, "place"))
    return [([number], text, answer, kind) for text, answer, kind in found]


def statements(scenes: Sequence[Scene], numbers: tuple[int, int], rng: np.random.Generator) -> list[Row]:
    """Statements about two scenes (NLVR2): each is drawn until its truth is the one that a coin asks for."""
    tags = [scenes[k].tags for k in numbers]
    places = [place_of(scenes[k]) for k in numbers]

    def one() -> tuple[str, bool]:
        name, k = _either([*tags[0], *tags[1]], tuple(BY_NAME), rng), int(rng.integers(2))
        return f"there is {with_article(name)} in the {('left', 'right')[k]} image", name in tags[k]

    def neither() -> tuple[str, bool]:
        name = _either([*tags[0], *tags[1]], tuple(BY_NAME), rng)
        return f"neither image shows {with_article(name)}", name not in tags[0] + tags[1]

    def place() -> tuple[str, bool]:
        name, k = _either(places, tuple(PLACES["a"]), rng), int(rng.integers(2))
        return f"the {('left', 'right')[k]} image shows the {name}", name == places[k]

    kinds: dict[str, Callable[[], tuple[str, bool]]] = {"one": one, "neither": neither, "place": place}
    found: list[Row] = []
    for kind, draw in kinds.items():
        wanted = bool(rng.integers(2))
        for _ in range(20):
            text, truth = draw()
            if truth == wanted:
                found.append((list(numbers), text, TRUTH[truth], kind))
                break
    return found


def hypotheses(number: int, scene: Scene, rng: np.random.Generator) -> list[Row]:
    """One hypothesis of each label on where an object is (SNLI-VE); of an object out of sight it is neutral."""
    place = place_of(scene)
    shown, other = scene.tags[rng.integers(len(scene.tags))], _other(tuple(BY_NAME), scene.tags, rng)
    elsewhere = _other(tuple(PLACES["a"]), [place], rng)
    said = place if rng.random() < 0.5 else elsewhere
    return [
        ([number], f"the {shown} is near the {place}", "entailment", "place"),
        ([number], f"the {shown} is near the {elsewhere}", "contradiction", "place"),
        ([number], f"the {other} is near the {said}", "neutral", "place"),
    ]


def tasks(scenes: Sequence[Scene], rng: np.random.Generator) -> dict[str, list[Row]]:
    """Labelled texts of every task; a scene and the next one make a pair."""
    pairs = [(k, (k + 1) % len(scenes)) for k in range(len(scenes))]
    return {
        "vqa": [row for k, scene in enumerate(scenes) for row in questions(k, scene, rng)],
        "nlvr2": [row for pair in pairs for row in statements(scenes, pair, rng)],
        "snli-ve": [row for k, scene in enumerate(scenes) for row in hypotheses(k, scene, rng)],
    }


def describe(scene: Scene) -> dict[str, Any]:
    """The names of a scene's objects, its place, and whether the detector knows every object by name."""
    named = all(BY_NAME[name].tag == name for name in scene.tags)
    return {"objects": scene.tags, "place": place_of(scene), "named": named}


def corpus() -> list[str]:
    """Every word that a text or tag may hold."""
    blank = dict.fromkeys(("all", "relation", "place", "was", "coloured"), "")
    return [
        *(form.format(**blank) for forms in (*TEMPLATES.values(), STORIES) for form in forms),
        *BY_NAME, *PLACES["both"], *OBJECT_NAMES, *ATTRIBUTE_NAMES, *NUMBERS,
        "a an and the was with left of right of above below in front of , ? .",
        "what colour is the on left how many things are there is it near is there a neither image shows right",
    ]  # fmt: skip


def _other(names: Sequence[str], without: Sequence[str], rng: np.random.Generator) -> str:
    left = [name for name in names if name not in without]
    return left[rng.integers(len(left))]


def _either(shown: Sequence[str], names: Sequence[str], rng: np.random.Generator) -> str:
    """One of those shown, or as often any."""
    chosen = shown if rng.random() < 0.5 else names
    return chosen[int(rng.integers(len(chosen)))]
