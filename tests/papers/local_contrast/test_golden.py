"""Equations, network and data steps against arrays that the official code produced, or confirmed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.local_contrast import augment, losses, segment
from papers.local_contrast.model import LocalHead, UNet, cut_regions, decode
from papers.local_contrast.regions import Regions, regions
from papers.local_contrast.sampling import partition_bounds
from papers.local_contrast.volumes import Grid, crop_or_pad, normalise

GOLDEN = Path(__file__).parents[2] / "golden" / "local_contrast"
TOLERANCES = {torch.float64: (1e-6, 1e-9), torch.float32: (1e-4, 1e-5)}
both_types = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
BLOCKS = {"c5": 0, "c4": 1, "c3": 2, "c2": 3, "c1": 4}  # decoder block by the level it ends at


def load(name: str, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as content:
        arrays = {key: torch.from_numpy(np.asarray(content[key])) for key in content.files}
    return {key: x.to(dtype) if x.is_floating_point() else x.long() for key, x in arrays.items()}


def close(found: Tensor, expected: Tensor) -> None:
    rtol, atol = TOLERANCES[found.dtype]
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=rtol, atol=atol)


def by_version(z: Tensor, volumes: int, versions: int, slices: int) -> Tensor:
    """Rows [all slices as they are; all first views; ...] as (V, versions, S, D)."""
    return z.view(versions, volumes, slices, -1).transpose(0, 1)


# -- contrastive losses -----------------------------------------------------------------------------------------------


@both_types
def test_global_loss_d_minus(dtype: torch.dtype) -> None:
    golden = load("01_global_gdminus", dtype)
    z = by_version(golden["z"], 3, 3, 4)
    loss = losses.global_loss_d_minus(z, torch.arange(4).expand(3, -1), temperature=float(golden["tau"]))
    close(loss, golden["mean_term"])
    close(2 * loss, golden["loss"])


@both_types
def test_global_loss_d(dtype: torch.dtype) -> None:
    golden = load("02_global_gd", dtype)
    z = golden["z"].view(6, 2, 4, -1)  # volumes; as they are, transformed; partitions
    loss = losses.global_loss_d(z, torch.arange(4).expand(6, -1), temperature=float(golden["tau"]))
    close(loss, golden["mean_term"])
    close(4 * loss, golden["loss"])


@both_types
def test_partitions_are_labels_and_not_places(dtype: torch.dtype) -> None:
    """Slices in another order, with their labels, give the same loss."""
    golden = load("01_global_gdminus", dtype)
    order = torch.tensor([2, 0, 3, 1])
    z, partition = by_version(golden["z"], 3, 3, 4)[:, :, order], torch.arange(4)[order].expand(3, -1)
    close(losses.global_loss_d_minus(z, partition, temperature=float(golden["tau"])), golden["mean_term"])


@both_types
def test_global_loss_r(dtype: torch.dtype) -> None:
    golden = load("03_global_gr", dtype)
    loss = losses.global_loss_r(golden["z"].view(12, 2, -1), temperature=float(golden["tau"]))
    close(loss, golden["loss"])


def region_vectors(golden: dict[str, Tensor]) -> tuple[Tensor, Regions]:
    """The dense layer's vectors of all corners, (maps, U, D)."""
    grid = regions(golden["F"].shape[1])
    assert torch.equal(grid.corners[grid.anchors], golden["pos"])
    assert torch.equal(grid.corners[grid.negatives], golden["neg"])
    return cut_regions(golden["F"].permute(0, 3, 1, 2), grid.corners, 3) @ golden["Wd"], grid


@both_types
def test_local_loss_r(dtype: torch.dtype) -> None:
    golden = load("04_local_lr_3x3", dtype)
    vectors, grid = region_vectors(golden)
    loss = losses.local_loss_r(vectors.unflatten(0, (2, 2)), grid, temperature=float(golden["tau"]))
    close(loss, golden["loss"])


@both_types
def test_local_loss_d(dtype: torch.dtype) -> None:
    golden = load("05_local_ld_3x3", dtype)
    vectors, grid = region_vectors(golden)
    by_volume = vectors.unflatten(0, (2, 3, 4)).transpose(0, 1)  # volumes, views, partitions
    loss = losses.local_loss_d(by_volume, grid, temperature=float(golden["tau"]))
    close(loss, golden["mean_term"])
    close(1.5 * loss, golden["loss"])


@pytest.mark.parametrize("name", ["W192_l3_k3_A13", "W64_l3_k3_A13", "W64_l3_k1_A13", "W192_l3_k3_A9"])
def test_region_tables(name: str) -> None:
    golden = load("06_region_tables")
    width, blocks, region, count = (int(part.lstrip("WlkA")) for part in name.split("_"))
    grid = regions(width // 2 ** (5 - blocks), region, count)
    assert torch.equal(grid.corners[grid.anchors], golden[f"pos_{name}"])
    assert torch.equal(grid.corners[grid.negatives], golden[f"neg_{name}"])
    assert len(grid.corners) == len({tuple(corner) for corner in grid.corners.tolist()})


# -- the network ------------------------------------------------------------------------------------------------------


def place(layer: str) -> str:
    """The name here of an official layer with convolution and batch normalisation."""
    part, *rest = layer.split("_")
    if part == "enc":
        return f"encoder.levels.{int(rest[0][1]) - 1}.{'ab'.index(rest[1])}"
    if part == "dec" and rest[0].startswith("dc"):
        return f"decoder.{6 - int(rest[0][2])}.up"
    if part == "dec":
        return f"decoder.{BLOCKS[rest[0]]}.units.{'ab'.index(rest[1])}"
    return f"head.{'ab'.index(rest[1])}"


def official(golden: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The official weights under the names of :class:`UNet`."""
    state = {}
    for key, x in golden.items():
        if not key.startswith("w/"):
            continue
        layer, *parts = key.split("/")[1:]
        if layer == "seg_fin_layer":
            state["head.2.weight"] = x.permute(3, 2, 0, 1)
        elif parts == ["W"]:
            state[f"{place(layer)}.1.weight"] = x.permute(3, 2, 0, 1)
        elif parts == ["b"]:
            state[f"{place(layer)}.1.bias"] = x
        else:
            state[f"{place(layer)}.2.{'weight' if parts[-1] == 'gamma' else 'bias'}"] = x
    return {name: x.to(dtype) for name, x in state.items()}


def unet_like(golden: dict[str, Tensor], dtype: torch.dtype, absent: tuple[str, ...] = ()) -> UNet:
    network = UNet(golden["widths"].tolist(), classes=4).to(dtype)
    state = {name: x for name, x in official(golden, dtype).items() if name in network.state_dict()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    left = {name for name in missing if "running" not in name and "tracked" not in name}
    assert not unexpected and all(name.startswith(absent) for name in left), left
    return network.train()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_unet(dtype: torch.dtype) -> None:
    golden = load("07a_unet_forward", dtype)
    network, images = unet_like(golden, dtype), golden["x"].permute(0, 3, 1, 2)
    skips, bottleneck = network.encoder(images)
    seen = {"enc_c1_b": skips[0], "enc_c3_b": skips[2], "enc_c6_b": bottleneck}
    seen |= {
        "dec_c5_b": decode(network.decoder[:1], skips, bottleneck),
        "dec_c3_b": decode(network.decoder[:3], skips, bottleneck),
    }
    seen |= {"dec_c1_a": decode(network.decoder, skips, bottleneck)}
    for name, x in seen.items():
        step = 4 if name in ("enc_c1_b", "dec_c1_a") else 1
        expected = golden[f"act/{name}"].permute(0, 3, 1, 2)
        torch.testing.assert_close(x[:, :, ::step, ::step], expected, rtol=0, atol=2e-3, msg=name)
    logits = network(images)
    torch.testing.assert_close(logits, golden["logits"].permute(0, 3, 1, 2), rtol=0, atol=2e-3)
    one_hot = torch.nn.functional.one_hot(golden["labels"], 4).permute(0, 3, 1, 2).to(dtype)
    loss = losses.segmentation_loss(logits, one_hot)
    torch.testing.assert_close(loss.double(), golden["dice_loss_with_bg"].double(), rtol=1e-4, atol=0)


def test_decoder_and_local_head() -> None:
    golden = load("07b_decoder_g2_l3")
    dense = {key: golden.pop(key) for key in list(golden) if key.startswith(("w/seg", "w/seg_pred"))}
    network = unet_like(golden, torch.float64, absent=("decoder.3", "decoder.4", "head"))
    head = LocalHead(4, region=1).double()
    first, norm, _, second = head.convolutions
    with torch.no_grad():
        first.weight.copy_(dense["w/seg_c1_a/W"].permute(3, 2, 0, 1))
        second.weight.copy_(dense["w/seg_c1_b/W"].permute(3, 2, 0, 1))
        norm.weight.copy_(dense["w/seg_c1_a/seg_c1_a_bn/gamma"])
        norm.bias.copy_(dense["w/seg_c1_a/seg_c1_a_bn/beta"])
    skips, bottleneck = network.encoder(golden["x"].permute(0, 3, 1, 2))
    found = head.convolutions(decode(network.decoder[:3], skips, bottleneck))
    torch.testing.assert_close(found, golden["y_fin"].permute(0, 3, 1, 2), rtol=0, atol=2e-3)


# -- segmentation losses ----------------------------------------------------------------------------------------------


@both_types
def test_segmentation_losses(dtype: torch.dtype) -> None:
    golden = load("08_seg_losses", dtype)
    logits, labels = (golden[key].permute(0, 3, 1, 2) for key in ("logits", "labels"))
    close(losses.dice_scores(logits, labels), golden["dice_per_image_class"])
    close(losses.segmentation_loss(logits, labels), golden["dice_with_bg"])
    close(losses.segmentation_loss(logits, labels, "dice-foreground"), golden["dice_without_bg"])
    close(losses.segmentation_loss(logits, labels, "cross-entropy"), golden["ce"])
    torch.testing.assert_close(golden["class_weights"].double(), torch.tensor([0.1, 0.3, 0.3, 0.3]).double())
    close(losses.segmentation_loss(logits, labels, "weighted-cross-entropy"), golden["weighted_ce"])


# -- data steps and evaluation ----------------------------------------------------------------------------------------


def test_preprocessing_and_evaluation() -> None:
    with np.load(GOLDEN / "09_preprocess_eval.npz") as content:
        golden = dict(content)
    np.testing.assert_allclose(normalise(golden["norm_in"]), golden["norm_out"], rtol=1e-9)
    for i in (0, 1):
        np.testing.assert_array_equal(crop_or_pad(golden[f"crop{i}_in"], 32), golden[f"crop{i}_out"])
    for slices in (10, 19):
        assert partition_bounds(slices, 4) == golden[f"bounds_Q{slices}_S4"].tolist()
    truth = golden["eval0_gt"]
    grid = Grid(32, 1.0, shape=(36, 40), spacing=(1.0, 1.0))
    probability = np.transpose(golden["eval0_prob"], (3, 0, 2, 1))  # (C, Q, columns, rows): slices are transposed here
    predicted = grid.labels(probability)
    np.testing.assert_array_equal(predicted, golden["eval0_pred"])
    scores = segment.dice(predicted, truth, 4)
    np.testing.assert_allclose(scores, golden["eval0_dice_all_labels"][1:])
    assert segment.mean(scores) == pytest.approx(float(golden["eval0_mean_fg"]))


def test_the_batch_of_g_d_is_the_intended_one() -> None:
    """Two neighbours on the ring are the two sets of the official batch, all groups filled."""
    with np.load(GOLDEN / "09_preprocess_eval.npz") as content:
        intended = content["stitch_gd_intended_b12"]
    kinds = (intended // 1000).reshape(6, 2, 4)  # volume; as it is, transformed; partition
    assert kinds[:, :, 0].tolist() == [[1, 2], [3, 4]] * 3 and (kinds == kinds[:, :, :1]).all()


# -- transformations --------------------------------------------------------------------------------------------------


def test_transformations() -> None:
    golden = load("10_augment", torch.float32)
    images = golden["x"].permute(0, 3, 1, 2)
    one = torch.ones(3)

    def like(name: str) -> Tensor:
        return golden[name].permute(0, 3, 1, 2)

    close(augment.change_intensity(images, golden["delta"] * one, one), like("brightness"))
    changed = augment.change_intensity(images, golden["delta"] * one, golden["factor"] * one, augment.HIGHEST)
    close(augment.change_intensity(images, golden["delta"] * one, golden["factor"] * one), like("contrast"))
    close(changed, like("clipped"))
    flow = augment.elastic_flow(golden["grid"], (32, 32))
    torch.testing.assert_close(flow, like("flow"), rtol=0, atol=1e-4)
    torch.testing.assert_close(augment.warp(images, like("flow")), like("warped"), rtol=0, atol=1e-4)
    one_hot = torch.nn.functional.one_hot(golden["labels"], 4).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(augment.warp(one_hot, like("flow")), like("warped_onehot"), rtol=0, atol=1e-4)
    pairs = (golden["mix_lam"], golden["mix_i1"], golden["mix_i2"])
    close(augment.mixup(images, *pairs), like("mix_x"))
    close(augment.mixup(one_hot, *pairs), like("mix_y"))
    assert changed.min() >= 0 and changed.max() <= 1.5
