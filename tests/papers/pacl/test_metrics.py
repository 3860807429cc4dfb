"""Metrics against arrays of mmsegmentation and scikit-learn, and against torchmetrics and scikit-learn themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from papers.pacl.datasets.benchmarks import reduce_zero_label
from papers.pacl.metrics import (
    ConfusionMatrix,
    coherence,
    patch_accuracy,
    patch_labels,
    pixel_auc,
    pointing,
    roc_auc,
    roc_points,
    top1,
)
from shared import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "pacl"
MIOU = ("miou_a_bg21", "miou_b_reducezero", "miou_c_absent")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as content:
        return dict(content)


# -- mIoU -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MIOU)
def test_confusion_matrix_is_that_of_mmsegmentation(name: str) -> None:
    case = golden(name)
    labels = torch.from_numpy(case["gt"])
    if case["reduce_zero_label"]:
        labels = reduce_zero_label(labels)
        assert torch.equal(labels, torch.from_numpy(case["gt_reduced"]))
    matrix = ConfusionMatrix(int(case["num_classes"]), int(case["ignore_index"]))
    for predicted, label in zip(torch.from_numpy(case["pred"]), labels, strict=True):
        matrix.update(predicted, label)
    for area in ("area_intersect", "area_union", "area_pred", "area_label"):
        assert np.array_equal(getattr(matrix, area).numpy(), case[area]), area
    np.testing.assert_allclose(matrix.iou.numpy(), case["iou"], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(matrix.acc.numpy(), case["acc"], rtol=1e-9, atol=1e-10)
    # mmsegmentation's areas are float32, so its means are good to seven digits
    np.testing.assert_allclose([matrix.miou, matrix.macc, matrix.aacc], [case[k] for k in ("mIoU", "mAcc", "aAcc")])
    assert abs(matrix.miou - case["WRONG_mean_of_per_image_mIoU"]) > 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_miou_is_the_jaccard_index_of_torchmetrics(seed: int) -> None:
    """With ignored pixels, a class only predicted (7), one only labelled (8), and one in neither (9)."""
    rng = torch.Generator().manual_seed(seed)
    predicted = torch.randint(0, 8, (4, 13, 17), generator=rng)
    labels = torch.randint(0, 7, (4, 13, 17), generator=rng)
    labels = torch.where(torch.rand(labels.shape, generator=rng) < 0.4, predicted.clamp(max=6), labels)
    labels[:, 0, :9], labels[:, 3:6] = 8, 255
    matrix, reference = ConfusionMatrix(10), MulticlassJaccardIndex(10, average="macro", ignore_index=255)
    for p, t in zip(predicted, labels, strict=True):
        matrix.update(p, t.to(torch.uint8))
        reference.update(p, t)
    assert matrix.miou == pytest.approx(float(reference.compute()), abs=1e-6)
    assert matrix.iou.isnan().tolist() == [False] * 9 + [True]
    assert matrix.iou[7] == 0 == matrix.iou[8] and matrix.acc[7].isnan()


def test_counts_of_parts_add_up() -> None:
    predicted, labels = torch.randint(0, 3, (2, 5, 5)), torch.randint(0, 3, (2, 5, 5))
    whole, first, second = (ConfusionMatrix(3) for _ in range(3))
    whole.update(predicted, labels)
    first.update(predicted[0], labels[0])
    second.update(predicted[1], labels[1])
    assert torch.equal(whole.counts, first.counts + second.counts) and whole.counts.sum() == 50


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        ([0, 1], [0, 3], "label 3 is not one of the 3 classes"),
        ([0, 1], [-1, 0], "label -1 is not"),
        ([0, 3], [0, 0], "predicted class 3 is not"),
        ([0, 255], [0, 1], "predicted class 255 is not"),
        ([0, 1, 2], [0, 1], r"shape \(3,\), its labels \(2,\)"),
    ],
)
def test_classes_that_do_not_exist(predicted: list[int], labels: list[int], message: str) -> None:
    matrix = ConfusionMatrix(3)
    with pytest.raises(UserError, match=message):
        matrix.update(torch.tensor(predicted), torch.tensor(labels))
    assert matrix.counts.sum() == 0


def test_nothing_counted_is_not_a_number() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(torch.tensor([9, 1]), torch.tensor([255, 255]))  # what is predicted there does not matter
    assert np.isnan([matrix.miou, matrix.macc, matrix.aacc]).all()


def test_reduce_zero_label() -> None:
    assert reduce_zero_label(torch.tensor([0, 1, 150, 254, 255], dtype=torch.uint8)).tolist() == [255, 0, 149, 253, 255]
    with pytest.raises(ValueError, match=r"torch\.int64"):
        reduce_zero_label(torch.tensor([0, 1]))


# -- one map ----------------------------------------------------------------------------------------------------------


def test_pixel_auc_is_that_of_scikit_learn() -> None:
    rng = torch.Generator().manual_seed(0)
    score, mask = torch.randint(0, 6, (9, 11), generator=rng).float(), torch.rand(9, 11, generator=rng) < 0.3
    expected = roc_auc_score(mask.flatten().numpy(), score.flatten().numpy())
    assert pixel_auc(score, mask) == pytest.approx(expected, abs=1e-12)
    assert pixel_auc(mask.float(), mask) == 1 and pixel_auc(-mask.float(), mask) == 0
    assert pixel_auc(torch.ones(9, 11), mask) == 0.5
    assert pixel_auc(score, torch.zeros_like(mask)) is None is pixel_auc(score, torch.ones_like(mask))


def test_pointing() -> None:
    score, mask = torch.zeros(4, 6), torch.zeros(4, 6, dtype=torch.bool)
    score[2, 3], mask[2] = 1, True
    assert pointing(score, mask) and not pointing(score, ~mask)
    assert not pointing(torch.zeros(4, 6), mask)  # the first of equals


# -- patches ----------------------------------------------------------------------------------------------------------


def test_coherence_between_two_images() -> None:
    case = {name: torch.from_numpy(np.asarray(x)) for name, x in golden("coherence_a").items()}
    cosine, same = coherence(torch.cat([case["f1"], case["f2"]]), torch.cat([case["y1"], case["y2"]]))
    count, first = (int((labels != 255).sum()) for labels in (torch.cat([case["y1"], case["y2"]]), case["y1"]))
    rows, columns = torch.triu_indices(count, count, offset=1)
    between = ((rows < first) & (columns >= first)).numpy()
    cosine, same = cosine[between], same[between]
    valid = case["valid"].bool()
    np.testing.assert_allclose(cosine, case["sim"][valid], rtol=0, atol=1e-12)
    assert np.array_equal(same, case["target"][valid].bool())
    assert roc_auc(cosine, same) == pytest.approx(float(case["auc"]), abs=1e-12)
    curve = roc_points(cosine, same)
    assert curve is not None
    assert len(curve[0]) <= 200 and curve[0][[0, -1]].tolist() == [0, 1] == curve[1][[0, -1]].tolist()
    assert np.trapezoid(curve[1], curve[0]) == pytest.approx(float(case["auc"]), abs=0.01)


def test_coherence_within_an_image() -> None:
    """Each pair once, none of a patch with itself, none with an ignored one."""
    rng = torch.Generator().manual_seed(0)
    features, labels = torch.randn(20, 4, generator=rng), torch.randint(0, 3, (20,), generator=rng)
    features += 2 * torch.eye(4)[labels]
    labels[3] = 255
    pairs = [(i, j) for i in range(20) for j in range(i) if 255 not in (labels[i], labels[j])]
    cosine = [float(torch.cosine_similarity(features[i], features[j], dim=0)) for i, j in pairs]
    expected = roc_auc_score([bool(labels[i] == labels[j]) for i, j in pairs], cosine)
    assert roc_auc(*coherence(features, labels)) == pytest.approx(expected, abs=1e-6)
    assert roc_auc(*coherence(1000 * features, labels)) == pytest.approx(expected, abs=1e-6)
    for constant in (torch.ones(20), torch.full((20,), 255)):
        pairs_of = coherence(features, constant)
        assert roc_auc(*pairs_of) is None is roc_points(*pairs_of)


def test_patch_accuracy() -> None:
    scores = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.1, 0.2, 0.3], [1.0, 0.0, 0.0]])
    labels = torch.tensor([0, 1, 2, 255])
    assert patch_accuracy(scores, labels) == pytest.approx(2 / 3)
    present = torch.tensor([[True] * 3, [False, True, True], [True] * 3, [True] * 3])
    assert patch_accuracy(scores, labels, present) == 1
    assert patch_accuracy(scores[3:], labels[3:]) is None


def majority(labels: Tensor, rows: slice, columns: slice) -> int:
    return int(np.bincount(labels[rows, columns].flatten().numpy()).argmax())


def test_patch_labels() -> None:
    labels = torch.randint(0, 4, (12, 18), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels[:4, :6] = 255
    found = patch_labels(labels, (3, 3))
    assert found.dtype == torch.uint8 and found[0, 0] == 255
    for i in range(3):
        for j in range(3):
            assert found[i, j] == majority(labels, slice(4 * i, 4 * i + 4), slice(6 * j, 6 * j + 6))


def test_patch_labels_of_any_size() -> None:
    labels = torch.randint(0, 3, (7, 11), generator=torch.Generator().manual_seed(1))
    found = patch_labels(labels, (2, 4))  # rows 0-3 and 3-6; columns 0-2, 2-5, 5-8, 8-10
    assert found.dtype == torch.int64
    for i, rows in enumerate((slice(0, 4), slice(3, 7))):
        for j, columns in enumerate((slice(0, 3), slice(2, 6), slice(5, 9), slice(8, 11))):
            assert found[i, j] == majority(labels, rows, columns)
    assert torch.equal(patch_labels(torch.tensor([[4, 9]]), (2, 4)), torch.tensor([[4, 4, 9, 9]] * 2))
    assert patch_labels(torch.tensor([[9, 4], [4, 9]]), (1, 1)) == 4


def test_top1() -> None:
    scores = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert top1(scores, torch.tensor([1, 0, 0])) == pytest.approx(2 / 3)
