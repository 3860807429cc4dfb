"""Composed scenes with exact label maps: two to four cut-outs, in eight classes, on a photograph of a place.

Every cut-out stands in scenes of every split: test scenes are new in composition, place, size, direction and
background. No background of a test or validation scene is in a training scene.
"""

import functools

import numpy as np

from shared.offline.cutouts import Background, Cutout, load_backgrounds, load_cutouts
from shared.offline.scenes import compose_scene

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
NAMES = ("background", *CLASSES)
SIZE = 96  # pixels a side
OBJECTS = (2, 4)
SCALE = (0.3, 0.5)  # size of an object in the scene
EVERY_BACKGROUND = 4  # every fourth is kept for testing, the one after it for validation
SEED = 0


@functools.cache
def cutouts() -> dict[str, list[Cutout]]:
    """The cut-outs of each class."""
    return {
        name: [x for x in load_cutouts() if any(x.category[: len(c)] == c for c in categories)]
        for name, categories in CLASSES.items()
    }


@functools.cache
def backgrounds() -> dict[str, list[Background]]:
    """Photographs of places by split."""
    places: dict[str, list[Background]] = {"train": [], "validation": [], "test": []}
    for i, place in enumerate(load_backgrounds("monument")):
        places[{0: "test", 1: "validation"}.get(i % EVERY_BACKGROUND, "train")].append(place)
    return places


def compose(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scenes of a split, every class about as often.

    Returns:
        images (N, 96, 96, 3) uint8 and label maps (N, 96, 96) uint8, numbered as `NAMES`.
    """
    rng = np.random.default_rng((SEED, *split.encode()))
    groups = list(cutouts().values())
    images, labels = [], []
    for _ in range(count):
        classes = rng.integers(len(groups), size=rng.integers(OBJECTS[0], OBJECTS[1] + 1))
        shown = [groups[k][rng.integers(len(groups[k]))] for k in classes]
        scene = compose_scene(rng, SIZE, shown, backgrounds()[split], (len(shown), len(shown)), SCALE)
        images.append(scene.image)
        labels.append(np.array([0, *(classes + 1)], np.uint8)[scene.class_map])
    return np.stack(images), np.stack(labels)
