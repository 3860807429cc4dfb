"""The MR part of MMWHS as it is downloaded: label values of 205 to 850, axes in any order."""

from pathlib import Path

from .description import Dataset
from .nifti import Volume, canonical, read_pair

VALUES = {
    205: "myocardium", 420: "left atrium", 500: "left ventricle", 550: "right atrium", 600: "right ventricle",
    820: "ascending aorta", 850: "pulmonary artery",
}  # fmt: skip
CLASSES = ("background", *VALUES.values())
MISWRITTEN = {421: 420}  # some voxels of the released labels
LAYOUT = """MMWHS, MR (as downloaded):
  mr_train/mr_train_1001_image.nii.gz
  mr_train/mr_train_1001_label.nii.gz   label values 0, 205, 420, 500, 550, 600, 820, 850"""


def folder(root: Path) -> Path | None:
    """The folder of the files, at or below ``root``."""
    places = (root, root / "mr_train", root / "MMWHS" / "mr_train")
    return next((place for place in places if any(place.glob("mr_train_*_image.nii.gz"))), None)


def files(root: Path, subject: str) -> tuple[Path, Path]:
    """Image and labels of a subject ("1001")."""
    return root / f"mr_train_{subject}_image.nii.gz", root / f"mr_train_{subject}_label.nii.gz"


def read(root: Path, subject: str) -> Volume:
    """A subject's volume, its axes turned to right, anterior, superior. Raises UserError if a file is bad."""
    classes = {0: 0} | {value: k for k, value in enumerate(VALUES, 1)}
    classes |= {wrong: classes[right] for wrong, right in MISWRITTEN.items()}
    return canonical(read_pair(*files(root, subject), classes))


DATASET = Dataset("mmwhs", "MMWHS (MR)", CLASSES, 160, 1.5, True, folder, files, read)
