"""SNLI-VE: does a photograph of Flickr30k entail a hypothesis, contradict it, or neither?"""

from functools import partial
from pathlib import Path
from typing import Any

from shared.support import annotations

from .captions import usable
from .texts import Text

LAYOUT = """\
  snli_ve/                    snli_ve_{train,dev,test}.jsonl (a hypothesis a line; images: those of flickr30k)"""
CLASSES = ("contradiction", "neutral", "entailment")


def read(root: Path, split: str) -> tuple[list[Path], list[Text]]:
    """Image files and hypotheses of "train", "dev" or "test".

    Raises:
        UserError: if the file is missing or damaged, or a label is none of the three.
    """
    images: dict[str, int] = {}

    def parse(rows: Any) -> list[Text]:
        found = []
        for row in rows:
            if row["gold_label"] not in CLASSES:
                raise ValueError(f"expected one of {', '.join(CLASSES)}, found the label {row['gold_label']!r}")
            image = images.setdefault(annotations.plain_name(str(row["Flickr30K_ID"])), len(images))
            found.append(Text((image,), annotations.text(row["sentence2"]), {row["gold_label"]: 1.0}))
        return annotations.some(found, "hypothesis")

    texts = annotations.read(root / "snli_ve" / f"snli_ve_{split}.jsonl", parse, lines=True)
    return [root / "flickr30k/flickr30k-images" / f"{image}.jpg" for image in images], texts


def check(root: Path) -> list[str]:
    """Lines on the splits, if the folder is there."""
    splits = ("train", "dev", "test") if (root / "snli_ve").is_dir() else ()
    return [line for split in splits for line in usable(f"SNLI-VE, {split}", partial(images, root, split))]


def images(root: Path, split: str) -> list[Path]:
    """The files of the images of a split."""
    return read(root, split)[0]
