"""Region features as LXMERT and U-VisualBERT publish them: a TSV file, or the HDF5 file made of it, with its JSON.

``python -m papers.wfh.datasets.detected --convert train2014_obj36.tsv`` writes ``train2014_obj36.h5`` and ``.json``.
"""

import base64
import binascii
import csv
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from shared import UserError
from shared.support import annotations
from shared.support.command_line import command
from shared.support.files import write_json
from shared.support.folders import faults, named

from . import checks
from .regions import Regions

LAYOUT = f"""\
  *_imgfeat/                  <name>.h5 and <name>.json, region features of any number of image sets (36 a picture, 2048
                              numbers each), converted from <name>.tsv:
                              python -m {__package__}.detected --convert <name>.tsv
  vocabs/                     objects_vocab.txt, attributes_vocab.txt (a class a line)"""
COLUMNS = (
    "img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes", "boxes",
    "features",
)  # fmt: skip
ARRAYS = {
    "objects_id": np.int64, "objects_conf": np.float32, "attrs_id": np.int64, "attrs_conf": np.float32,
    "boxes": np.float32, "features": np.float32,
}  # fmt: skip


class Row(NamedTuple):
    """One line of a TSV file: name and size of the picture, and its arrays by their names, (R, ...) each."""

    name: str
    height: int
    width: int
    arrays: dict[str, np.ndarray]


def read_tsv(path: Path) -> Iterator[Row]:
    """Lines of a TSV file of region features.

    Raises:
        UserError: if it is missing, damaged, or another kind of file; names the line.
    """
    csv.field_size_limit(sys.maxsize)
    read = 0
    try:
        with open(path, newline="", encoding="ascii") as opened:
            for cells in csv.reader(opened, delimiter="\t"):
                yield _row(dict(zip(COLUMNS, cells, strict=True)))
                read += 1
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); expected a TSV file of region features.") from None
    except (OSError, ValueError, binascii.Error, csv.Error) as error:
        raise UserError(
            f"{path} is damaged or no TSV file of region features (line {read + 1}: {error}); get it again."
        ) from error
    if read == 0:
        raise UserError(f"{path} is empty; expected a TSV file of region features.")


def _row(cells: dict[str, str]) -> Row:
    count = int(cells["num_boxes"])
    arrays = {}
    for name, kind in ARRAYS.items():
        values = np.frombuffer(base64.b64decode(cells[name], validate=True), kind)
        arrays[name] = values.reshape((count, -1) if name in ("boxes", "features") else (count,))
    if arrays["boxes"].shape[1] != 4:
        raise ValueError(f"expected boxes of 4 numbers, found {arrays['boxes'].shape[1]}")
    return Row(cells["img_id"], int(cells["img_h"]), int(cells["img_w"]), arrays)


def convert(path: Path) -> Path:
    """Write the HDF5 and the JSON file of a TSV file beside it; returns the path of the first.

    Raises:
        UserError: if the TSV file is damaged, or its pictures differ in the number of regions.
    """
    target, partial = path.with_suffix(".h5"), path.with_suffix(".h5.partial")
    described: list[dict[str, Any]] = []
    try:
        with h5py.File(partial, "w") as stored:
            for number, row in enumerate(read_tsv(path)):
                for name, x in row.arrays.items():
                    if name not in stored:
                        stored.create_dataset(name, (0, *x.shape), maxshape=(None, *x.shape), dtype=x.dtype)
                    if stored[name].shape[1:] != x.shape:
                        raise UserError(
                            f"{path}: {row.name} has {name} of {x.shape}; expected {stored[name].shape[1:]} as before."
                        )
                    stored[name].resize(number + 1, axis=0)
                    stored[name][number] = x
                described.append({"img_id": row.name, "img_h": row.height, "img_w": row.width})
        write_json(path.with_suffix(".json"), described)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


class Place(NamedTuple):
    """Where a picture's regions are: the file, the row in it, and the size of the picture."""

    file: Path
    row: int
    height: int
    width: int


class DetectedImages:
    """Regions of pictures in HDF5 files; the files are opened by the process that reads them.

    Args:
        places: of each picture.
        most: regions of a picture at most; the first ones are the surest.
        classes: numbers of objects and of attributes that the detector tells apart.
    """

    def __init__(self, places: Sequence[Place], most: int, classes: tuple[int, int]) -> None:
        self.places, self.most, self.classes = places, most, classes
        self._opened: dict[tuple[int, Path], h5py.File] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Regions:
        """Raises UserError if the file is damaged, or holds other numbers than a detector gives."""
        place = self.places[index]
        try:
            opened = self._file(place.file)
            x = {name: np.asarray(opened[name][place.row][: self.most], kind) for name, kind in ARRAYS.items()}
            size = np.tile([place.width, place.height], 2).astype(np.float32)
            found = Regions(
                x["features"], (x["boxes"] / size).clip(0, 1), x["objects_id"], x["objects_conf"], x["attrs_id"],
                x["attrs_conf"],
            )  # fmt: skip
            for values, count in ((found.objects, self.classes[0]), (found.attributes, self.classes[1])):
                if len(values) and not 0 <= values.min() <= values.max() < count:
                    raise ValueError(f"class {values.max()} of row {place.row}; expected 0 to {count - 1}")
            if not all(np.isfinite(values).all() for values in vars(found).values()):
                raise ValueError(f"row {place.row} is NaN or infinite")
        except (OSError, LookupError, ValueError, TypeError) as error:
            reason = checks.first_line(error)
            raise UserError(f"{place.file} cannot be used ({reason}); convert it again from its TSV file.") from error
        return found

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}}  # an open file does not pass to another process

    def _file(self, path: Path) -> h5py.File:
        key = (os.getpid(), path)
        if key not in self._opened:
            self._opened[key] = h5py.File(path)
        return self._opened[key]


def index(root: Path) -> dict[str, Place]:
    """Where the regions of every picture are, by its name.

    Raises:
        UserError: if there are no region features, or a file's JSON is missing or damaged.
    """
    stored = sorted(root.glob("*_imgfeat/*.h5"))
    if not stored:
        tables = sorted(root.glob("*_imgfeat/*.tsv"))
        advice = (
            f"convert {tables[0]} with `python -m {__package__}.detected --convert`"
            if tables
            else "`make check-data` prints the layout"
        )
        raise UserError(f"{root} has no region features in *_imgfeat/*.h5; {advice}.")
    return {name: place for path in stored for name, place in _described(path).items()}


def _described(path: Path) -> dict[str, Place]:
    def parse(content: Any) -> dict[str, Place]:
        found = {}
        for number, row in enumerate(annotations.some(content, "picture")):
            height, width = annotations.number(row["img_h"]), annotations.number(row["img_w"])
            if min(height, width) < 1:
                raise ValueError(f"a picture of {width} x {height} pixels")
            found[annotations.text(row["img_id"])] = Place(path, number, height, width)
        return found

    return annotations.read(path.with_suffix(".json"), parse)


def open_images(root: Path, names: Sequence[str], most: int) -> DetectedImages:
    """The regions of pictures, in the order of their names.

    Raises:
        UserError: if a picture has no region features.
    """
    places = index(root)
    if missing := [name for name in names if name not in places]:
        raise UserError(f"{root} has no region features of {len(missing):,} images, such as {missing[0]}.")
    objects, attributes = class_names(root)
    return DetectedImages([places[name] for name in names], most, (len(objects), len(attributes)))


def class_names(root: Path) -> tuple[list[str], list[str]]:
    """Names of the detector's objects and attributes.

    Raises:
        UserError: if a list is missing, damaged or empty.
    """
    found = []
    for kind in ("objects", "attributes"):
        path = root / "vocabs" / f"{kind}_vocab.txt"
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(f"{path} cannot be read ({reason}); expected a class a line.") from error
        if not names:
            raise UserError(f"{path} is empty; expected a class a line.")
        found.append(names)
    return found[0], found[1]


def describe(root: Path) -> dict[str, Any]:
    """Name and size of the data for the results file."""
    places = index(root)
    listed = sorted((name, place.row, place.height, place.width) for name, place in places.items())
    digest = hashlib.sha256(repr((listed, class_names(root))).encode()).hexdigest()
    return {"name": str(root), "train": len(places), "test": len(places), "sha256": digest}


def check(root: Path) -> list[str]:
    """Lines on the region features and class names, if there are some; every picture's row is read."""
    lines = []
    for path in sorted(root.glob("*_imgfeat/*.h5")):
        try:
            objects, attributes = class_names(root)
            images = DetectedImages(list(_described(path).values()), sys.maxsize, (len(objects), len(attributes)))
            images[0]
        except UserError as error:
            lines.append(f"region features, {path.name}: {error}")
            continue
        broken = faults(images.__getitem__, len(images), f"reading {path.name}")
        lines.append(f"region features, {path.name}: {len(images) - len(broken):,} of {len(images):,} pictures")
        lines += named(broken)
    return lines


@dataclass(frozen=True)
class Options:
    """Convert a TSV file of region features to HDF5."""

    convert: Path
    """TSV file; the HDF5 and the JSON file are written beside it."""
    debug: bool = False
    """Show the traceback of an error."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(
        Options,
        lambda options: print(f"Wrote {convert(options.convert)}."),
        f"python -m {__package__}.detected",
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
