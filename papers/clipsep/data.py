"""Clips (sound, frame embeddings, label), and the mixtures made of them.

One interface for the paper's videos (``datasets/videos.py``) and the embedded sounds (``datasets/recordings.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .audio import centre_sample, crop_segment, mix
from .config import Config
from .datasets import recordings, videos
from .datasets.clips import Clip, Pair, Queries

EXAMPLES = 4  # mixtures of each split of the videos
LAYOUT = videos.LAYOUT
check = videos.check


@dataclass(frozen=True)
class Data:
    """Clips for training, mixtures for evaluation and the labels' texts."""

    train: list[Clip]
    held_out: dict[str, dict[str, list[Pair]]]
    """Sets of mixtures by name, those of ``validation`` and those of ``test``; each split's first is the headline."""
    examples: dict[str, list[Pair]]
    """A few mixtures of each split to look at and to listen to."""
    queries: Queries


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Fill the cache with the embeddings of the frozen towers, once for all runs; describe the data.

    Returns: ``{"name", "train", "test", "sha256", "scale"}`` for the results file.
    """
    described = (videos if config.data else recordings).prepare(config, cache)
    scale = (
        f"{config.segment / config.rate:.1f} s at {config.rate / 1000:g} kHz, {config.bins} frequency bins, "
        f"STFT of {config.n_fft} with hop {config.hop}, U-Net of {config.levels} levels from {config.width} channels, "
        f"K {config.channels}, {config.steps} steps of {config.batch_size} mixtures, "
        f"learning rate {config.learning_rate:g}"
    )
    return described | {"scale": scale}


def load(config: Config, cache: Path) -> Data:
    """Read what :func:`prepare` left."""
    if config.data:
        train, pairs, tests, queries = videos.load(config, cache)
        held_out = {"validation": {"validation": pairs}, "test": tests}
        examples = {split: _evenly(next(iter(sets.values()))) for split, sets in held_out.items()}
    else:
        train, held_out, examples, queries = recordings.load(config, cache)
    if config.test_mixtures is not None:
        most = config.test_mixtures
        held_out["test"] = {name: pairs[:: -(-len(pairs) // most)] for name, pairs in held_out["test"].items()}
    return Data(train, held_out, examples, queries)


def _evenly(pairs: list[Pair]) -> list[Pair]:
    return [pairs[int(i)] for i in np.linspace(0, len(pairs) - 1, EXAMPLES + 2)[1:-1]]


class MixAndSeparate:
    """Training samples: each clip with n - 1 others, drawn uniformly, whose labels may be the same (official code)."""

    def __init__(self, clips: Sequence[Clip], config: Config, n: int = 2) -> None:
        self.clips, self.config, self.n = clips, config, n

    def __len__(self) -> int:
        return len(self.clips)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One mixture.

        Returns: ``sources`` (n, N) already divided by n, ``image`` (n, D) the mean of three consecutive frames'
        embeddings, ``label`` (n,) and ``name``.
        """
        others = rng.choice(len(self.clips) - 1, self.n - 1, replace=False)
        clips = [self.clips[index], *(self.clips[i + (i >= index)] for i in others)]
        segments, images = zip(*(self._segment(clip, rng) for clip in clips), strict=True)
        gains = torch.from_numpy(rng.uniform(0.5, 1.5, (self.n, 1)).astype(np.float32))
        sources, _ = mix(torch.stack(segments), gains)
        return {
            "sources": sources,
            "image": torch.stack(images),
            "label": torch.tensor([clip.label for clip in clips]),
            "name": " + ".join(clip.name for clip in clips),
        }

    def _segment(self, clip: Clip, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        margin = self.config.frame_margin
        frame = int(rng.integers(margin + 1, len(clip.frames) - margin, endpoint=True))
        centre = centre_sample(frame, clip.frames_per_second, self.config.rate)
        return crop_segment(clip.wave(), centre, self.config.segment), clip.image_query(frame)


def mixtures(pairs: Sequence[Pair], config: Config) -> Tensor:
    """Evaluation sources (P, 2, N) of test pairs: the centres of target and interferer, no gain, divided by two."""
    segments = [[_middle(clip, config) for clip in (pair.target, pair.interferer)] for pair in pairs]
    return mix(torch.stack([torch.stack(s) for s in segments]))[0]


def _middle(clip: Clip, config: Config) -> Tensor:
    centre = centre_sample(len(clip.frames) // 2, clip.frames_per_second, config.rate)
    return crop_segment(clip.wave(), centre, config.segment)
