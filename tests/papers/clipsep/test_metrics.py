import math

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.clipsep.metrics import bss_eval, museval_reference, sdr, si_sdr


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tone(frequency: float, samples: int, rate: int = 8000) -> Tensor:
    phase = 2 * math.pi * frequency * torch.arange(samples, dtype=torch.float64) / rate
    return torch.stack([0.6**k * torch.sin((k + 1) * phase) for k in range(4)]).sum(0)


REFERENCES = {
    "noise": noise(2, 3968),
    "tones": torch.stack([tone(220, 3968), tone(530, 3968)]),
    "16-bit tones": (8000 * torch.stack([tone(220, 3968), tone(530, 3968)])).round() / 32768,
    "a tone and noise": torch.stack([tone(220, 3968), noise(3968)]),
    "a late onset": noise(2, 3968) * (torch.arange(3968) > torch.tensor([[2000], [-1]])),
    "a faint interferer": noise(2, 3968) * torch.tensor([[1.0], [1e-4]]),
    "an odd length": noise(2, 4001),
    "one source": noise(1, 3968),
    "three sources": noise(3, 3968),
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_equal_to_museval(kind: str) -> None:
    references = REFERENCES[kind]
    filtered = torch.nn.functional.pad(references[0], (5, 0))[:-5]
    estimates = torch.stack(
        [
            0.9 * references[0] + 0.2 * references[-1] + 0.05 * noise(references.shape[1], seed=1),
            references.sum(0) + 0.1 * noise(references.shape[1], seed=2),
            filtered + 0.3 * references[-1] + 0.02 * noise(references.shape[1], seed=3),
        ]
    )
    found, expected = bss_eval(references, estimates), museval_reference(references, estimates)
    assert torch.allclose(found["sdr_db"], expected["sdr_db"], rtol=0, atol=1e-6)
    assert torch.allclose(found["sar_db"], expected["sar_db"], rtol=0, atol=1e-3)
    if len(references) > 1:
        assert torch.allclose(found["sir_db"], expected["sir_db"], rtol=0, atol=1e-3)
    else:
        assert found["sir_db"].isposinf().all()  # nothing interferes


@pytest.mark.parametrize("samples", [600, 514, 513, 512, 511, 300, 20])
@pytest.mark.parametrize("sources", [2, 3])
def test_short_signals(samples: int, sources: int) -> None:
    """From (sources - 1) * 512 + 1 samples downwards the delayed references explain any estimate: no SAR."""
    references = noise(sources, samples)
    estimates = references[0] + 0.3 * references[-1] + 0.05 * noise(2, samples, seed=1)
    found, expected = bss_eval(references, estimates), museval_reference(references, estimates)
    assert torch.allclose(found["sdr_db"], expected["sdr_db"], rtol=0, atol=1e-6)
    assert torch.allclose(found["sir_db"], expected["sir_db"], rtol=0, atol=1e-3)
    if samples > (sources - 1) * 512 + 1:
        assert torch.allclose(found["sar_db"], expected["sar_db"], rtol=0, atol=0.01)
    else:
        assert (found["sar_db"] > 70).all() and (expected["sar_db"] > 70).all()


def test_references_without_energy_in_a_band() -> None:
    """A singular Gram matrix, where museval's own numbers are round-off: the projections by their definition."""
    spectrum = torch.fft.rfft(noise(2, 3968))
    spectrum[0, 400:] = 0
    spectrum[1, 600:] = 0
    references = torch.fft.irfft(spectrum, 3968)
    estimate = references[0] + 0.2 * references[1] + 0.05 * noise(3968, seed=1)
    found = bss_eval(references, estimate[None])
    unit = torch.nn.functional.normalize(references).numpy()
    delayed = [np.pad(signal, (delay, 511 - delay)) for signal in unit for delay in range(512)]
    padded = np.pad(estimate.numpy(), (0, 511))
    energies = []
    for count in (512, 1024):  # the delays of the target, of both
        left, length, _ = np.linalg.svd(np.stack(delayed[:count], 1), full_matrices=False)
        energies.append(float(np.sum((left.T @ padded) ** 2 * length**2 / (length**2 + 1e-12))))
    target, explained = energies
    assert length.min() < 1e-6  # singular
    sdr_db = museval_reference(references, estimate[None])["sdr_db"].item()
    assert found["sdr_db"].item() == pytest.approx(sdr_db, abs=1e-6)
    assert found["sir_db"].item() == pytest.approx(10 * math.log10(target / (explained - target)), abs=0.02)
    assert found["sar_db"].item() == pytest.approx(10 * math.log10(explained / (padded @ padded - explained)), abs=0.02)


def test_known_decompositions() -> None:
    """An estimate that is its target's echo plus an interferer's echo has no artefacts, and a known SIR."""
    references = torch.zeros(2, 600, dtype=torch.float64)
    references[0, 10], references[1, 300] = 1.0, 1.0
    echo = 2.0 * references[0].roll(3) + 0.5 * references[1].roll(7)
    found = bss_eval(references, echo[None], filter_length=16)
    assert found["sir_db"].item() == pytest.approx(20 * math.log10(2.0 / 0.5))
    assert found["sar_db"].item() > 100
    unreachable = 2.0 * references[0].roll(3) + 0.5 * references[0].roll(20)  # beyond a filter of 16 samples
    found = bss_eval(references, unreachable[None], filter_length=16)
    assert found["sar_db"].item() == pytest.approx(20 * math.log10(2.0 / 0.5))
    assert found["sdr_db"].item() == pytest.approx(10 * math.log10(1 / (1 + 2.0**2 + 0.5**2)))


def test_many_estimates_are_evaluated_independently() -> None:
    references, estimates = noise(2, 2000), noise(3, 2000, seed=1)
    together = bss_eval(references, estimates)
    for index, estimate in enumerate(estimates):
        for metric, value in bss_eval(references, estimate[None]).items():
            assert together[metric][index].item() == pytest.approx(value.item(), abs=1e-9)


def test_what_changes_with_the_estimates_scale() -> None:
    references = noise(2, 3968)
    estimate = references[0] + 0.3 * references[1] + 0.1 * noise(3968, seed=1)
    louder = bss_eval(references, torch.stack([estimate, 3 * estimate]))
    assert louder["sir_db"][0].item() == pytest.approx(louder["sir_db"][1].item(), abs=1e-9)
    assert louder["sar_db"][0].item() == pytest.approx(louder["sar_db"][1].item(), abs=1e-6)
    assert si_sdr(references[0], estimate).item() == pytest.approx(si_sdr(references[0], -3 * estimate).item())
    assert louder["sdr_db"][1] < louder["sdr_db"][0] - 5
    assert sdr(5 * references[0], 5 * estimate).item() == pytest.approx(louder["sdr_db"][0].item())


def test_si_sdr_of_orthogonal_noise() -> None:
    signal = torch.tensor([1.0, 1.0, 1.0, 1.0])
    error = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert si_sdr(signal, 7 * (signal + 0.1 * error)).item() == pytest.approx(20.0)
    assert sdr(signal, signal + 0.1 * error).item() == pytest.approx(20.0)


def test_metrics_broadcast_over_estimates() -> None:
    reference, estimates = noise(2, 1, 500), noise(2, 3, 500, seed=1)
    for metric in (sdr, si_sdr):
        values = metric(reference, estimates)
        assert values.shape == (2, 3)
        assert values[1, 2].item() == pytest.approx(metric(reference[1, 0], estimates[1, 2]).item())


def test_silence_has_no_metric() -> None:
    references, silence = noise(2, 2000), torch.full((2000,), 1e-9, dtype=torch.float64)
    found = bss_eval(references, torch.stack([references[0] + references[1], silence]))
    assert all(not value[0].isnan() and value[1].isnan() for value in found.values())
    for order in ([references[0], silence], [silence, references[0]]):
        found = bss_eval(torch.stack(order), references)
        assert all(value.isnan().all() and value.shape == (2,) for value in found.values())
    assert sdr(silence, references[0]).isnan()
    assert si_sdr(silence, references[0]).isnan()
    assert si_sdr(references[0], silence).isnan()
