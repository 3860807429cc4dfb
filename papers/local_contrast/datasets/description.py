"""Description of a data set for the rest of the folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .nifti import Volume


@dataclass(frozen=True)
class Dataset:
    """One data set: its classes, the sampling that the paper gives it, and how it is found and read."""

    name: str
    title: str
    classes: tuple[str, ...]
    """Names of the labels 0, 1, ...; the first one is the background."""
    size: int
    """Pixels, height and width of the network's input."""
    resolution: float
    """Millimetres a pixel."""
    canonical: bool
    """Whether volumes are turned to right-anterior-superior axes before they are cut into slices along the third."""
    folder: Callable[[Path], Path | None]
    """The data set's folder at or below a path, if it is there."""
    files: Callable[[Path, str], tuple[Path, Path]]
    """Image and labels of a subject, below that folder."""
    read: Callable[[Path, str], Volume]
    """A subject's volume."""
