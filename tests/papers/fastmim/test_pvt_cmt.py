"""PVTv2 and CMT against the official encoders' outputs, and what their sizes may be."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.fastmim.encoders.cmt import CMT, resize_relative_pos
from papers.fastmim.encoders.pvt import PVTv2
from papers.fastmim.model import FastMIM
from shared import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "fastmim"


def load(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files if arrays[key].dtype.kind in "fiub"}


def small_pvt(image_size: int = 32) -> PVTv2:
    """Three stages on a first grid of 2 pixels: stride 8."""
    return PVTv2(image_size, (8, 16, 24), (1, 1, 1), (1, 2, 3), (4, 4, 4), (4, 2, 1), patch_size=2)


def small_cmt(image_size: int = 32) -> CMT:
    """Two stages: stride 8."""
    return CMT(image_size, (8, 16), (2, 1), (1, 2), (4, 2), stem=8)


def official(name: str) -> tuple[PVTv2 | CMT, dict[str, Tensor]]:
    golden = load(f"{name}_hog_forward")
    size = int(golden["cfg/img_size"])
    widths, depths, heads, reductions = (
        golden[f"cfg/{key}"].tolist() for key in ("embed_dims", "depths", "num_heads", "sr_ratios")
    )
    encoder: PVTv2 | CMT
    if name == "pvtv2":
        encoder = PVTv2(size, widths, depths, heads, golden["cfg/mlp_ratios"].tolist(), reductions)
    else:
        encoder = CMT(size, widths, depths, heads, reductions, stem=int(golden["cfg/stem_channel"]))
    weights = {key.removeprefix("w/"): value for key, value in golden.items() if key.startswith("w/")}
    encoder.load_state_dict(encoder.from_official(weights))  # strict: every tensor of the encoder has a name
    return encoder.eval(), golden


@pytest.mark.parametrize("name", ["pvtv2", "cmt"])
def test_official_weights_give_the_official_latent(name: str) -> None:
    encoder, golden = official(name)
    side = golden["img"].shape[-1] // int(golden["cfg/block_size"])
    kept = int(side**2 * (1 - float(golden["mask_ratio"])))
    mask = (golden["noise"].argsort(1).argsort(1) >= kept).float().reshape(-1, 1, side, side)
    assert torch.equal(mask, golden["loss_mask"].float())
    mask = mask.repeat_interleave(32, 2).repeat_interleave(32, 3)
    images = golden["img"] * (1 - mask) + mask * golden["w/mask_token"]
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), golden["latent"], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(encoder.norm(encoder(images, norm=False)), encoder(images))


@pytest.mark.parametrize("name", ["pvtv2", "cmt"])
def test_official_weights_give_the_official_prediction_loss_and_gradients(name: str) -> None:
    encoder, golden = official(name)
    width, depth = (int(golden[f"cfg/decoder_{key}"]) for key in ("embed_dim", "depth"))
    block = int(golden["cfg/block_size"])
    model = FastMIM(encoder, target="hog", block=block, decoder_width=width, decoder_depth=depth).eval()
    decoder = {key.removeprefix("w/decoder_"): value for key, value in golden.items() if key.startswith("w/decoder_")}
    model.decoder.load_state_dict({re.sub("^pred", "head", key): value for key, value in decoder.items()})
    model.mask_token.data.copy_(golden["w/mask_token"])

    prediction = model(golden["img"], golden["noise"], float(golden["mask_ratio"]))
    prediction.loss.backward()
    torch.testing.assert_close(prediction.mask, golden["loss_mask"].float())
    torch.testing.assert_close(prediction.pred, golden["pred"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(prediction.loss, golden["loss"], atol=1e-5, rtol=1e-5)
    gradients = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
    first = "patch_embed.proj.bias" if name == "pvtv2" else "stem.0.bias"
    for official_name, ours in {
        "mask_token": "mask_token",
        "decoder_pred.bias": "decoder.head.bias",
        "encoder.patch_embed1.proj.bias" if name == "pvtv2" else "encoder.stem_conv1.bias": f"encoder.{first}",
    }.items():
        torch.testing.assert_close(gradients[ours], golden[f"grad/{official_name}"], atol=1e-4, rtol=1e-3)
    total = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert total.item() == pytest.approx(float(golden["grad_norm_total"]), rel=1e-3)


def test_pvt_layers_are_the_official_ones() -> None:
    with np.load(GOLDEN / "layer_decay_pvtv2_3_4_6_3.npz", allow_pickle=False) as golden:
        scales = dict(zip(golden["names"].tolist(), golden["lr_scale"].tolist(), strict=True))
        decay = float(golden["layer_decay"])
    with torch.device("meta"):
        encoder = PVTv2(224, (64, 128, 320, 512), (3, 4, 6, 3), (1, 2, 5, 8), (8, 8, 4, 4), (8, 4, 2, 1))
    # The names' own scales travel through the renaming as if they were the tensors.
    ours = encoder.from_official({name: torch.tensor(scale, dtype=torch.float64) for name, scale in scales.items()})
    assert ours.keys() == dict(encoder.named_parameters()).keys()
    for name, scale in ours.items():
        assert decay ** (encoder.layers - encoder.layer_id(name)) == pytest.approx(scale.item()), name


def test_cmt_layers_are_the_official_ones() -> None:
    """The official code's rule, written out: a stage begins with its first block."""
    encoder = small_cmt()  # two blocks, then one
    ids = {name: encoder.layer_id(name) for name, _ in encoder.named_parameters()}
    assert encoder.layers == 4
    assert {ids[f"stem.{i}.{kind}"] for i in (0, 2, 8) for kind in ("weight", "bias")} == {0}
    assert ids["stages.0.patch_embed.proj.weight"] == ids["stages.0.relative_pos"] == 1
    assert [ids[f"stages.0.blocks.{i}.attn.q.weight"] for i in range(2)] == [1, 2]
    assert ids["stages.1.patch_embed.norm.weight"] == ids["stages.1.relative_pos"] == 3
    assert ids["stages.1.blocks.0.mlp.norm.bias"] == 3
    assert ids["norm.weight"] == 4


def test_relative_positions_are_resized_as_in_the_official_code() -> None:
    golden = load("cmt_rel_pos_resize")
    _, queries, keys = golden["c0_dst"].shape
    torch.testing.assert_close(
        resize_relative_pos(golden["c0_src"], queries, keys), golden["c0_dst"], atol=1e-5, rtol=1e-5
    )


def test_cmt_takes_another_size_after_set_image_size() -> None:
    encoder = small_cmt().eval()
    before = encoder.state_dict()["stages.0.relative_pos"]
    assert before.shape == (1, 64, 4)
    with pytest.raises(UserError, match="build the network for them"):
        encoder(torch.rand(1, 3, 48, 48))
    encoder.set_image_size(48)
    torch.testing.assert_close(encoder.state_dict()["stages.0.relative_pos"], resize_relative_pos(before, 144, 9))
    assert encoder(torch.rand(1, 3, 48, 48)).shape == (1, 36, 16)


@pytest.mark.parametrize("build", [small_pvt, small_cmt])
def test_small_encoders_keep_the_token_grid_and_train(build: Callable[[int], PVTv2 | CMT]) -> None:
    torch.manual_seed(0)
    encoder = build(32)
    tokens = encoder(torch.rand(2, 3, 32, 32))
    assert encoder.stride == 8 and tokens.shape == (2, encoder.prefix + 16, encoder.width)
    tokens.square().mean().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize(("build", "unit"), [(small_pvt, 8), (small_cmt, 16)])
def test_sizes_that_do_not_fit_are_refused(build: Callable[[int], PVTv2 | CMT], unit: int) -> None:
    with pytest.raises(UserError, match=f"multiple of {unit}"):
        build(36)
    with pytest.raises(UserError, match=f"multiple of {unit}"):
        build(32).set_image_size(36)


def test_uneven_stages_are_refused() -> None:
    with pytest.raises(UserError, match="2 widths but 1 depths"):
        PVTv2(32, (8, 16), (1,), (1, 2), (4, 4), (2, 1))
    with pytest.raises(UserError, match="2 widths but 1 heads"):
        CMT(32, (8, 16), (1, 1), (1,), (2, 1))
