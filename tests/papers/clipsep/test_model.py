"""Networks, losses and signal front end where no reference values are needed."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from papers.clipsep import losses
from papers.clipsep.audio import Spectrogram, crop_segment, ideal_binary_mask, magnitude, mix
from papers.clipsep.losses import noise_invariant_loss, permutation_invariant_loss, separation_loss
from papers.clipsep.model import BERTSep, CLIPSep, LabelSep, PITSep, UNet, load_official
from shared import UserError

SIZE: dict[str, Any] = {"channels": 6, "num_levels": 5, "width": 4}
B, D, F, T = 3, 10, 64, 32


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Log mixture (B, 1, F, T), targets (B, 2, 1, F, T), weight (B, 1, F, T)."""
    generator = torch.Generator().manual_seed(seed)
    mags = torch.rand(B, 2, 1, F, T, generator=generator)
    return Spectrogram(bins=None).targets(mags, mags.sum(1))


def embeddings(seed: int = 0) -> Tensor:
    return torch.randn(B, 2, D, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([[0, 3], [1, 0], [2, 1]])
MODELS: dict[str, tuple[Callable[[], Any], Callable[[], Tensor]]] = {
    "late": (lambda: CLIPSep(D, **SIZE), embeddings),
    "early": (lambda: CLIPSep(D, **SIZE, fusion="early"), embeddings),
    "middle": (lambda: CLIPSep(D, **SIZE, fusion="middle"), embeddings),
    "nit": (lambda: CLIPSep(D, **SIZE, noise_heads=2), embeddings),
    "label": (lambda: LabelSep(4, D, **SIZE), lambda: LABELS),
    "bert": (lambda: BERTSep(torch.randn(4, 7), **SIZE), lambda: LABELS),
    "pit": (lambda: PITSep(**SIZE), embeddings),
}


# network


def test_sizes_of_the_papers_models() -> None:
    with torch.device("meta"):
        clipsep, with_noise_heads = CLIPSep(), CLIPSep(noise_heads=2)
    assert parameters(clipsep.sound_net) == 30_274_210
    assert parameters(clipsep.frame_net) == 16_416
    assert parameters(clipsep.synth_net) == 33
    assert parameters(clipsep) == 30_290_659
    assert parameters(with_noise_heads) == 30_292_771


@pytest.mark.parametrize("name", MODELS)
def test_shapes_and_gradients(name: str) -> None:
    torch.manual_seed(0)
    build, queries = MODELS[name]
    model, query = build(), queries()
    log_mixture, targets, weight = batch()
    logits, noise_logits = model(log_mixture, query)
    assert logits.shape == (B, 2, 1, F, T)
    if name == "nit":
        assert noise_logits.shape == (B, 2, 1, F, T)
        loss, _ = noise_invariant_loss(logits, noise_logits, targets, weight, gamma=0.0)
    else:
        assert noise_logits is None
        loss = separation_loss(logits, targets, weight)
    loss.backward()
    without = [key for key, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert without == []
    model.eval()
    mask = model.separate(log_mixture, query[:, 0])
    assert mask.shape == (B, 1, F, T)
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert torch.allclose(mask, model(log_mixture, query)[0][:, 0].sigmoid(), atol=1e-6)


def test_fixed_label_embeddings_are_not_trained() -> None:
    table = torch.randn(4, 7)
    model = BERTSep(table, **SIZE)
    assert not model.label_net.weight.requires_grad
    assert torch.equal(model.label_net.weight, table)


def test_each_query_has_its_own_mask() -> None:
    torch.manual_seed(0)
    for fusion in ("late", "early", "middle"):
        model = CLIPSep(D, **SIZE, fusion=fusion).eval()
        nn.init.normal_(model.frame_net.weight)
        for conv in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight)
        log_mixture = batch()[0]
        both, _ = model(log_mixture, embeddings())
        assert torch.allclose(both.flip(1), model(log_mixture, embeddings().flip(1))[0], atol=1e-5), fusion
        assert (both[:, 0] - both[:, 1]).abs().max() > 1e-4, fusion


def test_noise_heads_see_the_mean_before_the_sigmoid() -> None:
    """With opposite projections +-40 the mean projection is 0: a query of 1/2, not the mean of two saturated ones."""
    model: Any = CLIPSep(1, **SIZE, noise_heads=2).eval()
    nn.init.constant_(model.frame_net.weight, 40.0)
    nn.init.zeros_(model.frame_net.bias)
    for pit_net in model.pit_nets:
        nn.init.eye_(pit_net.weight)
        nn.init.zeros_(pit_net.bias)
    log_mixture = batch()[0]
    opposite = torch.tensor([1.0, -1.0]).view(1, 2, 1).expand(B, 2, 1)
    _, noise = model(log_mixture, opposite)
    _, of_zero = model(log_mixture, torch.zeros(B, 1, 1))
    assert torch.allclose(noise, of_zero, atol=1e-6)
    _, of_one = model(log_mixture, opposite[:, :1])
    assert not torch.allclose(noise, of_one, atol=1e-6)


def test_in_training_mode_loudness_does_not_matter() -> None:
    torch.manual_seed(0)
    model = CLIPSep(D, **SIZE)
    log_mixture = batch()[0]
    quiet, _ = model(log_mixture - 3.0, embeddings())
    loud, _ = model(log_mixture + 3.0, embeddings())
    assert torch.allclose(quiet, loud, atol=1e-6)


@pytest.mark.parametrize("shape", [(48, 32), (64, 31), (16, 32)])
def test_a_spectrogram_that_does_not_fit(shape: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="divisible by 32"):
        UNet(1, 2, num_levels=5, width=2)(torch.zeros(1, 1, *shape))


def test_impossible_configurations() -> None:
    with pytest.raises(UserError, match="at least 2 levels"):
        UNet(num_levels=1)
    with pytest.raises(UserError, match="late fusion"):
        CLIPSep(fusion="early", noise_heads=2)


def test_a_checkpoint_of_another_size() -> None:
    small, other = UNet(1, 4, num_levels=5, width=2), UNet(1, 4, num_levels=6, width=2)
    with pytest.raises(UserError, match=r"unet_block\.model\.0\.weight.*found nothing"):
        load_official(small, {f"bn0.{name}": x for name, x in small.bn0.state_dict().items()})
    with pytest.raises(UserError, match=r"'bn0\.weight' should have shape \(1,\), found \(2,\)"):
        load_official(other, {"bn0.weight": torch.ones(2)})


def test_initialisation_of_the_official_code() -> None:
    torch.manual_seed(0)
    model = LabelSep(50, 64, channels=32, num_levels=5, width=32)
    deviation = {name: p.std().item() for name, p in model.named_parameters() if p.numel() > 500}
    for name, value in deviation.items():
        expected = 1e-3 if ".conv." in name else 1e-4 if "frame_net" in name else 1.0 if "label_net" in name else 0.02
        assert value == pytest.approx(expected, rel=0.15), name
    norms = torch.cat([m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d)])
    assert norms.mean().item() == pytest.approx(1.0, abs=0.01)
    assert norms.std().item() == pytest.approx(0.02, rel=0.2)
    assert torch.equal(model.synth_net.scale, torch.ones(32))


# losses


def test_noise_invariant_training_starts_in_a_dead_zone() -> None:
    """At the start P + N is about 1: half the bins are clamped, cost 100 W if the target is 0, and pass no gradient."""
    torch.manual_seed(0)
    model: Any = CLIPSep(D, **SIZE, noise_heads=2)
    log_mixture, targets, weight = batch()
    with torch.no_grad():  # a network this small starts with all bins clamped or none; centred, with half
        model.synth_net.bias -= sum(model(log_mixture, embeddings())).median() / 2
    logits, noise_logits = model(log_mixture, embeddings())
    logits.retain_grad()
    loss, _ = noise_invariant_loss(logits, noise_logits, targets, weight)
    plain = separation_loss(logits, targets, weight)
    assert plain.item() == pytest.approx(math.log(2) * weight.mean().item(), rel=0.01)
    assert loss > 10 * plain
    loss.backward()
    clamped = logits.sigmoid() + noise_logits.sigmoid() >= 1
    assert clamped.float().mean().item() == pytest.approx(0.5, abs=0.1)
    with_either_head = clamped & (logits.sigmoid() + noise_logits.flip(1).sigmoid() >= 1)
    assert not logits.grad[with_either_head].any()
    assert logits.grad[~clamped].any()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert norm.isfinite()
    assert norm > 10


@pytest.mark.parametrize(("gamma", "escapes"), [(0.25, True), (1.0, True), (1.5, False)])
def test_only_the_penalty_leads_out_of_a_fully_clamped_start(gamma: float, escapes: bool) -> None:
    _, targets, weight = batch()
    logits = torch.full((B, 2, 1, F, T), 0.1, requires_grad=True)
    noise_logits = torch.full((B, 2, 1, F, T), 0.1, requires_grad=True)
    loss, parts = noise_invariant_loss(logits, noise_logits, targets, weight, gamma=gamma)
    loss.backward()
    assert parts["nit_loss"].item() == pytest.approx(
        (100 * weight.unsqueeze(1) * (1 - targets)).mean().item(), rel=1e-4
    )
    assert logits.grad is not None
    assert not logits.grad.any()
    assert noise_logits.grad is not None
    assert ((noise_logits.grad > 0) == escapes).all()


def test_only_the_noise_heads_are_permuted() -> None:
    torch.manual_seed(0)
    _, targets, weight = batch()
    logits, noise_logits = torch.randn(2, B, 2, 1, F, T) - 2
    loss, _ = noise_invariant_loss(logits, noise_logits, targets, weight)
    swapped_noise, _ = noise_invariant_loss(logits, noise_logits.flip(1), targets, weight)
    assert loss.item() == pytest.approx(swapped_noise.item())
    swapped_queries, _ = noise_invariant_loss(logits.flip(1), noise_logits, targets, weight)
    assert abs(loss.item() - swapped_queries.item()) > 1e-3
    assert permutation_invariant_loss(logits, targets, weight).item() == pytest.approx(
        permutation_invariant_loss(logits.flip(1), targets, weight).item()
    )


def test_more_than_two_sources() -> None:
    torch.manual_seed(0)
    targets = (torch.rand(B, 3, 1, F, T) > 0.7).float()
    right = 12 * targets - 6
    weight = torch.ones(B, 1, F, T)
    ordered = separation_loss(right, targets, weight)
    assert permutation_invariant_loss(right[:, [2, 0, 1]], targets, weight).item() == pytest.approx(ordered.item())
    silent = torch.full_like(right, -30.0)
    loss, _ = noise_invariant_loss(silent, right[:, [1, 2, 0]], targets, weight, lambda_=0)
    assert loss.item() == pytest.approx(ordered.item(), rel=1e-4)


def test_noise_activation_is_a_mean_over_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "mean_across_processes", lambda x: x + 0.5)
    _, targets, weight = batch()
    logits = torch.zeros(B, 2, 1, F, T)
    _, parts = noise_invariant_loss(logits - 1, logits, targets, weight, gamma=0.25)
    assert parts["noise_activation"].item() == pytest.approx(1.5)
    assert parts["noise_penalty"].item() == pytest.approx(1.25)


def test_losses_under_mixed_precision() -> None:
    _, targets, weight = batch()
    logits = torch.randn(B, 2, 1, F, T).bfloat16() + 8  # bfloat16 probabilities would round to 1
    expected = separation_loss(logits.float(), targets, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(separation_loss(logits, targets, weight), expected)


# signal front end


@pytest.fixture
def spectrogram() -> Spectrogram:
    return Spectrogram(rate=8000, segment=4095, n_fft=512, hop=128, bins=32)


def test_front_end_of_the_paper() -> None:
    paper = Spectrogram()
    assert paper.frames == 256
    spectrum = paper.stft(torch.zeros(2, 65_535))
    assert spectrum.shape == (2, 513, 256)
    assert paper.istft(spectrum).shape == (2, 65_280)


def test_shapes_of_the_front_end(spectrogram: Spectrogram) -> None:
    assert spectrogram.frames == 32
    spectra = spectrogram.stft(torch.rand(3, 2, 1, 4095) - 0.5)
    assert spectra.shape == (3, 2, 1, 257, 32)
    log_mixture, targets, weight = spectrogram.targets(magnitude(spectra), magnitude(spectra.sum(1)))
    assert (log_mixture.shape, targets.shape, weight.shape) == ((3, 1, 32, 32), (3, 2, 1, 32, 32), (3, 1, 32, 32))
    assert spectrogram.reconstruct(targets[:, 0], spectra.sum(1)).shape == (3, 1, 31 * 128)


def test_warp_equals_grid_sample(spectrogram: Spectrogram) -> None:
    image = torch.rand(2, 1, 257, 32)
    v = torch.linspace(-1, 1, 32)
    rows = (21 ** ((v + 1) / 2) - 11) / 10
    grid = torch.stack([v.expand(32, 32), rows[:, None].expand(32, 32)], dim=-1).expand(2, -1, -1, -1)
    expected = nn.functional.grid_sample(image, grid, align_corners=True)
    assert torch.allclose(spectrogram.warp(image), expected, atol=5e-5)


def test_magnitude() -> None:
    spectrum = torch.randn(3, 4, 5, dtype=torch.complex64)
    assert torch.allclose(magnitude(spectrum), spectrum.abs())
    assert torch.equal(magnitude(torch.zeros(2, dtype=torch.complex64)), torch.zeros(2))


def test_targets_do_not_depend_on_loudness(spectrogram: Spectrogram) -> None:
    spectra = spectrogram.stft(torch.rand(1, 2, 1, 4095) - 0.5)
    mags, mixture = magnitude(spectra), magnitude(spectra.sum(1))
    assert torch.equal(ideal_binary_mask(4 * mags, 4 * mixture[:, None]), ideal_binary_mask(mags, mixture[:, None]))
    _, targets, _ = spectrogram.targets(mags, mixture)
    _, louder, _ = spectrogram.targets(4 * mags, 4 * mixture)
    assert torch.equal(targets, louder)


def test_crop_is_centred_and_padded_with_zeros() -> None:
    wave = torch.arange(1.0, 21.0)
    assert crop_segment(wave, 10, 7).tolist() == [8, 9, 10, 11, 12, 13, 0]  # an odd length's last sample stays zero
    assert crop_segment(wave, 1, 7).tolist() == [0, 0, 1, 2, 3, 4, 0]
    assert crop_segment(wave, 19, 6).tolist() == [17, 18, 19, 20, 0, 0]
    assert crop_segment(wave, -50, 6).tolist() == [0] * 6
    assert crop_segment(wave[:3], 4, 6).tolist() == [2, 3, 1, 2, 3, 1]  # repeated three times, though twice would do


def test_mixing_clips_before_it_divides() -> None:
    segments = torch.tensor([[0.5, 0.8, -0.9], [0.1, 0.2, 0.3]])
    sources, mixture = mix(segments, torch.tensor([[1.5], [1.0]]))
    assert sources.tolist() == [pytest.approx([0.375, 0.5, -0.5]), pytest.approx([0.05, 0.1, 0.15])]
    assert torch.equal(mixture, sources.sum(0))


@pytest.mark.parametrize("length", [1, 1000, 3967, 3968, 3969, 5952, 5953, 20_000])
def test_masks_of_ones_give_back_the_recording(spectrogram: Spectrogram, length: int) -> None:
    wave = torch.rand(length, generator=torch.Generator().manual_seed(length)) * 1.8 - 0.9
    result = spectrogram.separate_long(wave, torch.ones_like, batch_size=3)
    assert result.shape == wave.shape
    assert torch.allclose(result, wave, atol=2e-6)
    half = spectrogram.separate_long(wave, lambda x: torch.full_like(x, 0.5))
    assert torch.allclose(half, 0.5 * wave, atol=2e-6)
    assert torch.equal(spectrogram.separate_long(wave, lambda x: torch.full_like(x, 0.5), binary=True), 0 * wave)


def test_a_long_recording_has_no_seams(spectrogram: Spectrogram) -> None:
    """Segments whose masks differ are cross-faded: a jump of the gain is spread over half a segment."""
    gains = iter([1.0, 0.0, 1.0, 0.0, 1.0])
    constant = torch.full((10_000,), 0.5)
    result = spectrogram.separate_long(constant, lambda x: next(gains) * torch.ones_like(x), batch_size=1)
    assert result.diff().abs().max() < 0.5 * math.pi / 1984
    assert result.min() < 0.01


def test_an_empty_recording(spectrogram: Spectrogram) -> None:
    with pytest.raises(UserError, match="no samples"):
        spectrogram.separate_long(torch.zeros(0), torch.ones_like)


def test_a_silent_recording_stays_silent(spectrogram: Spectrogram) -> None:
    model = CLIPSep(D, channels=4, num_levels=5, width=2).eval()
    query = torch.randn(1, D)
    silence = torch.zeros(9000)
    with torch.no_grad():
        assert torch.equal(
            spectrogram.separate_long(silence, lambda x: model.separate(x, query.expand(len(x), -1))), silence
        )
