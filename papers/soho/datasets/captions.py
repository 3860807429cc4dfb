"""Captions of COCO and Flickr30k in Karpathy's splits, and of the regions of Visual Genome."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shared import UserError
from shared.support import annotations
from shared.support.folders import faults, named

from .images import read_pixels

LAYOUT = """\
DATA/
  karpathy/                   dataset_coco.json, dataset_flickr30k.json (Karpathy's splits, with the captions)
  coco/                       train2014, val2014: COCO_<split>_<number>.jpg
  vg/                         region_descriptions.json, image_data.json, VG_100K, VG_100K_2: <number>.jpg
  flickr30k/flickr30k-images/ <number>.jpg"""
Set = Literal["coco", "flickr30k"]


@dataclass(frozen=True)
class Captioned:
    """An image file and its captions."""

    file: Path
    captions: list[str]


def karpathy(root: Path, which: Set, splits: tuple[str, ...]) -> list[Captioned]:
    """Images of some of Karpathy's splits: train, restval (COCO), val, test.

    Raises:
        UserError: if the file of the splits is missing or damaged.
    """

    def parse(content: Any) -> list[Captioned]:
        return annotations.some(
            [_captioned(root, which, row) for row in content["images"] if row["split"] in splits], "image"
        )

    return annotations.read(root / "karpathy" / f"dataset_{which}.json", parse)


def _captioned(root: Path, which: Set, row: dict[str, Any]) -> Captioned:
    folder = annotations.plain_name(row["filepath"]) if which == "coco" else "flickr30k-images"
    texts = [annotations.text(sentence["raw"]) for sentence in row["sentences"]]
    return Captioned(
        root / which / folder / annotations.plain_name(row["filename"]), annotations.some(texts, "caption")
    )


def visual_genome(root: Path) -> list[Captioned]:
    """Images with the phrases of their regions, without those that are COCO's validation or test images.

    Raises:
        UserError: if a file is missing or damaged.
    """

    def held_out(content: Any) -> set[int]:
        return {annotations.number(row["cocoid"]) for row in content["images"] if row["split"] in ("val", "test")}

    unwanted = annotations.read(root / "karpathy" / "dataset_coco.json", held_out)

    def described(content: Any) -> dict[int, tuple[str, int | None]]:
        return {
            annotations.number(row["image_id"]): (Path(annotations.text(row["url"])).parent.name, row["coco_id"])
            for row in content
        }

    known = annotations.read(root / "vg" / "image_data.json", described)

    def parse(content: Any) -> list[Captioned]:
        found = []
        for row in content:
            folder, coco = known[annotations.number(row["id"])]
            phrases = [region["phrase"] for region in row["regions"] if annotations.text(region["phrase"])]
            if coco not in unwanted and phrases:
                found.append(Captioned(root / "vg" / annotations.plain_name(folder) / f"{row['id']}.jpg", phrases))
        return annotations.some(found, "phrase")

    return annotations.read(root / "vg" / "region_descriptions.json", parse)


def pretraining(root: Path) -> list[Captioned]:
    """COCO's training and further validation images, and Visual Genome where it is there."""
    found = karpathy(root, "coco", ("train", "restval"))
    return found + (visual_genome(root) if (root / "vg").is_dir() else [])


def check(root: Path) -> list[str]:
    """Lines on the sets of captions that are there."""
    if not (root / "karpathy").is_dir():
        return []
    return [
        *usable("pre-training, COCO and Visual Genome", lambda: files_of(pretraining(root))),
        *usable("retrieval, coco, test", lambda: files_of(karpathy(root, "coco", ("test",)))),
        *usable("retrieval, flickr30k, test", lambda: files_of(karpathy(root, "flickr30k", ("test",)))),
    ]


def files_of(images: list[Captioned]) -> list[Path]:
    """The files of images with captions."""
    return [image.file for image in images]


def usable(name: str, images: Callable[[], list[Path]]) -> list[str]:
    """How many images a set has, and the faults of those that cannot be decoded; or what keeps it from being read."""
    try:
        found = images()
    except UserError as error:
        return [f"{name}: {error}"]
    broken = faults(lambda k: read_pixels(found[k]), len(found), f"decoding the images of {name}")
    return [f"{name}: {len(found):,} images, {len(found) - len(broken):,} usable", *named(broken)]
