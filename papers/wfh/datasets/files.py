"""Annotation files of the paper's datasets: JSON, and JSON lines."""

import json
import os
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import Any, TypeVar

from shared import UserError
from shared.support.progress import track

Content = TypeVar("Content")
Part = TypeVar("Part", str, Path)
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""Errors of content that is not what its reader expects."""


def read(path: Path, parse: Callable[[Any], Content], *, lines: bool = False) -> Content:
    """The result of ``parse`` on a JSON file, or of the list of its lines.

    Raises:
        UserError: if the file is missing, damaged, or has other content than ``parse`` expects.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
        found = parse(content)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; `make check-data` prints the layout that is expected.") from None
    except PermissionError:
        raise UserError(f"No permission to read {path}; make it readable.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); expected a file of JSON.") from None
    except MALFORMED as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise UserError(f"{path} is damaged or no such file ({reason}); get it again from its publisher.") from error
    return found


def text(x: Any) -> str:
    """A string of an annotation. Raises TypeError for anything else, or an empty one."""
    if not isinstance(x, str) or not x.strip():
        raise TypeError(f"expected a text, found {x!r}")
    return x


def number(x: Any) -> int:
    """An identifier of an annotation. Raises TypeError for anything but a whole number."""
    if isinstance(x, bool) or not isinstance(x, int):
        raise TypeError(f"expected a whole number, found {x!r}")
    return x


def some(items: list[Content], what: str) -> list[Content]:
    """The items. Raises ValueError if there are none."""
    if not items:
        raise ValueError(f"it holds no {what}")
    return items


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
