"""The offline stand-in for CLIP: a small contrastive model with a class token, trained here, then frozen.

The image tower is EfficientNet-Lite0 (ImageNet), whose feature map enters a two-layer transformer with a class token;
the text tower is MiniLM. Contrastive training aligns the class token with the text, as CLIP's does, and leaves the
patch tokens unaligned: the situation that PACL starts from. (The feature map of a globally pooled CNN alone would be
aligned already: its classifier applied to every cell is a class activation map.)
"""

import sys
from collections.abc import Mapping

import numpy as np
import torch
from accelerate.utils import set_seed
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torchvision.transforms.functional import pil_to_tensor

import shared.losses
from shared.clip import SentenceEncoder, efficientnet_lite0, in_batches
from shared.experiment import Run, write_atomic
from shared.loading import cache_file
from shared.losses import clip_loss

from . import prompts
from .config import Config
from .data import Pairs, Scenes
from .scenes import MEAN, STD, preprocess
from .towers import Towers

COMPONENTS = ("mean", "components", "text_mean", "text_components")
DEPTH, HEADS = 2, 4  # of the transformer: pre-norm, hidden width twice its own
LOGIT_SCALE = 20.0
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


class MiniCLIPTowers(Towers):
    """The frozen model behind the interface of every CLIP here. Images may be features of :mod:`.scenes` as well.

    Args:
        known: sentence embeddings (384,) of texts that were embedded before.
    """

    logit_scale = LOGIT_SCALE

    def __init__(self, model: MiniCLIP, image_size: int, known: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.model, self.image_size, self.known = model, image_size, known or {}
        self.image_tower = efficientnet_lite0()
        self.sentences: SentenceEncoder | None = None
        self.joint, self.width = model.project.weight.shape
        self.requires_grad_(False)
        self.train(False)

    def preprocess(self, image: Image.Image) -> Tensor:
        """The whole image squeezed into a square: the positions of the mini-CLIP fit no other shape."""
        return preprocess(pil_to_tensor(image.convert("RGB")).permute(1, 2, 0)[None], self.image_size)[0]

    def normalize(self, image: Image.Image) -> Tensor:
        pixels = pil_to_tensor(image.convert("RGB")).float() / 255
        return (pixels - MEAN) / STD

    @torch.no_grad()
    def patch_tokens(self, images: Tensor, stride: int | None = None) -> tuple[Tensor, tuple[int, int]]:
        tokens = self.model.tokens(self._features(images))[:, 1:]
        side = round(tokens.shape[1] ** 0.5)
        return tokens, (side, side)

    @torch.no_grad()
    def project(self, tokens: Tensor) -> Tensor:
        return self.model.project(tokens)

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        return self.model(self._features(images))

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        if any(text not in self.known for text in texts):
            self.sentences = self.sentences or SentenceEncoder().to(self.model.mean.device)
            fresh = [text for text in dict.fromkeys(texts) if text not in self.known]
            self.known = {**self.known, **dict(zip(fresh, in_batches(self.sentences, fresh), strict=True))}
        sentences = torch.stack([self.known[text] for text in texts]).to(self.model.mean.device)
        return self.model.embed_text(sentences)

    def _features(self, images: Tensor) -> Tensor:
        if images.ndim == 3:
            return images.to(self.model.mean.dtype)
        found = self.image_tower.forward_features(images).flatten(2).transpose(1, 2)
        return (found - self.model.mean) @ self.model.components.T


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
    set_seed(run.seed)  # whether or not it was trained here, what follows draws the same numbers
    weights = load_file(path)
    model = MiniCLIP.shaped_like(weights)
    model.load_state_dict(weights)
    return model.to(run.device)


def _train(config: Config, run: Run, data: Scenes) -> dict[str, Tensor]:
    """Stage one: symmetric InfoNCE of the class token and the text."""
    set_seed(run.seed)
    model = MiniCLIP(data.features.shape[1], config.mini_width, data.components).to(run.device)
    pairs = Pairs(data.features, data.captions, NOUN_PROMPTS, config.noun_parser)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.mini_learning_rate, weight_decay=WEIGHT_DECAY, fused=True
    )
    schedule = CosineAnnealingLR(optimizer, config.mini_steps)
    rng, order = np.random.default_rng(run.seed), np.empty(0, int)
    for _ in range(config.mini_steps):
        if len(order) < config.batch_size:
            order = rng.permutation(len(pairs))
        samples = [pairs.draw(int(i), rng) for i in order[: config.batch_size]]
        order = order[config.batch_size :]
        images = torch.stack([sample["image"] for sample in samples]).to(run.device)
        sentences = torch.stack([data.sentences[sample["text"]] for sample in samples]).to(run.device)
        loss = clip_loss(model(images), model.embed_text(sentences), LOGIT_SCALE)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return {name: x.detach().cpu().contiguous() for name, x in model.state_dict().items()}
