"""Transformations whose outcome is known."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from papers.local_contrast.augment import change_intensity, crop, elastic_flow, mixup, move, warp, with_background

ZERO, ONE, NO = torch.zeros(1), torch.ones(1), torch.zeros(1, dtype=torch.bool)


def ramp(size: int = 8) -> Tensor:
    return torch.arange(size * size, dtype=torch.float32).view(1, 1, size, size) / size**2


def labelled(size: int = 8) -> Tensor:
    """Two foreground classes in the upper half, left and right."""
    labels = torch.zeros(1, size, size, dtype=torch.long)
    labels[:, : size // 2, : size // 2], labels[:, : size // 2, size // 2 :] = 1, 2
    return F.one_hot(labels, 3).permute(0, 3, 1, 2).float()


def test_a_crop_of_everything_is_the_image() -> None:
    torch.testing.assert_close(crop(ramp(), torch.tensor([[0.0, 0.0, 1.0]])), ramp())


def test_a_crop_of_a_quarter_is_that_quarter_enlarged() -> None:
    found = crop(ramp(), torch.tensor([[0.5, 0.0, 0.5]]))
    expected = F.interpolate(ramp()[:, :, 4:, :4], (8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1])


def test_intensity_keeps_the_mean_and_clips() -> None:
    image = ramp()
    stretched = change_intensity(image, ZERO, 1.5 * ONE)
    assert stretched.mean().item() == pytest.approx(image.mean().item(), abs=1e-6)
    assert stretched.std().item() == pytest.approx(1.5 * image.std().item(), rel=1e-5) and stretched.min() < 0
    clipped = change_intensity(image, ONE, 3 * ONE, 1.5)
    assert clipped.min() >= 0 and clipped.max() == 1.5


def test_nothing_moves_without_parameters() -> None:
    images, labels = move(ramp(), labelled(), ZERO, ONE, NO)
    torch.testing.assert_close(images, ramp())
    assert torch.equal(labels, labelled())


def test_a_flip_is_left_to_right() -> None:
    images, labels = move(ramp(), labelled(), ZERO, ONE, ~NO)
    torch.testing.assert_close(images, ramp().flip(3))
    assert torch.equal(labels, labelled().flip(3))


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_turn_is_counter_clockwise_for_images_and_labels(quarter: int) -> None:
    images, labels = move(ramp(), labelled(), 90.0 * quarter * ONE, ONE, NO)
    torch.testing.assert_close(images, ramp().rot90(quarter, (2, 3)), atol=1e-5, rtol=0)
    assert torch.equal(labels, labelled().rot90(quarter, (2, 3)))


def test_what_comes_in_from_outside_is_background() -> None:
    images, labels = move(ramp() + 1, labelled(), ZERO, 0.5 * ONE, NO)
    assert images[0, 0, 0, 0] == 0 and labels[0, :, 0, 0].tolist() == [1, 0, 0]
    torch.testing.assert_close(labels.sum(1), torch.ones(1, 8, 8))


def test_a_larger_scale_enlarges() -> None:
    spot = torch.zeros(1, 1, 16, 16)
    spot[..., 6:10, 6:10] = 1
    larger, _ = move(spot, with_background(spot), ZERO, 1.5 * ONE, NO)
    assert larger.sum() == pytest.approx(1.5**2 * 16, rel=0.05)


def test_a_constant_flow_moves_everything_by_it() -> None:
    flow = elastic_flow(torch.full((1, 2, 3, 3), 2.0), (8, 8))
    torch.testing.assert_close(flow, torch.full((1, 2, 8, 8), 2.0))
    torch.testing.assert_close(warp(ramp(), flow)[..., 2:, 2:], ramp()[..., :-2, :-2], atol=1e-5, rtol=0)


def test_mixup_of_one_is_a_choice() -> None:
    x = torch.randn(3, 1, 4, 4)
    chosen = torch.tensor([2, 0, 1])
    assert torch.equal(mixup(x, torch.ones(3), chosen, torch.tensor([0, 0, 0])), x[chosen])
    half = mixup(x, torch.full((3,), 0.5), chosen, torch.tensor([0, 0, 0]))
    torch.testing.assert_close(half[0], (x[2] + x[0]) / 2)
