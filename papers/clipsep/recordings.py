"""The offline default: recordings of animals, objects and instruments that come with photographs and captions.

Every recording is cut in time into training, validation and test parts; instruments also have solos, rendered with
notes of their own for each part. Out of the parts come short "videos": a stretch of sound with frames that show the
photograph on ever new backgrounds. Training videos can carry an off-screen sound, as videos in the wild do.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from scipy.signal import butter, sosfilt
from torch import Tensor

from shared.clip import SentenceEncoder, in_batches, load_clip
from shared.experiment import write_atomic
from shared.stamps import Stamp, load_solos, load_stamps, render_stamp

from .clips import PROMPTS, TRAINING_PROMPT, Clip, Pair, Queries
from .config import Config
from .metrics import interference_index

SPLITS = {"train": (0.0, 0.6), "validation": (0.6, 0.75), "test": (0.75, 1.0)}
GUARD = 0.02  # seconds between two parts, longer than the resampler's filter
SHORTEST = 1.0  # seconds; shorter recordings cannot be divided and serve as off-screen sounds in training only
VIDEO_SECONDS = 2.0
FRAMES_PER_SECOND = 4.0
VIDEOS = {"train": 8, "validation": 3, "test": 3}  # of each class
VIEWS = {"train": 16, "test": 6}  # renderings of each photograph
LOUDNESS = 0.1  # root mean square of every recording's sounding part


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Embed the photographs and the labels (about a minute on one core), once."""
    stamps = classes(config.rate)
    path = _embeddings(cache)
    if not path.exists():
        clip = load_clip(config.clip, pretrained=config.clip_weights)
        labels = [stamp.label for stamp, _ in stamps]
        rng = np.random.default_rng(0)
        views = {
            f"views.{split}": torch.stack(
                [
                    clip.encode_image(torch.stack([clip.preprocess(render_stamp(s, 224, rng)) for _ in range(count)]))
                    for s, _ in stamps
                ]
            )
            for split, count in VIEWS.items()
        }
        texts = {
            "text": clip.encode_prompts(labels, PROMPTS),
            "training_text": clip.encode_prompts(labels, [TRAINING_PROMPT]),
            "sentence": in_batches(SentenceEncoder(), labels),
        }
        content = save(views | texts)
        write_atomic(path, lambda file: file.write(content))
    train, _, tests, _ = load(config, cache)
    size = 65_536
    digest = hashlib.sha256()
    for clip_ in train[:: max(1, len(train) // size)]:
        digest.update(clip_.wave().numpy().tobytes())
    pairs = next(iter(tests.values()))
    return {
        "name": f"embedded recordings of {len(stamps)} animals, objects and instruments with photographs",
        "train": len(train),
        "test": len(pairs),
        "sha256": digest.hexdigest(),
        "scale": f"{config.segment / config.rate:.1f} s at {config.rate / 1000:g} kHz, {config.bins} frequency bins, "
        f"U-Net of {config.levels} levels from {config.width} channels, {config.steps} steps of {config.batch_size} mixtures",
    }


def load(config: Config, cache: Path) -> tuple[list[Clip], list[Pair], dict[str, list[Pair]], Queries]:
    """Training clips, validation pairs, test sets and label texts."""
    stamps = classes(config.rate)
    embedded = load_file(_embeddings(cache))
    queries = Queries([s.label for s, _ in stamps], embedded["text"], embedded["training_text"], embedded["sentence"])
    offscreen = _offscreen(config.rate)
    train = _videos(config, stamps, embedded["views.train"], "train", config.contaminated, offscreen)
    held_out = {}
    for split in ("validation", "test"):
        clean = _videos(config, stamps, embedded["views.test"], split, 0.0, [])
        noisy = _videos(config, stamps, embedded["views.test"], split, Config.contaminated, [])
        held_out[split] = _pairs(clean, noisy)
    return train, held_out["validation"], {"clean+": held_out["test"]}, queries


def classes(rate: int) -> list[tuple[Stamp, dict[str, Tensor]]]:
    """Everything with a photograph and at least a second of sound: its stamp, and its sound in each split."""
    solos: dict[str, dict[str, np.ndarray]] = {}
    for solo in load_solos():
        solos.setdefault(solo.stamp, {})[solo.split] = _levelled(solo.sound(rate), rate)
    found = []
    for stamp in load_stamps():
        parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
        if stamp.has_sound and len(wave := _levelled(stamp.sound(rate), rate)) >= SHORTEST * rate:
            for split, (start, end) in SPLITS.items():
                parts[split].append(wave[round(start * len(wave)) : round(end * len(wave)) - round(GUARD * rate)])
        for split, wave in solos.get(stamp.name, {}).items():
            parts[split].append(wave)
        if parts["train"]:
            found.append((stamp, {split: torch.from_numpy(np.concatenate(p)) for split, p in parts.items()}))
    return found


def _offscreen(rate: int) -> list[Tensor]:
    """Recordings too short to be divided: sounds without a picture, for training clips only."""
    waves = [_levelled(stamp.sound(rate), rate) for stamp in load_stamps(sounding=True)]
    return [torch.from_numpy(wave) for wave in waves if len(wave) < SHORTEST * rate]


def _levelled(wave: np.ndarray, rate: int) -> np.ndarray:
    """Without silence at either end, at a common loudness."""
    window = np.ones(rate // 50) / (rate // 50)
    envelope = np.sqrt(np.convolve(wave**2, window, "same"))
    sounding = np.flatnonzero(envelope > 0.05 * envelope.max())
    wave = wave[sounding[0] : sounding[-1] + 1]
    return np.clip(wave * LOUDNESS / np.sqrt(np.mean(wave**2)), -1, 1).astype(np.float32)


def _videos(
    config: Config,
    stamps: list[tuple[Stamp, dict[str, Tensor]]],
    views: Tensor,
    split: str,
    contaminated: float,
    offscreen: list[Tensor],
) -> list[Clip]:
    """``VIDEOS[split]`` videos of every class, some with an off-screen sound, each the same in every run."""
    rng = np.random.default_rng((list(SPLITS).index(split), 1))
    length = round(VIDEO_SECONDS * config.rate)
    made = []
    for label, (stamp, parts) in enumerate(stamps):
        for number in range(VIDEOS[split]):
            wave = _stretch(parts[split], length, rng)
            others = [p[split] for i, (_, p) in enumerate(stamps) if i != label] + offscreen
            sound = _contamination(others, length, config.rate, rng)
            if rng.random() < contaminated:
                wave = (wave + sound).clamp(-1, 1)
            shown = rng.integers(0, views.shape[1], round(VIDEO_SECONDS * FRAMES_PER_SECOND))
            name = f"{stamp.name}/{split}{number}"
            made.append(Clip(name, label, lambda wave=wave: wave, views[label, shown], FRAMES_PER_SECOND))
    return made


def _stretch(wave: Tensor, length: int, rng: np.random.Generator) -> Tensor:
    """A random stretch of a sound that is repeated if it is too short."""
    repeated = wave.repeat(length // len(wave) + 2)
    start = int(rng.integers(0, len(repeated) - length + 1))
    return repeated[start : start + length]


def _contamination(others: list[Tensor], length: int, rate: int, rng: np.random.Generator) -> Tensor:
    """What is heard but not seen: a sound of something else, or coloured noise, half the noises with a quiet start."""
    level = 0.8 * LOUDNESS * rng.uniform(0.4, 1.2)
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


def _pairs(targets: list[Clip], interferers: list[Clip]) -> list[Pair]:
    """Each target with one interferer of another class, drawn as the official evaluation draws it."""
    pairs = []
    for item, target in enumerate(targets):
        others = [clip for clip in interferers if clip.label != target.label]
        pairs.append(Pair(target, others[interference_index(item, len(others))]))
    return pairs


def _embeddings(cache: Path) -> Path:
    return cache / "embeddings.safetensors"
