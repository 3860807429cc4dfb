"""Figures of a reproduction."""

from pathlib import Path


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """Draw what runs left."""
