"""Files that a reader, or a crash, sees whole: atomic writes."""

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomic(path: Path, content: bytes | Callable[[Any], object]) -> None:
    """Write a file so that a reader, or a crash, sees the whole old content or the whole new one.

    Args:
        path: the file; its folder is made if need be.
        content: the bytes, or a function that writes them to the binary file it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.partial")  # machines may share storage
    try:
        with open(partial, "wb") as file:
            file.write(content) if isinstance(content, bytes) else content(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically; NaN is refused, as JSON has none."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_atomic(path, text.encode())
