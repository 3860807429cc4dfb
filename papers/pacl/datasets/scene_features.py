"""Composed scenes and their texts as the two packaged towers see them: computed once, read by every run.

The towers are EfficientNet-Lite0 for images and MiniLM for texts. Training reads no label map.
"""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shared.loading import cache_file
from shared.offline import cutouts, packs, towers
from shared.offline import scenes as composer
from shared.offline.towers import SentenceEncoder, imagenet_class_text, in_batches
from shared.support.files import write_atomic

from ..config import Config, Parser
from ..texts import lexicon, nouns, prompts
from ..texts.prompts import PACL_TEMPLATES, training_text
from . import scenes


@dataclass(frozen=True)
class SceneTest:
    """Scenes with label maps. Only evaluation asks for them."""

    names: list[str]
    """Names of the concepts."""
    features: Tensor
    """(N, T, F) float32."""
    maps: Tensor
    """(N, 56, 56) int64, every fourth pixel: 0 background, k + 1 concept k."""
    images: Tensor
    """(12, 224, 224, 3) uint8, the first ones."""


@dataclass(frozen=True)
class Scenes:
    """Training scenes, and the way to the others."""

    path: Path
    features: Tensor
    """(N, T, F) float32: principal components of the image tower's cells."""
    captions: list[list[str]]
    """Wordings of each scene."""
    components: dict[str, Tensor]
    """Means and principal components of the image tower's features and of the sentences."""
    names: dict[str, list[str]]
    """Concepts of each split."""

    @cached_property
    def sentences(self) -> dict[str, Tensor]:
        """MiniLM embeddings (384,) of all captions and prompts that training or evaluation may use."""
        with np.load(self.path) as content:
            return dict(zip(content["texts"].tolist(), torch.from_numpy(content["sentences"]), strict=True))

    def test(self, split: str) -> SceneTest:
        with np.load(self.path) as content:
            return SceneTest(
                self.names[split],
                torch.from_numpy(content[f"{split}_features"]).float(),
                torch.from_numpy(content[f"{split}_maps"]).long(),
                torch.from_numpy(content[f"{split}_images"]),
            )


class ScenePairs:
    """Training samples: tokens of each scene from a frozen image tower, (N, T, F), and one text."""

    def __init__(self, tokens: Tensor, captions: list[list[str]], noun_prompts: float, noun_parser: Parser) -> None:
        self.tokens, self.captions, self.noun_prompts, self.noun_parser = tokens, captions, noun_prompts, noun_parser

    def __len__(self) -> int:
        return len(self.tokens)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``tokens`` (T, F), ``text``: one of the captions, or a noun of it in a prompt, and ``name``."""
        wordings = self.captions[index]
        caption = wordings[int(rng.integers(len(wordings)))]
        return {
            "tokens": self.tokens[index],
            "text": training_text(caption, rng, self.noun_prompts, self.noun_parser),
            "name": f"scene {index}",
        }


def prepare_scenes(config: Config, cache: Path) -> dict[str, Any]:
    """Compose the scenes and embed them and their texts, once for all runs (minutes on one core); describe them."""
    path = stored_file(config, cache)
    if not path.exists():
        arrays = _build(config)
        write_atomic(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
    splits = scenes.splits(config.scenes, config.test_scenes)
    return {
        "name": "scenes composed of the embedded cut-outs and photographs",
        "train": config.scenes,
        "test": sum(splits[name].count for name in tested(config)),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "scale": f"{config.scene_size} px, {len(splits['train'].stamps)} concepts, "
        f"{config.mini_steps} steps of the mini-CLIP, {config.epochs * (config.scenes // config.batch_size)} of PACL, "
        f"with {config.batch_size} scenes, learning rate {config.learning_rate:g}",
    }


def tested(config: Config) -> tuple[str, ...]:
    """The splits that are evaluated: scenes of seen and of held-out concepts, and of single objects of both."""
    part = "validation_" if config.split == "validation" else ""
    return f"{part}seen", f"{part}held_out", f"single_{part}seen", f"single_{part}held_out"


def load_scenes(config: Config, cache: Path) -> Scenes:
    """Read what :func:`prepare_scenes` left; training scenes have no label maps."""
    path = stored_file(config, cache)
    with np.load(path) as content:
        return Scenes(
            path,
            torch.from_numpy(content["train_features"]).float(),
            content["captions"].tolist(),
            {name: torch.from_numpy(content[name]) for name in ("mean", "components", "text_mean", "text_components")},
            {name: split.names for name, split in scenes.splits(config.scenes, config.test_scenes).items()},
        )


def stored_file(config: Config, cache: Path) -> Path:
    """Path of the prepared scenes, which changes with all that they depend on."""
    modules = (scenes, nouns, lexicon, prompts, composer, cutouts, packs, towers, sys.modules[__name__])
    settings = (config.scenes, config.test_scenes, config.scene_size, config.mini_components, config.mini_joint)
    return cache_file(cache, "scenes.npz", *modules, *settings, config.noun_parser)


def reduced(features: np.ndarray, components: Mapping[str, Tensor]) -> np.ndarray:
    """Features of the image tower (N, T, 1280) -> their principal components (N, T, F), both float16."""
    return ((torch.from_numpy(features).float() - components["mean"]) @ components["components"].T).half().numpy()


def _build(config: Config) -> dict[str, np.ndarray]:
    splits = scenes.splits(config.scenes, config.test_scenes)
    content = scenes.build(config.scenes, config.test_scenes, config.scene_size)
    mean, components = principal_components(
        torch.from_numpy(content["train_features"]).flatten(0, 1).float(), config.mini_components
    )
    for name in splits:
        content[f"{name}_features"] = reduced(content[f"{name}_features"], {"mean": mean, "components": components})

    captions = content["captions"].ravel().tolist()
    training_prompts = [
        template.format(noun)
        for caption in set(captions)
        for noun in nouns.nouns(caption, config.noun_parser)
        for template in PACL_TEMPLATES
    ]
    class_prompts = [
        template.format(name) for split in splits.values() for name in split.names for template in PACL_TEMPLATES
    ]
    texts = sorted({*captions, *training_prompts, *class_prompts})
    sentences = in_batches(SentenceEncoder(), texts, what="embedding captions")
    # No prompt of a held-out name shapes the joint space: it is fitted to ImageNet's classes and training prompts.
    place = {text: i for i, text in enumerate(texts)}
    known = sentences[[place[text] for text in sorted(set(training_prompts))]]
    basis = torch.cat([F.normalize(imagenet_class_text(), dim=-1), known])
    text_mean, text_components = principal_components(basis, config.mini_joint)
    return content | {
        "mean": mean.numpy(),
        "components": components.numpy(),
        "text_mean": text_mean.numpy(),
        "text_components": text_components.numpy(),
        "texts": np.array(texts),
        "sentences": sentences.numpy(),
    }


def principal_components(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) of the rows of x (N, D), and the ``count`` directions (count, D) in which they vary most."""
    mean = x.mean(0)
    _, vectors = torch.linalg.eigh((x - mean).T.double() @ (x - mean).double() / len(x))
    return mean, vectors.flip(1)[:, :count].T.float().contiguous()
