"""Losses and metrics by hand, and what they have to be on two processes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from papers.structcomp.losses import (
    hole_l1,
    layout_loss,
    masked_l1,
    perceptual_loss,
    weighted_mean,
)
from papers.structcomp.metrics import (
    area_under_curve,
    bootstrap_interval,
    confusion_matrix,
    frechet_distance,
    inception_discriminative_scores,
    mean_iou,
)


def test_the_hole_counts_and_the_known_part_does_not() -> None:
    torch.manual_seed(0)
    prediction, target = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    hole = torch.zeros(2, 1, 4, 4)
    hole[0, :, :2], hole[1, :, 0, 0] = 1, 1
    by_hand = [(prediction - target).abs()[0, :, :2].mean(), (prediction - target).abs()[1, :, 0, 0].mean()]
    torch.testing.assert_close(hole_l1(prediction, target, hole), torch.stack(by_hand).mean())
    moved = prediction + 5 * (1 - hole)
    torch.testing.assert_close(hole_l1(moved, target, hole), hole_l1(prediction, target, hole))
    assert masked_l1(moved, target, hole, 1.0, 0.0) > masked_l1(prediction, target, hole, 1.0, 0.0)


def test_perceptual_loss_adds_levels() -> None:
    a, b = [torch.ones(1, 2, 3, 3), torch.zeros(1, 4, 1, 1)], [torch.zeros(1, 2, 3, 3), torch.full((1, 4, 1, 1), 2.0)]
    assert perceptual_loss(a, b).item() == pytest.approx(1 + 4)


def test_layout_loss_is_that_of_the_hole() -> None:
    torch.manual_seed(0)
    logits, boundary = torch.randn(1, 4, 5, 5), torch.randn(1, 1, 5, 5)
    label, edges = torch.randint(4, (1, 5, 5)), torch.randint(2, (1, 1, 5, 5)).float()
    hole = torch.zeros(1, 1, 5, 5)
    hole[..., :2, :] = 1
    by_hand = F.cross_entropy(logits[..., :2, :], label[:, :2]) + F.binary_cross_entropy_with_logits(
        boundary[..., :2, :], edges[..., :2, :]
    )
    torch.testing.assert_close(layout_loss(logits, boundary, label, edges, hole), by_hand)


def test_a_batch_without_an_object_costs_nothing() -> None:
    values, weights = torch.tensor([3.0, 5.0]), torch.tensor([0.0, 0.0])
    assert weighted_mean(values, weights).item() == 0
    assert weighted_mean(values, torch.tensor([1.0, 0.0])).item() == pytest.approx(3)


def test_two_processes_agree_with_one(two_processes: Callable[..., str]) -> None:
    assert "2 processes agree with 1" in two_processes("losses")


def test_identical_sets_cannot_be_told_apart() -> None:
    x = np.random.default_rng(0).normal(size=(60, 4))
    u_ids, p_ids = inception_discriminative_scores(x, x)
    assert (u_ids, p_ids) == (0.5, 0.0)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    far = inception_discriminative_scores(x, x + 10)
    assert far == (0.0, 0.0) and frechet_distance(x, x + 10) == pytest.approx(400, rel=1e-6)


def test_singular_covariances_have_a_distance() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 12)), rng.normal(size=(5, 12))
    assert np.isfinite(frechet_distance(a, b)) and frechet_distance(a, b) > 0
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)


def test_a_bootstrap_interval_holds_the_estimate_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(80, 1)), rng.normal(1, 1, size=(80, 1))

    def shift(a: np.ndarray, b: np.ndarray) -> float:
        return float((b - a).mean())

    low, high = bootstrap_interval(shift, real, fake)
    error = 1.96 * float((fake - real).std()) / 80**0.5
    assert low < shift(real, fake) < high and high - low == pytest.approx(2 * error, rel=0.3)


def test_area_under_the_curve_counts_ties_half() -> None:
    assert area_under_curve(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx(3.5 / 4)


def test_mean_iou_by_hand() -> None:
    counts = confusion_matrix(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 1]), 3)
    assert counts.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert mean_iou(counts.numpy()) == pytest.approx((1 / 2 + 1 / 3) / 2)
