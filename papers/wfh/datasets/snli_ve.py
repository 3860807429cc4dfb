"""SNLI-VE: does a photograph of Flickr30k entail a hypothesis, contradict it, or neither?"""

from functools import partial
from pathlib import Path
from typing import Any

from shared.support import annotations

from . import checks
from .texts import Text

LAYOUT = """\
  snli_ve/                    snli_ve_{train,dev,test}.jsonl (a hypothesis a line, on images of Flickr30k)"""
CLASSES = ("contradiction", "neutral", "entailment")


def read(root: Path, split: str) -> list[Text[str]]:
    """Hypotheses of "train", "dev" or "test".

    Raises:
        UserError: if the file is missing or damaged, or a label is none of the three.
    """

    def parse(rows: Any) -> list[Text[str]]:
        found = []
        for row in rows:
            if row["gold_label"] not in CLASSES:
                raise ValueError(f"expected one of {', '.join(CLASSES)}, found the label {row['gold_label']!r}")
            image = annotations.text(str(row["Flickr30K_ID"]))
            found.append(Text((image,), annotations.text(row["sentence2"]), {row["gold_label"]: 1.0}))
        return annotations.some(found, "hypothesis")

    return annotations.read(root / "snli_ve" / f"snli_ve_{split}.jsonl", parse, lines=True)


def check(root: Path) -> list[str]:
    """Lines on the splits, if the folder is there."""
    splits = ("train", "dev", "test") if (root / "snli_ve").is_dir() else ()
    return checks.counted("SNLI-VE", splits, partial(read, root), "texts")
