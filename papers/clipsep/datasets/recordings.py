"""The offline default: solos of instruments and recordings of animals, which come with pictures.

Solos have notes of their own for training, validation and test; an animal's recording is cut in time. Out of these
parts come short "videos": a stretch of sound with frames that show the picture on ever new backgrounds. Training videos
can carry an off-screen sound, as videos in the wild do. Recordings of other players, from another source than the
solos, are never trained on.
"""

import hashlib
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import scipy.fft
import torch
from safetensors.torch import load_file, save
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, sosfilt
from torch import Tensor

import shared.clip
from shared.clip import load_clip
from shared.loading import cache_file
from shared.offline import cutouts, packs, towers
from shared.offline.cutouts import Cutout, load_backgrounds, load_cutouts, render_cutout
from shared.offline.towers import SentenceEncoder, in_batches
from shared.support import audio
from shared.support.files import write_atomic
from shared.support.progress import track

from ..config import Config
from . import clips, instruments
from .clips import PROMPTS, TRAINING_PROMPT, Clip, Pair, Queries, interference_index, scaled_as_queries
from .instruments import Instrument, load_instruments, load_solos

# Animals with at least 2.7 s of sound without pauses, whose picture and name the offline towers tell from all others',
# and which were separated on validation mixtures.
ANIMALS = (
    "animals/birds/penguin",
    "animals/birds/seagull",
    "animals/birds/tucan",
    "animals/marsupials/koala",
)
SPLITS = {"train": (0.0, 0.55), "validation": (0.55, 0.7), "test": (0.7, 1.0)}  # of an animal's recording
PLAYERS = {"validation": (0.0, 0.3), "test": (0.3, 1.0)}  # of another player's recording
GUARD = 0.03  # seconds between two parts; the filter that resamples to 16 kHz is half as long
VIDEO_SECONDS = 3.0
FRAMES_PER_SECOND = 4.0
VIDEOS = {"train": 48, "validation": 6, "test": 10}  # of each class
TEST_VIEWS = 6  # renderings of each picture, at most as many as training has
SCALE = (0.6, 0.9)  # size of the picture in the frame
LOUDNESS = 0.1  # root mean square of every recording without its pauses
OFFSCREEN = (0.4, 1.0)  # range of an off-screen sound's root mean square, as a share of that
PAUSE = 0.1  # what is quieter than this part of a recording's loudest 50 ms, for 50 ms, is a pause
OTHER_ROOMS = 0.75  # share of the training videos that are heard through another microphone, in another room
FLOOR = (-70.0, -35.0)  # decibels of that microphone's noise, against the sound; a rendered solo has none
# Mixtures to look at and to listen to, picked since they are separated: set, what is asked for, what it is mixed with.
EXAMPLES = (
    ("recordings", "maracas", "piano"),
    ("solos", "violin", "cello"),
    ("recordings", "trumpet", "guitar"),
    ("solos", "toucan", "piano"),
)
PCM = 32_768  # steps of a 16-bit sample up to 1

Sets = dict[str, list[Pair]]


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Make the videos and embed what they show and are called, once (half a minute on one core)."""
    path = stored_file(config, cache)
    if not path.exists():
        write_atomic(path, save(_build(config)))
    train, held_out, _, queries = load(config, cache)
    tests = held_out["test"]
    players = len({pair.target.label for pair in tests["recordings"]})
    return {
        "name": f"solos of {players} instruments and recordings of {len(queries) - players} animals, with pictures; "
        f"tested on new notes, and on recordings of other players",
        "train": len(train),
        "test": sum(map(len, tests.values())),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def load(config: Config, cache: Path) -> tuple[list[Clip], dict[str, Sets], Sets, Queries]:
    """Training clips, held-out sets and examples by split, and label texts, from what :func:`prepare` left.

    The sets are ``solos`` (new notes, and animals), ``recordings`` (other players), and both with off-screen sounds in
    the interference (``solos+``, ``recordings+``), in which the targets stay clean.
    """
    stored = load_file(stored_file(config, cache))
    labels = bytes(stored["labels"].tolist()).decode().split("\n")
    queries = Queries(labels, stored["text"], stored["training_text"], scaled_as_queries(stored["sentence"]))
    held_out: dict[str, Sets] = {"validation": {}, "test": {}}
    examples: Sets = {}
    for split, sets in held_out.items():
        clean = {name: _clips(stored, labels, f"{name}.{split}", 0.0) for name in ("solos", "recordings")}
        for name, clips_ in clean.items():
            sets[name] = _pairs(clips_, clips_)
        for name, clips_ in clean.items():
            sets[f"{name}+"] = _pairs(clips_, _clips(stored, labels, f"{name}.{split}", 1.0))
        first = {name: {clip.label: clip for clip in reversed(clips_)} for name, clips_ in clean.items()}
        named = {label: number for number, label in enumerate(labels)}
        examples[split] = [Pair(first[s][named[wanted]], first[s][named[other]]) for s, wanted, other in EXAMPLES]
    train = _clips(stored, labels, "solos.train", config.contaminated)
    return train, held_out, examples, queries


def stored_file(config: Config, cache: Path) -> Path:
    """The prepared data."""
    modules = (clips, instruments, shared.clip, towers, cutouts, packs, audio, sys.modules[__name__])
    return cache_file(
        cache, "recordings.safetensors", *modules, config.clip, config.clip_weights, config.rate, config.views
    )


def _clips(stored: dict[str, Tensor], labels: list[str], part: str, contaminated: float) -> list[Clip]:
    heard = stored[f"{part}.chance"] < contaminated
    waves = stored[f"{part}.wave"].float()
    if contaminated:
        waves += stored[f"{part}.offscreen"] * heard[:, None]
    waves.div_(PCM).clamp_(-1, 1)
    views = stored["views.train" if part.endswith(".train") else "views.test"]
    made, counts = [], [0] * len(labels)
    for wave, label, shown in zip(waves, stored[f"{part}.label"].tolist(), stored[f"{part}.shown"], strict=True):
        name = f"{labels[label]} ({part} {counts[label]})"
        counts[label] += 1
        made.append(Clip(name, label, partial(_same, wave), views[label, shown], FRAMES_PER_SECOND))
    return made


def _same(wave: Tensor) -> Tensor:
    return wave


def _pairs(targets: list[Clip], interferers: list[Clip]) -> list[Pair]:
    """Each target with one interferer of another class, drawn as the official evaluation draws it."""
    pairs = []
    for item, target in enumerate(targets):
        others = [clip for clip in interferers if clip.label != target.label]
        pairs.append(Pair(target, others[interference_index(item, len(others))]))
    return pairs


# -- how the videos are made ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A class: what is seen, and its sounds (N,) by part ("solos.train", "recordings.test", ...)."""

    picture: Cutout | Instrument
    parts: dict[str, Tensor]


def _build(config: Config) -> dict[str, Tensor]:
    """Everything that is stored: sounds, off-screen sounds and frames of each part; embeddings; label names."""
    sources = classes(config.rate)
    labels = [source.picture.label for source in sources]
    clip = load_clip(config.clip, pretrained=config.clip_weights)
    stored = {
        "labels": torch.tensor(list("\n".join(labels).encode()), dtype=torch.uint8),
        "text": clip.encode_prompts(labels, PROMPTS),
        "training_text": clip.encode_prompts(labels, [TRAINING_PROMPT]),
        "sentence": in_batches(SentenceEncoder(), labels),
    }
    views = {"train": config.views, "test": min(config.views, TEST_VIEWS)}
    for split, count in views.items():
        rng = np.random.default_rng((0, split == "train"))
        embeddings = []
        for source in track(sources, f"embedding {split} pictures"):
            frames = torch.stack([clip.preprocess(_frame(source.picture, split, rng)) for _ in range(count)])
            embeddings.append(clip.encode_image(frames))
        stored[f"views.{split}"] = torch.stack(embeddings)
    offscreen = _offscreen(config.rate)
    for number, part in enumerate(dict.fromkeys(part for source in sources for part in source.parts)):
        sounds = {label: source.parts[part] for label, source in enumerate(sources) if part in source.parts}
        split = part.rpartition(".")[2]
        count = views["train" if split == "train" else "test"]
        made = _videos(split, sounds, offscreen[split], count, config.rate, np.random.default_rng((1, number)))
        stored |= {f"{part}.{name}": column for name, column in made.items()}
    return stored


def classes(rate: int) -> list[Source]:
    """The instruments, then :data:`ANIMALS`: sounds at ``rate`` Hz without pauses, at a common loudness."""
    solos: dict[str, dict[str, list[np.ndarray]]] = {}
    for solo in track(load_solos(), "reading instrument solos"):
        solos.setdefault(solo.instrument, {}).setdefault(solo.split, []).append(_levelled(solo.sound(rate), rate))
    sources = []
    for instrument in load_instruments():
        parts = {f"solos.{split}": torch.from_numpy(np.concatenate(p)) for split, p in solos[instrument.name].items()}
        parts |= _cut("recordings", _levelled(instrument.recording(rate), rate), PLAYERS, rate)
        sources.append(Source(instrument, parts))
    named = {cutout.name: cutout for cutout in load_cutouts(sounding=True)}
    for name in ANIMALS:
        sources.append(Source(named[name], _cut("solos", _levelled(named[name].sound(rate), rate), SPLITS, rate)))
    return sources


def _cut(name: str, wave: np.ndarray, parts: dict[str, tuple[float, float]], rate: int) -> dict[str, Tensor]:
    """Parts of one recording that are :data:`GUARD` seconds apart."""
    guard, length = round(GUARD * rate), len(wave)
    spans = {split: wave[round(start * length) : round(end * length) - guard] for split, (start, end) in parts.items()}
    return {f"{name}.{split}": torch.from_numpy(span.copy()) for split, span in spans.items()}


def _frame(picture: Cutout | Instrument, split: str, rng: np.random.Generator) -> np.ndarray:
    """The picture, large, on plain paper or before a monument; training and test never share a monument."""
    cutout = cast(Cutout, picture)  # of which only the image is asked for
    monuments = load_backgrounds("monument")[0 if split == "train" else 1 :: 2]
    if rng.random() < 0.5:
        shade = int(rng.integers(128, 256))
        return render_cutout(cutout, 224, rng, (shade, shade, shade), scale=SCALE)
    return render_cutout(cutout, 224, rng, monuments[int(rng.integers(len(monuments)))], scale=SCALE)


def _offscreen(rate: int) -> dict[str, list[Tensor]]:
    """Recordings of all else that sounds, some for each split: sounds without a picture, which nobody asks for."""
    stamps = [stamp for stamp in load_cutouts(sounding=True) if stamp.name not in ANIMALS]
    stamps = [stamp for stamp in stamps if "music" not in stamp.category]  # instruments are asked for
    waves = [torch.from_numpy(_levelled(stamp.sound(rate), rate)) for stamp in stamps]
    turns = ("train", "test", "train", "validation", "train")
    return {split: [wave for i, wave in enumerate(waves) if turns[i % len(turns)] == split] for split in SPLITS}


def _levelled(wave: np.ndarray, rate: int) -> np.ndarray:
    """The sound without its pauses, at a common loudness: any second of it is something to separate."""
    width = rate // 20
    power = uniform_filter1d(wave.astype(np.float64) ** 2, width, mode="constant")
    loud = (power > PAUSE**2 * power.max()).astype(np.float64)
    return _loud(wave[uniform_filter1d(loud, width, mode="constant") > 0.5 / width])


def _loud(wave: np.ndarray) -> np.ndarray:
    return np.clip(wave * LOUDNESS / np.sqrt(np.mean(wave**2)), -1, 1).astype(np.float32)


def _videos(
    split: str, sounds: dict[int, Tensor], offscreen: list[Tensor], views: int, rate: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """``VIDEOS[split]`` videos of every class: what is seen and heard, and what is only heard."""
    length, frames = round(VIDEO_SECONDS * rate), round(VIDEO_SECONDS * FRAMES_PER_SECOND)
    columns: dict[str, list[Any]] = {"wave": [], "offscreen": [], "chance": [], "shown": [], "label": []}
    for label, sound in sounds.items():
        for _ in range(VIDEOS[split]):
            wave = _stretch(sound, length, rng).numpy()
            if split == "train" and rng.random() < OTHER_ROOMS:
                wave = _loud(_in_another_room(wave, rate, rng))
            columns["wave"].append(_pcm(wave))
            columns["offscreen"].append(_pcm(_contamination(offscreen, length, rate, rng)))
            columns["chance"].append(torch.tensor(rng.random()))
            columns["shown"].append(torch.from_numpy(rng.integers(0, views, frames)))
            columns["label"].append(torch.tensor(label))
    return {name: torch.stack(column) for name, column in columns.items()}


def _pcm(wave: np.ndarray) -> Tensor:
    """A sound in 16 bits, as the files of the paper's videos have it."""
    return torch.from_numpy((wave * PCM).round().clip(-PCM, PCM - 1).astype(np.int16))


def _stretch(wave: Tensor, length: int, rng: np.random.Generator) -> Tensor:
    """A random stretch of a sound that is repeated if it is too short."""
    repeated = wave.repeat(length // len(wave) + 2) if len(wave) < length else wave
    start = int(rng.integers(0, len(repeated) - length + 1))
    return repeated[start : start + length]


def _in_another_room(wave: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """The sound through a random equaliser, with a random echo that dies away and the noise of a microphone."""
    octaves = 62.5 * 2.0 ** np.arange(8)  # Hz, up to 8 kHz
    decibel = rng.normal(0, 4, len(octaves))
    echo = rng.standard_normal(rate // 2) * np.exp(-np.arange(rate // 2) / (rate * rng.uniform(0.02, 0.12)))
    response = 10 ** (rng.uniform(-15, -3) / 20) * echo / np.sqrt(np.sum(echo**2))
    response[0] = 1.0
    size = scipy.fft.next_fast_len(len(wave) + len(response), real=True)
    hertz = np.fft.rfftfreq(size, 1 / rate)
    gain = 10 ** (np.interp(np.log2(hertz.clip(min=1)), np.log2(octaves), decibel) / 20)
    heard = scipy.fft.irfft(scipy.fft.rfft(wave, size) * scipy.fft.rfft(response, size) * gain, size)[: len(wave)]
    floor = 10 ** (rng.uniform(*FLOOR) / 20) * np.sqrt(np.mean(heard**2))
    return heard + floor * rng.standard_normal(len(heard))


def _contamination(others: list[Tensor], length: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A sound without a picture: a recording of something else or coloured noise; half the noises start quietly."""
    level = LOUDNESS * rng.uniform(*OFFSCREEN)
    if rng.random() < 0.5:
        sound = _stretch(others[int(rng.integers(len(others)))], length, rng).numpy()
    else:
        low, high = np.sort(rng.uniform(0.02, 0.9, 2))
        kind = rng.choice(["lowpass", "highpass", "bandpass"])
        edges = {"lowpass": high, "highpass": low, "bandpass": (low, min(high + 0.05, 0.95))}[kind]
        sound = sosfilt(butter(4, edges, kind, output="sos"), rng.standard_normal(length))
        if rng.random() < 0.5:
            sound[: length // 2] *= 0.1
    return (level * sound / np.sqrt(np.mean(sound**2))).astype(np.float32)
