"""The offline stand-in for CLIP: a small contrastive model with a class token, trained here, then frozen.

The image tower is EfficientNet-Lite0 (ImageNet), whose feature map enters a two-layer transformer with a class token;
the text tower is MiniLM. Contrastive training aligns the class token with the text, as CLIP's does, and leaves the
patch tokens unaligned: the situation that PACL starts from. (The feature map is aligned already: :mod:`.packaged`.)
"""

import sys
from collections.abc import Mapping

import numpy as np
import torch
from filelock import FileLock
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

import shared.losses
from shared.loading import cache_file
from shared.losses import clip_loss
from shared.run import Run
from shared.support.files import write_atomic

from ..config import Config
from ..datasets.scene_features import ScenePairs, Scenes
from ..texts import prompts
from .packaged import LOGIT_SCALE, PackagedTowers

COMPONENTS = ("mean", "components", "text_mean", "text_components")
DEPTH, HEADS = 2, 4  # the transformer is pre-norm, with a hidden width twice its own
WEIGHT_DECAY = 0.1
NOUN_PROMPTS = 0.5  # CLIP saw prompts, too: its noun prompts are no secret of stage two


class MiniCLIP(nn.Module):
    """Trained on cached features: (B, T, F) -> the class token's embedding (B, D).

    Args:
        tokens: T, the number of cells.
        width: W, of the patch tokens.
        components: ``mean`` (1280,) and ``components`` (F, 1280), the principal components that made F features of the
            image tower's; ``text_mean`` (384,) and ``text_components`` (D, 384), those that make the joint space of
            MiniLM's sentences.
    """

    mean: Tensor
    components: Tensor
    text_mean: Tensor
    text_components: Tensor

    def __init__(self, tokens: int, width: int, components: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in COMPONENTS:
            self.register_buffer(name, components[name])
        self.embed = nn.Linear(len(self.components), width)
        self.class_token = nn.Parameter(0.02 * torch.randn(width))
        self.positions = nn.Parameter(0.02 * torch.randn(1 + tokens, width))
        layer = nn.TransformerEncoderLayer(
            width, HEADS, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, len(self.text_components), bias=False)

    @classmethod
    def shaped_like(cls, weights: Mapping[str, Tensor]) -> "MiniCLIP":
        """An untrained model that the weights fit."""
        tokens, width = weights["positions"].shape
        return cls(tokens - 1, width, weights)

    def tokens(self, features: Tensor) -> Tensor:
        """(B, T, F) -> (B, 1 + T, W), the class token first, after the last norm."""
        x = torch.cat([self.class_token.expand(len(features), 1, -1), self.embed(features)], dim=1)
        return self.norm(self.blocks(x + self.positions))

    def forward(self, features: Tensor) -> Tensor:
        return self.project(self.tokens(features)[:, 0])

    def embed_text(self, sentences: Tensor) -> Tensor:
        """MiniLM's (N, 384) -> (N, D)."""
        return (sentences - self.text_mean) @ self.text_components.T


class MiniCLIPTowers(PackagedTowers):
    """The frozen model behind the interface of every CLIP here."""

    def __init__(self, model: MiniCLIP, image_size: int, known: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(model, image_size, known)
        self.joint, self.width = model.project.weight.shape

    def tokens(self, features: Tensor) -> Tensor:
        return self.model.tokens(features)[:, 1:]

    @torch.no_grad()
    def project(self, tokens: Tensor) -> Tensor:
        return self.model.project(tokens)

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        return self.model(self.features(images))

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        return self.model.embed_text(self.sentences(texts))


def trained_mini_clip(config: Config, run: Run, data: Scenes) -> MiniCLIP:
    """The frozen model of a seed: trained by whichever run of that seed comes first, the same for all variants."""
    modules = (sys.modules[__name__], shared.losses, prompts)
    settings = (config.mini_width, config.mini_steps, config.mini_learning_rate, config.batch_size, config.noun_parser)
    path = cache_file(run.cache, f"mini-clip-seed{run.seed}.safetensors", *modules, *settings, data.path.stem)
    if run.accelerator.is_main_process:
        with FileLock(path.with_suffix(".lock")):  # runs of one seed may be side by side
            if not path.exists():
                write_atomic(path, save(_train(config, run, data)))
    run.accelerator.wait_for_everyone()
    run.reseed()  # whether or not it was trained here, what follows draws the same numbers
    weights = load_file(path)
    model = MiniCLIP.shaped_like(weights)
    model.load_state_dict(weights)
    return model.to(run.device)


def _train(config: Config, run: Run, data: Scenes) -> dict[str, Tensor]:
    """Stage one: symmetric InfoNCE of the class token and the text."""
    run.reseed()
    model = MiniCLIP(data.features.shape[1], config.mini_width, data.components).to(run.device)
    pairs = ScenePairs(data.features, data.captions, NOUN_PROMPTS, config.noun_parser)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.mini_learning_rate, weight_decay=WEIGHT_DECAY, fused=True
    )
    schedule = CosineAnnealingLR(optimizer, config.mini_steps)
    rng, order = np.random.default_rng(run.seed), np.empty(0, int)
    for _ in range(config.mini_steps):
        if len(order) < config.batch_size:
            order = rng.permutation(len(pairs))
        samples = [pairs.sample(int(i), rng) for i in order[: config.batch_size]]
        order = order[config.batch_size :]
        features = torch.stack([sample["tokens"] for sample in samples]).to(run.device)
        sentences = torch.stack([data.sentences[sample["text"]] for sample in samples]).to(run.device)
        loss = clip_loss(model(features), model.embed_text(sentences), LOGIT_SCALE)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return {name: x.detach().cpu().contiguous() for name, x in model.state_dict().items()}
