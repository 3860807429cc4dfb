"""Annotation files of published datasets: JSON, and JSON lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .. import UserError

Content = TypeVar("Content")
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


def plain_name(x: Any) -> str:
    """A file's name of an annotation, which leads to no other folder."""
    if text(x) != Path(x).name:
        raise ValueError(f"expected the name of a file, found {x!r}")
    return str(x)


def some(items: list[Content], what: str) -> list[Content]:
    """The items. Raises ValueError if there are none."""
    if not items:
        raise ValueError(f"it holds no {what}")
    return items
