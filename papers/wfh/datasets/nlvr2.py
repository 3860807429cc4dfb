"""NLVR2: a statement about two photographs, true or false."""

from functools import partial
from pathlib import Path
from typing import Any

from shared.support import annotations

from . import checks
from .texts import Text

LAYOUT = """\
  nlvr2/                      data/{train,dev,test1}.json (a statement a line)"""
CLASSES = ("False", "True")


def read(root: Path, split: str) -> list[Text[str]]:
    """Statements of "train", "dev" or "test1".

    Raises:
        UserError: if the file is missing or damaged, or a label is neither True nor False.
    """

    def parse(rows: Any) -> list[Text[str]]:
        found = []
        for row in rows:
            pair, label = annotations.text(row["identifier"]).rpartition("-")[0], str(row["label"])
            if label not in CLASSES:
                raise ValueError(f"expected the label True or False, found {label!r}")
            found.append(Text((f"{pair}-img0", f"{pair}-img1"), annotations.text(row["sentence"]), {label: 1.0}))
        return annotations.some(found, "statement")

    return annotations.read(root / "nlvr2/data" / f"{split}.json", parse, lines=True)


def check(root: Path) -> list[str]:
    """Lines on the splits, if the folder is there."""
    splits = ("train", "dev", "test1") if (root / "nlvr2").is_dir() else ()
    return checks.counted("NLVR2", splits, partial(read, root), "texts")
