"""ImageNet-1K in class folders, as files that are read when they are needed."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from shared import UserError
from shared.support.folders import ClassFolders, faults, named
from shared.support.images import UNDECODABLE, decode_image
from shared.support.progress import track

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = 1000
SPLITS = {"train": 1_281_167, "val": 50_000}
LAYOUT = """\
DATA/                         (numbers unverified)
  train/n01440764/*.JPEG      1,281,167 images in 1,000 folders, one a class, named by WordNet number
  val/n01440764/*.JPEG           50,000 images in the same 1,000 folders
ILSVRC2012 has to be requested from https://image-net.org. Its validation images come in one folder and have to be
sorted into class folders first."""


class Photos:
    """Image files, decoded one at a time."""

    def __init__(self, paths: list[str]) -> None:
        # One array: of a million strings every worker would come to own a copy.
        self._paths = np.array([os.fsencode(path) for path in paths])

    @property
    def paths(self) -> list[str]:
        return [os.fsdecode(path) for path in self._paths]

    def path(self, index: int) -> str:
        return os.fsdecode(self._paths[index])

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Image.Image:
        """The RGB image; grey, palette and CMYK files are converted. Raises UserError if it cannot be decoded."""
        return read_image(Path(self.path(index)))


def read_split(root: Path, split: str) -> tuple[Photos, list[int], list[str]]:
    """Files of one split, their class indices, and the class names in order.

    Raises:
        UserError: if the folder is missing or has no class folders, a class folder holds no image, or a link leads from
            one folder to another of the split.
    """
    folder = root / split
    try:
        found = ClassFolders(folder)
    except NotADirectoryError:
        raise UserError(f"{folder} is not a folder. Expected:\n{LAYOUT}") from None
    except FileNotFoundError as error:
        if not folder.is_dir():
            raise UserError(f"{folder} is missing. Expected:\n{LAYOUT}") from None
        raise UserError(f"{folder} does not hold class folders with images: {error} Expected:\n{LAYOUT}") from None
    except OSError as error:
        raise UserError(f"{error.filename or folder} cannot be read ({error.strerror}).") from None
    seen: dict[str, str] = {}
    for place in sorted({os.path.dirname(path) for path, _ in found.samples}):
        if (first := seen.setdefault(os.path.realpath(place), place)) != place:
            raise UserError(f"{place} and {first} are one folder, by a symbolic link; remove the link.")
    return Photos([path for path, _ in found.samples]), found.targets, found.classes


def read(root: Path) -> tuple[tuple[Photos, list[int]], tuple[Photos, list[int]], list[str]]:
    """Training and validation files with their class indices, and the class names that both agree on.

    Raises:
        UserError: as :func:`read_split` does, or if the splits have different classes.
    """
    (train, train_labels, classes), (val, val_labels, val_classes) = (
        read_split(root, split) for split in track(("train", "val"), "listing images")
    )
    if faults := _differences(classes, val_classes):
        raise UserError(
            f"{root}/train and {root}/val must have the same class folders: {'; '.join(faults)}. "
            "Complete them, or take the extra folders away."
        )
    return (train, train_labels), (val, val_labels), classes


def read_image(path: Path) -> Image.Image:
    """One image as RGB, as it is stored: neither torchvision's recipe for ImageNet nor COCO's and ADE20K's annotations
    turn it as its EXIF orientation says.

    Raises:
        UserError: if it is missing, not readable, empty, truncated or not an image; the message begins with the path.
    """
    try:
        return decode_image(path, turn=False)
    except UserError as error:
        raise UserError(f"{path} cannot be used. {error}") from None
    except FileNotFoundError:
        raise UserError(f"{path} is missing; has it been moved since training began?") from None
    except UnidentifiedImageError:
        reason = "is empty" if path.stat().st_size == 0 else "is not an image"
    except UNDECODABLE as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    raise UserError(f"{path} {reason}; replace it with the original file, or delete it.")


def check(path: Path) -> list[str]:
    """Lines on ``path``: classes and images of each split of :data:`LAYOUT`, every file that cannot be used, what can
    be done now.

    Decodes every image.

    Raises:
        UserError: if there is neither train/ nor val/.
    """
    if not any((path / split).is_dir() for split in SPLITS):
        raise UserError(f"{path} has neither train/ nor val/. Expected there:\n{LAYOUT}")
    lines: list[str] = []
    classes: dict[str, list[str]] = {}
    broken: list[str] = []
    for split, expected in SPLITS.items():
        try:
            photos, _, classes[split] = read_split(path, split)
        except UserError as fault:
            lines.append(f"{split}: {str(fault).splitlines()[0].removesuffix(' Expected:')}")
            continue
        unusable = faults(photos.__getitem__, len(photos), f"decoding the images of {split}")
        lines.append(
            f"{split}: {len(classes[split]):,} classes, {len(photos):,} images, "
            f"{len(photos) - len(unusable):,} usable "
            f"(expected, unverified: {CLASSES:,} classes, {expected:,} images)"
        )
        lines += named(unusable)
        broken += unusable
    whole = len(classes) == len(SPLITS)
    different = _differences(classes["train"], classes["val"]) if whole else []
    ready = whole and not different and not broken
    return [
        *lines,
        *different,
        "weights: none are needed, pre-training starts from random ones",
        "Enough to train; val will be evaluated."
        if ready
        else "A run would stop at the faults above; mend them first.",
    ]


def _differences(train: list[str], val: list[str]) -> list[str]:
    faults = []
    for here, there, missing in (("val", "train", set(val) - set(train)), ("train", "val", set(train) - set(val))):
        if missing:
            named = ", ".join(sorted(missing)[:5]) + ", ..." * (len(missing) > 5)
            faults.append(f"{len(missing)} classes only in {here}, not in {there}: {named}")
    return faults
