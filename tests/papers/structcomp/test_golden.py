"""papers/structcomp against arrays recorded from the public code of its parts; tests/golden/structcomp/README.md."""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.svm import LinearSVC
from torch import Tensor
from torchvision.ops import roi_align

from papers.structcomp.losses import (
    discriminator_loss,
    generator_loss,
    masked_l1,
    r1_penalty,
)
from papers.structcomp.masks.objects import keep_objects
from papers.structcomp.masks.strokes import (
    THICK,
    TRAIN,
    Boxes,
    Strokes,
    at_any_size,
    comod_mask,
    comod_mask_at,
)
from papers.structcomp.metrics import frechet_distance, inception_discriminative_scores, ssim
from papers.structcomp.networks.discriminators import Discriminator
from papers.structcomp.networks.fourier import FFCBlock, FourierUnit
from papers.structcomp.networks.stylegan import Mapping, downsample, modulated_conv, upsample
from papers.structcomp.structure.crops import aligned_crops

GOLDEN = Path(__file__).parents[2] / "golden" / "structcomp"


def load(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return {key: stored[key] for key in stored.files}


def tensors(name: str) -> dict[str, Any]:
    return {key: torch.from_numpy(x) if x.ndim and x.dtype.kind in "fiub" else x for key, x in load(name).items()}


def weights(g: dict[str, Any]) -> dict[str, Tensor]:
    """The state dict of a case, without the filters, which are constants here."""
    found = {key[3:]: torch.as_tensor(x) for key, x in g.items() if key.startswith("sd_")}
    return {key: x for key, x in found.items() if not key.endswith("resample_filter")}


def close(found: Tensor, expected: Any, tolerance: float) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=0, atol=tolerance)


# -- metrics ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["metrics_easy", "metrics_relu_features", "metrics_unequal_n_fid_only"])
def test_frechet_distance(name: str) -> None:
    g = load(name)
    found = frechet_distance(g["real"], g["fake"])
    assert found == pytest.approx(float(g["fid_lama"]), rel=1e-6)
    assert found == pytest.approx(float(g["fid_stylegan"]), rel=1e-6)


@pytest.mark.parametrize("name", ["metrics_easy", "metrics_relu_features"])
def test_discriminative_scores(name: str) -> None:
    g = load(name)
    u_ids, p_ids = inception_discriminative_scores(g["real"], g["fake"])
    assert abs(u_ids - g["u_ids"]) <= 1 / (2 * len(g["real"])) and abs(p_ids - g["p_ids"]) <= 1 / len(g["real"])
    label = np.repeat([1, 0], len(g["real"]))
    svm = LinearSVC(dual=False).fit(np.concatenate([g["real"], g["fake"]]).astype(np.float64), label)
    np.testing.assert_allclose(svm.coef_[0], g["svm_coef"], atol=1e-3)
    np.testing.assert_allclose(svm.decision_function(g["real"].astype(np.float64)), g["margin_real"], atol=1e-3)


def test_ssim() -> None:
    g = tensors("lama_ssim")
    close(ssim(g["img1"], g["img2"]), g["ssim"], 1e-5)


# -- losses -----------------------------------------------------------------------------------------------------------


class TinyDiscriminator:
    """The small network of the reference cases, in float64."""

    def __init__(self, g: dict[str, Any]) -> None:
        self.parameters = {key[2:]: g[key].clone().requires_grad_() for key in g if key.startswith("D_")}
        self.condition = g.get("cond")
        self.act = F.softplus if str(g["act"]) == "softplus" else lambda x: F.leaky_relu(x, 0.2)

    def __call__(self, image: Tensor) -> Tensor:
        p = self.parameters
        x = image if self.condition is None else torch.cat([image, self.condition], 1)
        x = self.act(F.conv2d(x, p["w1"], p["b1"], stride=2, padding=1))
        x = self.act(F.conv2d(x, p["w2"], p["b2"], stride=2, padding=1))
        return F.linear(x.flatten(1), p["w3"], p["b3"])

    def gradients(self, loss: Tensor) -> dict[str, Tensor]:
        found = torch.autograd.grad(loss, list(self.parameters.values()), retain_graph=True, allow_unused=True)
        zeros = map(torch.zeros_like, self.parameters.values())
        return {name: zero if x is None else x for name, x, zero in zip(self.parameters, found, zeros, strict=True)}


@pytest.mark.parametrize("name", ["gan_r1_uncond", "gan_r1_structcond"])
def test_non_saturating_losses_and_r1_with_their_second_derivatives(name: str) -> None:
    g = tensors(name)
    network = TinyDiscriminator(g)
    real, fake = g["real"].clone().requires_grad_(), g["fake"].clone().requires_grad_()
    logits, of_fake = network(real), network(fake)
    close(logits[:, 0], g["logits_real"], 1e-8)
    loss = discriminator_loss(logits, of_fake)
    close(loss, g["lossD_per_sample"], 1e-8)
    close(generator_loss(of_fake), g["lossG_per_sample"], 1e-8)
    (gradient,) = torch.autograd.grad(generator_loss(of_fake).mean(), fake, retain_graph=True)
    close(gradient, g["gradG_wrt_fake"], 1e-8)

    gamma = float(g["gamma"])
    penalty, masked = r1_penalty(logits, real), r1_penalty(logits, real, g["hole"])
    close(penalty, g["r1_penalty_per_sample"], 1e-8)
    close(penalty * gamma / 2, g["r1_reg_per_sample"], 1e-8)
    close(penalty.mean(), g["lama_r1"], 1e-8)
    close(masked, g["masked_r1_penalty_per_sample"], 1e-8)
    close(gamma / 2 * masked.mean(), g["masked_r1_loss"], 1e-8)
    for kind, value in (
        ("Dmain", loss.mean()),
        ("R1", gamma / 2 * penalty.mean()),
        ("MaskedR1", gamma / 2 * masked.mean()),
    ):
        for parameter, x in network.gradients(value).items():
            close(x, g[f"grad{kind}_{parameter}"], 1e-8)
    assert not r1_penalty(network(real), real, torch.zeros_like(g["hole"])).any()


def test_lama_adversarial_loss_is_made_of_the_same_pieces() -> None:
    """LaMa counts the known patches of a completed image as real for its discriminator."""
    g = tensors("lama_patch_adv")
    mask = F.interpolate(g["mask"], g["logits_fake"].shape[-2:], mode="nearest")
    real = g["real"].clone().requires_grad_()
    moved = (real * g["chan_w"][:, None, None]).mean((1, 2, 3), keepdim=True)
    logits = g["logits_real"] + moved - moved.detach()  # the stored logits hold it already
    penalty = r1_penalty(logits, real).mean()
    close(penalty * 0.001, g["grad_penalty"], 1e-5)
    fake = F.softplus(g["logits_fake"]) * mask + F.softplus(-g["logits_fake"]) * (1 - mask)
    close(generator_loss(logits).mean() + fake.mean() + 0.001 * penalty, g["lossD"], 1e-5)


def test_losses_of_several_levels() -> None:
    g = tensors("vision_aided_multilevel_loss")
    levels = [g[f"logits{i}"] for i in range(3)]
    zeros = [torch.full_like(x, -1e4) for x in levels]  # softplus of it is 0
    close(generator_loss(levels, "smooth")[:, None], g["sigmoid_s_gen"], 1e-6)
    close(discriminator_loss(levels, zeros, "smooth")[:, None], g["sigmoid_s_real"], 1e-6)
    close(generator_loss(levels)[:, None], g["sigmoid_gen"], 1e-6)
    close(discriminator_loss([-x for x in zeros], levels)[:, None], g["sigmoid_fake"], 1e-6)
    far = [torch.full_like(x, 1e4) for x in levels]  # beyond the hinge's margin
    close(discriminator_loss(far, levels, "hinge").mean(), g["hinge_fake"], 1e-6)
    close(discriminator_loss(levels, [-x for x in far], "hinge").mean(), g["hinge_real"], 1e-6)
    close(generator_loss(levels, "hinge").mean(), g["hinge_gen"], 1e-6)


def test_masked_l1() -> None:
    g = tensors("lama_masked_l1")
    found = masked_l1(g["pred"], g["target"], g["mask"], float(g["weight_known"]), float(g["weight_missing"]))
    close(found, g["l1"], 1e-6)


# -- layers -----------------------------------------------------------------------------------------------------------


def test_modulated_convolution_with_noise() -> None:
    g = tensors("modconv_demod_noise")
    close(modulated_conv(g["x"], g["weight"], g["styles"]) + g["noise"], g["y"], 2e-5)


def test_modulated_convolution_upwards() -> None:
    g = tensors("modconv_up2")
    close(modulated_conv(g["x"], g["weight"], g["styles"], up=True), g["y"], 2e-5)


def test_resampling() -> None:
    g = tensors("upfirdn_updown")
    close(upsample(g["x"]), g["up2"], 1e-5)
    close(downsample(g["x"]), g["down2"], 1e-5)


def test_mapping_network() -> None:
    g = tensors("mapping_network")
    network = Mapping(8, 12, int(g["num_layers"]), lr_multiplier=float(g["lr_multiplier"]))
    network.load_state_dict(weights(g))
    close(network(g["z"]), g["w"], 1e-5)


@pytest.mark.parametrize(
    ("name", "size", "channels", "classes"),
    [("stylegan_disc_16px_6ch", 16, (4, 8, 8), None), ("stylegan_disc_classcond", 8, (8, 8), 5)],
)
def test_stylegan_discriminator(name: str, size: int, channels: tuple[int, ...], classes: int | None) -> None:
    g = tensors(name)
    network = Discriminator(size, g["x"].shape[1], channels, group=int(g["mbstd_group_size"]), classes=classes)
    network.load_state_dict(weights(g))
    x = g["x"].clone().requires_grad_()
    logits = network(x, g.get("c"))
    close(logits, g["logits"], 5e-5)
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    close(gradient, g["grad_logits_sum_wrt_x"], 5e-5)


def test_fourier_unit() -> None:
    g = tensors("fourier_unit")
    unit = FourierUnit(4, 4)
    unit.load_state_dict(weights(g))
    close(unit.train(bool(g["train_mode"]))(g["x"]), g["y"], 2e-5)


@pytest.mark.parametrize("name", ["ffc_bn_act_075", "ffc_bn_act_first_local_to_both"])
def test_fourier_convolution(name: str) -> None:
    g = tensors(name)
    local, global_ = g["x_local"], g.get("x_global")
    inputs = local.shape[1] + (0 if global_ is None else global_.shape[1])
    outputs = g["y_local"].shape[1] + g["y_global"].shape[1]
    block = FFCBlock(inputs, outputs, float(g["ratio_gin"]), float(g["ratio_gout"]))
    block.load_state_dict(weights(g))
    for found, key in zip(block.eval()(local, global_), ("y_local", "y_global"), strict=True):
        assert found is not None
        close(found, g[key], 2e-5)


# -- crops ------------------------------------------------------------------------------------------------------------


def test_crops_are_those_of_roi_align() -> None:
    g = tensors("roi_align_basic")
    image = g["image"].clone().requires_grad_()
    crops = aligned_crops(image, g["boxes"], int(g["out_size"][0]))
    close(crops, g["crops"], 1e-9)
    (gradient,) = torch.autograd.grad((crops * g["loss_weights"]).sum(), image)
    close(gradient, g["grad_wrt_image"], 1e-9)


def test_the_reference_of_crops_is_the_installed_one() -> None:
    g = tensors("roi_align_adaptive_unaligned")
    found = roi_align(g["image"], g["boxes"], tuple(g["out_size"].tolist()), sampling_ratio=-1, aligned=False)
    close(found, g["crops"], 1e-9)


# -- masks ------------------------------------------------------------------------------------------------------------


def test_boxes_are_exact() -> None:
    g = load("lama_rect64")
    options = dict(ast.literal_eval(str(g["kwargs"])))
    boxes = Boxes(
        options["margin"],
        options["bbox_min_size"],
        options["bbox_max_size"],
        options["min_times"],
        options["max_times"],
    )
    for seed, mask in zip(g["seeds"], g["masks"], strict=True):
        assert np.array_equal(boxes(64, np.random.RandomState(seed)), mask > 0)


def agreement(found: np.ndarray, expected: np.ndarray) -> float:
    return float((found == (expected > 0)).mean())


def test_strokes_agree() -> None:
    g = load("lama_irregular64")
    options = dict(ast.literal_eval(str(g["kwargs"])))
    options["max_times"] -= 1  # recorded from the function, which draws a chain fewer than the published class
    strokes = Strokes(**options)
    for seed, mask in zip(g["seeds"], g["masks"], strict=True):
        assert agreement(strokes(64, np.random.RandomState(seed)), mask) >= 0.99


@pytest.mark.parametrize(("name", "kind"), [("lama_masks_thick256", THICK), ("lama_masks_train256", TRAIN)])
def test_mixed_masks_agree(name: str, kind: Any) -> None:
    g = load(name)
    for seed, packed in zip(g["seeds"], g["masks_packed"], strict=True):
        found = at_any_size(kind, 256, np.random.RandomState(seed))
        assert agreement(found, np.unpackbits(packed, axis=-1)) >= 0.99


def test_comodgan_masks_agree() -> None:
    g = load("comod_masks_256")
    for seed, packed in zip(g["seeds"], g["known_packed"], strict=True):
        found = comod_mask(256, np.random.RandomState(seed), tuple(g["hole_range"]))
        assert agreement(~found, np.unpackbits(packed, axis=-1)) >= 0.99


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("lama_thick256", lambda rng: at_any_size(THICK, 64, rng)),
        ("lama_train256", lambda rng: at_any_size(TRAIN, 64, rng)),
        ("comod_512_h0_1", lambda rng: comod_mask_at(64, rng)),
    ],
)
def test_small_masks_have_the_statistics_of_large_ones(name: str, draw: Any) -> None:
    """CoModGAN's generator itself would leave 13 % of the pixels at 64."""
    g, rng, count = load("mask_statistics"), np.random.RandomState(7), 150
    ratios = [draw(rng).mean() for _ in range(count)]
    slack = 4 * g[f"{name}_std"] / np.sqrt(g[f"{name}_n"]) + 4 * np.std(ratios) / np.sqrt(count)
    assert abs(np.mean(ratios) - g[f"{name}_mean"]) < slack
    assert np.mean([comod_mask(64, rng).mean() for _ in range(20)]) > 0.78


@pytest.mark.parametrize("name", ["objaware_mask_a", "objaware_mask_b"])
def test_object_aware_rule(name: str) -> None:
    g = load(name)
    instances = np.where(np.isin(g["label"], g["thing_ids"]), g["label"], 0)
    hole, known = keep_objects(g["known_before"] == 0, instances, int(g["erosion_iterations"]), float(g["ratio"]))
    assert np.array_equal(~hole, g["known_after"] > 0)
    assert np.array_equal(known, (g["unmasked_object_pixels"] > 0) & (g["known_before"] == 0))
