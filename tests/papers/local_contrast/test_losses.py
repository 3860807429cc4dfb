"""Losses against loops over their terms, at their limits, and over processes."""

from collections.abc import Callable

import pytest
import torch

from papers.local_contrast import bench
from papers.local_contrast.losses import (
    dice_scores,
    global_loss_d,
    global_loss_d_minus,
    global_loss_r,
    local_loss_d,
    local_loss_r,
    segmentation_loss,
)
from papers.local_contrast.model import LocalHead
from papers.local_contrast.regions import regions


@pytest.mark.parametrize("partitions", [2, 4, 5])
@pytest.mark.parametrize("volumes", [2, 3, 5])
def test_global_losses_are_those_of_a_loop(volumes: int, partitions: int) -> None:
    partition = torch.arange(partitions).expand(volumes, -1)
    z = torch.randn(volumes, 3, partitions, 7, dtype=torch.float64)
    torch.testing.assert_close(
        global_loss_d_minus(z, partition, temperature=0.1), bench.loop_global_d_minus(z, partition)
    )
    torch.testing.assert_close(
        global_loss_d(z[:, :2], partition, temperature=0.1), bench.loop_global_d(z[:, :2], partition)
    )


@pytest.mark.parametrize(("region", "count"), [(3, 13), (3, 9), (1, 13), (1, 9)])
def test_local_losses_are_those_of_a_loop(region: int, count: int) -> None:
    grid = regions(16, region, count)
    pairs = torch.randn(3, 2, len(grid.corners), 5, dtype=torch.float64)
    torch.testing.assert_close(local_loss_r(pairs, grid, temperature=0.1), bench.loop_local_r(pairs, grid))
    volumes = torch.randn(4, 2, 2, len(grid.corners), 5, dtype=torch.float64)
    torch.testing.assert_close(local_loss_d(volumes, grid, temperature=0.1), bench.loop_local_d(volumes, grid))


def test_a_small_temperature_does_not_overflow_and_zeros_are_no_nan() -> None:
    z = torch.randn(2, 2, 4, 8)
    z[0, 0, 0] = 0
    z.requires_grad_()
    loss = global_loss_d(z, torch.arange(4).expand(2, -1), temperature=0.005)
    loss.backward()
    assert loss.isfinite() and z.grad is not None and z.grad.isfinite().all()


def test_chance_level() -> None:
    """Equal vectors: every candidate is as likely as the others."""
    same = torch.ones(3, 2, 4, 8)
    partition = torch.arange(4).expand(3, -1)
    negatives = 3 * 2 * 3  # of other partitions, in three volumes and two versions
    assert global_loss_d(same, partition, temperature=0.1).item() == pytest.approx(torch.tensor(1.0 + negatives).log())
    grid = regions(16)
    vectors = torch.ones(2, 2, len(grid.corners), 8)
    assert local_loss_r(vectors, grid, temperature=0.1).item() == pytest.approx(torch.tensor(11.0).log())
    views = torch.ones(5, 2, 8)
    assert global_loss_r(views, temperature=0.1).item() == pytest.approx(torch.tensor(9.0).log())


def test_too_few_volumes_for_the_local_loss_between_them() -> None:
    grid = regions(16)
    with pytest.raises(ValueError, match="expected 3 volumes or more, found 2"):
        local_loss_d(torch.ones(2, 2, 4, len(grid.corners), 8), grid, temperature=0.1)


@pytest.mark.parametrize(("size", "region", "count"), [(4, 3, 13), (16, 2, 13), (16, 3, 5)])
def test_grids_that_do_not_exist(size: int, region: int, count: int) -> None:
    with pytest.raises(ValueError, match=r"too small|expected a region"):
        regions(size, region, count)


def test_a_region_is_read_row_by_row() -> None:
    """The first weight of the dense layer belongs to the first channel of the region's first voxel."""
    head = LocalHead(2, region=3, out=18)
    head.convolutions = torch.nn.Identity()  # type: ignore[assignment]
    with torch.no_grad():
        head.dense.weight.copy_(torch.eye(18))
    features = torch.arange(2 * 36, dtype=torch.float32).view(1, 2, 6, 6)
    found = head(features, torch.tensor([[1, 2]]))[0, 0].view(3, 3, 2)
    assert torch.equal(found, features[0, :, 1:4, 2:5].permute(1, 2, 0))


def test_an_absent_class_scores_zero_and_gives_no_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    labels = torch.zeros(1, 3, 4, 4)
    labels[:, 0] = 1
    scores = dice_scores(logits, labels)
    assert scores[0, 1:].tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(scores[0, 1], logits)
    assert gradient.abs().max() < 1e-6
    assert segmentation_loss(logits, labels) > 2 / 3


def test_two_processes_are_one(two_processes: Callable[..., str]) -> None:
    assert "2 processes agree with 1" in two_processes("losses")
