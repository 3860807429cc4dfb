"""The offline default: recordings of animals, objects and instruments that come with photographs and captions.

Every recording is cut in time into training, validation and test parts; instruments also have solos, rendered with
notes of their own for each part. Out of the parts come short "videos": a stretch of sound with frames that show the
photograph on ever new backgrounds. Training videos can carry an off-screen sound, as videos in the wild do.
"""

import hashlib
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
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
from . import clips, solos
from .clips import PROMPTS, TRAINING_PROMPT, Clip, Pair, Queries, interference_index, scaled_as_queries
from .solos import load_solos

SPLITS = {"train": (0.0, 0.6), "validation": (0.6, 0.75), "test": (0.75, 1.0)}
GUARD = 0.03  # seconds between two parts; the filter that resamples to 8 kHz is 0.024 s long
SHORTEST = 0.6  # seconds; shorter recordings cannot be divided and serve as off-screen sounds in training only
TEST_CONTAMINATED = 0.8  # share of the test interferers with an off-screen sound; the targets are clean ("clean+")
VIDEO_SECONDS = 2.0
FRAMES_PER_SECOND = 4.0
VIDEOS = {"train": 16, "validation": 3, "test": 3}  # of each class
TEST_VIEWS = 6  # renderings of each photograph, at most as many as training has
SCALE = (0.6, 0.9)  # size of the photograph in the frame
LOUDNESS = 0.1  # root mean square of every recording without its pauses
PAUSE = 0.1  # what is quieter than this part of a recording's loudest 50 ms, for 50 ms, is a pause


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Make the videos and embed what they show and are called, once (most of a minute on one core)."""
    path = stored_file(config, cache)
    if not path.exists():
        write_atomic(path, save(_build(config)))
    train, _, tests, queries = load(config, cache)
    return {
        "name": f"embedded recordings of {len(queries)} animals, objects and instruments that have photographs",
        "train": len(train),
        "test": sum(map(len, tests.values())),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def load(config: Config, cache: Path) -> tuple[list[Clip], list[Pair], dict[str, list[Pair]], Queries]:
    """Training clips, validation pairs, test sets and label texts, from what :func:`prepare` left."""
    stored = load_file(stored_file(config, cache))
    labels = bytes(stored["labels"].tolist()).decode().split("\n")
    queries = Queries(labels, stored["text"], stored["training_text"], scaled_as_queries(stored["sentence"]))
    train = _clips(stored, labels, "train", config.contaminated)
    held_out = {}
    for split in ("validation", "test"):
        targets = _clips(stored, labels, split, 0.0)
        held_out[split] = _pairs(targets, _clips(stored, labels, split, TEST_CONTAMINATED))
    return train, held_out["validation"], {"clean+": held_out["test"]}, queries


def stored_file(config: Config, cache: Path) -> Path:
    """The prepared data."""
    modules = (clips, solos, shared.clip, towers, cutouts, packs, audio, sys.modules[__name__])
    return cache_file(
        cache, "recordings.safetensors", *modules, config.clip, config.clip_weights, config.rate, config.views
    )


def _clips(stored: dict[str, Tensor], labels: list[str], split: str, contaminated: float) -> list[Clip]:
    heard = stored[f"{split}.chance"] < contaminated
    waves = (stored[f"{split}.wave"] + stored[f"{split}.offscreen"] * heard[:, None]).clamp(-1, 1)
    shown, views = stored[f"{split}.shown"], stored["views.train" if split == "train" else "views.test"]
    made = []
    for number, wave in enumerate(waves):
        label, which = divmod(number, VIDEOS[split])
        frames = views[label, shown[number]]
        made.append(Clip(f"{labels[label]} ({split} {which})", label, partial(_same, wave), frames, FRAMES_PER_SECOND))
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


def _build(config: Config) -> dict[str, Tensor]:
    """Everything that is stored: sounds, off-screen sounds and frames of each split; embeddings; label names."""
    found = classes(config.rate)
    labels = [stamp.label for stamp, _ in found]
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
        for stamp, _ in track(found, f"embedding {split} photographs"):
            frames = torch.stack([clip.preprocess(_frame(stamp, split, rng)) for _ in range(count)])
            embeddings.append(clip.encode_image(frames))
        stored[f"views.{split}"] = torch.stack(embeddings)
    for number, split in enumerate(SPLITS):
        offscreen = _offscreen(config.rate) if split == "train" else []
        count = views["train" if split == "train" else "test"]
        parts, rng = [p[split] for _, p in found], np.random.default_rng((1, number))
        stored |= _videos(split, parts, offscreen, count, config.rate, rng)
    return stored


def classes(rate: int) -> list[tuple[Cutout, dict[str, Tensor]]]:
    """Everything with a photograph and :data:`SHORTEST` seconds of sound without pauses, or with a solo.

    Returns: its stamp, and its sound (N,) in each split.
    """
    rendered: dict[str, dict[str, np.ndarray]] = {}
    for solo in track(load_solos(), "reading instrument solos"):
        rendered.setdefault(solo.stamp, {})[solo.split] = _levelled(solo.sound(rate), rate)
    found = []
    for stamp in track(load_cutouts(), "reading recordings"):
        parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
        if stamp.has_sound and len(wave := _levelled(stamp.sound(rate), rate)) >= SHORTEST * rate:
            for split, (start, end) in SPLITS.items():
                parts[split].append(wave[round(start * len(wave)) : round(end * len(wave)) - round(GUARD * rate)])
        for split, wave in rendered.get(stamp.name, {}).items():
            parts[split].append(wave)
        if parts["train"]:
            found.append((stamp, {split: torch.from_numpy(np.concatenate(p)) for split, p in parts.items()}))
    return found


def _frame(stamp: Cutout, split: str, rng: np.random.Generator) -> np.ndarray:
    """The photograph, large, on plain paper or before a monument; training and test never share a monument."""
    monuments = load_backgrounds("monument")[0 if split == "train" else 1 :: 2]
    if rng.random() < 0.5:
        shade = int(rng.integers(128, 256))
        return render_cutout(stamp, 224, rng, (shade, shade, shade), scale=SCALE)
    return render_cutout(stamp, 224, rng, monuments[int(rng.integers(len(monuments)))], scale=SCALE)


def _offscreen(rate: int) -> list[Tensor]:
    """Recordings too short to be divided: sounds without a picture, for training clips only."""
    waves = [_levelled(stamp.sound(rate), rate) for stamp in load_cutouts(sounding=True)]
    return [torch.from_numpy(wave) for wave in waves if len(wave) < SHORTEST * rate]


def _levelled(wave: np.ndarray, rate: int) -> np.ndarray:
    """The sound without its pauses, at a common loudness: any half second of it is something to separate."""
    envelope = np.sqrt(np.convolve(wave**2, np.ones(rate // 20) / (rate // 20), "same"))
    sounding = np.convolve(envelope > PAUSE * envelope.max(), np.ones(rate // 20), "same") > 0.5
    wave = wave[sounding]
    return np.clip(wave * LOUDNESS / np.sqrt(np.mean(wave**2)), -1, 1).astype(np.float32)


def _videos(
    split: str, parts: list[Tensor], offscreen: list[Tensor], views: int, rate: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """``VIDEOS[split]`` videos of every class: what is seen and heard, and what is only heard."""
    length = round(VIDEO_SECONDS * rate)
    columns: dict[str, list[Any]] = {"wave": [], "offscreen": [], "chance": [], "shown": []}
    for label, part in enumerate(parts):
        others = parts[:label] + parts[label + 1 :] + offscreen
        for _ in range(VIDEOS[split]):
            columns["wave"].append(_stretch(part, length, rng))
            columns["offscreen"].append(_contamination(others, length, rate, rng))
            columns["chance"].append(torch.tensor(rng.random()))
            columns["shown"].append(torch.from_numpy(rng.integers(0, views, round(VIDEO_SECONDS * FRAMES_PER_SECOND))))
    return {f"{split}.{name}": torch.stack(column) for name, column in columns.items()}


def _stretch(wave: Tensor, length: int, rng: np.random.Generator) -> Tensor:
    """A random stretch of a sound that is repeated if it is too short."""
    repeated = wave.repeat(length // len(wave) + 2)
    start = int(rng.integers(0, len(repeated) - length + 1))
    return repeated[start : start + length]


def _contamination(others: list[Tensor], length: int, rate: int, rng: np.random.Generator) -> Tensor:
    """A sound without a picture: another recording or coloured noise; half the noises start quietly."""
    level = 0.5 * LOUDNESS * rng.uniform(0.4, 1.2)
    if rng.random() < 0.5:
        sound = _stretch(others[int(rng.integers(len(others)))], length, rng).numpy()
    else:
        low, high = np.sort(rng.uniform(0.02, 0.9, 2))
        kind = rng.choice(["lowpass", "highpass", "bandpass"])
        edges = {"lowpass": high, "highpass": low, "bandpass": (low, min(high + 0.05, 0.95))}[kind]
        sound = sosfilt(butter(4, edges, kind, output="sos"), rng.standard_normal(length))
        if rng.random() < 0.5:
            sound[: length // 2] *= 0.1
    return torch.from_numpy((level * sound / np.sqrt(np.mean(sound**2))).astype(np.float32))
