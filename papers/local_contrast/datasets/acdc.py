"""ACDC as it is downloaded: the end-diastolic frame of each patient. MNI-Synth is written in this layout, too."""

from pathlib import Path

from shared import UserError

from .description import Dataset
from .nifti import Volume, read_pair

CLASSES = ("background", "right ventricle", "myocardium", "left ventricle")
LAYOUT = """ACDC (as downloaded):
  training/patient001/patient001_frame01.nii.gz     the end-diastolic frame (Info.cfg: ED)
  training/patient001/patient001_frame01_gt.nii.gz  its labels 0 to 3
  training/patient001/Info.cfg"""
FRAMES = (1, 4)  # of end-diastole in this data set, where Info.cfg is missing


def folder(root: Path) -> Path | None:
    """The folder of the patients, at or below ``root``."""
    places = (root, root / "training", root / "ACDC" / "training", root / "database" / "training")
    return next((place for place in places if any(place.glob("patient[0-9][0-9][0-9]"))), None)


def files(root: Path, subject: str) -> tuple[Path, Path]:
    """Image and labels of a subject ("001") at end-diastole.

    Raises:
        UserError: if Info.cfg has no frame of end-diastole, or names a frame that is not there.
    """
    place = root / f"patient{subject}"
    info = place / "Info.cfg"
    if info.is_file():
        entries = dict(line.split(":", 1) for line in _text(info).splitlines() if ":" in line)
        try:
            frame = int(entries["ED"])
        except (KeyError, ValueError):
            raise UserError(f"{info} has no line such as 'ED: 1'; expected the frame of end-diastole there.") from None
        if not any(place.glob(f"patient{subject}_frame{frame:02}*")):
            raise UserError(f"{info} names frame {frame}; patient{subject}_frame{frame:02}.nii.gz is missing.")
    else:
        exist = [k for k in FRAMES if (place / f"patient{subject}_frame{k:02}.nii.gz").exists()]
        frame = exist[0] if exist else FRAMES[0]
    stem = f"patient{subject}_frame{frame:02}"
    return place / f"{stem}.nii.gz", place / f"{stem}_gt.nii.gz"


def read(root: Path, subject: str, classes: int = len(CLASSES)) -> Volume:
    """A subject's volume. Raises UserError if a file is missing or bad."""
    return read_pair(*files(root, subject), {k: k for k in range(classes)})


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 ({error.reason}); expected lines such as 'ED: 1'.") from None


DATASET = Dataset("acdc", "ACDC", CLASSES, 192, 1.36719, False, folder, files, read)
