"""Composed scenes with exact panoptic maps: two or three cut-outs, in eight classes, before a place out of focus.

No background of a test or validation scene is in a training scene. Cut-outs occur in every split: test scenes are new
in composition, place, size, direction and background.
"""

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from shared.offline.cutouts import Background, Cutout, load_backgrounds, load_cutouts
from shared.offline.scenes import compose_scene
from shared.support.progress import track

from ..structure.layout import ClassTable
from .items import Item

CLASSES: dict[str, tuple[tuple[str, ...], ...]] = {
    "bird": (("animals", "birds"),),
    "mammal": (("animals", "mammals"), ("animals", "marsupials")),
    "fish": (("animals", "fish"),),
    "fruit": (("food", "fruit"),),
    "vegetable": (("food", "vegetables"),),
    "flower": (("plants", "flowers"),),
    "vehicle": (("vehicles",), ("military", "vehicles")),
    "tool": (("household", "tools"), ("hobbies", "music"), ("sports",)),
}
"""Categories of the cut-outs of a class; "tool" has musical instruments and sports equipment, too."""
TABLE = ClassTable(("void", *CLASSES, "background"), len(CLASSES))
PER_CLASS = 8  # cut-outs; few, so that networks that train for minutes learn what these look like
OBJECTS = (2, 3)
SCALE = (0.38, 0.56)  # size of an object in the scene
BLUR = 6  # deviation in pixels of a photograph whose shortest side has 128: the completion of objects is what is tested
EVERY_BACKGROUND = 5  # every fifth is kept for testing, the one after it for validation
SEED = 0


@functools.cache
def cutouts() -> dict[str, list[Cutout]]:
    """The cut-outs of each class, from all over its list."""
    found = {
        name: [x for x in load_cutouts() if any(x.category[: len(c)] == c for c in categories)]
        for name, categories in CLASSES.items()
    }
    return {
        name: [group[i] for i in np.linspace(0, len(group) - 1, PER_CLASS).astype(int)] for name, group in found.items()
    }


@dataclass(frozen=True)
class OutOfFocus(Background):
    """A photograph behind the plane of focus."""

    def image(self) -> np.ndarray:
        return np.asarray(Image.fromarray(super().image()).filter(ImageFilter.GaussianBlur(BLUR)))


@functools.cache
def backgrounds() -> dict[str, list[Background]]:
    """Photographs of places by split."""
    places: dict[str, list[Background]] = {"train": [], "validation": [], "test": []}
    for i, place in enumerate(load_backgrounds("monument")):
        split = {0: "test", 1: "validation"}.get(i % EVERY_BACKGROUND, "train")
        places[split].append(OutOfFocus(place.name, place.kind, place.sha256))
    return places


def compose(split: str, count: int, size: int) -> dict[str, np.ndarray]:
    """Scenes of a split, every class about as often.

    Returns: ``images`` (N, S, S, 3), ``labels`` and ``instances`` (N, S, S), all uint8.
    """
    rng = np.random.default_rng((SEED, *split.encode()))
    groups = list(cutouts().values())
    made: dict[str, list[np.ndarray]] = {"images": [], "labels": [], "instances": []}
    for _ in track(range(count), f"composing {split} scenes"):
        classes = rng.integers(len(groups), size=rng.integers(OBJECTS[0], OBJECTS[1] + 1))
        shown = [groups[k][rng.integers(len(groups[k]))] for k in classes]
        scene = compose_scene(rng, size, shown, backgrounds()[split], (len(shown), len(shown)), SCALE)
        made["images"].append(scene.image)
        made["labels"].append(np.array([TABLE.count, *(classes + 1)], np.uint8)[scene.class_map])
        made["instances"].append(scene.instance_map.astype(np.uint8))
    return {name: np.stack(arrays) for name, arrays in made.items()}


class Scenes:
    """Composed scenes as :class:`.items.Items`."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays["images"])

    def item(self, index: int) -> Item:
        image, label, instances = (self.arrays[name][index] for name in ("images", "labels", "instances"))
        return Item(f"scene {index}", image, label.astype(np.int64), instances.astype(np.int64))
