"""A user's volume in any orientation, byte order and compression: labels in its grid, with its affine."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from papers.local_contrast import predict
from papers.local_contrast.config import PRESETS, VARIANTS
from papers.local_contrast.datasets import mni_synth
from papers.local_contrast.predict import main
from papers.local_contrast.segment import dice, mean
from papers.local_contrast.train import train
from shared.run import Run

CONFIG = replace(PRESETS["smoke"], **VARIANTS["scratch-2"].changes)


@pytest.fixture(scope="module")
def run(cache: Path) -> Path:
    folder = cache.parent / "scratch-2" / "seed0"
    train(CONFIG, Run(folder, cache, seed=0))
    (folder / "config.json").write_text(json.dumps({"config": asdict(CONFIG), "variant": "scratch-2", "seed": 0}))
    return folder


def rotated(degrees: float, axis: int) -> np.ndarray:
    turn, (i, j) = np.eye(4), [k for k in range(3) if k != axis]
    angle = np.deg2rad(degrees)
    turn[i, i] = turn[j, j] = np.cos(angle)
    turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
    return turn


def write(
    path: Path, order: tuple[int, ...] = (0, 1, 2), flip: tuple[int, ...] = (), turn: float = 0.0, **kind: Any
) -> Path:
    """A subject with its axes in another order and direction, its place in space turned, in another kind of file."""
    image, _, affine = mni_synth.subject(1)
    voxels, stored = np.transpose(image, order), affine[:, [*order, 3]]
    for axis in flip:
        voxels = np.flip(voxels, axis)
        stored[:3, 3] += stored[:3, axis] * (voxels.shape[axis] - 1)
        stored[:3, axis] *= -1
    stored = rotated(turn, 0) @ stored
    header = nibabel.Nifti1Header(endianness=kind.get("endianness", "<"))
    made = nibabel.Nifti1Image((1000 * voxels).astype(kind.get("dtype", np.float32)), stored, header)
    made.set_sform(stored, kind.get("sform", 1))
    made.set_qform(stored, kind.get("qform", 1))
    nibabel.save(made, path)
    return path


def labels_of(tmp_path: Path, image: Path, run: Path) -> tuple[np.ndarray, nibabel.Nifti1Image]:
    out = tmp_path / "found" / "labels.nii.gz"
    assert main(["--image", str(image), "--out", str(out), "--run", str(run)]) == 0
    found = nibabel.load(out)
    assert isinstance(found, nibabel.Nifti1Image)
    with Image.open(out.with_name("labels.png")) as picture:
        assert picture.size[0] > 300
    return np.asarray(found.dataobj), found


KINDS: dict[str, dict[str, Any]] = {
    "as it was trained": {},
    "axes in another order": {"order": (2, 0, 1)},
    "axes that run backwards": {"flip": (0, 1, 2)},
    "both": {"order": (1, 2, 0), "flip": (0, 2)},
    "turned": {"turn": 17.0},
    "turned, in another order": {"order": (2, 1, 0), "flip": (1,), "turn": -20.0},
    "qform alone": {"turn": 9.0, "sform": 0},
    "sform alone": {"turn": 9.0, "qform": 0},
}


@pytest.mark.parametrize("name", [*KINDS, "big-endian", "big-endian, turned, 16 bits", "not compressed"])
def test_labels_lie_in_the_image(run: Path, tmp_path: Path, name: str, capsys: Any) -> None:
    """The affine is that of the image, and the labels are those of the image as it was trained, axes back in place."""
    kind = KINDS.get(name, {})
    if name.startswith("big-endian"):
        kind = {"endianness": ">"} | ({"turn": 11.0, "dtype": np.int16} if "turned" in name else {})
    image = write(tmp_path / ("größe.nii" if name == "not compressed" else "größe.nii.gz"), **kind)
    found, written = labels_of(tmp_path, image, run)
    given = nibabel.load(image)
    assert isinstance(given, nibabel.Nifti1Image)
    assert given.header.endianness == ("<" if "endianness" not in kind else ">")
    np.testing.assert_allclose(written.affine, given.affine, atol=1e-4)
    assert written.header.get_xyzt_units() == given.header.get_xyzt_units()
    for form in ("qform_code", "sform_code"):
        assert int(written.header[form]) == int(given.header[form])
    assert found.shape == given.shape and found.dtype == np.uint8

    straight, _ = labels_of(tmp_path / "straight", write(tmp_path / "a.nii.gz"), run)
    expected = np.transpose(straight, kind.get("order", (0, 1, 2)))
    for axis in kind.get("flip", ()):
        expected = np.flip(expected, axis)
    assert (found == expected).mean() > (0.99 if kind.get("dtype") else 0.9999)
    millilitres = [float(line.split(" ml")[0]) for line in capsys.readouterr().out.splitlines() if " ml " in line]
    assert len(millilitres) == 8 and len(np.unique(straight)) > 1


def test_another_resolution_and_field(run: Path, tmp_path: Path, capsys: Any) -> None:
    image = np.random.default_rng(0).random((150, 190, 9)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([1.1, 1.3, 4, 1])), tmp_path / "a.nii")
    found, _ = labels_of(tmp_path, tmp_path / "a.nii", run)
    assert found.shape == image.shape
    assert not found[:10].any() and not found[-10:].any(), "beyond the central 128 mm there is background"
    assert "are 166 x 246 mm" in capsys.readouterr().err


def test_a_channel_of_a_4d_image(run: Path, tmp_path: Path, capsys: Any) -> None:
    image, _, affine = mni_synth.subject(1)
    nibabel.save(nibabel.Nifti1Image(np.stack([0 * image, image], -1), affine), tmp_path / "a.nii.gz")
    out = ["--out", str(tmp_path / "b.nii.gz"), "--run", str(run)]
    assert main(["--image", str(tmp_path / "a.nii.gz"), *out]) == 1
    assert "is 4-D" in capsys.readouterr().err
    assert main(["--image", str(tmp_path / "a.nii.gz"), "--channel", "1", *out]) == 0
    assert main(["--image", str(tmp_path / "a.nii.gz"), "--channel", "2", *out]) == 1
    assert "has 2 channels; expected channel 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"out": "labels.png"}, "expected one that ends in .nii or .nii.gz"),
        ({"out": "a.nii.gz"}, "would overwrite the image"),
        ({"channel": "-1"}, "--channel is -1"),
        ({"run": "elsewhere"}, "no trained model"),
        ({"image": "b.nii.gz"}, "b.nii.gz is missing"),
    ],
)
def test_mistakes(run: Path, tmp_path: Path, changes: dict[str, str], said: str, capsys: Any) -> None:
    write(tmp_path / "a.nii.gz")
    given = {"image": "a.nii.gz", "out": "labels.nii.gz", "run": str(run)} | changes
    arguments = [
        x for name, value in given.items() for x in (f"--{name}", str(tmp_path / value) if name != "channel" else value)
    ]
    assert main(arguments) == 1
    assert said in capsys.readouterr().err and not (tmp_path / "labels.nii.gz").exists()


def test_a_run_of_pre_training_cannot_segment(cache: Path, tmp_path: Path, capsys: Any) -> None:
    config = replace(PRESETS["smoke"], **VARIANTS["encoder-none"].changes)
    train(config, Run(tmp_path / "run", cache, seed=0))
    (tmp_path / "run/config.json").write_text(json.dumps({"config": asdict(config), "variant": "x", "seed": 0}))
    write(tmp_path / "a.nii.gz")
    out = ["--out", str(tmp_path / "b.nii.gz"), "--run", str(tmp_path / "run")]
    assert main(["--image", str(tmp_path / "a.nii.gz"), *out]) == 1
    assert "was trained in stage encoder" in capsys.readouterr().err


def test_it_finds_what_it_was_trained_for(tmp_path: Path, capsys: Any) -> None:
    """The committed weights, on a subject that no run has seen."""
    image, labels, affine = mni_synth.subject(50)
    nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "a.nii.gz")
    assert main(["--image", str(tmp_path / "a.nii.gz"), "--out", str(tmp_path / "b.nii.gz")]) == 0
    found = np.asarray(nibabel.load(tmp_path / "b.nii.gz").dataobj)  # type: ignore[attr-defined]
    assert mean(dice(found, labels, 5)) > 0.4


def test_the_picture_shows_at_most_some_slices() -> None:
    slices = np.zeros((90, 8, 8), np.float32)
    figure = predict.montage(slices, slices.astype(int), mni_synth.DATASET)
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == predict.PICTURED
