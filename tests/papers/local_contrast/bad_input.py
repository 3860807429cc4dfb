"""What local_contrast reads and is asked for, whole and damaged: see tests/damage.py."""

import functools
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from papers.local_contrast import config, data, predict
from papers.local_contrast.build import build
from papers.local_contrast.datasets import DATASETS, Dataset, mni_synth, nifti
from shared.support.weights import load_weights, open_trained_run
from tests.damage import (
    ANYTHING,
    BINARY,
    RUN_CONFIG,
    RUN_WEIGHTS,
    Command,
    Damage,
    Reader,
    Row,
    build_run,
    damages,
    not_utf8,
    state,
)

SHAPE = (9, 8, 6)
AFFINE = np.diag([1.5, 1.5, 4.0, 1.0])
SUBJECTS = {"acdc": ("001", "002"), "prostate": ("00", "01"), "mmwhs": ("1001", "1002")}


def volume(path: Path, voxels: Any, affine: Any = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.asarray(voxels), affine), path)


def intensities(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 900, shape).astype(np.int16)


def classes(*values: int) -> np.ndarray:
    return np.random.default_rng(1).choice(np.array(values, np.int16), SHAPE)


def build_subject(dataset: Dataset, root: Path, subject: str) -> None:
    image, labels = dataset.files(root, subject)
    volume(image, intensities(*SHAPE, 2) if dataset.name == "prostate" else intensities(*SHAPE))
    values = (0, 205, 420, 500, 550, 600, 820, 850) if dataset.name == "mmwhs" else range(len(dataset.classes))
    volume(labels, classes(*values))


def reader(name: str) -> Reader:
    dataset = DATASETS[name]

    def build_all(root: Path) -> None:
        for subject in SUBJECTS[name]:
            build_subject(dataset, root, subject)
            if name == "acdc":
                (root / f"patient{subject}/Info.cfg").write_text("ED: 1\nES: 12\n")

    def read_all(root: Path) -> list[nifti.Volume]:
        found, folder = data.find(root)
        return [found.read(folder, subject) for subject in SUBJECTS[name]]

    return Reader(build_all, read_all, data.check)


def build_image(root: Path) -> None:
    volume(root / "head.nii.gz", intensities(20, 24, 7))


@functools.cache
def weights_of_smoke() -> bytes:
    return state(build(config.PRESETS["smoke"], mni_synth.DATASET))


def build_trained(root: Path) -> None:
    build_run(root, "scratch-2", config.PRESETS["smoke"], model=weights_of_smoke())


def read_trained(root: Path) -> object:
    with open_trained_run(root, "local_contrast", config.Config) as (_, found, weights):
        return predict.segmenter(found, load_weights(weights))


def changed(change: Callable[[np.ndarray], np.ndarray], affine: Any = None) -> Damage:
    """Another volume in its place, made of its voxels."""

    def damage(path: Path) -> None:
        image = nibabel.load(path)
        volume(path, change(np.array(image.dataobj)), image.affine if affine is None else affine)

    return damage


def one_voxel(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(voxels: np.ndarray) -> np.ndarray:
        voxels = voxels.astype(np.float32)
        voxels[(0,) * voxels.ndim] = value
        return voxels

    return change


def no_spacing(path: Path) -> None:
    """A header whose third axis has a spacing of zero."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[88:92] = bytes(4)  # pixdim[3]
    content[252:256] = bytes(4)  # the codes of qform and sform: the spacing alone tells
    path.write_bytes(gzip.compress(content))


IMAGE = ANYTHING | {
    "2-D": (changed(lambda x: x.reshape(x.shape[0], -1)), "is 2-D, .*expected a 3-D volume"),
    "NaN": (changed(one_voxel(float("nan"))), "has [12] voxels that are NaN or infinite"),
    "infinite": (changed(one_voxel(float("inf"))), "NaN or infinite"),
    "empty slice range": (changed(lambda x: x[:, :, :0]), "is empty, .* x 0"),
    "zero spacing": (no_spacing, "expected millimetres above zero"),
}
LABELS = IMAGE | {
    "another shape": (changed(lambda x: x[:, :, 1:]), "expected one shape"),
    "another place": (changed(lambda x: x, AFFINE + np.eye(4)[:, ::-1] * 9), "expected labels in the place"),
    "unknown values": (changed(one_voxel(77)), "has the label values 77; expected only 0, "),
    "fractions": (changed(one_voxel(0.5)), "has the label values 0.5"),
}


READERS = {
    **{f"local_contrast {name}": reader(name) for name in DATASETS},
    "local_contrast --image": Reader(build_image, lambda root: nifti.read_image(root / "head.nii.gz")),
    "local_contrast --run": Reader(build_trained, read_trained),
}


def of(name: str) -> tuple[str, str]:
    """Image and labels of the second subject of an example."""
    image, labels = DATASETS[name].files(Path(), SUBJECTS[name][1])
    return str(image), str(labels)


TABLE: list[Row] = [
    *damages("local_contrast acdc", of("acdc")[0], IMAGE),
    *damages("local_contrast acdc", of("acdc")[1], LABELS),
    *damages(
        "local_contrast acdc",
        "patient002/Info.cfg",
        {
            "no frame": (lambda path: path.write_text("ES: 12\n"), "no line such as 'ED: 1'"),
            "no number": (lambda path: path.write_text("ED: first\n"), "no line such as 'ED: 1'"),
            "not UTF-8": (not_utf8, "not text in UTF-8"),
            "another frame": (lambda path: path.write_text("ED: 7\n"), "names frame 7; patient002_frame07"),
        },
    ),
    *damages("local_contrast prostate", of("prostate")[0], IMAGE),
    *damages("local_contrast prostate", of("prostate")[1], LABELS),
    *damages("local_contrast mmwhs", of("mmwhs")[0], IMAGE),
    *damages("local_contrast mmwhs", of("mmwhs")[1], LABELS),
    *damages("local_contrast --image", "head.nii.gz", IMAGE),
    *damages("local_contrast --run", "config.json", RUN_CONFIG),
    *damages("local_contrast --run", "checkpoint/model.safetensors", RUN_WEIGHTS),
]

COMMANDS = {
    "local_contrast": Command(
        predict.main,
        {"local_contrast --image": ".", "local_contrast --run": "run"},
        "--image ./head.nii.gz --out ./found/labels.nii.gz --run ./run",
        files={"head.nii.gz": BINARY} | dict.fromkeys(("run/config.json", "run/checkpoint/model.safetensors"), BINARY),
        computed=("found/labels.nii.gz", "found/labels.png"),
    ),
}
