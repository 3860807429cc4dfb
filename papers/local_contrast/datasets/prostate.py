"""Task05 (prostate) of the Medical Segmentation Decathlon as it is downloaded: 4-D images, T2 and ADC."""

from pathlib import Path

from .description import Dataset
from .nifti import Volume, canonical, read_pair

CLASSES = ("background", "peripheral zone", "transition zone")
LAYOUT = """MSD Prostate (as downloaded):
  Task05_Prostate/imagesTr/prostate_00.nii.gz   4-D: T2, ADC; T2 is used
  Task05_Prostate/labelsTr/prostate_00.nii.gz   labels 0 to 2"""
T2 = 0  # channel


def folder(root: Path) -> Path | None:
    """The folder with imagesTr, at or below ``root``."""
    places = (root, root / "Task05_Prostate")
    return next((place for place in places if any(place.glob("imagesTr/prostate_*.nii.gz"))), None)


def files(root: Path, subject: str) -> tuple[Path, Path]:
    """Image and labels of a subject ("00")."""
    name = f"prostate_{subject}.nii.gz"
    return root / "imagesTr" / name, root / "labelsTr" / name


def read(root: Path, subject: str) -> Volume:
    """A subject's T2 volume. Raises UserError if a file is missing or bad."""
    return canonical(read_pair(*files(root, subject), {k: k for k in range(len(CLASSES))}, channel=T2))


DATASET = Dataset("prostate", "MSD Prostate", CLASSES, 192, 0.625, True, folder, files, read)
