"""Lines on what is there of a dataset, and an error's reason in a line."""

import os
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import TypeVar

from shared import UserError
from shared.support.progress import track

Part = TypeVar("Part", str, Path)


def first_line(error: Exception) -> str:
    """The system's word for an error, or the first line of its message, or its type: libraries write more than that."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return (str(error).splitlines() or [type(error).__name__])[0]


def counted(name: str, parts: Sequence[Part], read: Callable[[Part], Sized], what: str) -> list[str]:
    """A line on each part of a dataset: how many ``what`` it has, or what keeps it from being read."""
    lines = []
    for part in track(parts, f"reading {name}"):
        label = f"{name}, {part.name if isinstance(part, Path) else part}"
        try:
            lines.append(f"{label}: {len(read(part)):,} {what}")
        except UserError as error:
            lines.append(f"{label}: {error}")
    return lines
