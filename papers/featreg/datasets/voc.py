"""PASCAL VOC 2012 for segmentation, and the further labels of SBD, through torchvision's datasets."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.io.matlab import MatReadError
from torchvision.datasets import SBDataset, VOCSegmentation

from shared import UserError
from shared.support.folders import faults, named

from .images import Images, Sample, check_label, read_label, read_pixels

LAYOUT = """\
DATA/                         --dataset voc (numbers of images as commonly counted)
  VOCdevkit/VOC2012/          JPEGImages, SegmentationClass, ImageSets/Segmentation/{train,val}.txt (1,464 and 1,449)
  sbd/                        optional: img, cls, train.txt, val.txt of benchmark_RELEASE/dataset (11,355)"""
NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table",
    "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
)  # fmt: skip
SBD_UNREADABLE = (OSError, ValueError, TypeError, LookupError, NotImplementedError, MatReadError)
"""Errors that scipy and torchvision raise for a mat file that is damaged or none of SBD's."""


class VOC:
    """The images of "train" or "val" as `Images`.

    Raises:
        UserError: if the list is missing or empty.
    """

    def __init__(self, root: Path, image_set: str) -> None:
        listing = root / "VOCdevkit/VOC2012/ImageSets/Segmentation" / f"{image_set}.txt"
        try:
            self.files = VOCSegmentation(str(root), "2012", image_set)
        except (OSError, RuntimeError, UnicodeDecodeError) as error:
            raise UserError(f"{listing} cannot be read ({error}). Expected there:\n{LAYOUT}") from error
        if not len(self.files):
            raise UserError(f"{listing} is empty; expected a name a line, as VOC 2012 has it.")

    @property
    def stems(self) -> list[str]:
        return [Path(path).stem for path in self.files.images]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        image, label = Path(self.files.images[index]), Path(self.files.masks[index])
        return _same_size(Sample(image.stem, read_pixels(image), read_label(label, len(NAMES))), image, label)


class SBD:
    """SBD's images that are in neither "train" nor "val" of VOC 2012, as `Images`."""

    def __init__(self, root: Path) -> None:
        known = {stem for image_set in ("train", "val") for stem in VOC(root, image_set).stems}
        self.chosen: list[tuple[Any, int]] = []
        for image_set in ("train", "val"):
            try:
                files = SBDataset(str(root / "sbd"), image_set, "segmentation")
            except (OSError, RuntimeError, UnicodeDecodeError) as error:
                raise UserError(
                    f"{root / 'sbd' / image_set}.txt cannot be read ({error}); the images of SBD were asked for. "
                    f"Expected there:\n{LAYOUT}"
                ) from error
            self.chosen += [(files, i) for i, path in enumerate(files.images) if Path(path).stem not in known]
        if not self.chosen:
            raise UserError(f"{root / 'sbd'} lists no image beyond VOC's own; expected those of SBD.")

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Sample:
        files, i = self.chosen[index]
        image, label = Path(files.images[i]), Path(files.masks[i])
        pixels = read_pixels(image)
        try:
            classes = np.array(files[i][1]).astype(np.int64)
        except SBD_UNREADABLE as error:
            raise UserError(f"{label} is missing or damaged ({error}); unpack SBD again.") from error
        known = check_label(torch.from_numpy(classes), len(NAMES), str(label))
        return _same_size(Sample(image.stem, pixels, known), image, label)


class Both:
    """Two sets of images, one after the other."""

    def __init__(self, first: Images, second: Images) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int) -> Sample:
        return self.first[index] if index < len(self.first) else self.second[index - len(self.first)]


def train(root: Path, sbd: bool) -> Images:
    """VOC's training images; with ``sbd`` those of SBD, too."""
    return Both(VOC(root, "train"), SBD(root)) if sbd else VOC(root, "train")


def augmentation(root: Path) -> Images:
    """SBD's images, which have no part in training the first network on VOC alone."""
    return SBD(root)


def validation(root: Path) -> Images:
    return VOC(root, "val")


def describe(root: Path, sbd: bool) -> dict[str, Any]:
    """``name``, ``train``, ``test`` and ``sha256`` of the lists."""
    trained, tested = VOC(root, "train"), VOC(root, "val")
    further = [files.images[i] for files, i in SBD(root).chosen] if sbd else []
    stems = [*trained.stems, "", *tested.stems, "", *(Path(path).stem for path in further)]
    return {
        "name": "PASCAL VOC 2012" + (" with SBD" if sbd else ""),
        "train": len(trained),
        "test": len(tested),
        "sha256": hashlib.sha256("\n".join(stems).encode()).hexdigest(),
    }


def check(root: Path) -> list[str]:
    """Lines on VOC and SBD, after every file was decoded; none if there is no VOC."""
    if not (root / "VOCdevkit/VOC2012").is_dir():
        return []
    lines = [line for image_set in ("train", "val") for line in _usable(f"VOC 2012 {image_set}", VOC(root, image_set))]
    return [*lines, *(_usable("SBD beyond VOC", SBD(root)) if (root / "sbd").is_dir() else ["SBD: missing (optional)"])]


def _usable(name: str, images: Images) -> list[str]:
    """How many images there are, and the faults of those that cannot be used."""
    broken = faults(images.__getitem__, len(images), f"decoding the images of {name}")
    return [f"{name}: {len(images):,} images, {len(images) - len(broken):,} usable", *named(broken)]


def _same_size(sample: Sample, image: Path, label: Path) -> Sample:
    if sample.source.shape[1:] != sample.label.shape:
        height, width = sample.label.shape
        raise UserError(
            f"{label} has {width} x {height} pixels and {image} {sample.source.shape[2]} x {sample.source.shape[1]}; "
            "expected the same size. Copy both again from where they came from."
        )
    return sample
