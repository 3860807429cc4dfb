"""Pre-training models against forwards, losses and gradients of the official code, and what they promise beyond."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from papers.fastmim.encoders.official import from_official
from papers.fastmim.encoders.swin import Swin, remap_bias_table
from papers.fastmim.encoders.vit import ViT, sincos_positions, stretch_positions
from papers.fastmim.losses import hog_targets
from papers.fastmim.masking import enlarge
from papers.fastmim.model import FastMIM
from shared import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "fastmim"
DECODER = {
    "decoder_embed.": "decoder.embed.",
    "decoder_blocks.": "decoder.blocks.",
    "decoder_norm.": "decoder.norm.",
    "decoder_pred.": "decoder.head.",
}


def rename(official: dict) -> dict:
    """Official names of a whole pre-training model -> ours."""
    ours = {f"encoder.{name}": value for name, value in from_official(official).items()}
    for name, value in official.items():
        if name == "mask_token":
            ours[name] = value
        for prefix, replacement in DECODER.items():
            if name.startswith(prefix):
                ours[replacement + name.removeprefix(prefix)] = value
    return ours


def vit(size: int = 32, depth: int = 2, **options) -> ViT:
    return ViT(image_size=size, patch_size=8, width=32, depth=depth, heads=2, **options)


def swin(size: int = 32, depths=(2, 2), **options) -> Swin:
    return Swin(image_size=size, width=16, depths=depths, heads=(1, 2), patch_size=4, **options)


def fastmim(encoder: nn.Module, block: int = 8, target: str = "hog") -> FastMIM:
    return FastMIM(encoder, target=target, block=block, decoder_width=32, decoder_depth=1)


@pytest.mark.parametrize("name", ["vit_hog_forward", "vit_pixel_forward", "swin_hog_forward"])
def test_forward_and_gradients_are_the_official_ones(name):
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        golden = {key: torch.from_numpy(v) for key, v in arrays.items() if v.dtype.kind != "U"}
        target = "hog" if str(arrays["cfg/mim_loss"]) == "HOG" else "pixel"
    cfg = {key.removeprefix("cfg/"): v.tolist() for key, v in golden.items() if key.startswith("cfg/")}
    if name.startswith("vit"):
        encoder = ViT(
            image_size=cfg["img_size"],
            patch_size=cfg["patch_size"],
            width=cfg["embed_dim"],
            depth=cfg["depth"],
            heads=cfg["num_heads"],
        )
    else:
        encoder = Swin(
            image_size=cfg["img_size"],
            width=cfg["embed_dim"],
            depths=cfg["depths"],
            heads=cfg["num_heads"],
            window=cfg["window_size"],
        )
    model = FastMIM(
        encoder,
        target=target,
        block=cfg["block_size"],
        decoder_width=cfg["decoder_embed_dim"],
        decoder_depth=cfg["decoder_depth"],
        normalize=cfg["norm_pix_loss"],
    )
    weights = rename({key.removeprefix("w/"): v for key, v in golden.items() if key.startswith("w/")})
    model.load_state_dict(weights)

    latents = []
    model.encoder.register_forward_hook(lambda module, inputs, tokens: latents.append(tokens))
    loss, pred, mask = model(golden["img"], golden["noise"], float(golden["mask_ratio"]))
    torch.testing.assert_close(mask, golden["loss_mask"].float(), rtol=0, atol=0)
    torch.testing.assert_close(latents[0], golden["latent"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pred, golden["pred"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss, golden["loss"], rtol=1e-5, atol=1e-5)

    loss.backward()
    gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    expected = rename({key.removeprefix("grad/"): v for key, v in golden.items() if key.startswith("grad/")})
    assert len(expected) == 4
    for key, gradient in expected.items():
        torch.testing.assert_close(gradients[key], gradient, rtol=1e-3, atol=1e-4)
    norm = torch.stack([gradient.double().norm() for gradient in gradients.values()]).norm()
    torch.testing.assert_close(norm, golden["grad_norm_total"], rtol=1e-3, atol=1e-4)


def test_vit_b_and_swin_b_have_the_published_number_of_parameters():
    with torch.device("meta"):
        models = [
            FastMIM(encoder, target="hog", block=block, decoder_width=256, decoder_depth=depth)
            for encoder, block, depth in [(ViT(image_size=128), 16, 1), (Swin(image_size=128), 32, 4)]
        ]
    sizes = [sum(p.numel() for p in model.parameters()) / 1e6 for model in models]
    assert sizes == pytest.approx([86.7, 90.2], abs=0.05)


@pytest.mark.parametrize("encoder", [vit, swin])
@pytest.mark.parametrize("target", ["hog", "pixel"])
@pytest.mark.parametrize("block", [8, 16])
def test_the_mask_token_learns(encoder, target, block):
    model = fastmim(encoder(), block, target)
    loss, pred, mask = model(torch.randn(2, 3, 32, 32), torch.rand(2, (32 // block) ** 2))
    loss.backward()
    assert mask.shape == (2, 1, 32 // block, 32 // block)
    assert pred.shape == (2, 16, 27 if target == "hog" else 192)
    assert model.mask_token.grad.abs().min() > 0


def test_blocks_smaller_than_the_stride():
    model = fastmim(ViT(image_size=32, patch_size=16, width=32, depth=1, heads=2), block=8)
    loss, pred, mask = model(torch.randn(2, 3, 32, 32), torch.rand(2, 16))
    assert pred.shape == (2, 4, 108) and mask.shape == (2, 1, 4, 4) and loss.isfinite()


@pytest.mark.parametrize("encoder", [vit, swin])
def test_masked_pixels_do_not_reach_the_prediction(encoder):
    model = fastmim(encoder()).eval()
    images, noise = torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    _, pred, mask = model(images, noise)
    pixels = enlarge(mask, 8)
    changed = images + torch.randn_like(images)
    torch.testing.assert_close(model(torch.where(pixels > 0, changed, images), noise).pred, pred, rtol=0, atol=0)
    assert not torch.allclose(model(torch.where(pixels > 0, images, changed), noise).pred, pred)


def test_the_targets_are_those_of_the_unmasked_image():
    model, images, noise = fastmim(vit()), torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    loss, pred, mask = model(images, noise)
    selected = mask.flatten(1).bool()
    expected = (pred - hog_targets(images, 8))[selected].square().mean()
    torch.testing.assert_close(loss, expected)


def test_a_decoder_without_blocks_needs_the_encoders_width():
    model = FastMIM(vit(), target="hog", block=8, decoder_width=32, decoder_depth=0)
    assert {name.split(".")[0] for name in model.decoder.state_dict()} == {"norm", "head"}
    assert model(torch.randn(1, 3, 32, 32), torch.rand(1, 16)).loss.isfinite()
    with pytest.raises(UserError, match="encoder's width, 32"):
        FastMIM(vit(), target="hog", block=8, decoder_width=64, decoder_depth=0)


@pytest.mark.parametrize("options", [{"cell": 3}, {"block": 12}, {"block": 4}, {"decoder_width": 112}])
def test_sizes_that_do_not_align(options):
    defaults = {"target": "hog", "block": 8, "decoder_width": 32, "decoder_depth": 1}
    with pytest.raises(UserError):
        FastMIM(vit(), **{**defaults, **options})


def test_noise_of_another_grid():
    with pytest.raises(UserError, match="noise for 4 blocks"):
        fastmim(vit())(torch.randn(1, 3, 32, 32), torch.rand(1, 4))


@pytest.mark.parametrize(("full", "shallow"), [(vit(depth=3), vit(depth=1)), (swin(), swin(depths=(2, 1)))])
def test_the_last_blocks_can_be_discarded(full, shallow):
    loaded = full.load_state_dict(shallow.state_dict(), strict=False)
    assert not loaded.unexpected_keys
    missing = {name.rsplit(".blocks.", 1)[-1].removeprefix("blocks.")[0] for name in loaded.missing_keys}
    assert missing == ({"1", "2"} if isinstance(full, ViT) else {"1"})
    images = torch.randn(2, 3, 32, 32)
    assert shallow(images).shape == full(images).shape


@pytest.mark.parametrize("encoder", [vit, swin])
def test_the_final_norm_can_be_left_out(encoder):
    model, images = encoder(), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.norm(model(images, norm=False)), model(images))
    assert not torch.allclose(model(images, norm=False), model(images))


@pytest.mark.parametrize("case", range(2))
def test_positions(case):
    with np.load(GOLDEN / "pos_embed.npz") as arrays:
        width, source, target = arrays[f"c{case}_dim_src_dst"].tolist()
        start, stretched, fresh = (
            torch.from_numpy(arrays[f"c{case}_{name}"]) for name in ("sincos_src", "interpolated", "sincos_dst")
        )
    torch.testing.assert_close(sincos_positions(width, source), start, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sincos_positions(width, target), fresh, rtol=1e-5, atol=1e-5)
    encoder = ViT(image_size=8 * source, patch_size=8, width=width, depth=1, heads=2)
    encoder.set_image_size(8 * target)
    torch.testing.assert_close(encoder.pos_embed.data, stretched, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(stretch_positions(start, target), stretched, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", range(2))
def test_bias_remap(case):
    with np.load(GOLDEN / "swin_bias_remap.npz") as arrays:
        window = int(arrays[f"c{case}_windows"][1])
        table, geometric, bicubic = (
            torch.from_numpy(arrays[f"c{case}_{name}"]) for name in ("table", "simmim", "interpolate")
        )
    torch.testing.assert_close(remap_bias_table(table, window), geometric, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(remap_bias_table(table, window, mode="bicubic"), bicubic, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("source", "target"), [(1, 2), (2, 1), (2, 4), (4, 2), (7, 7)])
def test_bias_remap_keeps_the_centre_and_the_constant(source, target):
    table = torch.randn((2 * source - 1) ** 2, 3)
    remapped = remap_bias_table(table, target)
    assert remapped.shape == ((2 * target - 1) ** 2, 3)
    torch.testing.assert_close(remapped[len(remapped) // 2], table[len(table) // 2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(remap_bias_table(torch.ones_like(table), target), torch.ones_like(remapped))


@pytest.mark.parametrize("encoder", [vit, swin])
@pytest.mark.parametrize("size", [16, 64])
def test_training_goes_on_at_another_image_size(encoder, size):
    model = fastmim(encoder())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 3, 32, 32), torch.rand(2, 16)).loss.backward()
    optimizer.step()
    model.encoder.set_image_size(size)
    optimizer.zero_grad()
    fresh = encoder(size)
    assert {k: v.shape for k, v in model.encoder.state_dict().items()} == {
        k: v.shape for k, v in fresh.state_dict().items()
    }
    fresh.load_state_dict(model.encoder.state_dict())
    images = torch.randn(2, 3, size, size)
    torch.testing.assert_close(model.encoder(images), fresh(images), rtol=0, atol=0)
    before = [p.detach().clone() for p in model.parameters()]
    model(images, torch.rand(2, (size // 8) ** 2)).loss.backward()
    optimizer.step()
    moved = [not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True) if p.requires_grad]
    assert all(moved)
    with pytest.raises(UserError, match="build the network for them"):
        model.encoder(torch.randn(1, 3, 32, 32))
    with pytest.raises(UserError, match="stride"):
        model.encoder.set_image_size(size + 4)


def test_a_window_must_divide_every_stage():
    with pytest.raises(UserError, match="window 7"):
        Swin(image_size=128, window=7, depths=(1, 1, 1, 1), width=32)
    assert Swin(image_size=160, window=5, depths=(1, 1, 1, 1), width=32).stride == 32


@pytest.mark.parametrize("name", ["layer_decay_vit_depth12", "layer_decay_swin_2_2_18_2"])
def test_layers_for_layer_decay(name):
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        official, scales, decay = arrays["names"].tolist(), arrays["lr_scale"], float(arrays["layer_decay"])
    expected = from_official(dict(zip(official, scales, strict=True)))
    with torch.device("meta"):
        encoder = ViT(image_size=224) if "vit" in name else Swin(image_size=224)
    ours = [key for key, _ in encoder.named_parameters() if not key.startswith("norm.")]
    assert set(ours) == {key for key in expected if not key.startswith(("head.", "fc_norm."))}
    for key in ours:
        assert decay ** (encoder.layers - encoder.layer_id(key)) == pytest.approx(expected[key]), key
    assert encoder.layer_id("norm.weight") == encoder.layers


@pytest.mark.parametrize("positions", ["fixed", "trainable"])
def test_positions_train_only_in_fine_tuning(positions):
    assert vit(positions=positions).pos_embed.requires_grad == (positions == "trainable")
