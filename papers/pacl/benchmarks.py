"""Segmentation benchmarks in the on-disk layouts of mmsegmentation, and the names of their classes.

The paper's four are VOC-20, Context-59, COCO-Stuff-171 and ADE20K-150 (unverified: from a leaderboard). Sets that differ
only in whether the background is a class share their files. Numbers of images are as commonly given (unverified).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from shared import UserError

from .metrics import IGNORED, reduce_zero_label

LAYOUT = """\
DATA/  (each benchmark needs its own files only)
  VOCdevkit/VOC2012/                              voc20, voc21: PASCAL VOC 2012
    JPEGImages/*.jpg
    SegmentationClass/*.png                       0 background, 1 to 20 a class, 255 ignored
    ImageSets/Segmentation/val.txt                1,449 names
  VOCdevkit/VOC2010/                              context59, context60: PASCAL Context
    JPEGImages/*.jpg
    SegmentationClassContext/*.png                0 background, 1 to 59 a class; made by mmsegmentation's
    ImageSets/SegmentationContext/val.txt         tools/dataset_converters/pascal_context.py, 5,105 names
  coco_stuff164k/                                 coco_stuff171, coco_object: COCO 2017 with COCO-Stuff
    images/val2017/*.jpg                          5,000 images
    annotations/val2017/*_labelTrainIds.png       0 to 170 a class, 255 ignored; made by mmsegmentation's
                                                  tools/dataset_converters/coco_stuff164k.py
    annotations/val2017/*_instanceTrainIds.png    0 background, 1 to 80 a class; made by GroupViT's convert_coco_object.py,
                                                  which counts what is not labelled as background
  ADEChallengeData2016/                           ade20k150: ADE20K, scene parsing 2016
    images/validation/*.jpg                       2,000 images
    annotations/validation/*.png                  0 other (ignored), 1 to 150 a class
  cityscapes/                                     cityscapes19: Cityscapes
    leftImg8bit/val/*/*_leftImg8bit.png           500 images
    gtFine/val/*/*_gtFine_labelTrainIds.png       0 to 18 a class, 255 ignored; made by cityscapesScripts'
                                                  csCreateTrainIdLabelImgs"""
LISTED = 20  # files that `check` names of each benchmark


@dataclass(frozen=True)
class Benchmark:
    """Where the files of a benchmark are, under DATA with ``{}`` for an image's name, and what their labels mean."""

    title: str
    images: str
    labels: str
    classes: int
    """Number of classes evaluated, the background with them if it is one."""
    count: int
    """Images that are expected."""
    listed: str | None = None
    """File of names; None: all images."""
    background: bool = False
    """Class 0 is the background, which no text names."""
    reduce_zero_label: bool = False
    """Label 0 of the files is ignored, and class c is their label c + 1."""

    @property
    def largest(self) -> int:
        """Largest label in the files but 255."""
        return self.classes if self.reduce_zero_label else self.classes - 1


_VOC = "VOCdevkit/VOC2012/"
_VOC_FILES = (_VOC + "JPEGImages/{}.jpg", _VOC + "SegmentationClass/{}.png")
_VOC_LIST = _VOC + "ImageSets/Segmentation/val.txt"
_CONTEXT = "VOCdevkit/VOC2010/"
_CONTEXT_FILES = (_CONTEXT + "JPEGImages/{}.jpg", _CONTEXT + "SegmentationClassContext/{}.png")
_CONTEXT_LIST = _CONTEXT + "ImageSets/SegmentationContext/val.txt"
_COCO_IMAGES = "coco_stuff164k/images/val2017/{}.jpg"
_COCO_LABELS = "coco_stuff164k/annotations/val2017/{}"
_ADE = "ADEChallengeData2016/"
_CITYSCAPES = ("cityscapes/leftImg8bit/val/{}_leftImg8bit.png", "cityscapes/gtFine/val/{}_gtFine_labelTrainIds.png")

BENCHMARKS = {
    "voc20": Benchmark("PASCAL VOC-20", *_VOC_FILES, 20, 1449, _VOC_LIST, reduce_zero_label=True),
    "voc21": Benchmark("PASCAL VOC-21", *_VOC_FILES, 21, 1449, _VOC_LIST, background=True),
    "context59": Benchmark("PASCAL Context-59", *_CONTEXT_FILES, 59, 5105, _CONTEXT_LIST, reduce_zero_label=True),
    "context60": Benchmark("PASCAL Context-60", *_CONTEXT_FILES, 60, 5105, _CONTEXT_LIST, background=True),
    "coco_stuff171": Benchmark("COCO-Stuff-171", _COCO_IMAGES, _COCO_LABELS + "_labelTrainIds.png", 171, 5000),
    "coco_object": Benchmark(
        "COCO-Object", _COCO_IMAGES, _COCO_LABELS + "_instanceTrainIds.png", 81, 5000, background=True
    ),
    "ade20k150": Benchmark(
        "ADE20K-150",
        _ADE + "images/validation/{}.jpg",
        _ADE + "annotations/validation/{}.png",
        150,
        2000,
        reduce_zero_label=True,
    ),
    "cityscapes19": Benchmark("Cityscapes-19", *_CITYSCAPES, 19, 500),
}


class Labelled(Dataset):
    """The validation images of a benchmark with their labels, at their original sizes, in order of the list or by name.

    Args:
        root: folder of :data:`LAYOUT`.
        name: one of :data:`BENCHMARKS`.

    Raises:
        UserError: for an unknown benchmark, a missing folder or file, a list that is empty or not UTF-8, an image
            without labels or labels without an image.
    """

    def __init__(self, root: Path, name: str) -> None:
        if name not in BENCHMARKS:
            raise UserError(f"{name} is no benchmark; choose one of {', '.join(BENCHMARKS)}.")
        self.root, self.benchmark = root, BENCHMARKS[name]
        for pattern in (self.benchmark.images, self.benchmark.labels):
            folder = root / pattern.partition("{}")[0]
            if not folder.is_dir():
                raise UserError(f"{folder} is not a folder. Expected:\n{LAYOUT}")
        self.names = self._listed(self.benchmark.listed) if self.benchmark.listed else self._found()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Image.Image, Tensor, str]:
        """RGB image of H x W pixels, labels uint8 (H, W): a class or 255 for ignored, and the image's name.

        Raises:
            UserError: if a file cannot be decoded, the sizes differ, or the labels are not those of the benchmark.
        """
        name = self.names[index]
        image = read_image(self._image(name))
        path = self._label(name)
        labels = read_labels(path, self.benchmark.largest)
        if labels.shape != (image.height, image.width):
            raise UserError(
                f"{path} has {labels.shape[1]} x {labels.shape[0]} pixels, but {self._image(name)} has {image.width} x "
                f"{image.height}; expected the same size. Unpack the archive again."
            )
        return image, reduce_zero_label(labels) if self.benchmark.reduce_zero_label else labels, name

    def _image(self, name: str) -> Path:
        return self.root / self.benchmark.images.format(name)

    def _label(self, name: str) -> Path:
        return self.root / self.benchmark.labels.format(name)

    def _listed(self, file: str) -> list[str]:
        names = _lines(self.root / file)
        if not names:
            raise UserError(f"{self.root / file} is empty; expected a name a line. Unpack the archive again.")
        missing = [path for name in names for path in (self._image(name), self._label(name)) if not path.is_file()]
        if missing:
            raise UserError(
                f"{missing[0]} is missing (and {len(missing) - 1} more); expected an image and labels for each of the "
                f"{len(names)} names in {self.root / file}. Unpack the archive again, or make the labels as described:\n"
                f"{LAYOUT}"
            )
        return names

    def _found(self) -> list[str]:
        images, labels = _names(self.root, self.benchmark.images), _names(self.root, self.benchmark.labels)
        if not images:
            raise UserError(f"{self._image('*')} matches no images. Expected:\n{LAYOUT}")
        missing = [self._label(name) for name in sorted(images - labels)]
        missing += [self._image(name) for name in sorted(labels - images)]
        if missing:
            raise UserError(
                f"{missing[0]} is missing (and {len(missing) - 1} more); expected labels for every image, and an image "
                f"for all labels. Unpack the archive again, or make the labels as described:\n{LAYOUT}"
            )
        return sorted(images)


def class_names(name: str) -> list[list[str]]:
    """Names of a benchmark's classes in the order of its labels, as :func:`read_names` returns them."""
    return read_names(Path(__file__).with_name("names") / f"{name}.txt")


def read_names(path: Path) -> list[list[str]]:
    """Classes of a text file, one a line; more than one name of a class is separated by ``;``, ``#`` begins a comment.

    Raises:
        UserError: if the file is missing, not UTF-8, or has no names.
    """
    names = [[name.strip() for name in line.split(";") if name.strip()] for line in _lines(path)]
    if not names or not all(names):
        raise UserError(
            f'{path} has {"a class" if names else "no classes"} without a name; expected "name" or "name; other name" a line.'
        )
    return names


def read_image(path: Path) -> Image.Image:
    """An image as RGB; grey, palette and CMYK files are converted.

    Raises:
        UserError: if it is missing, not readable, empty, truncated or not an image; the message begins with the path.
    """
    return _opened(path).convert("RGB")


def read_labels(path: Path, largest: int) -> Tensor:
    """A label map as uint8 (H, W): the values of a grey image, or the indices, not the colours, of a palette image.

    Raises:
        UserError: as :func:`read_image` does, if it is in colours or of more than 8 bits, or if a label is above
            ``largest`` and not 255.
    """
    image = _opened(path)
    if image.mode not in ("L", "P"):
        raise UserError(
            f"{path} is no label map (mode {image.mode}); expected a grey or palette image of 8 bits whose values are "
            "labels. Has it been saved in colour? Replace it with the original file."
        )
    labels = np.array(image)
    if len(unknown := labels[(labels > largest) & (labels != IGNORED)]):
        raise UserError(
            f"{path} has the label {unknown[0]}; expected 0 to {largest}, and {IGNORED} for ignored pixels. Is it "
            "another dataset's, or not converted yet?"
        )
    return torch.from_numpy(labels)


def check(root: Path) -> list[str]:
    """What ``root`` holds of :data:`LAYOUT`: images of each benchmark, and every file that cannot be used.

    Decodes all images and labels.

    Raises:
        UserError: if there is nothing of any benchmark.
    """
    if not any((root / benchmark.images.split("/")[0]).is_dir() for benchmark in BENCHMARKS.values()):
        raise UserError(f"{root} holds none of the benchmarks. Expected there:\n{LAYOUT}")
    lines, seen = [], set()
    for name, benchmark in BENCHMARKS.items():
        if benchmark.labels in seen:
            continue
        seen.add(benchmark.labels)
        title = ", ".join(other for other, b in BENCHMARKS.items() if b.labels == benchmark.labels)
        try:
            found = Labelled(root, name)
        except UserError as fault:
            lines.append(f"{title}: {str(fault).splitlines()[0].removesuffix(' Expected:')}")
            continue
        faults = list(_faults(found))
        lines.append(
            f"{title}: {len(found):,} images ({benchmark.count:,} expected), {len(found) - len(faults):,} usable"
        )
        lines += [f"  {fault}" for fault in faults[:LISTED]]
        lines += [f"  ... and {len(faults) - LISTED:,} more"] * (len(faults) > LISTED)
    return lines


def _faults(found: Labelled) -> Iterator[str]:
    for index in range(len(found)):
        try:
            found[index]
        except UserError as fault:
            yield str(fault)


def _opened(path: Path) -> Image.Image:
    """A decoded image."""
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise UserError(f"{path} is missing; has it been moved since the run began?") from None
    except UnidentifiedImageError:
        reason = "is empty" if path.stat().st_size == 0 else "is not an image"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises for damage
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    raise UserError(f"{path} {reason}; replace it with the original file.")


def _names(root: Path, pattern: str) -> set[str]:
    """What stands for ``{}``, a path where images are in subfolders."""
    folder, _, ending = pattern.partition("{}")
    return {
        path.relative_to(root / folder).as_posix().removesuffix(ending) for path in (root / folder).rglob(f"*{ending}")
    }


def _lines(path: Path) -> list[str]:
    """Lines of a text file without comments, surrounding space and empty lines."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}). Expected:\n{LAYOUT}") from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
