"""Ask a recording for a sound.

``python -m papers.clipsep.predict --audio mix.wav --query "a photo of a violin" --out violin.wav``

A query is an image file, or a text taken as it stands: the official inference adds no template, and the authors' demo
writes "a photo of ..." itself. Evaluation, in contrast, averages several prompts.

It uses the committed weights of ``clipsep`` unless ``--run`` or ``--checkpoint`` is given.

* Any length: overlapping segments are cross-faded (:meth:`Spectrogram.separate_long`).
* Any sampling rate: what the model hears is resampled, what it returns is resampled back, so an output has the input's
  rate and length. Nothing above half the model's own rate can be in an estimate; it stays in ``--rest``.
* Any number of channels: the masks are those of the mean of the channels, applied to each, which keeps a sound where it
  was in the stereo image.
* Several queries are answered in one pass of the U-Net. ``--rest`` is the part that no query claims: the mixture minus
  the mixture masked with min(1, sum of the masks), which is how NIT adds masks. For one query it is the mixture minus
  the estimate.
* The mask is soft, as in the official evaluation; ``--binary`` thresholds it at 0.5, as the official inference does.
* ``--noise`` writes the parts that the noise heads of CLIPSep-NIT take, one file a head; their query is the mean of
  the given ones. These parts lie in ``--rest`` too, and may lie in an estimate.
"""

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import librosa.display
import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from shared import UserError
from shared.clip import CLIP, load_clip
from shared.support.audio import mean_is_silent, read_audio, resample
from shared.support.command_line import can_write, command, note
from shared.support.figures import write_figure
from shared.support.files import write_atomic
from shared.support.images import read_image
from shared.support.weights import finite_weights, load_checkpoint, open_trained_run

from .audio import Spectrogram, magnitude, warp_positions
from .build import build_spectrogram, load_model
from .config import PRESETS, VARIANTS, Config
from .model import CLIPSep, load_official

WEIGHTS = Path(__file__).with_name("weights")
COLUMNS = 2000  # of a spectrogram in a figure; more are too narrow to be seen, and of an hour take minutes to draw


@dataclass(frozen=True)
class Options:
    """Separate the sounds that texts or images ask for from a recording."""

    audio: Path
    """The mixture: a WAV, FLAC, OGG or MP3 file of any length, rate and number of channels."""
    query: tuple[str, ...]
    """Sounds to separate: one or several texts such as "a photo of a violin", or image files that show the source."""
    out: tuple[Path, ...]
    """Sound files to write, one for each --query in the same order, with the rate, channels and length of --audio."""
    rest: Path | None = None
    """Sound file for the part of --audio that no --query claims."""
    noise: tuple[Path, ...] = ()
    """Sound files for the parts that the noise heads take, one for each head; a CLIPSep-NIT model has two."""
    figure: Path | None = None
    """Picture to write of the spectrograms and masks (.png, .pdf or .svg)."""
    run: Path | None = None
    """Folder of a trained run, or the .json file of committed weights; without it weights/clipsep.json of the paper."""
    checkpoint: Path | None = None
    """Weights of CLIPSep-NIT that the authors published (a .pt file), to use instead of --run."""
    binary: bool = False
    """Make the masks all or nothing, with a threshold of 0.5; without it they are soft."""
    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Read the mixture and the queries, separate, write what was asked for."""
    _check_outputs(options)
    mixture, rate, encoding = read_audio(options.audio)
    for path in [*options.out, *options.noise, *([options.rest] if options.rest else [])]:
        _format(path, len(mixture), rate, encoding)
    if options.run and options.checkpoint:
        raise UserError("--run and --checkpoint are both given; give the one whose model is to be used.")
    if options.checkpoint:
        config, model = official_model(options.checkpoint)
    else:
        config, model = trained_model(options.run or WEIGHTS / "clipsep.json")
    _check_noise(options, config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clip = load_clip(config.clip, pretrained=config.clip_weights, device=device)
    queries = torch.stack([embed(query, clip) for query in options.query])
    spectrogram = build_spectrogram(config).to(device)
    if rate > config.rate:
        note(f"the model hears up to {config.rate // 2} Hz; what is above is in no estimate, only in --rest.")
    if not mixture.any():
        note(f"{options.audio} is silent, and so is what is separated from it.")
    elif mean_is_silent(mixture):
        note(f"the channels of {options.audio} cancel each other: the model hears their mean, which is silent.")

    noise = bool(options.noise)
    result = separate(model.to(device), spectrogram, mixture, rate, queries, options.binary, noise)
    for path, estimate in zip([*options.out, *options.noise], [*result.estimates, *result.noise], strict=True):
        write_audio(path, estimate, rate, encoding)
    if options.rest:
        write_audio(options.rest, result.rest, rate, encoding)
    if options.figure:
        draw(options.figure, options.query, result, mixture, rate, spectrogram.cpu())


@dataclass(frozen=True)
class Separation:
    """Result of :func:`separate` for Q queries and a mixture (C, N)."""

    estimates: Tensor
    """One sound a query, (Q, C, N)."""
    rest: Tensor
    """The part that no query claims, (C, N)."""
    masks: Tensor
    """Masks of every segment, (Q, segments, bins, T); segments overlap by half."""
    noise: list[Tensor]
    """The part that each noise head takes, (C, N); empty unless asked for."""


@torch.no_grad()
def separate(
    model: nn.Module,
    spectrogram: Spectrogram,
    mixture: Tensor,
    rate: int,
    queries: Tensor,
    binary: bool = False,
    noise: bool = False,
) -> Separation:
    """Separate a mixture (C, N) at ``rate`` Hz with queries (Q, D). Everything returned is on the CPU."""
    wave = resample(mixture, rate, spectrogram.rate).to(queries.device)
    batches: list[Tensor] = []  # masks (B, Q, 1, bins, T)
    noise_batches: list[Tensor] = []  # (B, noise heads, 1, bins, T)

    def ask(log_mixture: Tensor) -> Tensor:
        logits, noise_logits = model(log_mixture, queries.expand(len(log_mixture), -1, -1))
        batches.append(logits.sigmoid())
        if noise:
            noise_batches.append(noise_logits.sigmoid())
        return batches[-1][:, 0]

    spectrogram.separate_long(wave.mean(0), ask)  # only for the masks
    # The front end clips to [-1, 1]. With headroom it never does: the masks are known, so the level is free.
    headroom = 4 * max(1.0, float(wave.abs().max()))

    def channel_with(masks: Sequence[Tensor], channel: Tensor) -> Tensor:
        known = iter(masks)
        return headroom * spectrogram.separate_long(channel / headroom, lambda _: next(known), binary)

    def masked(masks: Sequence[Tensor]) -> Tensor:
        channels = torch.stack([channel_with(masks, channel) for channel in wave]).cpu()
        return resample(channels, spectrogram.rate, rate)[:, : mixture.shape[1]]

    def each(of_all: list[Tensor]) -> list[Tensor]:
        """Every query's, or head's, share of the channels (C, N)."""
        return [masked(masks) for masks in zip(*(batch.unbind(1) for batch in of_all), strict=True)]

    estimates, taken = torch.stack(each(batches)), each(noise_batches)
    # Of binary masks the largest is the union; a sum of the soft ones could pass the threshold where none of them does.
    claimed = [masks.amax(1) if binary else masks.sum(1).clamp(max=1) for masks in batches]
    rest = mixture - (estimates[0] if len(queries) == 1 else masked(claimed))
    return Separation(estimates, rest, torch.cat(batches).squeeze(2).transpose(0, 1).cpu(), taken)


def trained_model(run: Path) -> tuple[Config, nn.Module]:
    """Configuration and model of a run's folder, or of the ``.json`` file of committed weights, in evaluation mode.

    Raises:
        UserError: no finished run there, of another version of the code, damaged, or of a variant without queries.
    """
    with open_trained_run(run, "clipsep", Config) as (variant, config, weights):
        if config.model != "clipsep":
            able = [name for name, v in VARIANTS.items() if v.changes.get("model", Config.model) == "clipsep"]
            raise UserError(
                f"{run} is a run of {variant}, which takes no text or image; give --run one of {', '.join(able)}."
            )
        model = load_model(config, weights)
    return config, model


def official_model(checkpoint: Path) -> tuple[Config, nn.Module]:
    """CLIPSep-NIT from the weights that the authors published, in evaluation mode, after its configuration.

    They published no other model; what their code trains of CLIPSep, of the paper's configuration, loads as well and
    has no noise heads.

    Raises:
        UserError: the file is damaged, holds more than tensors, or is of another network.
    """
    state = load_checkpoint(checkpoint)
    if not all(isinstance(name, str) and isinstance(x, Tensor) for name, x in state.items()):
        raise UserError(
            f"{checkpoint} holds more than named tensors; expected a state dict that the authors published."
        )
    heads: Literal[0, 2] = 2 if any("pit_nets." in name for name in state) else 0
    config = replace(PRESETS["paper"], noise_heads=heads)
    model = CLIPSep(channels=config.channels, num_levels=config.levels, width=config.width, noise_heads=heads)
    try:
        load_official(model, finite_weights(state))
    except (UserError, ValueError) as error:
        raise UserError(f"{checkpoint} is no model of the authors. {error}") from error
    return config, model.eval()


def embed(query: str, clip: CLIP) -> Tensor:
    """The raw embedding (D,) of an image file, if the query is one, else of the text as it stands."""
    if not query.strip():
        raise UserError("A --query is empty; expected a text such as 'a photo of a violin', or an image file.")
    if not os.path.isfile(query):
        if Path(query).suffix.lower() in Image.registered_extensions():
            raise UserError(f"There is no image {query}; give --query an image file that exists, or a text.")
        return clip.encode_text([query])[0]
    try:
        image = read_image(Path(query), "--query")
    except UserError as error:
        raise UserError(f"The query is a file but not a whole image: {error} Give an image or text.") from error
    return clip.encode_image(clip.preprocess(image)[None].to(clip.device))[0]


def write_audio(path: Path, samples: Tensor, rate: int, encoding: str) -> None:
    """Write samples (C, N) in the format of the file's suffix, in the given encoding if the format can hold it.

    What lies beyond full scale is clipped if the encoding cannot hold it, and the user told.
    """
    form, subtype = _format(path, len(samples), rate, encoding)
    beyond = int((samples.abs() > 1 + 2**-15).sum())  # less is rounding
    if beyond and subtype not in ("FLOAT", "DOUBLE"):
        peak = 20 * float(samples.abs().max().log10())
        note(
            f"{beyond} samples of {path}, up to {peak:+.2f} dB, are clipped at full scale; lower the level of --audio."
        )
        samples = samples.clamp(-1, 1)

    def encode(file: Any) -> None:
        with soundfile.SoundFile(file, "w", rate, len(samples), subtype, format=form) as sound:
            for block in samples.T.split(65_536):  # libsndfile crashes where it gets minutes of Vorbis at once
                sound.write(block.numpy())

    write_atomic(path, encode)
    print(f"Wrote {path}.")


def _format(path: Path, channels: int, rate: int, encoding: str) -> tuple[str, str]:
    """Format of a file to write, and the given encoding if that format can be written with it, else its usual one.

    Raises UserError, before minutes are spent, if the format does not hold so many channels at this rate.
    """
    form = path.suffix[1:].upper()
    for subtype in (encoding, soundfile.default_subtype(form)):
        if _comes_back(form, subtype, channels, rate):
            return form, subtype
    raise UserError(f"{path}: {form} holds no {channels} channels at {rate} Hz, as --audio has; name it .wav or .flac.")


def _comes_back(form: str, subtype: str, channels: int, rate: int) -> bool:
    """Whether a sound that is written comes back with its length and rate: not of all encodings that can be read."""
    samples, file = np.zeros((999, channels), np.float32), io.BytesIO()
    try:
        with soundfile.SoundFile(file, "w", rate, channels, subtype, format=form) as sound:
            sound.write(samples)
        file.seek(0)
        found, found_rate = soundfile.read(file, always_2d=True)
        return (found.shape, found_rate) == (samples.shape, rate)
    except (soundfile.LibsndfileError, ValueError):  # ValueError: the format does not know the encoding
        return False


def draw(
    path: Path, queries: Sequence[str], result: Separation, mixture: Tensor, rate: int, spectrogram: Spectrogram
) -> None:
    """Log-frequency spectrograms of the mixture and of every estimate, with the mask between them."""
    bins, frames = result.masks.shape[2:]
    half = (spectrogram.frames - 1) * spectrogram.hop / 2 / spectrogram.rate  # seconds from one segment to the next
    # A segment weighs most in its middle; only there, and at both ends of the whole, its mask is shown.
    begins, middles, ends = result.masks.split([frames // 4, frames // 2, frames - frames // 4 - frames // 2], dim=-1)
    masks = torch.cat([begins[:, 0], middles.transpose(1, 2).flatten(2), ends[:, -1]], dim=-1)
    end = (result.masks.shape[1] + 1) * half
    seconds = mixture.shape[1] / rate

    def level(wave: Tensor) -> Tensor:
        mono = resample(wave.mean(0, keepdim=True), rate, spectrogram.rate)[0]
        return spectrogram.network_input(magnitude(spectrogram.stft(mono))) * (20 / np.log(10))

    hearing = level(mixture)
    decibel, share = (float(hearing.max()) - 60, float(hearing.max())), (0.0, 1.0)
    panels = [("mixture", hearing, seconds, decibel)]
    for query, mask, estimate in zip(queries, masks, result.estimates, strict=True):
        panels += [(f"mask: {query}", mask, end, share), (query, level(estimate), seconds, decibel)]
    hertz = (warp_positions(bins).numpy() + 1) / 4 * spectrogram.rate
    figure = Figure(figsize=(8, 1.7 * len(panels)), layout="constrained")
    rows = figure.subplots(len(panels), sharex=True)
    for axis, (title, values, until, (low, high)) in zip(rows, panels, strict=True):
        shown = F.adaptive_avg_pool1d(values, min(COLUMNS, values.shape[1])).numpy()
        image = librosa.display.specshow(
            shown,
            x_coords=np.linspace(0, until, shown.shape[1]),
            y_coords=hertz,
            x_axis="s",
            y_axis="log",
            ax=axis,
            vmin=low,
            vmax=high,
            cmap="magma",
        )
        axis.set(title=title.replace("$", r"\$"), xlim=(0, seconds))
        axis.label_outer()
        figure.colorbar(image, ax=axis, label="dB" if (low, high) == decibel else "")
    write_figure(figure, path, dpi=120)
    print(f"Wrote {path}.")


def _check_outputs(options: Options) -> None:
    """Say what is wrong with the command line before minutes are spent on it."""
    if not options.query or len(options.out) != len(options.query):
        raise UserError(
            f"{len(options.query)} queries and {len(options.out)} files to write; give --out one file for each --query."
        )
    sounds = [*options.out, *([options.rest] if options.rest else []), *options.noise]
    written = [*sounds, *([options.figure] if options.figure else [])]
    if len({path.resolve() for path in [options.audio, *written]}) <= len(written):
        raise UserError("Two of --audio, --out, --rest, --noise and --figure are one file; give each its own name.")
    for path in sounds:
        if path.suffix[1:].upper() not in soundfile.available_formats().keys() - {"RAW", "SD2"}:  # no header; two files
            raise UserError(f"{path} has no suffix of a sound format; name it .wav, .flac, .ogg or .mp3.")
    if options.figure and options.figure.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--figure {options.figure} has no suffix of a picture; name it .png, .pdf or .svg.")
    for path in written:
        can_write(path)


def _check_noise(options: Options, config: Config) -> None:
    if options.noise and not config.noise_heads:
        raise UserError(
            f"--noise is given, but the model has no noise heads; give --run a run of clipsep-nit, such as "
            f"{WEIGHTS / 'clipsep-nit.json'}, or leave --noise out."
        )
    if options.noise and len(options.noise) != config.noise_heads:
        raise UserError(
            f"The model has {config.noise_heads} noise heads, but --noise names {len(options.noise)} files; give one "
            "file for each head."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {__package__}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
