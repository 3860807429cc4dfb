"""MAE and SimMIM against the official code, and the mistakes they refuse."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.fastmim.baselines import MAE, SimMIM, simmim_loss
from papers.fastmim.encoders import Swin, ViT
from papers.fastmim.encoders.cmt import CMT
from papers.fastmim.masking import block_mask, enlarge
from shared import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "fastmim"


def load(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def vit(**options) -> ViT:
    return ViT(**{"image_size": 32, "patch_size": 8, "width": 32, "depth": 2, "heads": 2} | options)


def swin() -> Swin:
    return Swin(image_size=32, width=16, depths=(1, 2), heads=(1, 2), patch_size=4)


def test_mae_is_the_official_one():
    golden = load("mae_forward")
    weights = {key.removeprefix("w/"): value for key, value in golden.items() if key.startswith("w/")}
    model = MAE(vit(), decoder_width=16, decoder_depth=1, decoder_heads=2).eval()
    torch.testing.assert_close(model.decoder_pos_embed, weights.pop("decoder_pos_embed"))
    own = {name if name in model.state_dict() else f"encoder.{name}": value for name, value in weights.items()}
    model.load_state_dict(own)
    with torch.no_grad():
        loss, pred, mask = model(golden["img"], golden["noise"], float(golden["mask_ratio"]))
        kept = golden["noise"].argsort(dim=1)[:, :4]
        latent = model.encode(golden["img"], kept)
    assert torch.equal(mask.flatten(1), golden["mask"])
    torch.testing.assert_close(latent, golden["latent"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pred, golden["pred"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loss, golden["loss"], atol=1e-5, rtol=1e-5)


def test_mae_never_sees_masked_pixels():
    model = MAE(vit(), decoder_width=32, decoder_depth=1).eval()
    images, noise = torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    before = model(images, noise)
    hidden = enlarge(before.mask, 8)
    after = model(images * (1 - hidden) + 7 * hidden, noise)
    torch.testing.assert_close(after.pred, before.pred)
    assert after.loss != before.loss


def test_simmim_head_and_loss_are_the_official_ones():
    golden = load("simmim_loss_and_mask")
    encoder = Swin(image_size=32, width=6, depths=(1, 1), heads=(1, 2), patch_size=4)
    model = SimMIM(encoder, block=int(golden["patch"]))
    model.decoder[0].load_state_dict({"weight": golden["conv_weight"], "bias": golden["conv_bias"]})
    restored = model.decoder(golden["z"])
    torch.testing.assert_close(restored, golden["x_rec"], atol=1e-4, rtol=1e-4)
    mask = enlarge(golden["mask"][:, None].float(), int(golden["patch"]))
    torch.testing.assert_close(simmim_loss(restored, golden["img"], mask), golden["loss"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", ["mg0", "mg1"])
def test_simmim_mask_counts_and_enlarges_like_the_official_one(case):
    golden = load("simmim_loss_and_mask")
    _, block, patch, ratio = golden[f"{case}_args"].tolist()
    permutation = golden[f"{case}_perm"]
    noise = torch.empty(1, len(permutation))
    noise[0, permutation] = torch.linspace(0.9, 0, len(permutation))  # the first of the permutation are masked
    mask = block_mask(noise, ratio, round_up=True)
    assert mask.sum() == golden[f"{case}_count"]
    assert torch.equal(enlarge(mask, int(block / patch))[0, 0], golden[f"{case}_mask"].float())


@pytest.mark.parametrize(("build", "block"), [(vit, 16), (swin, 8), (swin, 4)])
def test_simmim_sees_mask_tokens_instead_of_masked_pixels(build, block):
    model = SimMIM(build(), block=block).eval()
    images, noise = torch.randn(2, 3, 32, 32), torch.rand(2, (32 // block) ** 2)
    before = model(images, noise, 0.5)
    hidden = enlarge(before.mask, block)
    after = model(images * (1 - hidden) + 7 * hidden, noise, 0.5)
    assert before.pred.shape == images.shape
    torch.testing.assert_close(after.pred, before.pred)
    before.loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    with torch.no_grad():
        model.mask_token += 1
        assert not torch.allclose(model(images, noise, 0.5).pred, before.pred)


@pytest.mark.parametrize("build", [vit, swin])
def test_with_nothing_masked_simmim_encodes_as_the_encoder_does(build):
    encoder = build().eval()
    images = torch.randn(1, 3, 32, 32)
    grid = 32 // encoder.patch_embed.patch_size[0]
    latent = SimMIM(encoder, block=8).encode(images, torch.zeros(1, 1, grid, grid))
    torch.testing.assert_close(latent, encoder(images))


@pytest.mark.parametrize("build", [lambda: MAE(vit(), 32, 2), lambda: SimMIM(vit(), 8), lambda: SimMIM(swin(), 8)])
def test_loss_falls(build):
    torch.manual_seed(0)
    model = build()
    images, noise = torch.randn(4, 3, 32, 32), torch.rand(4, 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = model(images, noise, 0.5).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_mistakes_are_explained():
    cmt = CMT(32, (8, 16), (1, 1), (1, 2), (4, 2), stem=8)
    with pytest.raises(UserError, match="Swin"):
        MAE(swin())
    with pytest.raises(UserError, match="CMT"):
        SimMIM(cmt)
    with pytest.raises(UserError, match="decoder width 30"):
        MAE(vit(), decoder_width=30)
    with pytest.raises(UserError, match="blocks of 12"):
        SimMIM(vit(), block=12)
    with pytest.raises(UserError, match="noise for 4"):
        MAE(vit(), 32, 1)(torch.zeros(1, 3, 32, 32), torch.rand(1, 4))
    with pytest.raises(UserError, match="noise for 16"):
        SimMIM(swin(), 16)(torch.zeros(1, 3, 32, 32), torch.rand(1, 16))
    with pytest.raises(UserError, match="64 x 64"):
        MAE(vit(), 32, 1)(torch.zeros(1, 3, 64, 64), torch.rand(1, 16))
    with pytest.raises(UserError, match=r"ratio 1\.5"):
        SimMIM(vit(), 8)(torch.zeros(1, 3, 32, 32), torch.rand(1, 16), 1.5)
