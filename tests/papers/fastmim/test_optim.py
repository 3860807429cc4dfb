"""Parameter groups and learning rates against the official code's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from timm.optim import param_groups_weight_decay

from papers.fastmim.encoders import Swin, ViT
from papers.fastmim.encoders.classifier import Classifier
from papers.fastmim.encoders.cmt import CMT
from papers.fastmim.encoders.official import from_official
from papers.fastmim.encoders.pvt import PVTv2
from papers.fastmim.model import FastMIM
from papers.fastmim.optim import layer_decay_groups, learning_rate, set_learning_rate

GOLDEN = Path(__file__).parents[2] / "golden" / "fastmim"


def fine_tuned_encoder(name: str) -> ViT | Swin | PVTv2:
    if "vit" in name:
        return ViT(image_size=224, positions="trainable")
    if "swin" in name:
        return Swin(image_size=224)
    return PVTv2(224, (64, 128, 320, 512), (3, 4, 6, 3), (1, 2, 5, 8), (8, 8, 4, 4), (8, 4, 2, 1))


@pytest.mark.parametrize("name", ["vit_depth12", "swin_2_2_18_2", "pvtv2_3_4_6_3"])
def test_fine_tuning_groups_are_the_official_ones(name: str) -> None:
    with np.load(GOLDEN / f"layer_decay_{name}.npz", allow_pickle=False) as golden:
        names, decay = golden["names"].tolist(), float(golden["layer_decay"])
        values = list(zip(golden["lr_scale"].tolist(), golden["weight_decay"].tolist(), strict=True))
    with torch.device("meta"):
        classifier = Classifier(fine_tuned_encoder(name), 1000)
    official = dict(zip(names, values, strict=True))
    rename = PVTv2.from_official if "pvt" in name else from_official
    expected = {
        key if key.startswith(("head.", "fc_norm.")) else f"encoder.{key}": value
        for key, value in (rename(official) | {k: v for k, v in official.items() if k.startswith("head.")}).items()
    }
    of = {id(parameter): key for key, parameter in classifier.named_parameters()}
    ours = {
        of[id(parameter)]: (group["lr_scale"], group["weight_decay"])
        for group in layer_decay_groups(classifier, 0.05, decay)
        for parameter in group["params"]
    }
    assert ours.keys() == expected.keys()
    for key, value in ours.items():
        assert value == pytest.approx(expected[key], rel=1e-9), key


def test_every_trainable_parameter_of_cmt_is_in_one_group() -> None:
    classifier = Classifier(CMT(32, (8, 16), (2, 1), (1, 2), (4, 2), stem=8), 5)
    grouped = [id(p) for group in layer_decay_groups(classifier, 0.05, 0.8) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in classifier.parameters() if p.requires_grad)


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_pre_training_groups_follow_the_official_rule(kind: str) -> None:
    with np.load(GOLDEN / "pretrain_weight_decay_groups.npz", allow_pickle=False) as golden:
        free = dict(zip(golden[f"{kind}_names"].tolist(), golden[f"{kind}_no_decay"].tolist(), strict=True))
        frozen = set(golden[f"{kind}_frozen"].tolist()) - {""}
    encoder: ViT | Swin
    if kind == "vit":
        encoder = ViT(image_size=64, patch_size=16, width=48, depth=1, heads=3)
    else:
        encoder = Swin(image_size=64, width=8, depths=(2, 1, 1, 1), heads=(1, 2, 4, 8))
    model = FastMIM(encoder, target="hog", block=32, decoder_width=64, decoder_depth=1)
    expected = {f"encoder.{key}": value for key, value in from_official(free).items()}
    for key, value in free.items():
        if key.startswith(("decoder", "mask_token")):
            expected[key.replace("decoder_", "decoder.").replace("decoder.pred", "decoder.head")] = value
    undecayed, decayed = param_groups_weight_decay(model, 0.05)  # what train.py gives the optimizer
    assert (decayed["weight_decay"], undecayed["weight_decay"]) == (0.05, 0.0)
    of = {id(parameter): key for key, parameter in model.named_parameters()}
    ours = {of[id(p)]: False for p in decayed["params"]} | {of[id(p)]: True for p in undecayed["params"]}
    if kind == "swin":  # the stored decoder was built without it
        assert ours.pop("decoder.blocks.0.attn.qkv.bias")
    assert ours == expected
    still = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert still == {f"encoder.{name}" for name in frozen}


@pytest.mark.parametrize("case", ["c0", "c1"])
def test_learning_rate_is_the_official_one(case: str) -> None:
    with np.load(GOLDEN / "lr_schedule.npz", allow_pickle=False) as golden:
        peak, least, warmup, epochs = golden[f"{case}_args"].tolist()
        at, expected = golden[f"{case}_epoch"].tolist(), golden[f"{case}_lr"]
        scaled = golden[f"{case}_lr_group_scale0.25"]
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], **scale} for scale in ({}, {"lr_scale": 0.25})], lr=1.0)
    ours = []
    for epoch in at:
        set_learning_rate(optimizer, learning_rate(epoch, peak, least, warmup, epochs))
        ours.append([group["lr"] for group in optimizer.param_groups])
    np.testing.assert_allclose(ours, np.stack([expected, scaled], axis=1), rtol=1e-12, atol=0)


def test_without_warm_up_the_rate_starts_at_its_peak() -> None:
    assert learning_rate(0, 1e-3, 0.0, 0, 10) == pytest.approx(1e-3)
    assert learning_rate(10, 1e-3, 1e-6, 0, 10) == pytest.approx(1e-6)
