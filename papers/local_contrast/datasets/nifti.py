"""NIfTI volumes in and out, with everything checked that a network would silently get wrong."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage
from nibabel.wrapstruct import WrapStructError

from shared import UserError

NIFTI_1 = 348  # bytes of its header
UNREADABLE = (
    ImageFileError, HeaderDataError, WrapStructError, EOFError, OSError, zlib.error, ValueError, OverflowError,
    MemoryError,
)  # fmt: skip


@dataclass(frozen=True)
class Volume:
    """An image and its labels, in the axes of the file unless they were turned."""

    image: np.ndarray
    """(X, Y, Z) float32."""
    affine: np.ndarray
    """(4, 4): voxel numbers to millimetres."""
    labels: np.ndarray | None = None
    """(X, Y, Z) uint8."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between two voxels along each axis."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z


def read_image(path: Path, *, channel: int | None = None) -> Volume:
    """A volume without labels.

    Args:
        channel: of a 4-D file, the one to take; None: the file has to be 3-D. A fourth axis of length 1 is dropped.

    Raises:
        UserError: if the file is missing, damaged, of other dimensions, or has NaN or infinite voxels, no extent, or a
            spacing of zero; names the file.
    """
    voxels, affine = _read(path)
    if voxels.ndim == 4 and (voxels.shape[3] == 1 or channel is not None):
        chosen = channel or 0
        if chosen >= voxels.shape[3]:
            raise UserError(f"{path} has {voxels.shape[3]} channels; expected channel {chosen} among them.")
        voxels = voxels[..., chosen]
    if voxels.ndim != 3:
        raise UserError(
            f"{path} is {voxels.ndim}-D, {' x '.join(map(str, voxels.shape))}; expected a 3-D volume: slices along the "
            "third axis."
        )
    image = np.ascontiguousarray(voxels, dtype=np.float32)
    if bad := int((~np.isfinite(image)).sum()):
        raise UserError(f"{path} has {bad} voxels that are NaN or infinite; expected finite intensities.")
    return Volume(image, affine)


def read_pair(image: Path, labels: Path, values: Mapping[int, int], *, channel: int | None = None) -> Volume:
    """A volume with its labels.

    Args:
        values: the class of each value of the label file.
        channel: see :func:`read_image`.

    Raises:
        UserError: as :func:`read_image`; and if shapes or affines of the two differ, or a label value is unknown.
    """
    volume = read_image(image, channel=channel)
    found = read_image(labels)
    if found.image.shape != volume.image.shape:
        raise UserError(
            f"{labels} is {found.image.shape} voxels and its image {image} {volume.image.shape}; expected one shape."
        )
    if (apart := _apart(volume.affine, found.affine, volume.image.shape)) > 0.5 * min(volume.spacing):
        raise UserError(
            f"The affine of {labels} puts its voxels up to {apart:.3g} mm from where that of {image} has them; "
            "expected labels in the place of their image."
        )
    unknown = sorted(set(np.unique(found.image).tolist()) - set(values))
    if unknown:
        raise UserError(
            f"{labels} has the label values {', '.join(f'{x:g}' for x in unknown[:5])}; expected only "
            f"{', '.join(map(str, sorted(values)))}."
        )
    classes = np.zeros(found.image.shape, np.uint8)
    for value, k in values.items():
        classes[found.image == value] = k
    return Volume(volume.image, volume.affine, classes)


def canonical(volume: Volume) -> Volume:
    """The volume with its axes permuted and flipped, so that they run to the right, to the front and upwards."""
    orientation = nibabel.io_orientation(volume.affine)
    labels = None if volume.labels is None else _turned(volume.labels, orientation)
    affine = volume.affine @ nibabel.orientations.inv_ornt_aff(orientation, volume.image.shape)
    return Volume(_turned(volume.image, orientation), affine, labels)


def as_in_file(turned: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """An array that :func:`canonical` turned, back in the axes of the file whose ``affine`` (4, 4) is given."""
    back = nibabel.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], nibabel.io_orientation(affine))
    return _turned(turned, back)


def write(path: Path, voxels: np.ndarray, affine: np.ndarray, like: Path | None = None) -> None:
    """Write a volume as NIfTI-1, compressed if the name ends in .gz.

    Args:
        like: a file whose units and whose codes of the coordinate systems are kept.
    """
    image = nibabel.Nifti1Image(voxels, affine)
    if like is not None:
        header = nibabel.load(like).header
        if isinstance(header, nibabel.Nifti1Header):
            image.header.set_xyzt_units(*header.get_xyzt_units())
            for form in ("qform", "sform"):
                code = int(header[f"{form}_code"])
                getattr(image, f"set_{form}")(affine, code)
    nibabel.save(image, path)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine of a file."""
    if not path.is_file():
        raise UserError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; expected a NIfTI file.")
    with open(path, "rb"):  # nibabel says "No such file" of one that may not be read
        pass
    try:
        with nibabel.openers.ImageOpener(str(path)) as file:
            stored = nibabel.Nifti1Header.from_fileobj(file, check=False)
        if stored["sizeof_hdr"] == NIFTI_1 and not stored["pixdim"][1:4].all():  # nibabel would make it a millimetre
            raise UserError(_no_extent(path, stored["pixdim"][1:4].tolist()))
        image = nibabel.load(path)
        if not isinstance(image, SpatialImage) or image.affine is None:
            raise UserError(f"{path} is a {type(image).__name__} without a place in space; expected a NIfTI file.")
        spacing = [float(mm) for mm in image.header.get_zooms()[:3]]
        affine = image.affine.astype(np.float64)
        if 0 in image.shape:
            raise UserError(f"{path} is empty, {' x '.join(map(str, image.shape))}; expected a volume with slices.")
        voxels = np.asanyarray(image.dataobj)
    except PermissionError:
        raise
    except UNREADABLE as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path} is damaged, cut short or not a NIfTI file ({reason}); get it again.") from error
    if not np.isfinite(affine).all() or min(spacing) <= 0 or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise UserError(_no_extent(path, spacing))
    return voxels, affine


def _no_extent(path: Path, spacing: Sequence[float]) -> str:
    return (
        f"{path} has a spacing of {' x '.join(f'{x:g}' for x in spacing)} mm or an affine without volume; expected "
        "millimetres above zero along every axis."
    )


def _apart(a: np.ndarray, b: np.ndarray, shape: tuple[int, ...]) -> float:
    """Millimetres between the places of the volume's corners under two affines, the largest of them."""
    corners = np.array([[x, y, z, 1] for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])])
    return float(np.linalg.norm((corners @ (a - b).T)[:, :3], axis=1).max())


def _turned(voxels: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(nibabel.apply_orientation(voxels, orientation))
