"""ImageNet-1K in class folders, as files that are read when they are needed."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from torchvision.datasets import ImageFolder

from shared import UserError
from shared.support.images import UNDECODABLE

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = 1000
SPLITS = {"train": 1_281_167, "val": 50_000}
LAYOUT = """\
DATA/                         (numbers unverified)
  train/n01440764/*.JPEG      1,281,167 images in 1,000 folders, one a class, named by WordNet number
  val/n01440764/*.JPEG           50,000 images in the same 1,000 folders
ILSVRC2012 has to be requested from https://image-net.org. Its validation images come in one folder and have to be
sorted into class folders first."""
LISTED = 20  # files that `check` names in each split
CHUNK = 1024  # files that are submitted to the threads at a time


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
        found = ImageFolder(str(folder))
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
    train, train_labels, classes = read_split(root, "train")
    val, val_labels, val_classes = read_split(root, "val")
    if faults := _differences(classes, val_classes):
        raise UserError(
            f"{root}/train and {root}/val must have the same class folders: {'; '.join(faults)}. "
            "Complete them, or take the extra folders away."
        )
    return (train, train_labels), (val, val_labels), classes


def read_image(path: Path) -> Image.Image:
    """One image as RGB.

    Raises:
        UserError: if it is missing, not readable, empty, truncated or not an image; the message begins with the path.
    """
    try:
        with Image.open(path) as image:
            if image.mode == "F":  # Pillow clips to 0 to 255, and NaN becomes black
                raise ValueError("it has floating-point pixels")
            return image.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{path} is missing; has it been moved since training began?") from None
    except UnidentifiedImageError:
        reason = "is empty" if path.stat().st_size == 0 else "is not an image"
    except UNDECODABLE as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    raise UserError(f"{path} {reason}; replace it with the original file, or delete it.")


def check(path: Path) -> list[str]:
    """Lines on ``path``: classes and images of each split of :data:`LAYOUT`, and every file that cannot be used.

    Decodes every image.

    Raises:
        UserError: if there is neither train/ nor val/.
    """
    if not any((path / split).is_dir() for split in SPLITS):
        raise UserError(f"{path} has neither train/ nor val/. Expected there:\n{LAYOUT}")
    lines, classes = [], {}
    for split, expected in SPLITS.items():
        try:
            photos, _, classes[split] = read_split(path, split)
        except UserError as fault:
            lines.append(f"{split}: {str(fault).splitlines()[0].removesuffix(' Expected:')}")
            continue
        faults = [fault for fault in _faults(photos) if fault]
        lines.append(
            f"{split}: {len(classes[split]):,} classes, {len(photos):,} images, {len(photos) - len(faults):,} usable "
            f"(expected, unverified: {CLASSES:,} classes, {expected:,} images)"
        )
        lines += [f"  {fault}" for fault in faults[:LISTED]]
        lines += [f"  ... and {len(faults) - LISTED:,} more"] * (len(faults) > LISTED)
    if len(classes) == len(SPLITS):
        lines += _differences(classes["train"], classes["val"])
    return lines


def _differences(train: list[str], val: list[str]) -> list[str]:
    faults = []
    for here, there, missing in (("val", "train", set(val) - set(train)), ("train", "val", set(train) - set(val))):
        if missing:
            named = ", ".join(sorted(missing)[:5]) + ", ..." * (len(missing) > 5)
            faults.append(f"{len(missing)} classes only in {here}, not in {there}: {named}")
    return faults


def _faults(photos: Photos) -> Iterator[str]:
    """The fault of each file, empty if it has none."""

    def fault(index: int) -> str:
        try:
            photos[index]
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(photos), CHUNK):
            yield from pool.map(fault, range(start, min(start + CHUNK, len(photos))))
