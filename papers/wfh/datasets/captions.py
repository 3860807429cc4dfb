"""Captions of COCO and Flickr30k in Karpathy's splits."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from shared.support import annotations

from . import checks

LAYOUT = """\
DATA/
  karpathy/                   dataset_coco.json, dataset_flickr30k.json (Karpathy's splits, with the captions)"""
Set = Literal["coco", "flickr30k"]
SETS: tuple[Set, ...] = ("coco", "flickr30k")


@dataclass(frozen=True)
class Captioned:
    """Name of an image, as its region features have it, and its captions."""

    name: str
    captions: list[str]


def karpathy(root: Path, which: str, splits: tuple[str, ...]) -> list[Captioned]:
    """Images of some of Karpathy's splits: train, restval (COCO), val, test.

    Raises:
        UserError: if the file of the splits is missing or damaged.
    """

    def parse(content: Any) -> list[Captioned]:
        rows = [row for row in content["images"] if row["split"] in splits]
        return annotations.some([_captioned(row) for row in rows], f"image of {' or '.join(splits)}")

    return annotations.read(root / "karpathy" / f"dataset_{which}.json", parse)


def _captioned(row: dict[str, Any]) -> Captioned:
    texts = [annotations.text(sentence["raw"]) for sentence in row["sentences"]]
    return Captioned(Path(annotations.text(row["filename"])).stem, annotations.some(texts, "caption"))


def check(root: Path) -> list[str]:
    """Lines on the sets of captions, if their folder is there."""
    sets = SETS if (root / "karpathy").is_dir() else ()
    read = partial(karpathy, root, splits=("train", "restval", "val", "test"))
    return checks.counted("captions", sets, read, "images")
