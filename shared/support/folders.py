"""Folders of images as people leave them: with hidden folders, and with files that cannot be read."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from .. import UserError
from .progress import track

NAMED = 20  # faults that are told one by one
CHUNK = 1024  # samples that are submitted to the threads at a time


class ClassFolders(ImageFolder):
    """torchvision's reader of a folder a class, without hidden files and folders (Jupyter's `.ipynb_checkpoints`)."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root), is_valid_file=lambda path: _is_visible_image(path, root))

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """The class folders in order, and the index of each. Raises FileNotFoundError if there is none."""
        classes = [name for name in super().find_classes(directory)[0] if not name.startswith(".")]
        if not classes:
            raise FileNotFoundError(f"{directory} has no class folder.")
        return classes, {name: index for index, name in enumerate(classes)}


def _is_visible_image(path: str, root: Path) -> bool:
    return path.lower().endswith(IMG_EXTENSIONS) and f"{os.sep}." not in path[len(str(root)) :]


def visible(paths: Iterable[Path], root: Path) -> list[Path]:
    """The paths below ``root`` in order, without hidden files and whatever is in a hidden folder."""
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(root).parts))


def faults(read: Callable[[int], object], count: int, what: str | None = None) -> list[str]:
    """The messages of those of ``count`` samples for which ``read`` raises UserError; it runs in a thread a core.

    Args:
        what: the work in a few words, for :func:`.progress.track`; None: it is part of another that is tracked.
    """

    def fault(index: int) -> str:
        try:
            read(index)
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = (pool.map(fault, range(start, min(start + CHUNK, count))) for start in range(0, count, CHUNK))
        messages = chain.from_iterable(chunks)
        return [message for message in (track(messages, what, count) if what else messages) if message]


def named(faults: list[str]) -> list[str]:
    """The first faults as indented lines, and how many more there are."""
    more = [f"  ... and {len(faults) - NAMED:,} more"] * (len(faults) > NAMED)
    return [f"  {fault}" for fault in faults[:NAMED]] + more
