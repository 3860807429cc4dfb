"""Separation metrics in dB, in the conventions of BSS Eval v4 (museval) as the official evaluation calls it:
the whole signal as one window, one channel, only the target's row kept.

Everything is computed in float64. A signal is silent if its sum of absolute values is at most 1e-5; the official
evaluation leaves such samples out, here their metrics are NaN.
"""

import importlib.util
import random

import numpy as np
import torch
from torch import Tensor

SILENCE = 1e-5


def sdr(reference: Tensor, estimate: Tensor) -> Tensor:
    """10 log10(|s|^2 / |s - s_hat|^2), `(..., N)` -> `(...)`, broadcasting.

    Equal to museval's SDR for one channel and one window. Not invariant to scale.
    """
    reference, estimate = reference.double(), estimate.double()
    ratio = _decibel(_energy(reference), _energy(reference - estimate))
    return ratio.masked_fill(_silent(reference) | _silent(estimate), torch.nan)


def si_sdr(reference: Tensor, estimate: Tensor) -> Tensor:
    """Scale-invariant SDR (Le Roux et al., 2019, without removing the mean), `(..., N)` -> `(...)`, broadcasting."""
    reference, estimate = reference.double(), estimate.double()
    target = (reference * estimate).sum(-1, keepdim=True) / _energy(reference).unsqueeze(-1) * reference
    ratio = _decibel(_energy(target), _energy(target - estimate))
    return ratio.masked_fill(_silent(reference) | _silent(estimate), torch.nan)


def bss_eval(references: Tensor, estimates: Tensor, filter_length: int = 512) -> dict[str, Tensor]:
    """SDR, SIR and SAR of many estimates of one target.

    `references` (S, N): the target first, then the interferers. `estimates` (E, N) of the target
    -> {"sdr_db", "sir_db", "sar_db"}, each (E,).

    SIR and SAR come from projecting an estimate on the references delayed by 0 .. filter_length - 1 samples. With the
    Gram matrix of these delayed references G = L L^T and their correlations d with the estimate, y = L^-1 d holds the
    estimate's coordinates in an orthonormal basis whose first filter_length vectors span the target's own delays. So
    the squared norms of y's two parts are the energies of target and interference, and what y lacks of the estimate's
    energy is artefacts. L is computed once for all estimates. A SAR above 100 dB is round-off.
    """
    references, estimates = references.double(), estimates.double()
    factor = torch.linalg.cholesky(_delayed_gram(references, filter_length))
    correlations = _delayed_correlations(references, estimates, filter_length).flatten(1)  # (E, S * filter_length)
    coordinates = torch.linalg.solve_triangular(factor, correlations.T, upper=False).T.square()
    target, interference = coordinates[:, :filter_length].sum(-1), coordinates[:, filter_length:].sum(-1)
    artefacts = _energy(estimates) - target - interference
    silent = _silent(references).any() | _silent(estimates)
    return {
        "sdr_db": sdr(references[0], estimates),
        "sir_db": _decibel(target, interference).masked_fill(silent, torch.nan),
        "sar_db": _decibel(target + interference, artefacts).masked_fill(silent, torch.nan),
    }


def museval_reference(references: Tensor, estimates: Tensor) -> dict[str, np.ndarray]:
    """The same numbers from museval itself, the slow reference: arguments and result as in `bss_eval`."""
    # `import museval` also imports musdb, which refuses to load without ffmpeg; the metrics module needs neither.
    package = importlib.util.find_spec("museval")
    assert package is not None and package.submodule_search_locations is not None
    rows = []
    for estimate in estimates:
        # museval wants as many estimates as references; only the first row, the target's, is kept.
        padded = torch.stack([estimate, *references[1:]]).double().numpy()
        values, _, sir, sar, _ = museval.metrics.bss_eval(references.double().numpy(), padded, window=np.inf)
        rows.append((values[0, 0], sir[0, 0], sar[0, 0]))
    return dict(zip(("sdr_db", "sir_db", "sar_db"), np.array(rows).T, strict=True))


def _delayed_gram(references: Tensor, filter_length: int) -> Tensor:
    """Inner products of all delayed references, (S * filter_length, S * filter_length)."""
    correlations = _delayed_correlations(references, references, filter_length, negative=True)
    # Row a, column b of a block is the correlation at lag b - a, so the rows are windows that move backwards.
    blocks = correlations.unfold(-1, filter_length, 1).flip(-2)
    return blocks.permute(0, 2, 1, 3).reshape(len(references) * filter_length, -1)


def _delayed_correlations(references: Tensor, signals: Tensor, filter_length: int, negative: bool = False) -> Tensor:
    """<signal, reference delayed by l> for l in 0 .. filter_length - 1, (E, S, filter_length).

    With `negative` for l in -(filter_length - 1) .. filter_length - 1.
    """
    size = references.shape[-1] + filter_length - 1
    size = 1 << (size - 1).bit_length()
    product = torch.fft.rfft(signals, size)[:, None] * torch.fft.rfft(references, size).conj()
    correlations = torch.fft.irfft(product, size)
    if not negative:
        return correlations[..., :filter_length]
    return torch.cat([correlations[..., size - filter_length + 1 :], correlations[..., :filter_length]], dim=-1)


def _energy(signal: Tensor) -> Tensor:
    return signal.square().sum(-1)


def _silent(signal: Tensor) -> Tensor:
    return signal.abs().sum(-1) <= SILENCE


def _decibel(signal: Tensor, distortion: Tensor) -> Tensor:
    return 10 * torch.log10(signal / distortion)


def interference_index(item: int, n_interferers: int) -> int:
    """Which interferer the official evaluation mixes with test item `item` (0-based): one seeded draw an item."""
    return random.Random(item).randint(0, n_interferers - 1)
