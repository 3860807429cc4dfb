"""papers/clipsep against the authors' own code: stored inputs and outputs in tests/golden/clipsep."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from papers.clipsep.audio import (
    Spectrogram,
    centre_sample,
    crop_segment,
    ideal_binary_mask,
    magnitude,
    mix,
    unwarp_positions,
    warp_positions,
)
from papers.clipsep.config import Config
from papers.clipsep.datasets.clips import interference_index
from papers.clipsep.losses import (
    noise_invariant_loss,
    permutation_invariant_loss,
    separation_loss,
    weighted_bce,
)
from papers.clipsep.metrics import bss_eval, museval_reference, sdr
from papers.clipsep.model import CLIPSep, InnerProd, LabelSep, UNet, load_official
from papers.clipsep.train import loss_of, lr_multiplier

GOLDEN = Path(__file__).parents[2] / "golden" / "clipsep"


def load(name: str) -> dict[str, Any]:
    """Arrays of one file; numbers as tensors, scalars as Python numbers.

    The authors' code puts the sources first, ours the batch: masks, spectrograms and queries are transposed.
    """
    with np.load(GOLDEN / f"{name}.npz") as stored:
        arrays = {key: stored[key] for key in stored.files if not key.startswith("sd.")}
    by_source = [key for key, array in arrays.items() if array.ndim == 5 or key in ("img_emb", "labels")]
    arrays |= {key: arrays[key].swapaxes(0, 1) for key in by_source}
    return {
        key: array.item() if array.ndim == 0 else torch.from_numpy(array) if array.dtype.kind in "fi" else array
        for key, array in arrays.items()
    }


def load_state(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return {key[3:]: torch.tensor(stored[key]) for key in stored.files if key.startswith("sd.")}


def relative(actual: Tensor, expected: Tensor) -> float:
    """Largest deviation, relative to the largest expected value."""
    assert actual.shape == expected.shape
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def distance(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    return (actual - expected).abs().max().item()


# signal front end


def test_loading_and_mixing() -> None:
    g = load("dataset_mix")
    rate = 16_000
    segments = []
    for wav, frames in zip((g["wav0_int16"], g["wav1_int16"]), g["total_frames"].tolist(), strict=True):
        centre = centre_sample(frames // 2, g["param_fps"], rate)
        segments.append(crop_segment(wav.float() / 32768, centre, g["param_audio_len"]))
    sources, mixture = mix(torch.stack(segments))
    assert distance(sources, g["audios"]) <= 1e-7

    spectrogram = Spectrogram(rate, g["param_audio_len"], g["param_n_fft"], g["param_hop_len"])
    spectra = spectrogram.stft(sources)
    assert spectra.shape[-1] == spectrogram.frames
    assert distance(magnitude(spectra)[:, None], g["mags"]) <= 2e-5
    expected = torch.polar(g["mag_mix"], g["phase_mix"])
    assert distance(spectra.sum(0)[None], expected) <= 3e-5
    assert distance(spectrogram.stft(mixture)[None], expected) <= 3e-5


def test_warp() -> None:
    g = load("warp")
    spectrogram = Spectrogram()
    assert distance(warp_positions(256).float(), g["grid_warp_y"]) <= 1e-6
    assert distance(unwarp_positions(513).float(), g["grid_unwarp_y"]) <= 1e-6
    assert distance(spectrogram.warp(g["lin"]), g["lin_warped"]) <= 5e-5
    assert distance(spectrogram.unwarp(g["logm"]), g["logm_unwarped"]) <= 5e-5
    assert distance(spectrogram.unwarp(spectrogram.warp(g["lin"])), g["lin_roundtrip"]) <= 5e-5


def test_targets_after_the_warp() -> None:
    g = load("targets_logfreq")
    spectrogram = Spectrogram()
    log_mixture, targets, weight = spectrogram.targets(g["in_mags"], g["in_mag_mix"])
    assert relative(log_mixture.exp(), g["mag_mix"]) <= 1e-4
    assert relative(weight, g["weight"]) <= 1e-4
    assert (targets != g["gt_masks"]).sum() == 0
    assert relative(spectrogram.warp(g["in_mags"]), g["mags"]) <= 1e-4
    assert torch.equal(spectrogram.network_input(g["in_mag_mix"]), log_mixture)


def test_targets_at_ties_and_clamps() -> None:
    g = load("targets_linear_ties")
    _, targets, weight = Spectrogram(bins=None).targets(g["in_mags"], g["in_mag_mix"])
    assert torch.equal(targets, g["gt_masks"])
    assert torch.equal(ideal_binary_mask(g["mags"], g["mag_mix"].unsqueeze(1)), g["gt_masks"])
    assert distance(weight, g["weight"]) <= 1e-5


@pytest.mark.parametrize("kind", ["soft", "binary", "identity"])
def test_reconstruction(kind: str) -> None:
    g = load("reconstruct")
    mask = torch.ones_like(g["mask_log"]) if kind == "identity" else g["mask_log"]
    wave = Spectrogram().reconstruct(mask, torch.polar(g["mag"], g["phase"]), binary=kind == "binary")
    assert distance(wave[0, 0], g[f"wav_{kind}"]) <= 1e-5


# losses


def test_separation_loss() -> None:
    g = load("loss_clipsep")
    logits = g["logits"].requires_grad_()
    loss = separation_loss(logits, g["gt_masks"], g["weight"])
    loss.backward()
    assert abs(loss.item() - g["loss"]) <= 1e-5
    assert relative(logits.grad, g["grad_logits"]) <= 1e-5


@pytest.mark.parametrize("setting", ["noreg", "default", "inactive"])
def test_noise_invariant_loss(setting: str) -> None:
    g = load("loss_nit")
    pred, noise = g["pred_logits"].requires_grad_(), g["noise_logits"].requires_grad_()
    lambda_ = g[f"{setting}.lambda"]
    gamma = g[f"{setting}.gamma"] if lambda_ else 0.25
    loss, parts = noise_invariant_loss(pred, noise, g["gt_masks"], g["weight"], lambda_, gamma)
    assert parts["noise_activation"].item() == pytest.approx(g["mean_noise_act"], abs=1e-6)
    assert parts["nit_loss"].item() == pytest.approx(g["nit_loss_per_sample"].mean().item(), abs=1e-5)
    assert parts["noise_penalty"].item() == pytest.approx(max(0.0, g["mean_noise_act"] - gamma), abs=1e-6)
    loss.backward()
    assert abs(loss.item() - g[f"{setting}.loss"]) <= 1e-5
    assert relative(pred.grad, g[f"{setting}.grad_pred"]) <= 1e-4
    # The last sample is a tie, whose noise gradient is arbitrary.
    assert relative(noise.grad[:2], g[f"{setting}.grad_noise"][:2]) <= 1e-4


@pytest.mark.parametrize(("step", "setting"), [(0, "warmup"), (1, "default")])
def test_the_noise_heads_join_after_the_warm_up(step: int, setting: str) -> None:
    """A training step whose front end and network return the stored targets and logits."""
    g = load("loss_nit")
    pred, noise = g["pred_logits"].requires_grad_(), g["noise_logits"].requires_grad_()
    spectrogram: Any = SimpleNamespace(
        stft=lambda sources: torch.zeros(*sources.shape[:3], 1, 1, dtype=torch.complex64),
        targets=lambda mags, mixture: (mixture, g["gt_masks"], g["weight"]),
    )

    def model(log_mixture: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        return pred, noise

    config = Config(noise_heads=2, noise_warmup_steps=1)
    loss, _ = loss_of(config, step, cast(Any, model), spectrogram, torch.zeros(3, 2, 8), torch.zeros(3, 2, 4))
    loss.backward()
    assert abs(loss.item() - g[f"{setting}.loss"]) <= 1e-5
    assert relative(pred.grad, g[f"{setting}.grad_pred"]) <= 1e-4
    if setting == "warmup":
        assert noise.grad is not None and torch.equal(noise.grad, g["warmup.grad_noise"])


def test_noise_invariant_loss_chooses_per_sample() -> None:
    g = load("loss_nit")
    smaller = torch.minimum(g["perm_loss_identity_float64"], g["perm_loss_swap_float64"])
    assert smaller.tolist() == pytest.approx(g["nit_loss_per_sample"].tolist(), abs=1e-6)
    for b, expected in enumerate(smaller.tolist()):
        one = slice(b, b + 1)
        pred, noise = g["pred_logits"][one], g["noise_logits"][one]
        loss, _ = noise_invariant_loss(pred, noise, g["gt_masks"][one], g["weight"][one], lambda_=0)
        assert loss.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("setting", ["noreg", "default"])
def test_noise_invariant_loss_where_sums_saturate(setting: str) -> None:
    g = load("loss_nit_saturated")
    pred, noise = g["pred_logits"].requires_grad_(), g["noise_logits"].requires_grad_()
    lambda_ = g[f"{setting}.lambda"]
    gamma = g[f"{setting}.gamma"] if lambda_ else 0.25
    loss, parts = noise_invariant_loss(pred, noise, g["gt_masks"], g["weight"], lambda_, gamma)
    loss.backward()
    assert abs(loss.item() - g[f"{setting}.loss"]) <= 1e-4
    assert parts["noise_activation"].item() == pytest.approx(g["mean_noise_act"], abs=1e-6)
    assert relative(pred.grad, g[f"{setting}.grad_pred"]) <= 1e-3
    assert relative(noise.grad, g[f"{setting}.grad_noise"]) <= 1e-3


def test_permutation_invariant_loss() -> None:
    g = load("loss_pit")
    logits = g["logits"].requires_grad_()
    loss = permutation_invariant_loss(logits, g["gt_masks"], g["weight"])
    loss.backward()
    assert abs(loss.item() - g["loss"]) <= 1e-5
    assert relative(logits.grad[:2], g["grad_logits"][:2]) <= 1e-5  # the last sample is a tie
    for b, expected in enumerate(g["loss_per_sample"]):
        one = slice(b, b + 1)
        sample = permutation_invariant_loss(g["logits"][one], g["gt_masks"][one], g["weight"][one])
        assert sample.item() == pytest.approx(expected.item(), abs=1e-5)


# network


def test_unet() -> None:
    g = load("unet")
    unet = UNet(1, g["out_dim"], g["num_downs"], g["ngf"])
    load_official(unet, load_state("unet"))
    assert relative(unet.eval()(g["x"]), g["y_eval"]) <= 1e-4
    assert relative(unet.train()(g["x"]), g["y_train"]) <= 1e-4


def test_unet_with_a_query_at_the_bottleneck() -> None:
    g = load("condunet_middle_fusion")
    unet = UNet(1, 1, g["num_downs"], g["ngf"], query_channels=g["cond_dim"])
    load_official(unet, load_state("condunet_middle_fusion"))
    assert relative(unet.eval()(g["x"], g["cond"]), g["y_eval"]) <= 1e-4
    assert relative(unet.train()(g["x"], g["cond"]), g["y_train"]) <= 1e-4


def test_inner_product_head() -> None:
    g = load("innerprod")
    head = InnerProd(4)
    head.load_state_dict({"scale": g["scale"], "bias": g["bias"]})
    assert distance(head(g["query"][:, None], g["feat"])[:, 0], g["out"]) <= 1e-5


def check_gradients(model: nn.Module, g: dict[str, Any], tolerance: float) -> None:
    parameters: dict[str, Any] = dict(model.named_parameters())
    stored = [key for key in g if key.startswith("grad.")]
    assert stored
    for key in stored:
        assert relative(parameters[key[5:]].grad, g[key]) <= tolerance, key
    norms = [p.grad.norm() for name, p in parameters.items() if name.startswith("sound_net.")]
    assert torch.stack(norms).norm().item() == pytest.approx(g["gradnorm_sound_net"], rel=tolerance)


@pytest.mark.parametrize(("name", "tolerance"), [("model_clipsep", 1e-4), ("model_clipsep_logfreq", 3e-4)])
def test_clipsep(name: str, tolerance: float) -> None:
    g = load(name)
    model = CLIPSep(512, g["channels"], g["num_downs"], g["ngf"])
    load_official(model, load_state(name))
    spectrogram = Spectrogram(bins=256 if g["use_log_freq"] else None)
    log_mixture, targets, weight = spectrogram.targets(g["mags"], g["mag_mix"])
    assert targets.mean((0, 2, 3, 4)).tolist() == pytest.approx(g["gt_mean"].tolist(), abs=1e-4)
    assert weight.mean().item() == pytest.approx(g["weight_mean"], rel=1e-4)

    model.eval()
    assert relative(model.separate(log_mixture, g["img_emb"][:, 0]), g["infer_query0_pred"]) <= tolerance
    model.train(g["mode"] == "train")
    logits, noise_logits = model(log_mixture, g["img_emb"])
    assert noise_logits is None
    loss = separation_loss(logits, targets, weight)
    loss.backward()
    assert loss.item() == pytest.approx(g["loss"], rel=tolerance)
    assert relative(logits.sigmoid(), g["pred_masks"]) <= tolerance
    check_gradients(model, g, tolerance)


def test_clipsep_nit() -> None:
    g = load("model_nit")
    model = CLIPSep(512, g["channels"], g["num_downs"], g["ngf"], noise_heads=2)
    load_official(model, load_state("model_nit"))
    log_mixture, targets, weight = Spectrogram(bins=None).targets(g["mags"], g["mag_mix"])

    model.eval()
    query_logits, noise_logits = model(log_mixture, g["img_emb"][:, :1])  # the noise queries come from this query alone
    assert relative(query_logits[:, 0], g["infer_query0_pred"]) <= 1e-4
    assert relative(noise_logits, g["infer_query0_noise"]) <= 1e-4
    assert torch.equal(model.separate(log_mixture, g["img_emb"][:, 0]), query_logits[:, 0].sigmoid())

    model.train()
    logits, noise_logits = model(log_mixture, g["img_emb"])
    loss, parts = noise_invariant_loss(logits, noise_logits, targets, weight, lambda_=0.1, gamma=0.25)
    loss.backward()
    assert loss.item() == pytest.approx(g["loss"], rel=1e-4)
    assert parts["noise_activation"].item() == pytest.approx(g["mean_pit_act"], rel=1e-4)
    assert relative(logits, g["pred_masks"]) <= 1e-4
    assert relative(noise_logits, g["pit_masks"]) <= 1e-4
    check_gradients(model, g, 1e-4)


def test_labelsep() -> None:
    g = load("model_labelsep")
    model = LabelSep(4, 512, g["channels"], g["num_downs"], g["ngf"])
    load_official(model, load_state("model_labelsep"))
    model.eval()
    log_mixture, targets, weight = Spectrogram(bins=None).targets(g["mags"], g["mag_mix"])
    logits, _ = model(log_mixture, g["labels"])
    loss = separation_loss(logits, targets, weight)
    loss.backward()
    assert loss.item() == pytest.approx(g["loss"], rel=1e-4)
    assert relative(logits.sigmoid(), g["pred_masks"]) <= 1e-4
    assert relative(model.separate(log_mixture, g["labels"][:, 0]), g["infer_query0_pred"]) <= 1e-4
    check_gradients(model, g, 1e-4)


def test_a_nit_checkpoint_serves_a_model_without_noise_heads() -> None:
    g, state = load("model_nit"), load_state("model_nit")
    model = CLIPSep(512, g["channels"], g["num_downs"], g["ngf"])
    load_official(model, {f"module.{name}": tensor for name, tensor in state.items()})  # as DataParallel saves it
    mask = model.eval().separate(Spectrogram(bins=None).network_input(g["mag_mix"]), g["img_emb"][:, 0])
    assert relative(mask, g["infer_query0_pred"].sigmoid()) <= 1e-4


# evaluation


@pytest.mark.parametrize("kind", ["soft", "binary"])
def test_evaluation_from_mask_to_decibel(kind: str) -> None:
    g = load("metrics_pipeline")
    spectrogram = Spectrogram()
    mixture = torch.polar(g["mag_mix"], g["phase_mix"])
    estimate = spectrogram.reconstruct(g["pred_logits"].sigmoid(), mixture, binary=kind == "binary").squeeze(1)
    unprocessed = spectrogram.istft(mixture).squeeze(1)
    for b in range(2):
        references = g["audios"][:, b, : estimate.shape[-1]]
        found = bss_eval(references, torch.stack([estimate[b], unprocessed[b]]))
        stored = {
            metric: g[f"clip_{kind}.{metric}"][b].item() for metric in ("sdr", "sir", "sar", "sdr_mix", "sir_mix")
        }
        assert found["sdr_db"].tolist() == pytest.approx([stored["sdr"], stored["sdr_mix"]], abs=1e-3)
        assert found["sir_db"].tolist() == pytest.approx([stored["sir"], stored["sir_mix"]], abs=0.05)
        assert found["sar_db"][0].item() == pytest.approx(stored["sar"], abs=0.05)
        assert found["sar_db"][1] > 60  # the mixture has no artefacts; its exact SAR is round-off


def test_sdr_is_musevals() -> None:
    g = load("sdr")
    assert distance(sdr(g["ref"], g["est"]), g["museval_sdr"]) <= 1e-6
    assert distance(sdr(g["ref"], g["est"]), g["plain_snr_db"]) <= 1e-6
    assert distance(sdr(g["ref"], g["mix"]), g["museval_mix_sdr"]) <= 1e-6


@pytest.mark.parametrize("evaluate", [bss_eval, museval_reference])
def test_sir_and_sar_are_musevals(evaluate: Callable[[Tensor, Tensor], dict[str, Tensor]]) -> None:
    g = load("sdr")
    for target in (0, 1):
        order = [target, 1 - target]
        found = evaluate(g["ref"][order], g["est"][target : target + 1])
        assert found["sdr_db"].item() == pytest.approx(g["museval_sdr"][target].item(), abs=1e-6)
        assert found["sir_db"].item() == pytest.approx(g["museval_sir"][target].item(), abs=1e-3)
        if target == 0:
            assert found["sar_db"].item() == pytest.approx(g["museval_sar"][target].item(), abs=1e-3)
        else:  # the second estimate lies in the span of the references: 294 dB of round-off in museval
            assert found["sar_db"].item() > 100


def test_learning_rate_schedule() -> None:
    g = load("lr_schedule")
    found = [
        lr_multiplier(step, g["warmup_steps"], g["decay_end_steps"], g["decay_end_multiplier"])
        for step in g["steps"].tolist()
    ]
    assert found == pytest.approx(g["multiplier"].tolist(), abs=1e-12)
    assert found == [lr_multiplier(step) for step in g["steps"].tolist()]


@pytest.mark.parametrize("test_set", ["music_plus", "vggsound_clean_plus"])
def test_pairing_of_the_evaluation_sets(test_set: str) -> None:
    g = load("eval_lists")
    stored = g[f"{test_set}_pair_index"].tolist()
    assert [interference_index(i, g[f"{test_set}_n_interference"]) for i in range(len(stored))] == stored


def test_weighted_bce_keeps_the_leading_axes() -> None:
    g = load("loss_clipsep")
    each = weighted_bce(g["logits"].sigmoid(), g["gt_masks"], g["weight"].unsqueeze(1))
    assert each.shape == g["logits"].shape[:2]
    assert each.mean().item() == pytest.approx(g["loss"], abs=1e-5)
