"""Figures as files."""

import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from .files import write_atomic


def write_figure(figure: Figure, path: Path, *, dpi: int = 90, colours: int | None = None) -> None:
    """Write a figure atomically, in the format of the file's suffix (.png, .pdf, .svg).

    Args:
        colours: of the palette of a PNG, at most 256, for figures that are committed: a third of the size.
    """
    if colours is None:
        write_atomic(path, lambda file: figure.savefig(file, format=path.suffix[1:], dpi=dpi))
        return
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    few = Image.open(drawn).convert("RGB").quantize(colours)
    write_atomic(path, lambda file: few.save(file, format="PNG", optimize=True))
