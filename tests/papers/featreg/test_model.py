"""Backbones as sequences of layers: where a forward pass ends, what is trained, what stays frozen."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torchvision
from safetensors.torch import save
from torch import nn

from papers.featreg.build import adapted, class_count, first_network, load_adapted, load_source
from papers.featreg.config import PRESETS, Backbone, Config
from papers.featreg.losses import regression_loss
from papers.featreg.model import Segmenter
from shared import UserError
from shared.support.files import write_atomic

CONFIG = replace(PRESETS["cpu"], backbone="small")
BACKBONES: tuple[Backbone, ...] = ("small", "lite0", "deeplab_resnet101", "fcn8s_vgg16")
IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def network(backbone: Backbone, classes: int = 5) -> Segmenter:
    torch.manual_seed(0)
    return first_network(replace(CONFIG, backbone=backbone, backbone_weights=None), classes).eval()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_layer_can_be_had_alone(backbone: Backbone) -> None:
    model = network(backbone)
    with torch.no_grad():
        every = model(IMAGES, model.LAYERS)
        assert tuple(every) == model.LAYERS
        for layer in (*model.LAYERS[:2], "last"):
            assert torch.equal(model(IMAGES, (layer,))[layer], every[layer])
    heights = [x.shape[-2] for name, x in every.items() if not name.startswith("logits")]
    assert heights[0] >= heights[-1] and all(x.shape[0] == 2 for x in every.values())
    assert every["logits"].shape[1] == 5 and set(model.SUPERVISED) <= set(model.LAYERS)
    assert (every["last"] >= 0).all(), "the last map is taken after its activation"


@pytest.mark.parametrize("backbone", ["small", "lite0"])
def test_strides_and_the_map_before_the_activation(backbone: Backbone) -> None:
    model = network(backbone)
    with torch.no_grad():
        every = model(IMAGES, model.LAYERS)
    strides = {"stem": 2, "stride4": 4, "stride8": 8, "stride16": 16, "last": 8, "logits": 8}
    assert {name: 64 // every[name].shape[-2] for name in strides} == strides
    assert torch.equal(every["last_linear"].relu(), every["last"]) and (every["last_linear"] < 0).any()


def test_nothing_runs_beyond_the_deepest_layer_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("small")
    for deeper in ("stride16", "last", "logits"):
        part = cast(Any, model.parts[deeper])
        monkeypatch.setattr(part, "forward", lambda *_: pytest.fail("it was computed"))
    assert set(model(IMAGES, ("stride4", "stride8"))) == {"stride4", "stride8"}


def test_deeplab_is_the_maximum_over_scales() -> None:
    model = network("deeplab_resnet101")
    with torch.no_grad():
        every = model(torch.rand(1, 3, 65, 65), model.LAYERS)
    assert (
        every["logits_1.0"].shape[-2:] == (9, 9) and every["logits_0.5"].shape[-1] < every["logits_0.75"].shape[-1] < 9
    )
    raised = [
        nn.functional.interpolate(every[f"logits_{scale}"], (9, 9), mode="bilinear", align_corners=False)
        for scale in ("1.0", "0.75", "0.5")
    ]
    torch.testing.assert_close(every["logits"], torch.stack(raised).amax(0))
    dilations = {
        m.dilation[0] for name in ("res4", "last") for m in model.parts[name].modules() if isinstance(m, nn.Conv2d)
    }
    assert dilations == {1, 2, 4}


def test_imagenet_weights_of_a_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    classifier = torchvision.models.vgg16()
    path = tmp_path / "vgg16.pth"
    torch.save(classifier.state_dict(), path)
    config = replace(CONFIG, backbone="fcn8s_vgg16", backbone_weights=str(path))
    model = first_network(config, 5).eval()
    pixels = torch.rand(1, 3, 224, 224)
    normalised = (pixels - model.mean) / model.std
    with torch.no_grad():
        fc6 = model.parts["last"][0](model(pixels, ("pool5",))["pool5"])[:, :, 3, 3]  # type: ignore[index]
        expected = classifier.eval().classifier[0](classifier.features(normalised).flatten(1))
    torch.testing.assert_close(fc6, expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(UserError, match=r"--backbone-weights .*gone.pth is missing"):
        first_network(replace(config, backbone_weights=str(tmp_path / "gone.pth")), 5)


# -- what is trained --------------------------------------------------------------------------------------------------


def moved(student: Segmenter, source: Segmenter, config: Config) -> set[str]:
    """The parts that a few steps of regression change."""
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        with torch.no_grad():
            maps = source(IMAGES, config.layers)
        loss = regression_loss(student(1 - IMAGES, config.layers), maps, dict.fromkeys(config.layers, 1.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    before = source.state_dict()
    changed = {name for name, x in student.state_dict().items() if not torch.equal(x, before[name])}
    return {name.split(".")[1] for name in changed}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"stem", "stride4", "stride8", "stride16", "last"}),
        ({"layers": ("last_linear",)}, {"stem", "stride4", "stride8", "stride16", "last"}),
        ({"layers": ("stride8",)}, {"stem", "stride4", "stride8"}),
        ({"layers": ("stem", "stride4")}, {"stem", "stride4"}),
        ({"layers": ("logits",)}, {"stem", "stride4", "stride8", "stride16", "last", "logits"}),
        ({"trained": "stride4"}, {"stem", "stride4"}),
        ({"trained": "stem", "bn": "train"}, {"stem"}),
    ],
)
def test_what_follows_the_trained_part_stays_frozen(options: dict[str, Any], expected: set[str]) -> None:
    """Gradients pass through frozen layers; their statistics stay, too."""
    config = replace(CONFIG, **{"bn": "frozen"} | options)
    source = network("small").requires_grad_(False)
    assert moved(adapted(config, source), source, config) == expected


def test_a_student_afresh_keeps_the_classifier() -> None:
    config = replace(CONFIG, student="afresh")
    source = network("small").requires_grad_(False)
    torch.manual_seed(9)
    student = adapted(config, source)

    def same(part: str) -> bool:
        pairs = zip(student.parts[part].parameters(), source.parts[part].parameters(), strict=True)
        return all(torch.equal(ours, theirs) for ours, theirs in pairs)

    assert same("logits") and not any(same(part) for part in ("stem", "stride8", "last"))
    assert not any(p.requires_grad for p in student.parts["logits"].parameters())
    supervised = adapted(replace(config, method="supft"), source)
    assert any(p.requires_grad for p in supervised.parts["logits"].parameters())


@pytest.mark.parametrize("bn", ["frozen", "train"])
def test_batch_normalisation_is_frozen_if_it_should_be(bn: Any) -> None:
    config = replace(CONFIG, bn=bn)
    source = network("small").requires_grad_(False)
    student = adapted(config, source)
    moved(student, source, config)
    changed = [
        name
        for (name, x), y in zip(student.named_buffers(), source.buffers(), strict=True)
        if not torch.equal(x, y) and "running" in name
    ]
    affine = [m.weight.requires_grad for m in student.modules() if isinstance(m, nn.BatchNorm2d)]
    assert bool(changed) == all(affine) == any(affine) == (bn == "train")


def test_impossible_layers_are_told() -> None:
    source = network("small")
    with pytest.raises(UserError, match="small has no layer 'conv1'; it has: stem, stride4"):
        adapted(replace(CONFIG, layers=("conv1",)), source)
    with pytest.raises(UserError, match="small has no layer 'conv1'"):
        adapted(replace(CONFIG, trained="conv1"), source)
    with pytest.raises(UserError, match=r"--trained last is deeper than every regressed layer \(stride4\)"):
        adapted(replace(CONFIG, layers=("stride4",), trained="last"), source)


def test_a_run_holds_what_adaptation_changed(tmp_path: Path) -> None:
    source, name = network("small"), "parts.logits.2.bias"
    moved = source.state_dict()[name] + 1
    write_atomic(tmp_path / "source.safetensors", save({k: x.contiguous() for k, x in source.state_dict().items()}))
    write_atomic(tmp_path / "night.safetensors", save({name: moved.half()}))
    first = load_source(CONFIG, tmp_path / "source.safetensors")
    adapted_network = load_adapted(first, tmp_path / "night.safetensors")
    assert class_count(source.state_dict()) == 5 and not any(p.requires_grad for p in adapted_network.parameters())
    with torch.no_grad():
        before, after = (x(IMAGES)["logits"] for x in (first, adapted_network))
        assert torch.equal(before, source(IMAGES)["logits"])
        torch.testing.assert_close(after, before + 1, rtol=0, atol=2e-3)  # in half precision
