"""The comparisons of ``make bench PAPER=clipsep``."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shared.clip import load_clip

from .audio import Spectrogram, magnitude
from .build import build_model, build_spectrogram
from .config import PRESETS, VARIANTS
from .losses import noise_invariant_loss
from .metrics import bss_eval, museval_reference, sdr
from .predict import separate

CONFIG = PRESETS["cpu"]
PAPER = PRESETS["paper"]
CONFIG_NIT = replace(CONFIG, **VARIANTS["clipsep-nit"].changes)
SAMPLES = 65_280  # of a segment after istft, 4.1 s at 16 kHz


def bench() -> Iterator[dict[str, Any]]:
    torch.manual_seed(0)
    yield from metrics()
    yield warp()
    yield training_step()
    yield prediction()


def metrics() -> Iterator[dict[str, Any]]:
    """SDR by its closed form, SIR and SAR by one projection, against museval, which always computes them all."""
    references = torch.randn(2, SAMPLES)
    estimate = references[:1] + 0.3 * references[1:] + 0.1 * torch.randn(1, SAMPLES)
    expected = museval_reference(references, estimate)
    torch.testing.assert_close(bss_eval(references, estimate), expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(sdr(references[0], estimate), expected["sdr_db"], rtol=0, atol=1e-6)
    detail = (
        f"one estimate of {SAMPLES} samples, two references; reference: museval's bss_eval (SDR, SIR and SAR at once)"
    )

    def museval() -> dict[str, Tensor]:
        return museval_reference(references, estimate)

    yield {"name": "SDR", "detail": detail, "ours": lambda: sdr(references[0], estimate), "reference": museval}
    yield {
        "name": "SDR, SIR and SAR",
        "detail": detail,
        "ours": lambda: bss_eval(references, estimate),
        "reference": museval,
    }


def warp() -> dict[str, Any]:
    """A training step's log-frequency warps by row gathers, against sampling on a grid that is made anew every step."""
    spectrogram = Spectrogram(PAPER.rate, PAPER.segment, PAPER.n_fft, PAPER.hop, PAPER.bins)
    rows, frames = PAPER.n_fft // 2 + 1, spectrogram.frames
    magnitudes = torch.rand(3, PAPER.batch_size, 1, rows, frames)  # mixtures and two sources

    def sampled() -> list[Tensor]:
        across, along = np.meshgrid(np.linspace(-1, 1, frames), np.linspace(-1, 1, PAPER.bins))
        grid = np.stack([across, (21 ** ((along + 1) / 2) - 11) / 10], axis=-1)
        grids = torch.from_numpy(np.tile(grid, (PAPER.batch_size, 1, 1, 1)).astype(np.float32))
        return [F.grid_sample(x, grids, align_corners=True) for x in magnitudes]

    def gathered() -> list[Tensor]:
        return [spectrogram.warp(x) for x in magnitudes]

    torch.testing.assert_close(gathered(), sampled(), rtol=0, atol=1e-4)
    return {
        "name": "log-frequency warps of a training step",
        "detail": f"3 x {PAPER.batch_size} spectrograms of {rows} x {frames}; reference: a NumPy grid and grid_sample",
        "ours": gathered,
        "reference": sampled,
    }


def training_step() -> dict[str, Any]:
    """A step of CLIPSep-NIT with cached frame embeddings, against embedding three frames a source at every step."""
    clip = load_clip()
    frames = torch.rand(CONFIG.batch_size, 2, 3, 3, clip.image_size, clip.image_size) * 2 - 1
    sources = 0.05 * torch.randn(CONFIG.batch_size, 2, CONFIG.segment)

    def embedded() -> Tensor:
        return clip.encode_image(frames.flatten(0, 2)).unflatten(0, frames.shape[:3])  # (B, n, 3, D)

    cached = embedded()
    spectrogram = build_spectrogram(CONFIG)
    model = build_model(CONFIG_NIT, torch.empty(0), cached.shape[-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=CONFIG.learning_rate)

    def step(embeddings: Tensor) -> None:
        spectra = spectrogram.stft(sources.unsqueeze(2))
        log_mixture, targets, weight = spectrogram.targets(magnitude(spectra), magnitude(spectra.sum(1)))
        mask_logits, noise_logits = model(log_mixture, embeddings.mean(2))
        loss, _ = noise_invariant_loss(mask_logits, noise_logits, targets, weight)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CONFIG.clip_norm)
        optimizer.step()

    torch.testing.assert_close(embedded(), cached)
    return {
        "name": "training step with cached queries",
        "detail": f"cpu preset, {CONFIG.batch_size} mixtures; "
        f"reference: {2 * 3 * CONFIG.batch_size} frames through the frozen EfficientNet-Lite0 at every step",
        "ours": lambda: step(cached),
        "reference": lambda: step(embedded()),
        "per": CONFIG.batch_size,
        "unit": "mixture",
    }


def prediction() -> dict[str, Any]:
    """The real-time factor of separating a file with one query."""
    seconds, rate = 30, 44_100
    model = build_model(CONFIG_NIT, torch.empty(0), 384).eval()
    spectrogram, query = build_spectrogram(CONFIG), torch.randn(1, 384)
    mixture = 0.1 * torch.randn(2, seconds * rate)
    return {
        "name": "prediction",
        "detail": f"cpu preset, {seconds} s of stereo at {rate} Hz with one query, resampling included",
        "ours": lambda: separate(model, spectrogram, mixture, rate, query),
        "per": seconds,
        "unit": "s of audio",
    }
