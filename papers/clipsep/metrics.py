"""Separation metrics in dB, in the conventions of BSS Eval v4 (museval) as the official evaluation calls it:
the whole signal as one window, one channel, only the target's row kept.

Everything is computed in float64. A signal is silent if its sum of absolute values is at most 1e-5. The official
evaluation leaves out samples of which a reference, the target's estimate or the interference's is silent; here the
metrics are NaN in the first two cases.
"""

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import scipy.fft
import scipy.linalg
import torch
from torch import Tensor

from shared import UserError

BSS_METRICS = ("sdr_db", "sir_db", "sar_db")
SILENCE = 1e-5


def sdr(reference: Tensor, estimate: Tensor) -> Tensor:
    """10 log10(|s|^2 / |s - s_hat|^2), ``(..., N)`` -> ``(...)``, broadcasting.

    Equal to museval's SDR for one channel and one window. Not invariant to scale.
    """
    reference, estimate = reference.double(), estimate.double()
    ratio = _decibel(_energy(reference), _energy(reference - estimate))
    return ratio.masked_fill(_silent(reference) | _silent(estimate), torch.nan)


def si_sdr(reference: Tensor, estimate: Tensor) -> Tensor:
    """Scale-invariant SDR (Le Roux et al., 2019; the mean is not removed), ``(..., N)`` -> ``(...)``, broadcasting."""
    reference, estimate = reference.double(), estimate.double()
    target = (reference * estimate).sum(-1, keepdim=True) / _energy(reference).unsqueeze(-1) * reference
    ratio = _decibel(_energy(target), _energy(target - estimate))
    return ratio.masked_fill(_silent(reference) | _silent(estimate), torch.nan)


def bss_eval(references: Tensor, estimates: Tensor, filter_length: int = 512) -> dict[str, Tensor]:
    """SDR, SIR and SAR of many estimates of one target.

    ``references`` (S, N): the target first, then the interferers. ``estimates`` (E, N) of the target
    -> {"sdr_db", "sir_db", "sar_db"}, each (E,), on the CPU. All are NaN if a reference is silent.

    SIR and SAR come from projecting an estimate on the references delayed by 0 .. filter_length - 1 samples. With the
    Gram matrix of these delayed references G = L L^T and their correlations d with the estimate, y = L^-1 d holds the
    estimate's coordinates in an orthonormal basis whose first filter_length vectors span the target's own delays. So
    the squared norms of y's two parts are the energies of target and interference, and what y lacks of the estimate's
    energy is artefacts. L is computed once for all estimates; G, of references scaled to unit energy, gets a ridge of
    1e-12, since references without energy in some band make it singular (there museval's own figures are round-off).
    A SAR above 100 dB is round-off too; it is capped at 120 dB. In at most (S - 1) * filter_length + 1 samples the
    delayed references explain any estimate, so that every SAR is round-off there.
    """
    if _silent(references).any():
        return {name: torch.full((len(estimates),), torch.nan, dtype=torch.float64) for name in BSS_METRICS}
    references, estimates = references.cpu(), estimates.cpu()
    signals = estimates.double().numpy()
    sources = torch.nn.functional.normalize(references.double(), eps=0).numpy()
    gram = _delayed_gram(sources, filter_length)
    gram[np.diag_indices_from(gram)] += 1e-12
    factor, _ = scipy.linalg.cho_factor(gram.T, lower=True, overwrite_a=True, check_finite=False)
    correlations = _delayed_correlations(sources, signals, filter_length)[..., filter_length - 1 :]
    correlations = correlations.reshape(len(signals), -1)  # (E, S * filter_length)
    coordinates = scipy.linalg.solve_triangular(factor, correlations.T, lower=True, check_finite=False)
    target, others = torch.from_numpy(coordinates).square().split([filter_length, len(factor) - filter_length])
    target_energy, interference_energy = target.sum(0), others.sum(0)
    explained = target_energy + interference_energy
    artefact_energy = (_energy(estimates.double()) - explained).clamp(min=1e-12 * explained)
    silent = _silent(estimates)
    return {
        "sdr_db": sdr(references[0], estimates),
        "sir_db": _decibel(target_energy, interference_energy).masked_fill(silent, torch.nan),
        "sar_db": _decibel(explained, artefact_energy).masked_fill(silent, torch.nan),
    }


def museval_reference(references: Tensor, estimates: Tensor) -> dict[str, Tensor]:
    """The same numbers from museval itself, the slow reference: arguments and result as in ``bss_eval``."""
    bss_eval_v4 = _museval_metrics().bss_eval
    values = []
    for estimate in estimates:
        # museval wants as many estimates as references; only the first row, the target's, is kept.
        paired = torch.stack([estimate, *references[1:]])
        rows = bss_eval_v4(references.double().numpy(), paired.double().numpy(), window=np.inf)
        values.append([rows[0][0, 0], rows[2][0, 0], rows[3][0, 0]])
    return dict(zip(BSS_METRICS, torch.tensor(values, dtype=torch.float64).T, strict=True))


def _museval_metrics() -> ModuleType:
    """museval's metrics module, by its path: ``import museval`` imports musdb too, which fails without ffmpeg."""
    package = find_spec("museval")
    if package is None or package.origin is None:
        raise UserError("museval is not installed; install it with ``pip install museval``.")
    spec = spec_from_file_location("museval_metrics", Path(package.origin).with_name("metrics.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _delayed_gram(references: np.ndarray, filter_length: int) -> np.ndarray:
    """Inner products of all delayed references: Toeplitz blocks, (S * filter_length, S * filter_length)."""
    correlations = _delayed_correlations(references, references, filter_length)
    # Row a, column b of a block is the correlation at lag b - a, so the rows are windows that move backwards.
    blocks = np.lib.stride_tricks.sliding_window_view(correlations, filter_length, axis=-1)[:, :, ::-1]
    return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3)).reshape(len(references) * filter_length, -1)


def _delayed_correlations(references: np.ndarray, signals: np.ndarray, filter_length: int) -> np.ndarray:
    """<signal, reference delayed by l> for |l| < filter_length, lowest first: (E, S, 2 * filter_length - 1)."""
    length = max(references.shape[-1], filter_length)  # of shorter signals most lags are zeros
    size = scipy.fft.next_fast_len(length + filter_length - 1, real=True)
    product = scipy.fft.rfft(signals, size)[:, None] * scipy.fft.rfft(references, size).conj()
    return np.roll(scipy.fft.irfft(product, size), filter_length - 1, axis=-1)[..., : 2 * filter_length - 1]


def _energy(signal: Tensor) -> Tensor:
    return signal.square().sum(-1)


def _silent(signal: Tensor) -> Tensor:
    return signal.abs().sum(-1) <= SILENCE


def _decibel(signal: Tensor, distortion: Tensor) -> Tensor:
    return 10 * torch.log10(signal / distortion)
