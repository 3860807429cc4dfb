"""A user's recorded houses: colour, depth and poses in files."""

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shared import UserError
from shared.support.folders import faults, named
from shared.support.images import UNDECODABLE, decode_image

from ..mapping.projection import Camera
from ..simulator.furniture import CATEGORIES
from ..simulator.render import Frames

LAYOUT = """\
<data>/
  web/<name>/           pictures of objects that the segmenter begins with, with labels
  insitu/<house>/       houses to explore            insitu-test/<house>/  further frames of them, with labels
  unseen/<house>/       other houses, with labels    sim/, sim-unseen/     the same of a simulator, if there are any
    rgb/*.png           colour                       depth/*.png           16 bits, millimetres, 0: not measured
    poses.csv           frame,x,y,heading: metres and radians; or tx,ty,tz,qx,qy,qz,qw with z up, camera along x
    intrinsics.json     {"fov_degrees": 79, "camera_height": 0.88}: horizontal field of view, metres
    labels/*.png        8 bits: 0 background, 1 chair, 2 couch, 3 potted plant, 4 bed, 5 toilet, 6 tv
"""
SPLITS = ("web", "insitu", "insitu-test", "unseen", "sim", "sim-unseen")
LABELLED = ("web", "insitu-test", "unseen", "sim-unseen")
PLANAR = ("frame", "x", "y", "heading")
SPATIAL = ("frame", "tx", "ty", "tz", "qx", "qy", "qz", "qw")
LEVEL = 5  # degrees that a camera leans at most; heading and height are all that the map knows of it
LONGEST_STEP = 5.0  # metres between two frames; more is another unit
CHECKED = 64  # pixels of a side that are kept of a depth image whose unit is checked
PLAUSIBLE = (0.2, 20.0)  # metres, of the median depth of a house


def recorded(root: Path, split: str) -> list[Path]:
    """Folders of the houses of a split.

    Raises:
        UserError: if there is none.
    """
    houses = sorted(x for x in (root / split).iterdir() if x.is_dir()) if (root / split).is_dir() else []
    if not houses:
        raise UserError(f"{root / split} holds no recorded house. Expected there:\n{LAYOUT}")
    return houses


@dataclass(frozen=True)
class Recording:
    """A recorded house whose poses were read, and whose frames are read one by one.

    Attributes:
        names: of the frames. poses: (n, 3) x, y, heading. size: height and width of the colour images, pixels.
        camera: of the frames as they are read. resolution: see :func:`read_house`.
    """

    folder: Path
    names: list[str]
    poses: np.ndarray
    size: tuple[int, int]
    camera: Camera
    resolution: int | None

    def frame(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colour (H, W, 3), depth (H, W) in metres and labels (H, W) of a frame; labels are 0 if there are none.

        Raises:
            UserError: a file is missing, damaged or of another size, or a label is out of range.
        """
        name = f"{self.names[number]}.png"
        rgb = _picture(self.folder / "rgb" / name, None)
        if rgb.shape[:2] != self.size:
            raise UserError(f"{self.folder / 'rgb' / name} has {_pixels(rgb)}; expected the same size in all frames.")
        metres = _picture(self.folder / "depth" / name, self.size) / 1000
        label, path = np.zeros(self.size), self.folder / "labels" / name
        if self.labelled:
            label = _picture(path, self.size, labels=True)
        if label.max() > len(CATEGORIES):
            raise UserError(f"{path} holds the label {int(label.max())}; expected 0 to {len(CATEGORIES)}.")
        return _squared(rgb, self.resolution), _squared(metres, self.resolution), _squared(label, self.resolution)

    @property
    def labelled(self) -> bool:
        return (self.folder / "labels").is_dir()


def open_house(folder: Path, resolution: int | None = None) -> Recording:
    """A recorded house, ready to be read; see :func:`read_house`."""
    fov, elevation = _intrinsics(folder / "intrinsics.json")
    names, poses = read_poses(folder / "poses.csv")
    height, width = size = _size(folder, names)
    if resolution is not None:  # the middle square sees less than the whole width
        fov = float(np.degrees(2 * np.arctan(np.tan(np.radians(fov) / 2) * min(size) / width)))
    camera = Camera(resolution or width, resolution or height, fov, elevation)
    return Recording(folder, names, poses, size, camera, resolution)


def _size(folder: Path, names: list[str]) -> tuple[int, int]:
    """Height and width of the first colour image that can be read."""
    broken: list[UserError] = []
    for name in names:
        try:
            height, width, _ = _picture(folder / "rgb" / f"{name}.png", None).shape
            return height, width
        except UserError as error:
            broken.append(error)
    raise broken[0]


def read_house(folder: Path, resolution: int | None = None) -> tuple[Frames, np.ndarray, Camera]:
    """Frames, labels (n, H, W) and the camera of a recorded house.

    Args:
        resolution: pixels of a side to which the middle square of each frame is brought; None: as it is.

    Raises:
        UserError: a file is missing, damaged or of another size; poses are no numbers; depth is in another unit.
    """
    recording = open_house(folder, resolution)
    colour, metres, label = zip(*map(recording.frame, range(len(recording.names))), strict=True)
    depth = np.stack(metres).astype(np.float32)
    plausible(depth, recording.poses, folder)
    instance = np.zeros(depth.shape, np.int32)
    frames = Frames(np.stack(colour).astype(np.uint8), depth, instance, recording.poses)
    return frames, np.stack(label).astype(np.uint8), recording.camera


def plausible(depth: np.ndarray, poses: np.ndarray, folder: Path) -> None:
    """Raises UserError if depth or poses cannot be metres of a house."""
    measured = depth[depth > 0]
    if not len(measured):
        raise UserError(f"{folder / 'depth'} holds no measured depth: every pixel is 0. Expected millimetres, 16 bits.")
    median = float(np.median(measured))
    if not PLAUSIBLE[0] <= median <= PLAUSIBLE[1]:
        raise UserError(
            f"{folder / 'depth'} has a median depth of {median:.3g} m if its values are millimetres; expected "
            f"{PLAUSIBLE[0]} to {PLAUSIBLE[1]} m of a house. Convert them to millimetres, 16 bits."
        )
    steps = np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1)
    if len(steps) and np.median(steps) > LONGEST_STEP:
        raise UserError(
            f"{folder / 'poses.csv'} moves {np.median(steps):.3g} m between frames; expected metres and a walk."
        )


def read_poses(path: Path) -> tuple[list[str], np.ndarray]:
    """Names of the frames and poses (n, 3): x, y, heading, in metres and radians.

    Raises:
        UserError: unreadable, of other columns, without rows, a name twice, or a value that is no finite number.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
            columns = tuple(rows[0]) if rows else ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path} cannot be read ({reason}). Expected poses: {','.join(PLANAR)}.") from None
    if columns not in (PLANAR, SPATIAL):
        raise UserError(
            f"{path} is no table of poses: found the columns {','.join(map(str, columns))[:80] or 'of an empty file'}; "
            f"expected {','.join(PLANAR)} or {','.join(SPATIAL)}."
        )
    names, poses = [], []
    for line, row in enumerate(rows, 2):
        try:
            values = np.array([float(row[column]) for column in columns[1:]])
        except (TypeError, ValueError):
            values = np.array([np.nan])
        if not np.isfinite(values).all():
            raise UserError(f"{path}, line {line}: a pose is not made of finite numbers; expected {','.join(columns)}.")
        names.append(row["frame"])
        poses.append(values if columns == PLANAR else _planar(values, path, line))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path} has the frame {twice} twice; expected every frame once.")
    return names, np.stack(poses)


def _planar(values: np.ndarray, path: Path, line: int) -> np.ndarray:
    """x, y and heading of a position and a quaternion."""
    x, y, z, w = values[3:]
    length = float(np.linalg.norm(values[3:]))
    if not 0.9 < length < 1.1:
        raise UserError(f"{path}, line {line}: the quaternion has the length {length:.3g}; expected 1.")
    tilt = np.degrees(np.arccos(np.clip(1 - 2 * (x * x + y * y) / length**2, -1, 1)))
    if tilt > LEVEL:
        raise UserError(
            f"{path}, line {line}: the camera leans by {tilt:.0f} degrees; expected {LEVEL} degrees at most."
        )
    return np.array([values[0], values[1], np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))])


def _intrinsics(path: Path) -> tuple[float, float]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        fov, elevation = float(content["fov_degrees"]), float(content["camera_height"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {str(error)[:60]}"
        raise UserError(
            f'{path} cannot be read ({reason}). Expected {{"fov_degrees": 79, "camera_height": 0.88}}.'
        ) from None
    if not (10 < fov < 170 and 0 < elevation < 3):
        raise UserError(f"{path} says {fov:g} degrees and {elevation:g} m; expected 10 to 170 degrees and up to 3 m.")
    return fov, elevation


def _picture(path: Path, size: tuple[int, int] | None, labels: bool = False) -> np.ndarray:
    """Colour (H, W, 3) if no size is given, else depth or labels (H, W) of that size."""
    try:
        if size is None:
            return np.asarray(decode_image(path, turn=False))
        with Image.open(path) as opened:
            opened.load()
            mode, found = opened.mode, np.asarray(opened)
    except PermissionError:
        raise UserError(f"No permission to read {path}; make it readable.") from None
    except UserError as error:
        raise UserError(f"{path} cannot be used. {error}") from None
    except UNDECODABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "damaged or not an image"
        raise UserError(f"{path} cannot be read ({reason}); expected a PNG for every frame of poses.csv.") from None
    allowed = ("L", "P") if labels else ("I;16", "I;16B", "I")
    if mode not in allowed:
        expected = "8 bits of class numbers" if labels else "16 bits of millimetres"
        raise UserError(f"{path} has the mode {mode}; expected {expected}.")
    if found.shape[:2] != size:
        raise UserError(f"{path} has {_pixels(found)}; expected the size of its colour image, {size[1]} x {size[0]}.")
    return found.astype(float)


def _pixels(x: np.ndarray) -> str:
    return f"{x.shape[1]} x {x.shape[0]} pixels"


def _squared(x: np.ndarray, resolution: int | None) -> np.ndarray:
    """The middle square, its nearest pixels; depth and labels must not be mixed."""
    if resolution is None:
        return x
    side = min(x.shape[:2])
    top, left = (x.shape[0] - side) // 2, (x.shape[1] - side) // 2
    picked = ((np.arange(resolution) + 0.5) * side / resolution).astype(int)
    return x[top + picked][:, left + picked]


def describe(root: Path) -> dict[str, Any]:
    """The data as a results file tells of them; every table of poses is read."""
    digest = hashlib.sha256()
    counts = {}
    for split in SPLITS:
        houses = recorded(root, split) if (root / split).is_dir() or split in ("web", "insitu") else []
        counts[split] = len(houses)
        for folder in houses:
            names, poses = read_poses(folder / "poses.csv")
            digest.update(repr((split, folder.name, names)).encode() + poses.tobytes())
    return {
        "name": f"recorded houses in {root.name}",
        "train": counts["insitu"],
        "test": counts["unseen"],
        "sha256": digest.hexdigest(),
    }


def check(root: Path) -> list[str]:
    """Lines on the recorded houses below ``root``; every file is read.

    Raises:
        UserError: if nothing of it is there.
    """
    if not any((root / split).is_dir() for split in SPLITS):
        raise UserError(f"{root} holds no recorded house. Expected there:\n{LAYOUT}")
    lines = []
    for split in SPLITS:
        if (root / split).is_dir():
            lines += [line for folder in recorded(root, split) for line in _usable(folder, split)]
        else:
            lines.append(f"{split}: missing")
    return lines


def _usable(folder: Path, split: str) -> list[str]:
    """How many frames a house has, and the faults of those that cannot be used."""
    name = f"{split}/{folder.name}"
    try:
        recording = open_house(folder, CHECKED)
    except UserError as error:
        return [f"{name}: {error}"]
    depth = np.zeros((len(recording.names), CHECKED, CHECKED), np.float32)

    def read(number: int) -> None:
        _, depth[number], _ = recording.frame(number)

    broken = faults(read, len(depth), f"decoding the frames of {name}")
    if not broken:
        try:
            plausible(depth, recording.poses, folder)
        except UserError as error:
            return [f"{name}: {error}"]
    labels = "with labels" if recording.labelled else "without labels, which it needs" if split in LABELLED else ""
    usable = f"{len(depth):,} frames {labels}".strip() + f", {len(depth) - len(broken):,} usable"
    return [f"{name}: {usable}", *named(broken)]
