"""Places365 with panoptic annotations, and the evaluation set, both as CM-GAN's authors published them.

An annotation is ``NAME.png``, segment ids in 8 bits with 0 for void, and ``NAME.json``, a list of segments: ``id``,
``isthing`` and ``category_id``, which counts things and stuff apart (COCO panoptic as detectron2 separates it).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from shared import UserError
from shared.support.folders import faults, named

from ..structure.layout import ClassTable
from .items import Item, nearest, read_map, read_square

LAYOUT = """\
DATA/
  data_large/                  training images of Places365, in folders of any depth (1.8 million)
  data_large_panoptic/         NAME.png and NAME.json at the same places
  val_large/                   Places365_val_00000001.jpg ... (36,500)
  val_large_panoptic/          Places365_val_00000001.png and .json ...
  image/ mask/ label/          optional: the evaluation set, --split evaluation; masks: white is known"""
THINGS, STUFF = 80, 54  # COCO's things, and detectron2's list of stuff, whose entry 0 stands for all things
TABLE = ClassTable(
    ("void", *(f"thing {i}" for i in range(THINGS)), *(f"stuff {i}" for i in range(STUFF))), THINGS
)  # names are not in the annotations
FOLDERS = {"train": ("data_large", "data_large_panoptic"), "test": ("val_large", "val_large_panoptic")}
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class Places:
    """Images with panoptic annotations as :class:`.items.Items`.

    Args:
        images, annotations: folders with files at the same places.
        masks: folder with holes of the same names, or None.

    Raises:
        UserError: if a folder is missing or holds no image.
    """

    def __init__(self, images: Path, annotations: Path, size: int, masks: Path | None = None) -> None:
        for folder in (images, annotations, *([masks] if masks else [])):
            if not folder.is_dir():
                raise UserError(f"{folder} is missing or no folder. Expected:\n{LAYOUT}")
        self.images, self.annotations, self.masks, self.size = images, annotations, masks, size
        self.names = sorted(
            str(path.relative_to(images))
            for path in images.rglob("*")
            if path.suffix.lower() in SUFFIXES and not any(x.startswith(".") for x in path.relative_to(images).parts)
        )
        if not self.names:
            raise UserError(f"{images} holds no image. Expected:\n{LAYOUT}")

    def __len__(self) -> int:
        return len(self.names)

    def annotation(self, index: int) -> Path:
        """The PNG of an image; its JSON stands beside it."""
        return (self.annotations / self.names[index]).with_suffix(".png")

    def item(self, index: int) -> Item:
        """Raises UserError if a file of it is missing, damaged, or does not fit the others."""
        path = self.images / self.names[index]
        image, shape = read_square(path, self.size)
        annotation = self.annotation(index)
        ids = read_map(annotation)
        if ids.shape[::-1] != shape:
            raise UserError(
                f"{annotation} has {ids.shape[1]} x {ids.shape[0]} pixels and {path} {shape[0]} x {shape[1]}; expected "
                "the same size. Get both again."
            )
        label, instances = segments(nearest(ids, self.size), annotation.with_suffix(".json"))
        hole = None
        if self.masks is not None:
            hole = nearest(read_map((self.masks / self.names[index]).with_suffix(".png")), self.size) == 0
            if not hole.any() or hole.all():
                raise UserError(
                    f"{(self.masks / self.names[index]).with_suffix('.png')} is all known or all hole; expected both."
                )
        return Item(path.stem, image, label, instances, hole)


def segments(ids: np.ndarray, described: Path) -> tuple[np.ndarray, np.ndarray]:
    """Class map and instance map (H, W) int64 of segment ids and their description.

    Raises:
        UserError: if the description is missing, damaged, or lacks a segment that the map has.
    """
    try:
        content = json.loads(described.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{described} is missing; the PNG holds ids, and their classes are in the JSON.") from error
    except (ValueError, RecursionError, IsADirectoryError) as error:
        raise UserError(f"{described} is not JSON ({error}); get it again.") from error
    classes, numbers = np.zeros(256, np.int64), np.zeros(256, np.int64)
    known = {0}
    try:
        for segment in content:
            number, thing, category = int(segment["id"]), bool(segment["isthing"]), int(segment["category_id"])
            if not 0 < number < 256 or not 0 <= category < (THINGS if thing else STUFF):
                raise ValueError(f"a segment has id {number} and category {category}")
            classes[number] = 1 + category + (0 if thing else THINGS)
            numbers[number] = number if thing else 0
            known.add(number)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"{described} does not describe segments ({error!r}); expected a list of id, isthing and category_id."
        ) from error
    if unknown := sorted(set(np.unique(ids).tolist()) - known):
        raise UserError(f"{described} lacks the segments {unknown} of the PNG beside it; get both again.")
    return classes[ids], numbers[ids]


def read(root: Path, split: str, size: int) -> Places:
    """The images of "train", "test" or "evaluation"."""
    if split == "evaluation":
        return Places(root / "image", root / "label", size, root / "mask")
    images, annotations = FOLDERS[split]
    return Places(root / images, root / annotations, size)


def describe(root: Path, split: str, size: int) -> dict[str, Any]:
    """``name``, ``train``, ``test`` and ``sha256`` of the names."""
    trained, tested = read(root, "train", size), read(root, split, size)
    digest = hashlib.sha256("\n".join([*trained.names, "", *tested.names]).encode()).hexdigest()
    return {
        "name": "Places365 with panoptic annotations",
        "train": len(trained),
        "test": len(tested),
        "sha256": digest,
    }


def check(root: Path, size: int = 64) -> list[str]:
    """Lines on what is there; every file is read, and those that cannot be used are named.

    Raises:
        UserError: before anything is read, if a folder of images lacks that of its annotations, or is empty.
    """
    splits = {"train": "data_large", "test": "val_large", "evaluation": "image"}
    there = {split: read(root, split, size) for split, folder in splits.items() if (root / folder).is_dir()}
    lines: list[str] = []
    for split, folder in splits.items():
        if split not in there:
            lines.append(f"{split}: {folder} is missing" + (" (optional)" if split == "evaluation" else ""))
            continue
        images = there[split]
        found = faults(images.item, len(images), f"reading the images of {split}")
        lines += [f"{split}: {len(images):,} images, {len(found):,} of which cannot be used", *named(found)]
    return lines
