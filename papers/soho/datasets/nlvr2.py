"""NLVR2: a statement about two photographs, true or false."""

from functools import partial
from pathlib import Path
from typing import Any

from shared.support import annotations

from .captions import usable
from .texts import Text

LAYOUT = """\
  nlvr2/                      data/{train,dev,test1}.json (a statement a line), images/train/<directory>, images/dev,
                              images/test1: <identifier without its last number>-img{0,1}.png"""
CLASSES = ("False", "True")


def read(root: Path, split: str) -> tuple[list[Path], list[Text]]:
    """Image files and statements of "train", "dev" or "test1".

    Raises:
        UserError: if the file is missing or damaged, or a label is neither True nor False.
    """
    images: dict[Path, int] = {}

    def parse(rows: Any) -> list[Text]:
        found = []
        for row in rows:
            identifier, label = annotations.plain_name(row["identifier"]), str(row["label"])
            if label not in CLASSES:
                raise ValueError(f"expected the label True or False, found {label!r}")
            folder = root / "nlvr2/images" / split
            if split == "train":
                folder = folder / str(annotations.number(row["directory"]))
            pair = identifier.rpartition("-")[0]
            both = [images.setdefault(folder / f"{pair}-img{k}.png", len(images)) for k in (0, 1)]
            found.append(Text(tuple(both), annotations.text(row["sentence"]), {label: 1.0}))
        return annotations.some(found, "statement")

    texts = annotations.read(root / "nlvr2/data" / f"{split}.json", parse, lines=True)
    return list(images), texts


def check(root: Path) -> list[str]:
    """Lines on the splits, if the folder is there."""
    splits = ("train", "dev", "test1") if (root / "nlvr2").is_dir() else ()
    return [line for split in splits for line in usable(f"NLVR2, {split}", partial(images, root, split))]


def images(root: Path, split: str) -> list[Path]:
    """The files of the images of a split."""
    return read(root, split)[0]
