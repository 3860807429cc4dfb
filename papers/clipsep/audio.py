"""Signal front end: STFT, log-frequency warp, mixing, targets, and the way back from masks to waveforms.

Waveforms are mono float tensors in [-1, 1]. Spectrograms are ``(..., F, T)``: F = n_fft // 2 + 1 linear-frequency bins
(or ``bins`` log-frequency bins after the warp) and T = 1 + segment // hop frames.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from shared import UserError

MAGNITUDE_FLOOR = 1e-10  # added to the linear-frequency mixture, before the warp and the logarithm


class Spectrogram(nn.Module):
    """The front end of one preset; holds window and warp tables, so ``.to(device)`` moves it like any module.

    ``rate`` Hz, ``segment`` samples, ``n_fft`` and ``hop`` samples, ``bins`` log-frequency bins (None: stay linear).
    The paper's values are the defaults. Periodic Hann window of n_fft samples, centred frames, zero padding, no
    normalisation. Source: official code.
    """

    window: Tensor

    def __init__(
        self, rate: int = 16_000, segment: int = 65_535, n_fft: int = 1024, hop: int = 256, bins: int | None = 256
    ) -> None:
        super().__init__()
        self.rate, self.segment, self.n_fft, self.hop, self.bins = rate, segment, n_fft, hop, bins
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.warp: nn.Module
        self.unwarp: nn.Module
        if bins is not None:
            self.warp = LinearResampling(warp_positions(bins), n_fft // 2 + 1)
            self.unwarp = LinearResampling(unwarp_positions(n_fft // 2 + 1), bins)
        else:
            self.warp = self.unwarp = nn.Identity()

    @property
    def frames(self) -> int:
        """T, the number of frames of a segment."""
        return 1 + self.segment // self.hop

    def stft(self, wave: Tensor) -> Tensor:
        """Waveform (..., N) -> complex spectrogram (..., F, 1 + N // hop)."""
        spectrum = torch.stft(
            wave.flatten(0, -2) if wave.ndim > 1 else wave,
            self.n_fft,
            self.hop,
            window=self.window,
            pad_mode="constant",
            return_complex=True,
        )
        return spectrum.reshape(*wave.shape[:-1], *spectrum.shape[-2:])

    def istft(self, spectrum: Tensor) -> Tensor:
        """Complex spectrogram (..., F, T) -> waveform (..., (T - 1) * hop)."""
        wave = torch.istft(
            spectrum.flatten(0, -3) if spectrum.ndim > 2 else spectrum, self.n_fft, self.hop, window=self.window
        )
        return wave.reshape(*spectrum.shape[:-2], wave.shape[-1])

    def network_input(self, mixture: Tensor) -> Tensor:
        """Mixture magnitude (..., F, T) -> natural log of the warped magnitude (..., bins, T)."""
        return self.warp(mixture + MAGNITUDE_FLOOR).log()

    def targets(self, mags: Tensor, mixture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Network input, targets and weights of one training step, from linear-frequency magnitudes.

        ``mags`` (B, n, 1, F, T) of the sources and ``mixture`` (B, 1, F, T), both before warping -> log mixture
        (B, 1, bins, T), binary targets M (B, n, 1, bins, T) and weights W = clamp(ln(1 + X), 1e-3, 10) (B, 1, bins, T).
        """
        warped = self.warp(mixture + MAGNITUDE_FLOOR)
        weight = warped.log1p().clamp(1e-3, 10)
        return warped.log(), ideal_binary_mask(self.warp(mags), warped.unsqueeze(1)), weight

    def reconstruct(self, mask: Tensor, mixture: Tensor, binary: bool = False) -> Tensor:
        """Apply masks to a mixture and return to the time domain.

        ``mask`` (..., bins, T) in [0, 1], ``mixture`` complex (..., F, T) -> waveform (..., (T - 1) * hop), clipped to
        [-1, 1]. The mixture's phase is kept. ``binary`` thresholds the unwarped mask at 0.5 (strictly).
        """
        mask = self.unwarp(mask)
        if binary:
            mask = (mask > 0.5).to(mask.dtype)
        return self.istft(mask * mixture).clamp(-1, 1)

    def separate_long(
        self, wave: Tensor, mask_of: Callable[[Tensor], Tensor], binary: bool = False, batch_size: int = 16
    ) -> Tensor:
        """Separate a waveform of any length, (N,) -> (N,).

        ``mask_of`` maps log mixtures (B, 1, bins, T) to mask probabilities of the same shape, for example
        ``lambda x: model.separate(x, query.expand(len(x), -1))``. Segments overlap by half and are cross-faded with a
        periodic Hann window, whose halves add up to one: masks of ones give back the input. The first segment is not
        faded in and the last not faded out. The official code cuts the file into adjacent segments without overlap,
        which leaves seams; as there, what the last segment lacks is filled by repeating the input.
        """
        length = len(wave)
        if length == 0:
            raise UserError("The audio has no samples; nothing can be separated. Give a file with sound in it.")
        usable = (self.frames - 1) * self.hop  # what istft returns of a segment
        stride = usable // 2
        count = max(1, math.ceil(length / stride) - 1)
        needed = (count - 1) * stride + self.segment
        segments = wave.repeat(math.ceil(needed / length))[:needed].unfold(0, self.segment, stride)
        fade = torch.hann_window(usable, dtype=wave.dtype, device=wave.device)
        result = wave.new_zeros((count + 1) * stride)
        for start in range(0, count, batch_size):
            spectrum = self.stft(segments[start : start + batch_size].unsqueeze(1))
            parts = self.reconstruct(mask_of(self.network_input(magnitude(spectrum))), spectrum, binary).squeeze(1)
            for index, part in enumerate(parts, start):
                rising = part[:stride] if index == 0 else part[:stride] * fade[:stride]
                falling = part[stride:] if index == count - 1 else part[stride:] * fade[stride:]
                result[index * stride : (index + 2) * stride] += torch.cat([rising, falling])
        return result[:length]


class LinearResampling(nn.Module):
    """Linear interpolation along frequency, (..., rows, T) -> (..., len(positions), T).

    ``positions`` lie in [-1, 1], the first and the last of ``rows``. Equals ``grid_sample(align_corners=True)`` on a
    grid whose time axis is the identity, which is how the official code warps.
    """

    lower: Tensor
    upper: Tensor
    fraction: Tensor

    def __init__(self, positions: Tensor, rows: int) -> None:
        super().__init__()
        row = ((positions + 1) / 2 * (rows - 1)).clamp(0, rows - 1)
        self.register_buffer("lower", row.long(), persistent=False)
        self.register_buffer("upper", (row.long() + 1).clamp(max=rows - 1), persistent=False)
        self.register_buffer("fraction", (row - row.floor()).float().unsqueeze(-1), persistent=False)

    def forward(self, spectrogram: Tensor) -> Tensor:
        lower, upper = spectrogram.index_select(-2, self.lower), spectrogram.index_select(-2, self.upper)
        return torch.lerp(lower, upper, self.fraction.to(lower.dtype))


def warp_positions(bins: int) -> Tensor:
    """Positions of ``bins`` log-frequency bins on the linear axis: y(v) = (21^((v+1)/2) - 11) / 10, v in [-1, 1].

    float64 (bins,) in [-1, 1], lowest to highest frequency.
    """
    v = torch.linspace(-1, 1, bins, dtype=torch.float64)
    return (21 ** ((v + 1) / 2) - 11) / 10


def unwarp_positions(rows: int) -> Tensor:
    """Positions of ``rows`` linear bins on the log-frequency axis: y(v) = 2 ln(10 v + 11) / ln 21 - 1."""
    v = torch.linspace(-1, 1, rows, dtype=torch.float64)
    return 2 * (10 * v + 11).log() / math.log(21) - 1


def magnitude(spectrum: Tensor) -> Tensor:
    """|S| of a complex spectrogram of any shape; on CPUs in less than half the time of ``abs``."""
    return spectrum.real.square().addcmul(spectrum.imag, spectrum.imag).sqrt()


def ideal_binary_mask(mags: Tensor, mixture: Tensor) -> Tensor:
    """M_i = 1 where a source is stronger than half the mixture, else 0; ``mags`` and ``mixture`` (..., F, T) broadcast.

    Strict, and against the mixture, not the other source: where phases cancel both can be 1, rarely both are 0.
    """
    return (mags > 0.5 * mixture).to(mags.dtype)


def centre_sample(frame: int, frames_per_second: float, rate: int) -> int:
    """First sample of the middle of a video frame; ``frame`` counts from 1. Evaluation uses frame n_frames // 2."""
    return int((frame - 0.5) / frames_per_second * rate)


def crop_segment(wave: Tensor, centre: int, length: int) -> Tensor:
    """The ``length`` samples of ``wave`` (N,) around sample ``centre``, zeros where the recording has none.

    A recording shorter than ``length`` is first repeated ``length // N + 1`` times. As in the official loader
    ``length // 2`` samples are taken on either side, so the last sample of an odd length stays zero.
    """
    if len(wave) < length:
        wave = wave.repeat(length // len(wave) + 1)
    half = length // 2
    start, end = max(0, centre - half), min(len(wave), centre + half)
    segment = wave.new_zeros(length)
    if start < end:
        segment[half - (centre - start) : half + (end - centre)] = wave[start:end]
    return segment


def mix(segments: Tensor, gains: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
    """Sources and mixture: each of ``segments`` (..., n, N) is scaled, clipped to [-1, 1] and *then* divided by n.

    Returns the sources (..., n, N), which are the references of the evaluation, and their sum (..., N).
    Training draws ``gains`` (broadcastable to ``segments``) from U(0.5, 1.5); evaluation leaves them at 1.
    """
    sources = (segments * gains).clamp(-1, 1) / segments.shape[-2]
    return sources, sources.sum(dim=-2)
