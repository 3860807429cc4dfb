"""Comparisons of ``make bench`` for this paper: our code against what one would use without it."""

from collections.abc import Iterator
from typing import Any


def bench() -> Iterator[dict[str, Any]]:
    """Fields of a `ci.bench.Comparison` each, after a check that both sides give the same."""
    yield from ()
