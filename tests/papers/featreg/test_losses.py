"""Cross-entropy over labelled pixels, and what alignment forgives."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from papers.featreg.losses import IGNORED, feature_distance, regression_loss, segmentation_loss, shrink_label


def test_two_processes_are_one(two_processes: Callable[..., str]) -> None:
    assert "2 processes agree with 1" in two_processes("losses")


def test_pixels_without_a_label_do_not_count() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    label[0, :2], label[1, 3, 4] = IGNORED, IGNORED
    valid = label != IGNORED
    by_hand = -logits.log_softmax(1).permute(0, 2, 3, 1)[valid].gather(1, label[valid][:, None]).mean()
    torch.testing.assert_close(segmentation_loss(logits, label), by_hand)
    nothing = segmentation_loss(logits.requires_grad_(), torch.full_like(label, IGNORED))
    assert nothing.item() == 0


def test_logits_are_upsampled_to_the_labels() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(1, 3, 4, 4), torch.randint(3, (1, 8, 8))
    raised = F.interpolate(logits, (8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(segmentation_loss(logits, label), F.cross_entropy(raised, label))


def test_a_shrunk_label_is_never_a_mixture() -> None:
    """Where Caffe's layer would blend: 0 and 8 next to each other, sampled between the two."""
    label = torch.tensor([0, 8] * 10)[None].expand(20, 20)
    shrunk = shrink_label(label, (7, 7))
    assert shrunk.shape == (7, 7) and set(shrunk.flatten().tolist()) <= {0, 8}


@pytest.mark.parametrize(("alignment", "forgiven"), [("none", False), ("search", True)])
def test_search_forgives_a_shift_by_a_cell(alignment: str, forgiven: bool) -> None:
    torch.manual_seed(0)
    teacher = torch.randn(2, 3, 8, 9)
    student = torch.stack([teacher[0].roll(1, -1), teacher[1].roll(-1, -2)])  # each image its own shift
    distance = feature_distance(student, teacher, alignment=alignment)  # type: ignore[arg-type]
    assert (distance.item() < 1e-12) == forgiven


def test_maxima_tolerate_part_of_a_shift() -> None:
    """A peak becomes a square of 3 x 3 cells; shifted by one cell, three cells on either side remain."""
    teacher, student = torch.zeros(1, 1, 7, 7), torch.zeros(1, 1, 7, 7)
    teacher[..., 3, 3], student[..., 3, 4] = 1, 1
    assert feature_distance(student, teacher, alignment="maxpool").item() == pytest.approx(6 / 49, rel=1e-5)
    missing = feature_distance(torch.zeros_like(teacher), teacher, alignment="maxpool")
    assert missing.item() == pytest.approx(9 / 49, rel=1e-5)
    assert feature_distance(student, teacher).item() == pytest.approx(2 / 49, rel=1e-5)


def test_layers_are_weighed_and_the_teacher_gets_no_gradient() -> None:
    torch.manual_seed(0)
    student = {name: torch.randn(2, 3, 4, 4, requires_grad=True) for name in "ab"}
    teacher = {name: torch.randn(2, 3, 4, 4, requires_grad=True) for name in "ab"}
    loss = regression_loss(student, teacher, {"a": 2.0, "b": 0.5})
    by_hand = 2 * F.mse_loss(student["a"], teacher["a"]) + 0.5 * F.mse_loss(student["b"], teacher["b"])
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    assert all(x.grad is None for x in teacher.values()) and all(x.grad is not None for x in student.values())
