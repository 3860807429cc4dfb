"""Readers on tiny files in the layout of each data set, the lists of subjects, and preparation."""

import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from papers.local_contrast import volumes
from papers.local_contrast.config import PRESETS
from papers.local_contrast.data import check, find, load, native, prepare, split_of
from papers.local_contrast.datasets import DATASETS, acdc, mmwhs, nifti, prostate, splits
from papers.local_contrast.volumes import Grid, crop_or_pad, normalise, resize
from shared import UserError

from .bad_input import AFFINE, READERS, SHAPE, build_subject, classes, intensities, volume

CONFIG = replace(PRESETS["paper"], n4=False)


def build(name: str, root: Path) -> Path:
    READERS[f"local_contrast {name}"].build(root)
    return root


# -- readers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", [".", "training", "ACDC/training"])
def test_acdc(tmp_path: Path, below: str) -> None:
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    build("acdc", tmp_path / below)
    dataset, folder = find(tmp_path)
    found = dataset.read(folder, "002")
    assert found.labels is not None
    assert (dataset.name, found.image.shape, found.spacing) == ("acdc", SHAPE, (1.5, 1.5, 4.0))
    assert np.array_equal(found.image, intensities(*SHAPE)) and np.array_equal(found.labels, classes(0, 1, 2, 3))


def test_acdc_takes_the_end_diastolic_frame(tmp_path: Path) -> None:
    (tmp_path / "patient001").mkdir()
    for frame in (1, 4, 12):
        (tmp_path / f"patient001/patient001_frame{frame:02}.nii.gz").touch()
    image, labels = acdc.files(tmp_path, "001")
    assert image.name == "patient001_frame01.nii.gz" and labels.name == "patient001_frame01_gt.nii.gz"
    (tmp_path / "patient001/patient001_frame01.nii.gz").unlink()
    assert acdc.files(tmp_path, "001")[0].name == "patient001_frame04.nii.gz"
    (tmp_path / "patient001/Info.cfg").write_text("ED: 12\nES: 1\nHeight: 184.0\n")
    assert acdc.files(tmp_path, "001")[0].name == "patient001_frame12.nii.gz"


@pytest.mark.parametrize("below", [".", "Task05_Prostate"])
def test_prostate_is_its_t2_channel(tmp_path: Path, below: str) -> None:
    (tmp_path / below).mkdir(exist_ok=True)
    build("prostate", tmp_path / below)
    dataset, folder = find(tmp_path)
    found = dataset.read(folder, "01")
    assert dataset.name == "prostate" and np.array_equal(found.image, intensities(*SHAPE, 2)[..., prostate.T2])


@pytest.mark.parametrize("below", [".", "mr_train"])
def test_mmwhs_values_are_classes(tmp_path: Path, below: str) -> None:
    (tmp_path / below).mkdir(exist_ok=True)
    build("mmwhs", tmp_path / below)
    dataset, folder = find(tmp_path)
    found, written = dataset.read(folder, "1002"), classes(0, 205, 420, 500, 550, 600, 820, 850)
    assert found.labels is not None and len(dataset.classes) == 8
    for k, value in enumerate((0, *mmwhs.VALUES)):
        assert np.array_equal(found.labels == k, written == value)


def test_mmwhs_miswritten_value(tmp_path: Path) -> None:
    build("mmwhs", tmp_path)
    _, labels = mmwhs.files(tmp_path, "1001")
    volume(labels, np.where(classes(0, 420) > 0, 421, 0).astype(np.int16))
    found = mmwhs.read(tmp_path, "1001")
    assert found.labels is not None
    assert np.array_equal(found.labels > 0, classes(0, 420) > 0) and found.labels.max() == 2


def test_axes_are_turned_to_right_anterior_superior(tmp_path: Path) -> None:
    """The same head stored with its axes in another order and direction is read alike."""
    head, label = intensities(*SHAPE), classes(*range(8))
    values = np.array([0, *mmwhs.VALUES], np.int16)
    stored = np.transpose(head, (2, 0, 1))[::-1]
    turned = np.zeros((4, 4))
    turned[2, 0], turned[0, 1], turned[1, 2] = -4, 1.5, 1.5  # the first axis runs downwards
    turned[:, 3] = [0, 0, 4 * (SHAPE[2] - 1), 1]
    image, labels = mmwhs.files(tmp_path, "1001")
    volume(image, stored, turned)
    volume(labels, np.transpose(values[label], (2, 0, 1))[::-1], turned)
    found = mmwhs.read(tmp_path, "1001")
    assert np.array_equal(found.image, head) and np.array_equal(found.labels, label)
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-6)
    assert np.array_equal(nifti.as_in_file(found.image, turned), stored)


def test_acdc_is_read_as_it_is_stored(tmp_path: Path) -> None:
    """A short axis lies obliquely in the body: the nearest axes of the body would cut through the slices."""
    (tmp_path / "patient001").mkdir()
    oblique = AFFINE[:, [2, 0, 1, 3]]
    build_subject(DATASETS["acdc"], tmp_path, "001")
    for path in acdc.files(tmp_path, "001"):
        volume(path, nibabel.load(path).get_fdata().astype(np.int16), oblique)  # type: ignore[attr-defined]
    assert acdc.read(tmp_path, "001").image.shape == SHAPE


def test_one_data_set_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the paper's data sets"):
        find(tmp_path)
    build("acdc", tmp_path)
    build("mmwhs", tmp_path)
    with pytest.raises(UserError, match=r"ACDC and MMWHS .*expected one of them"):
        find(tmp_path)


def test_check_counts_and_names(tmp_path: Path) -> None:
    build("acdc", tmp_path)
    acdc.files(tmp_path, "002")[1].unlink()
    first, missing, fault = check(tmp_path)
    assert first == f"ACDC: 1 of {len(splits.subjects('acdc'))} subjects are whole"
    assert missing.startswith("missing: 003, ") and "patient002_frame01_gt.nii.gz is missing" in fault


# -- lists of subjects ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("name", DATASETS)
def test_lists(name: str, released: bool) -> None:
    """Nothing of the test serves for anything else; labels that train do not validate."""
    for labelled in (0, 1, 2, 8):
        for seed in range(5):
            found = splits.split(name, labelled, seed, released)
            used = {*found.pretraining, *found.labelled, *found.validation}
            assert not used & set(found.test) and not (set(found.labelled) & set(found.validation) and not released)
            assert not labelled or len(found.labelled) == labelled
            assert len(found.validation) == 2


def test_mended_lists() -> None:
    acdc_sets = [splits.split("acdc", n, seed) for n in (1, 2, 8) for seed in range(5)]
    assert all(set(x.labelled) <= set(x.pretraining) and not set(x.validation) & set(x.pretraining) for x in acdc_sets)
    benchmark, released = splits.split("acdc", 0, 0), splits.split("acdc", 0, 0, released=True)
    assert not set(benchmark.labelled) & set(benchmark.validation)
    assert set(released.labelled) & set(released.validation) == {"011"} and len(released.labelled) == 78
    assert len(splits.split("acdc", 2, 0, released=True).pretraining) == 52
    assert len(splits.split("prostate", 0, 0).labelled) == 15
    assert len(splits.split("prostate", 0, 0, released=True).labelled) == 13


def test_seeds_take_the_sets_in_turn() -> None:
    sets = [splits.split("acdc", 2, seed).labelled for seed in range(6)]
    assert sets[5] == sets[0] and len({tuple(x) for x in sets}) == 5


def test_synthetic_lists_are_nested_and_differ_by_seed() -> None:
    numbers = (24, 4, 12)
    for seed in range(5):
        one, two, eight, every = (splits.synthetic_split(numbers, n, seed) for n in (1, 2, 8, 0))
        assert set(one.labelled) < set(two.labelled) < set(eight.labelled) < set(every.labelled)
        assert (len(two.labelled), len(every.labelled)) == (2, 24) and every.labelled == every.pretraining
        assert not {*one.pretraining} & {*one.test, *one.validation} and not {*one.test} & {*one.validation}
    assert len({tuple(splits.synthetic_split(numbers, 2, seed).labelled) for seed in range(5)}) == 5


# -- preparation ------------------------------------------------------------------------------------------------------


def build_all(name: str, root: Path) -> Path:
    for subject in splits.subjects(name):
        if name == "acdc":
            (root / f"patient{subject}").mkdir(parents=True)
        build_subject(DATASETS[name], root, subject)
    return root


def test_prepared_volumes_of_the_paper(tmp_path: Path) -> None:
    config = replace(CONFIG, data=str(build_all("prostate", tmp_path / "data")))
    found = prepare(config, tmp_path / "cache")
    assert (found["name"], found["train"], found["test"]) == ("MSD Prostate", 17, 15)
    split = split_of(config, 0)
    (first, *_) = load(config, tmp_path / "cache", split.test)
    assert first.images.shape == (SHAPE[2], 192, 192) and first.labels.max() <= 2 and first.subject == "29"
    labels, grid, spacing = native(config, tmp_path / "cache", "29")
    assert labels.shape == SHAPE and tuple(spacing) == (1.5, 1.5, 4.0) and grid.resampled == (19, 22)
    assert prepare(config, tmp_path / "cache") == found, "a second time from the cache"


def test_another_file_is_other_data(tmp_path: Path) -> None:
    config = replace(CONFIG, data=str(build_all("prostate", tmp_path / "data")))
    before = prepare(config, tmp_path / "cache")
    image = prostate.files(tmp_path / "data", "29")[0]
    with_another_channel = np.concatenate([intensities(*SHAPE, 2), intensities(*SHAPE, 1)], axis=-1)
    volume(image, with_another_channel)
    assert prepare(config, tmp_path / "cache")["sha256"] == before["sha256"], "T2 is as it was"
    volume(image, with_another_channel.astype(np.float32) ** 2)
    assert prepare(config, tmp_path / "cache")["sha256"] != before["sha256"]


def test_a_constant_image_is_named(tmp_path: Path) -> None:
    config = replace(CONFIG, data=str(build_all("prostate", tmp_path / "data")))
    volume(prostate.files(tmp_path / "data", "29")[0], np.ones((*SHAPE, 2), np.int16))
    with pytest.raises(UserError, match=r"prostate_29\.nii\.gz cannot be used\. 98 % of the intensities are 1"):
        prepare(config, tmp_path / "cache")


def test_normalisation_is_not_clipped() -> None:
    image = np.linspace(0, 100, 1001)
    found = normalise(image)
    assert found.min() == pytest.approx(-1 / 98) and found.max() == pytest.approx(99 / 98)


def test_resampling_keeps_areas_in_place() -> None:
    slices = np.zeros((1, 10, 10))
    slices[:, 2:6, 4:8] = 1
    larger = resize(slices, (20, 20), order=0)
    assert larger[:, 4:12, 8:16].all() and larger.sum() == 64
    smooth = resize(slices, (20, 20), order=1)
    assert smooth[0, 8, 12] == 1 and 0 < smooth[0, 3, 12] < 1


@pytest.mark.parametrize("shape", [(40, 36), (20, 50), (32, 31), (7, 90)])
def test_padding_undoes_a_cut(shape: tuple[int, int]) -> None:
    slices = np.random.default_rng(0).random((2, *shape))
    back = crop_or_pad(crop_or_pad(slices, 32), *shape)
    assert back.shape == slices.shape
    kept = crop_or_pad(crop_or_pad(np.ones_like(slices), 32), *shape) > 0
    np.testing.assert_array_equal(back[kept], slices[kept])


def test_labels_come_back_to_their_voxels() -> None:
    """One-hot probabilities of the network's slices, at another resolution, give the labels of the volume again."""
    labels = np.zeros((50, 44, 3), np.uint8)
    labels[10:30, 12:32, 1:], labels[32:40, 20:28, 0] = 1, 2
    found = nifti.Volume(labels.astype(np.float32), np.diag([1.0, 1.2, 3, 1]), labels)
    grid = Grid.of(found, 64, 0.9)
    probability = np.eye(3, dtype=np.float32)[grid.slices(labels, order=0)].transpose(3, 0, 1, 2)
    agree = grid.labels(probability) == labels
    assert agree.mean() > 0.99


def test_n4_takes_a_bias_field_away() -> None:
    pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(0)
    inside = np.zeros((40, 40, 12), bool)
    inside[5:35, 5:35, 1:11] = True
    flat = np.where(inside, 100.0, 5.0) + rng.normal(0, 1, inside.shape)
    field = np.exp(np.linspace(-0.4, 0.4, 40))[:, None, None]
    found = volumes.correct_bias(nifti.Volume((flat * field).astype(np.float32), np.diag([2.0, 2, 4, 1])))
    left = [float(np.std(x[inside]) / np.mean(x[inside])) for x in (found, flat * field)]
    assert left[0] < 0.4 * left[1]


def test_n4_without_simpleitk_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UserError, match=r"pip install SimpleITK.*--no-n4"):
        volumes.correct_bias(nifti.Volume(np.ones(SHAPE, np.float32), AFFINE))
