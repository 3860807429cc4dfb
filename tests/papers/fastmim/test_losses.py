"""Masks and losses against values of the official code."""

from pathlib import Path

import numpy as np
import pytest
import torch

from papers.fastmim.losses import hog_loss, hog_targets, pixel_loss, pixel_targets
from papers.fastmim.masking import block_mask, enlarge
from shared import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "fastmim"


def load(name: str, case: int) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {k.removeprefix(f"c{case}_"): v for k, v in arrays.items() if k.startswith(f"c{case}_")}


@pytest.mark.parametrize("case", range(4))
def test_masks(case):
    golden = load("masks", case)
    mask = block_mask(torch.from_numpy(golden["noise"]), float(golden["mask_ratio"]))
    pixels = enlarge(mask, int(golden["block_size"]))
    assert pixels.dtype == torch.float32
    np.testing.assert_array_equal(pixels, golden["pixel_mask"])
    token_side = int(golden["img_size"]) // int(golden["patch_or_stride"])
    np.testing.assert_array_equal(enlarge(mask, max(token_side // mask.shape[-1], 1)), golden["loss_mask"])


def test_the_number_of_kept_blocks_is_truncated():
    assert (block_mask(torch.rand(1, 400), 0.9) == 0).sum() == 39


@pytest.mark.parametrize(("blocks", "ratio"), [(15, 0.75), (16, 0.0), (16, 1.5)])
def test_impossible_masks(blocks, ratio):
    with pytest.raises(UserError):
        block_mask(torch.rand(2, blocks), ratio)


@pytest.mark.parametrize("stride", [16, 32])
def test_hog_targets(stride):
    with np.load(GOLDEN / "hog_patch_targets_64.npz") as golden:
        targets = hog_targets(torch.from_numpy(golden["img"]), stride)
        np.testing.assert_allclose(targets, golden[f"target_stride{stride}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", range(5))
def test_hog_loss(case):
    golden = load("hog_loss", case)
    pred, images, mask = (torch.from_numpy(golden[name]) for name in ("pred", "img", "loss_mask"))
    loss = hog_loss(pred, images, mask, int(golden["stride"]), normalize=bool(golden["norm"]))
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", range(4))
def test_pixel_loss(case):
    golden = load("pixel_loss", case)
    pred, images, mask = (torch.from_numpy(golden[name]) for name in ("pred", "img", "loss_mask"))
    loss = pixel_loss(pred, images, mask, int(golden["stride"]), normalize=bool(golden["norm"]))
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("loss", "targets"), [(hog_loss, hog_targets), (pixel_loss, pixel_targets)])
@pytest.mark.parametrize("blocks", [1, 2])
def test_perfect_masked_tokens_cost_nothing(loss, targets, blocks):
    images, mask = torch.randn(2, 3, 64, 64), torch.ones(2, 1, blocks, blocks)
    mask[0] = 0
    pred = targets(images, 32)
    pred[0] += 1  # a visible image costs nothing
    assert loss(pred, images, mask, 32) == 0
    pred[1, 0] += 1
    assert loss(pred, images, mask, 32) == pytest.approx(1 / 4)


def test_small_blocks_count_only_their_own_cells():
    images, mask = torch.randn(1, 3, 32, 32), torch.zeros(1, 1, 4, 4)
    mask[..., 0, 1] = 1  # of the token's 4 x 4 cells, row 0, column 1
    pred = hog_targets(images, 32).view(1, 1, 27, 4, 4)
    pred[..., 0, 0] += 5
    assert hog_loss(pred.flatten(2), images, mask, 32) == 0
    pred[..., 0, 1] += 2
    assert hog_loss(pred.flatten(2), images, mask, 32) == pytest.approx(4)


def test_small_blocks_count_only_their_own_pixels():
    images, mask = torch.randn(1, 3, 32, 32), torch.zeros(1, 1, 4, 4)
    mask[..., 0, 1] = 1
    pred = pixel_targets(images, 8).view(1, 1, 4, 4, 192).movedim(-1, 2).clone()
    pred[..., 0, 0] += 5
    assert pixel_loss(pred.flatten(2), images, mask, 32) == 0
    pred[..., 0, 1] += 2
    assert pixel_loss(pred.flatten(2), images, mask, 32) == pytest.approx(4)


def test_blocks_smaller_than_a_cell():
    with pytest.raises(UserError, match="multiple of 8"):
        hog_loss(torch.zeros(1, 1, 432), torch.randn(1, 3, 32, 32), torch.ones(1, 1, 8, 8), 32)
