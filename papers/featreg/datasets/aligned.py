"""A user's own data: images of time 1 with labels, and images of the same places at time 2."""

import hashlib
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from shared import UserError
from shared.support.folders import faults, named

from .images import Sample, read_label, read_pixels, size_of

LAYOUT = """\
DATA/                         --dataset aligned --domains time2: your own two sets of images
  classes.txt                 a class name a line, in the order of the labels
  time1/images/NAME.jpg       images of time 1; JPEG, PNG or whatever else Pillow reads
  time1/labels/NAME.png       their labels: pixels are class numbers, 0 the first of classes.txt, 255 unknown
  time2/images/NAME.jpg       the same places at time 2, under the same names and of the same size
  time2/labels/NAME.png       optional: labels for testing, and for the supervised baselines
  test.txt                    optional: names without suffix that are kept for testing; default: every fifth"""
EVERY_TEST = 5


class Aligned:
    """The pairs of a split as `Images`.

    Raises:
        UserError: a folder or file is missing, an image has no partner or no label, or sizes differ; names the file.
    """

    def __init__(self, root: Path, split: Literal["train", "test"]) -> None:
        self.classes = len(class_names(root))
        self.first, self.second = (_images(root / time / "images") for time in ("time1", "time2"))
        for ours, theirs, folder in ((self.first, self.second, "time2"), (self.second, self.first, "time1")):
            if alone := sorted(ours.keys() - theirs.keys()):
                raise UserError(
                    f"{ours[alone[0]]} has no partner of the same name in {root / folder / 'images'} "
                    f"({len(alone)} such images); add the partner, or take the image away."
                )
        self.root = root
        self.names = _split(root, sorted(self.first))[split]
        self.labels = {name: root / "time1" / "labels" / f"{name}.png" for name in self.first}
        for name, path in self.labels.items():
            if not path.is_file():
                raise UserError(f"{path} is missing; every image of time 1 needs labels, {self.first[name]} has none.")

    def target_label(self, name: str) -> Path | None:
        """The label file of an image of time 2, if there is one."""
        path = self.root / "time2" / "labels" / f"{name}.png"
        return path if path.is_file() else None

    def check_sizes(self) -> None:
        """Raises UserError for the first pair or label map of another size, from the files' headers."""
        for name in self.names:
            size, target_label = size_of(self.first[name]), self.target_label(name)
            for other in (self.labels[name], self.second[name], *([target_label] if target_label else [])):
                if (found := size_of(other)) != size:
                    raise UserError(
                        f"{other} has {found[0]} x {found[1]} pixels and {self.first[name]} {size[0]} x {size[1]}; "
                        "expected the same size. Crop or resample one of them (labels without interpolation)."
                    )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        target_label = self.target_label(name)
        return Sample(
            name,
            read_pixels(self.first[name]),
            read_label(self.labels[name], self.classes),
            read_pixels(self.second[name]),
            read_label(target_label, self.classes) if target_label else None,
        )


def read(root: Path, split: Literal["train", "test"]) -> Aligned:
    return Aligned(root, split)


def class_names(root: Path) -> list[str]:
    """The names in classes.txt.

    Raises:
        UserError: if it is missing, not text, or names fewer than two classes.
    """
    path = root / "classes.txt"
    names = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if len(names) < 2:
        raise UserError(f"{path} names {len(names)} classes; expected two or more, one a line.")
    return names


def describe(root: Path) -> dict[str, Any]:
    """``name``, ``train``, ``test`` and ``sha256`` of names and sizes; every pair is checked."""
    splits: list[Aligned] = [Aligned(root, "train"), Aligned(root, "test")]
    for split in splits:
        split.check_sizes()
    files = [
        f"{path.relative_to(root)} {path.stat().st_size}"
        for split in splits
        for name in split.names
        for path in (split.first[name], split.labels[name], split.second[name], split.target_label(name))
        if path is not None
    ]
    digest = hashlib.sha256("\n".join([*class_names(root), *files]).encode()).hexdigest()
    return {"name": f"aligned images of {root.name}", "train": len(splits[0]), "test": len(splits[1]), "sha256": digest}


def check(root: Path) -> list[str]:
    """Lines on two aligned sets, after every file was decoded; none if there is no folder of time 1."""
    if not (root / "time1").is_dir():
        return []
    describe(root)
    trained, tested = Aligned(root, "train"), Aligned(root, "test")
    broken = [
        fault
        for split in (trained, tested)
        for fault in faults(split.__getitem__, len(split), "decoding the images of aligned sets")
    ]
    labelled = sum(tested.target_label(name) is not None for name in tested.names)
    return [
        f"aligned: {len(trained)} pairs for training, {len(tested)} for testing, {trained.classes} classes",
        f"aligned: {labelled} of the test images have labels of time 2",
        *named(broken),
    ]


def _images(folder: Path) -> dict[str, Path]:
    """Image files by their name without suffix."""
    if not folder.is_dir():
        raise UserError(f"{folder} is missing or no folder. Expected there:\n{LAYOUT}")
    suffixes = Image.registered_extensions()
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes:
            if path.stem in found:
                raise UserError(f"{path} and {found[path.stem]} have one name; rename one of them.")
            found[path.stem] = path
    if not found:
        raise UserError(f"{folder} holds no image. Expected there:\n{LAYOUT}")
    return found


def _split(root: Path, names: list[str]) -> dict[str, list[str]]:
    listing = root / "test.txt"
    if listing.exists():
        tested = [line.strip() for line in _text(listing).splitlines() if line.strip()]
        if unknown := [name for name in tested if name not in names]:
            raise UserError(f"{listing} names {unknown[0]!r}, and there is no such image; use names without suffix.")
    else:
        tested = names[::EVERY_TEST]
    split = {"train": [name for name in names if name not in set(tested)], "test": list(dict.fromkeys(tested))}
    for use, chosen in split.items():
        if not chosen:
            raise UserError(
                f"{root} has no pair left for the {use} split; it has {len(names)} in all. Add pairs or {listing}."
            )
    return split


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # editors add a mark
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 ({error.reason}); save it as such.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}). Expected there:\n{LAYOUT}") from None
