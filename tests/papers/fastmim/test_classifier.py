"""Classification heads, and pre-trained weights of this code and of the authors' in them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.fastmim.encoders import Encoder
from papers.fastmim.encoders.classifier import Classifier, load_encoder
from papers.fastmim.encoders.cmt import CMT, resize_relative_pos
from papers.fastmim.encoders.official import HEADS, load_official
from papers.fastmim.encoders.pvt import PVTv2
from papers.fastmim.encoders.swin import Swin, remap_bias_table
from papers.fastmim.encoders.vit import ViT, stretch_positions
from papers.fastmim.model import FastMIM
from shared import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "fastmim"
KINDS = ["vit", "swin", "pvtv2", "cmt"]


def encoder(kind: str, size: int = 64, fewer: int = 0) -> Encoder:
    """The encoder of the golden forward pass; ``fewer`` blocks in the last stage (ViT: of its two)."""
    if kind == "vit":
        return ViT(image_size=size, patch_size=16, width=48, depth=2 - fewer, heads=3, positions="trainable")
    if kind == "swin":
        return Swin(image_size=size, width=8, depths=(2, 2, 2 - fewer, 1), heads=(1, 2, 4, 8), window=size // 16)
    if kind == "pvtv2":
        return PVTv2(size, (8, 16, 20, 32), (1, 1, 1, 1 - fewer), (1, 2, 5, 4), (4, 4, 4, 4), (8, 4, 2, 1))
    return CMT(size, (8, 16, 24, 32), (1, 1, 1, 1 - fewer), (1, 2, 3, 4), (8, 4, 2, 1), stem=8)


def classifier(kind: str, size: int = 64, classes: int = 7) -> Classifier:
    return Classifier(encoder(kind, size), classes)


def official(kind: str) -> dict[str, Tensor]:
    """A published pre-training checkpoint in small: official names, prefixes, decoder, mask token and buffers."""
    with np.load(GOLDEN / f"{kind}_hog_forward.npz", allow_pickle=False) as arrays:
        weights = {key[2:]: torch.from_numpy(arrays[key]) for key in arrays.files if key.startswith("w/")}
    if kind == "swin":
        weights["encoder.layers.0.blocks.1.attn_mask"] = torch.zeros(16, 16, 16)
        weights["encoder.layers.0.blocks.1.attn.relative_position_index"] = torch.zeros(16, 16)
    return weights


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients(kind):
    model = classifier(kind)
    logits = model(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 7)
    assert logits.abs().max() < 0.01  # the head starts near zero
    logits.square().sum().backward()
    assert {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None} == set()


def test_pooling_follows_each_encoder():
    images = torch.randn(2, 3, 64, 64)
    for kind in KINDS:
        model = classifier(kind).eval()
        if kind != "pvtv2":
            torch.nn.init.constant_(model.encoder.norm.weight, 3.0)  # must not matter
        if hasattr(model, "fc_norm"):
            torch.nn.init.normal_(model.fc_norm.weight)
        tokens = model.encoder(images, norm=kind == "pvtv2")
        pooled = {
            "vit": lambda t, m: m.fc_norm(t[:, 1:].mean(1)),
            "swin": lambda t, m: m.fc_norm(t).mean(1),
            "pvtv2": lambda t, m: t.mean(1),
            "cmt": lambda t, m: m.neck(t.transpose(1, 2).unflatten(2, (2, 2))).mean((2, 3)),
        }[kind](tokens, model)
        torch.testing.assert_close(model(images), model.head(pooled))


@pytest.mark.parametrize("kind", KINDS)
def test_official_checkpoints_load(kind):
    golden = official(kind)
    model = classifier(kind)
    head = model.head.weight.clone()
    load_official(model, {"model": golden, "epoch": 799}, fresh=HEADS)
    with np.load(GOLDEN / f"{kind}_hog_forward.npz", allow_pickle=False) as arrays:
        images, noise, latent = (torch.from_numpy(arrays[key]) for key in ("img", "noise", "latent"))
        ratio = float(arrays["mask_ratio"])
        block = int(arrays["cfg/block_size"])
    pretraining = FastMIM(model.encoder, target="hog", block=block, decoder_width=32, decoder_depth=1).eval()
    pretraining.mask_token.data = golden["mask_token"]
    tokens: list[Tensor] = []
    model.encoder.register_forward_hook(lambda module, inputs, output: tokens.append(output))
    with torch.no_grad():
        pretraining(images, noise, ratio)
    torch.testing.assert_close(tokens[0], latent, atol=1e-4, rtol=1e-4)
    assert torch.equal(model.head.weight, head)


def test_official_weights_are_resized_to_the_classifiers_images():
    vit, swin, cmt, pvt = (official(kind) for kind in ("vit", "swin", "cmt", "pvtv2"))
    for kind, weights in (("vit", vit), ("swin", swin), ("cmt", cmt), ("pvtv2", pvt)):
        model = classifier(kind, size=128).eval()
        load_official(model, weights, fresh=HEADS)
        assert model(torch.randn(1, 3, 128, 128)).isfinite().all()
        own = model.encoder.state_dict()
        if kind == "vit":
            assert torch.equal(own["pos_embed"], stretch_positions(vit["pos_embed"], 8))
        if kind == "swin":
            table = swin["encoder.layers.0.blocks.0.attn.relative_position_bias_table"]
            name = "stages.0.blocks.0.attn.relative_position_bias_table"
            assert own[name].shape == (225, 1)
            assert torch.equal(own[name], remap_bias_table(table, 8))
        if kind == "cmt":
            expected = resize_relative_pos(cmt["encoder.relative_pos_a"], 1024, 16)
            assert torch.equal(own["stages.0.relative_pos"], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_fine_tuned_official_checkpoints_bring_their_head(kind):
    weights = {k.removeprefix("encoder."): v for k, v in official(kind).items() if not k.startswith(("dec", "mask"))}
    model = classifier(kind)
    theirs = {"head.weight": torch.randn_like(model.head.weight), "head.bias": torch.randn(7)}
    if kind in ("vit", "swin"):
        theirs |= {f"fc_norm.{key}": torch.randn_like(value) for key, value in model.fc_norm.state_dict().items()}
    if kind == "cmt":
        theirs |= {f"_fc.{key}": torch.randn_like(value) for key, value in model.neck[0].state_dict().items()}
        theirs |= {"_bn.running_mean": torch.randn(1280)}
    load_official(model, weights | theirs, fresh=("neck.",))
    own = model.state_dict()
    for name, value in theirs.items():
        assert torch.equal(own[name.replace("_fc.", "neck.0.").replace("_bn.", "neck.1.")], value), name


def test_a_head_for_other_classes_stays_fresh():
    model = classifier("vit", classes=5)
    head = model.head.weight.clone()
    theirs = {"head.weight": torch.ones(1000, 48), "head.bias": torch.ones(1000)}
    load_official(model, official("vit") | theirs, fresh=HEADS)
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.head.bias, torch.zeros(5))


@pytest.mark.parametrize("kind", KINDS)
def test_discarded_blocks_stay_fresh(kind):
    model = classifier(kind, size=128)
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    shallow = FastMIM(encoder(kind, fewer=1), target="hog", block=32, decoder_width=32, decoder_depth=1)
    with torch.no_grad():
        for parameter in shallow.parameters():
            parameter.add_(0.5)
    fresh = load_encoder(model, shallow.state_dict())
    block = {"vit": "blocks.1.", "swin": "stages.2.blocks.1."}.get(kind, "stages.3.blocks.0.")
    assert fresh == [name for name, _ in model.encoder.named_parameters() if name.startswith(block)]
    assert len(fresh) > 5
    for name, value in model.encoder.named_parameters():
        assert torch.equal(value, before[name]) == (name in fresh), name


def test_weights_that_do_not_fit_are_refused():
    model = classifier("vit")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    own = encoder("vit").state_dict()
    with pytest.raises(UserError, match="no weights of a ViT; it begins with nothing"):
        load_encoder(model, {})
    with pytest.raises(UserError, match=r"has 'conv1\.weight', the encoder does not"):
        load_official(model, {"conv1.weight": torch.zeros(1)}, fresh=HEADS)
    with pytest.raises(UserError, match="no weights of a PVTv2; it begins with 'cls_token'"):
        load_official(classifier("pvtv2"), official("vit"), fresh=HEADS)
    with pytest.raises(UserError, match=r"'blocks.1.norm1.weight' should have shape \(48,\), found \(96,\)"):
        load_encoder(model, own | {"blocks.1.norm1.weight": torch.zeros(96)})
    with pytest.raises(UserError, match=r"'pos_embed' should have shape \(1, 17, 48\), found \(1, 17, 24\)"):
        load_encoder(model, own | {"pos_embed": torch.zeros(1, 17, 24)})
    with pytest.raises(UserError, match="at least as many blocks"):
        load_encoder(Classifier(encoder("vit", fewer=1), 7), own)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(UserError, match=r"lacks fc_norm\.weight, fc_norm\.bias, head\.weight and others"):
        load_official(classifier("swin"), official("swin"), fresh=())
    statistics = {name: x for name, x in official("cmt").items() if not name.endswith("running_var")}
    with pytest.raises(UserError, match=r"lacks stem\.2\.running_var, .* and others, or has them in another shape"):
        load_official(classifier("cmt"), statistics, fresh=HEADS)
    with pytest.raises(UserError, match="Linear"):
        Classifier(torch.nn.Linear(2, 2), 3)
