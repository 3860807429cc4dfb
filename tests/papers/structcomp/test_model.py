"""Generator, discriminators, frozen features, crops: shapes, gradients, and what must not change."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from papers.structcomp import build
from papers.structcomp.config import PRESETS
from papers.structcomp.datasets import scenes
from papers.structcomp.model import composite, spatially_modulated_conv
from papers.structcomp.networks.frozen import FrozenFeatures
from papers.structcomp.networks.stylegan import modulated_conv
from papers.structcomp.structure.crops import aligned_crops, find_instances, own_masks
from papers.structcomp.structure.layout import boundaries, encode, guidance_channels
from papers.structcomp.train import masked_r1
from papers.structcomp.views import judged, scene_of, views_of

SMOKE = PRESETS["smoke"]
TABLE = scenes.TABLE


def batch(count: int = 2, size: int = 32) -> dict[str, Any]:
    """Images with an object in the hole and another one outside."""
    torch.manual_seed(0)
    label = torch.full((count, size, size), TABLE.count)
    instances = torch.zeros_like(label)
    label[:, 4:14, 4:14], instances[:, 4:14, 4:14] = 2, 1
    label[:, 20:28, 20:28], instances[:, 20:28, 20:28] = 5, 2
    hole = torch.zeros(count, 1, size, size)
    hole[:, :, 2:16, 2:16] = 1
    image = torch.rand(count, 3, size, size) * 2 - 1
    return {"image": image, "label": label, "instances": instances, "hole": hole}


@pytest.mark.parametrize("changes", [{}, {"guidance": "edge"}, {"guidance": "none"}, {"spatial": False}])
def test_known_pixels_are_untouched_and_every_weight_learns(changes: dict[str, Any]) -> None:
    config = replace(SMOKE, **changes, affine_layers=2, cheap_upsampling=False)
    network, x = build.generator(config, TABLE), batch()
    guidance = encode(config.guidance, x["image"], x["label"], x["instances"], TABLE.count)
    z = torch.randn(2, config.z_dim)
    completed = network(x["image"], x["hole"], guidance, z)
    known = x["hole"].expand_as(completed) == 0
    assert torch.equal(completed[known], x["image"][known]) and not torch.equal(completed, x["image"])
    (completed * torch.randn_like(completed)).sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_what_the_hole_held_does_not_matter_and_noise_can_be_fixed() -> None:
    network, x = build.generator(SMOKE, TABLE).eval(), batch()
    for module in network.modules():
        if hasattr(module, "strength"):
            torch.nn.init.constant_(module.strength, 0.5)  # type: ignore[arg-type]
    guidance = encode("panoptic", x["image"], x["label"], x["instances"], TABLE.count)
    z = torch.randn(2, SMOKE.z_dim)
    other = composite(torch.rand_like(x["image"]), x["image"], x["hole"])
    with torch.no_grad():
        first, second = (network(y, x["hole"], guidance, z, fixed_noise=True) for y in (x["image"], other))
        drawn = network(x["image"], x["hole"], guidance, z)
    assert torch.equal(first, second) and not torch.equal(first, drawn)


def test_committed_weights_fit_two_megabytes() -> None:
    config = PRESETS["cpu"]
    networks = (build.generator(config, TABLE), build.layout_network(config, TABLE))
    half = ({name: x.half().contiguous() for name, x in network.state_dict().items()} for network in networks)
    assert sum(len(save(weights)) for weights in half) < 2_000_000


@pytest.mark.parametrize("size", [16, 64, 128])
def test_any_power_of_two(size: int) -> None:
    scales = size.bit_length() - 2
    config = replace(SMOKE, size=size, channels=(8,) * scales)
    network, x = build.generator(config, TABLE).eval(), batch(1, 64)
    x = {name: y.repeat(1, 2, 2)[:, :size, :size] if y.ndim == 3 else y.repeat(1, 1, 2, 2)[..., :size, :size]
         for name, y in x.items()}  # fmt: skip
    guidance = encode("panoptic", x["image"], x["label"], x["instances"], TABLE.count)
    assert network(x["image"], x["hole"], guidance, torch.randn(1, config.z_dim)).shape == (1, 3, size, size)
    with pytest.raises(ValueError, match="power of two"):
        build.generator(replace(config, size=size + 4), TABLE)


def test_a_constant_spatial_scale_is_global_modulation_away_from_the_border() -> None:
    torch.manual_seed(0)
    y, weight, styles = torch.randn(2, 5, 9, 9), torch.randn(6, 5, 3, 3), torch.rand(2, 5) + 0.5
    spatial = spatially_modulated_conv(y, weight, styles[:, :, None, None].expand_as(y))
    everywhere = modulated_conv(y, weight, styles)
    torch.testing.assert_close(spatial[..., 1:-1, 1:-1], everywhere[..., 1:-1, 1:-1])
    assert not torch.allclose(spatial, everywhere)


@pytest.fixture(scope="module")
def frozen() -> FrozenFeatures:
    return FrozenFeatures("random", 32).calibrate(torch.rand(16, 3, 32, 32) * 2 - 1)


def test_frozen_features_stay_frozen_and_let_gradients_through(frozen: FrozenFeatures) -> None:
    before = {name: x.clone() for name, x in frozen.state_dict().items()}
    frozen.train()
    images = (torch.rand(4, 3, 32, 32) * 2 - 1).requires_grad_()
    maps = frozen(images)
    assert [x.shape[1:] for x in maps] == [(24, 8, 8), (40, 4, 4), (80, 2, 2)]
    assert frozen.shapes == [(8, 24), (4, 40), (2, 80)]
    torch.stack([x.square().sum() for x in maps]).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert all(p.grad is None for p in frozen.parameters())
    assert all(torch.equal(x, frozen.state_dict()[name]) for name, x in before.items())


def test_clip_gives_maps_of_three_depths() -> None:
    features = FrozenFeatures("clip", 32, model="ViT-S-32-alt", weights=None)
    images = (torch.rand(2, 3, 40, 40) * 2 - 1).requires_grad_()
    assert features.shapes == [(7, 384)] * 3, "at CLIP's own resolution, whatever the option says"
    maps = features.calibrate(images)(images)
    assert len({x.detach().numpy().tobytes() for x in maps}) == 3
    torch.stack([x.square().sum() for x in maps]).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    torch.testing.assert_close(features.input_mean.flatten(), torch.tensor([0.4815, 0.4578, 0.4082]), atol=1e-4, rtol=0)


def test_calibrated_channels_have_unit_deviation(frozen: FrozenFeatures) -> None:
    torch.manual_seed(3)
    images = torch.rand(16, 3, 32, 32) * 2 - 1
    for x in FrozenFeatures("random", 32).calibrate(images)(images):
        torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(x.shape[1]), atol=1e-3, rtol=0)
        assert x.std((0, 2, 3)).median().item() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize(
    "changes", [{}, {"semantic": "heads", "adversarial": "smooth"}, {"class_projection": True, "adversarial": "hinge"}]
)
def test_every_discriminator_learns_and_tells_the_generator(frozen: FrozenFeatures, changes: dict[str, Any]) -> None:
    config = replace(SMOKE, **changes)
    judges = build.discriminators(config, TABLE, frozen)
    assert set(judges) == {"image", "semantic", "object", "object_semantic"}
    x = batch()
    scene = scene_of(config, TABLE, x)
    fake = torch.rand_like(x["image"]).requires_grad_()
    completed = composite(fake, x["image"], x["hole"])
    views = views_of(config, scene, completed, frozen)
    for role, network in judges.items():
        logits = judged(network, role, views[role])
        total = logits.sum() if isinstance(logits, Tensor) else torch.stack([y.sum() for y in logits]).sum()
        (gradient,) = torch.autograd.grad(total, fake, retain_graph=True)
        assert gradient.abs().sum() > 0, role
        assert not gradient[x["hole"].expand_as(gradient) == 0].any(), "the known part is not the generator's"


def test_masked_r1_has_a_second_derivative_for_images_and_crops(frozen: FrozenFeatures) -> None:
    config = SMOKE
    judges = build.discriminators(config, TABLE, frozen)
    x = batch()
    scene = scene_of(config, TABLE, x)
    real = views_of(config, scene, x["image"], frozen)
    penalty = masked_r1(judges, real, scene)
    penalty.backward()
    for role, network in judges.items():
        moved = [p for p in network.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
        assert bool(moved) == (role in ("image", "object")), role
    x["hole"] = torch.zeros_like(x["hole"])
    blind = scene_of(config, TABLE, x)
    assert masked_r1(judges, views_of(config, blind, x["image"], frozen), blind).item() == 0


def test_semantic_discriminators_see_the_condition(frozen: FrozenFeatures) -> None:
    x = batch()
    judges = build.discriminators(SMOKE, TABLE, frozen)
    other = x | {"label": torch.where(x["instances"] == 1, 3, x["label"])}
    for role in ("image", "semantic", "object", "object_semantic"):
        first, second = (
            judged(judges[role], role, views_of(SMOKE, scene_of(SMOKE, TABLE, y), x["image"], frozen)[role])
            for y in (x, other)
        )
        assert not torch.equal(first, second), role  # type: ignore[arg-type]


# -- instances --------------------------------------------------------------------------------------------------------


def test_instances_that_are_mostly_known_or_tiny_are_left_out() -> None:
    x = batch()
    found = find_instances(x["instances"], x["label"], x["hole"], least_area=0.01)
    assert found.numbers.tolist() == [1, 1] and found.classes.tolist() == [2, 2] and found.weights.tolist() == [1, 1]
    assert found.boxes[0].tolist() == [0, 9 - 6, 9 - 6, 9 + 6, 9 + 6]
    half = x["hole"].clone()
    half[..., 9:] = 0
    assert find_instances(x["instances"], x["label"], half, least_area=0.01).weights.tolist() == [0]
    assert find_instances(x["instances"], x["label"], x["hole"], least_area=0.2).weights.tolist() == [0]


def test_real_and_completed_crops_have_one_box_and_the_own_mask_marks_the_object() -> None:
    x = batch()
    x["instances"][0, 4:14, 10:14] = 3  # a neighbour of the same class within the crop
    found = find_instances(x["instances"], x["label"], x["hole"], least_area=0.01)
    assert found.numbers.tolist() == [1, 3, 1]
    masks = own_masks(x["instances"], found, 16)
    assert masks.shape == (3, 1, 16, 16)
    planes = torch.stack([(x["instances"][i] == n).float() for i, n in ((0, 1), (0, 3), (1, 1))])[:, None]
    boxes = found.boxes.clone()
    boxes[:, 0] = torch.arange(3)
    torch.testing.assert_close(masks, aligned_crops(planes, boxes, 16))
    assert masks[0].sum() > 0 and not torch.equal(masks[0], masks[1])


# -- guidance ---------------------------------------------------------------------------------------------------------


def test_boundaries_mark_both_sides_and_part_two_objects_of_a_class() -> None:
    instances = torch.tensor([[[1, 1, 2, 2], [1, 1, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]]])
    expected = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
    assert torch.equal(boundaries(instances)[0, 0], expected.float())
    valid = torch.ones_like(instances, dtype=torch.bool)
    valid[:, :, 2:] = False
    left = torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert torch.equal(boundaries(instances, valid)[0, 0], left.float())


def test_void_is_zero_in_every_channel() -> None:
    x = batch(1)
    x["label"][:, 0, 0] = 0
    for kind, channels in (("panoptic", 10), ("segmentation", 9), ("edge", 1)):
        guidance = encode(kind, x["image"], x["label"], x["instances"], TABLE.count)  # type: ignore[arg-type]
        assert guidance is not None
        assert guidance.shape[1] == channels == guidance_channels(kind, TABLE.count)  # type: ignore[arg-type]
    planes = encode("segmentation", x["image"], x["label"], x["instances"], TABLE.count)
    assert planes is not None and not planes[0, :, 0, 0].any() and planes[0, :, 5, 5].sum() == 1
    assert planes[0, 1, 5, 5] == 1, "class 2 is the second channel"


def test_edges_are_where_brightness_jumps() -> None:
    image = torch.full((1, 3, 8, 8), -1.0)
    image[..., 4:] = 1
    found = encode("edge", image, torch.zeros(1, 8, 8).long(), torch.zeros(1, 8, 8).long(), 9)
    assert found is not None
    assert np.array_equal(found[0, 0].numpy(), np.repeat([[0, 0, 0, 1, 1, 0, 0, 0]], 8, 0))
