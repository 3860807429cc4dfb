"""Segmentation benchmarks in their published layouts, with the label conventions of mmsegmentation 1.x.

Their class names are the files of `names/`, in the order of the labels: results move by points with the names, so the
files are part of the experiment.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shared import UserError
from shared.support.folders import faults, named, visible
from shared.support.images import UNDECODABLE, decode_image

from .part import Part, faulty

NAMES = Path(__file__).parent / "names"
IGNORED = 255  # label of what does not count
LAYOUT = """\
DATA/                         segmentation benchmarks; those that are there are evaluated (numbers of images unverified)
  VOCdevkit/VOC2012/          JPEGImages, SegmentationClass, ImageSets/Segmentation/val.txt (1,449)
  VOCdevkit/VOC2010/          JPEGImages, SegmentationClassContext, ImageSets/SegmentationContext/val.txt (5,105)
  coco_stuff164k/             images/val2017, annotations/val2017 with *_labelTrainIds.png and, for COCO-Object,
                              *_instanceTrainIds.png (5,000)
  ADEChallengeData2016/       images/validation, annotations/validation (2,000)
  cityscapes/                 leftImg8bit/val/*, gtFine/val/* with *_gtFine_labelTrainIds.png (500)"""


@dataclass(frozen=True)
class Benchmark:
    """One set of labels.

    Attributes:
        title: as papers call it.
        images, labels: folders, relative to the data's.
        suffix: what follows the image's stem in the name of its label file.
        listing: file of image stems; None: every label file there is.
        names: file of class names. classes: how many.
        background: class 0 is background, and evaluated.
        reduce_zero_label: label 0 is ignored, and the others move down by one.
        expected: images, as commonly counted (unverified).
    """

    title: str
    images: str
    labels: str
    suffix: str
    listing: str | None
    names: str
    classes: int
    background: bool
    reduce_zero_label: bool
    expected: int

    @property
    def class_names(self) -> list[str]:
        """All of them, background included where it is a class."""
        lines = (NAMES / self.names).read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    @property
    def queries(self) -> list[str]:
        """Classes that are asked for by name; background is found by the entropy rule."""
        return self.class_names[1:] if self.background else self.class_names


_VOC, _CONTEXT, _STUFF = "VOCdevkit/VOC2012/", "VOCdevkit/VOC2010/", "coco_stuff164k/"
_VOC_FILES = (
    f"{_VOC}JPEGImages", f"{_VOC}SegmentationClass", ".png", f"{_VOC}ImageSets/Segmentation/val.txt",
)  # fmt: skip
_CONTEXT_FILES = (
    f"{_CONTEXT}JPEGImages", f"{_CONTEXT}SegmentationClassContext", ".png",
    f"{_CONTEXT}ImageSets/SegmentationContext/val.txt",
)  # fmt: skip
_STUFF_FOLDERS = (f"{_STUFF}images/val2017", f"{_STUFF}annotations/val2017")
_ADE_FOLDERS = ("ADEChallengeData2016/images/validation", "ADEChallengeData2016/annotations/validation")
_CITY_FOLDERS = ("cityscapes/leftImg8bit/val", "cityscapes/gtFine/val")
BENCHMARKS = {
    "voc20": Benchmark("Pascal VOC-20", *_VOC_FILES, "voc20.txt", 20, False, True, 1449),
    "voc21": Benchmark("Pascal VOC-21", *_VOC_FILES, "voc21.txt", 21, True, False, 1449),
    "context59": Benchmark("Pascal Context-59", *_CONTEXT_FILES, "context59.txt", 59, False, True, 5105),
    "context60": Benchmark("Pascal Context-60", *_CONTEXT_FILES, "context60.txt", 60, True, False, 5105),
    "coco_stuff171": Benchmark(
        "COCO-Stuff-171", *_STUFF_FOLDERS, "_labelTrainIds.png", None, "coco_stuff171.txt", 171, False, False, 5000
    ),
    "coco_object": Benchmark(
        "COCO-Object", *_STUFF_FOLDERS, "_instanceTrainIds.png", None, "coco_object.txt", 81, True, False, 5000
    ),
    "ade20k150": Benchmark("ADE20K-150", *_ADE_FOLDERS, ".png", None, "ade20k150.txt", 150, False, True, 2000),
    "cityscapes19": Benchmark(
        "Cityscapes-19", *_CITY_FOLDERS, "_gtFine_labelTrainIds.png", None, "cityscapes19.txt", 19, False, False, 500
    ),
}


def reduce_zero_label(labels: Tensor) -> Tensor:
    """uint8 of any shape: 0 becomes 255 (ignored), every other label one less, 255 stays. Source: mmsegmentation.

    Raises ValueError for another type, in which 0 - 1 would not be 255.
    """
    if labels.dtype != torch.uint8:
        raise ValueError(f"labels are {labels.dtype}, expected torch.uint8")
    return torch.where(labels == IGNORED, labels, labels - 1)


class Segmented:
    """The images of a benchmark with their labels, read one at a time.

    Raises:
        UserError: if the list or a folder is missing or empty, or an image has no label file; names it.
    """

    def __init__(self, benchmark: Benchmark, root: Path) -> None:
        self.benchmark = benchmark
        images, labels = root / benchmark.images, root / benchmark.labels
        for folder in (images, labels):
            if not folder.is_dir():
                raise UserError(f"{benchmark.title}: {folder} is missing. Expected:\n{LAYOUT}")
        if benchmark.listing:
            stems = _listed(root / benchmark.listing)
            self.pairs = [(images / f"{stem}.jpg", labels / f"{stem}{benchmark.suffix}") for stem in stems]
        else:
            self.pairs = [
                (images / path.relative_to(labels).parent / self._image_name(path.name), path)
                for path in visible(labels.rglob(f"*{benchmark.suffix}"), labels)
            ]
            labelled = {path for path, _ in self.pairs}
            bare = next((path for path in visible(images.rglob("*.[jp][pn]g"), images) if path not in labelled), None)
            if bare is not None and self.pairs:
                raise UserError(f"{benchmark.title}: {bare} has no labels in {labels}; unpack the archive again.")
        if not self.pairs:
            raise UserError(f"{benchmark.title}: {labels} holds no *{benchmark.suffix}.")
        missing = next((path for pair in self.pairs for path in pair if not path.is_file()), None)
        if missing is not None:
            raise UserError(f"{benchmark.title}: {missing} is missing, but its partner or the list names it.")

    def _image_name(self, label: str) -> str:
        stem = label.removesuffix(self.benchmark.suffix)
        return f"{stem}_leftImg8bit.png" if "cityscapes" in self.benchmark.images else f"{stem}.jpg"

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[tuple[Image.Image, Tensor]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> tuple[Image.Image, Tensor]:
        """RGB image, and its labels int64 (H, W) in [0, classes) or 255.

        Raises:
            UserError: if a file cannot be decoded, the two differ in size, or a label is none of the set's.
        """
        if not 0 <= index < len(self.pairs):
            raise IndexError(index)
        path, label_path = self.pairs[index]
        try:
            image = decode_image(path, turn=False)  # labels belong to the pixels as they are stored
        except (UserError, *UNDECODABLE) as error:
            raise _undecodable(path, error) from None
        raw = _open(label_path)
        if raw.mode not in ("P", "L"):
            raise UserError(f"{label_path} has mode {raw.mode}; expected one byte a pixel (grey or palette) of labels.")
        labels = torch.from_numpy(np.array(raw))
        if image.size != raw.size:
            raise UserError(f"{label_path} is {raw.size} pixels and its image {path} {image.size}; expected the same.")
        if self.benchmark.reduce_zero_label:
            labels = reduce_zero_label(labels)
        wrong = labels[(labels >= self.benchmark.classes) & (labels != IGNORED)]
        if len(wrong):
            raise UserError(
                f"{label_path} has the label {int(wrong[0])}; {self.benchmark.title} has {self.benchmark.classes} "
                "classes and 255 for what is ignored. Are these the labels of another set?"
            )
        return image, labels.long()


def found(root: Path) -> dict[str, Segmented]:
    """The benchmarks whose label folders are below ``root``."""
    present = {}
    for name, benchmark in BENCHMARKS.items():
        folder = root / benchmark.labels
        listed = benchmark.listing is not None or bool(visible(folder.rglob(f"*{benchmark.suffix}"), folder))
        if folder.is_dir() and listed:
            present[name] = Segmented(benchmark, root)
    return present


def by_images(tests: dict[str, Segmented]) -> list[dict[str, Segmented]]:
    """The benchmarks in groups that have the same images in the same order."""
    groups: dict[tuple[Path, ...], dict[str, Segmented]] = {}
    for name, test in tests.items():
        groups.setdefault(tuple(image for image, _ in test.pairs), {})[name] = test
    return list(groups.values())


def check(root: Path) -> list[Part]:
    """How many images of each benchmark are below ``root``, and every file that cannot be used; decodes them all."""
    return [_check(name, root) for name in BENCHMARKS]


def _check(name: str, root: Path) -> Part:
    benchmark = BENCHMARKS[name]
    try:
        test = Segmented(benchmark, root)
    except UserError as fault:
        part = faulty(name, fault)
        return part if (root / benchmark.labels).is_dir() else Part(name, part.lines)
    broken = faults(test.__getitem__, len(test), f"decoding the images of {name}")
    usable = len(test) - len(broken)
    line = f"{name}: {len(test):,} images, {usable:,} usable ({benchmark.expected:,} expected, unverified)"
    return Part(name, [line, *named(broken)], usable, bool(broken))


def _listed(path: Path) -> list[str]:
    try:
        stems = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}). Expected:\n{LAYOUT}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a list of image names in UTF-8 ({error.reason}).") from None
    if not stems:
        raise UserError(f"{path} is empty; expected one image name a line.")
    if len(set(stems)) < len(stems):
        twice = next(stem for i, stem in enumerate(stems) if stem in stems[:i])
        raise UserError(f"{path} lists {twice} twice, which would count twice; expected every image once.")
    return stems


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
        return image
    except UNDECODABLE as error:
        raise _undecodable(path, error) from None


def _undecodable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not an image that can be decoded ({error}); unpack the archive again.")
