"""The two towers that come as Python packages: below the mini-CLIP, and by themselves, without any training here.

A CNN whose classifier reads the mean of its cells can be read cell by cell: class activation maps (Zhou et al., 2016).
MiniLM's embeddings E of the names of its classes lead from there to any text. To these maps no concept is held out, so
beside the other rows they show how much of it was in the features that the mini-CLIP is trained on.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from shared.offline.towers import SentenceEncoder, efficientnet_lite0, imagenet_class_text, in_batches

from ..datasets.scenes import MEAN, STD, preprocess
from .clip import Towers

Bridge = Literal["conse", "ridge"]
LOGIT_SCALE = 20.0
RIDGE = 1.0  # weight of the squared norm


def _squeezed(size: int, image: Image.Image) -> Tensor:
    return preprocess(pil_to_tensor(image.convert("RGB")).permute(1, 2, 0)[None], size)[0]


class PackagedTowers(Towers):
    """EfficientNet-Lite0 and MiniLM, below whatever model joins them.

    Args:
        model: has ``mean`` (1280,) and ``components`` (F, 1280), which make F features of the image tower's 1280.
        image_size: pixels at which the image tower sees a scene.
        known: sentence embeddings (384,) of texts that were embedded before.
    """

    logit_scale = LOGIT_SCALE

    def __init__(self, model: nn.Module, image_size: int, known: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.model, self.image_size, self.known = model, image_size, known or {}
        self.image_tower = efficientnet_lite0()
        self.sentence_encoder: SentenceEncoder | None = None
        self.requires_grad_(False)
        self.train(False)

    @property
    def preprocess(self) -> Callable[[Image.Image], Tensor]:
        """The whole image squeezed into a square: the positions of the mini-CLIP fit no other shape."""
        return partial(_squeezed, self.image_size)

    def normalize(self, image: Image.Image) -> Tensor:
        pixels = pil_to_tensor(image.convert("RGB")).float() / 255
        return (pixels - MEAN) / STD

    def tokens(self, features: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, width)."""
        raise NotImplementedError

    @torch.no_grad()
    def patch_tokens(self, images: Tensor, stride: int | None = None) -> tuple[Tensor, tuple[int, int]]:
        tokens = self.tokens(self.features(images))
        side = round(tokens.shape[1] ** 0.5)
        return tokens, (side, side)

    def features(self, images: Tensor) -> Tensor:
        """(B, T, F) of preprocessed images (B, 3, H, W), or those of :mod:`.scenes` as they are."""
        if images.ndim == 3:
            return images.to(self.model.mean.dtype)
        found = self.image_tower.forward_features(images).flatten(2).transpose(1, 2)
        return (found - self.model.mean) @ self.model.components.T

    def sentences(self, texts: list[str]) -> Tensor:
        """MiniLM's (N, 384)."""
        device = self.model.mean.device
        if any(text not in self.known for text in texts):
            self.sentence_encoder = self.sentence_encoder or SentenceEncoder().to(device)
            fresh = [text for text in dict.fromkeys(texts) if text not in self.known]
            self.known = {**self.known, **dict(zip(fresh, in_batches(self.sentence_encoder, fresh), strict=True))}
        return torch.stack([self.known[text] for text in texts]).to(device)


class UntrainedTowers(PackagedTowers):
    """Cells and texts in one space without any training here. An image as a whole is the mean of its cells.

    With the classifier W g + b of a cell's feature g, and the class names' embeddings E, centred:

    * conse: a cell is the name it is expected to have, softmax(W g + b) E (ConSE; Norouzi et al., 2014), a text itself;
    * ridge: a cell is itself, a text the classifier's weights for it, by ridge regression from E to W, centred.

    Args:
        components: ``mean`` (1280,) and ``components`` (F, 1280), the principal components that made F features of g.
    """

    class_text: Tensor
    class_text_mean: Tensor

    def __init__(
        self,
        bridge: Bridge,
        components: Mapping[str, Tensor],
        image_size: int,
        known: Mapping[str, Tensor] | None = None,
    ) -> None:
        model = nn.Module()
        for name in ("mean", "components"):
            model.register_buffer(name, components[name])
        super().__init__(model, image_size, known)
        self.bridge = bridge
        class_text = imagenet_class_text()
        self.register_buffer("class_text_mean", class_text.mean(0))
        self.register_buffer("class_text", class_text - class_text.mean(0))
        self.width = len(components["components"])
        self.joint = self.width if bridge == "ridge" else class_text.shape[1]

    def tokens(self, features: Tensor) -> Tensor:
        return features

    @torch.no_grad()
    def project(self, tokens: Tensor) -> Tensor:
        if self.bridge == "ridge":
            return tokens
        feature = tokens @ self.model.components + self.model.mean
        return self.image_tower.classifier(feature).softmax(-1) @ self.class_text

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        return self.project(self.features(images).mean(1))

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        text = self.sentences(texts) - self.class_text_mean
        if self.bridge == "conse":
            return text
        square = self.class_text.T @ self.class_text
        square.diagonal().add_(RIDGE)
        weights = self.image_tower.classifier.weight
        return (
            text @ torch.linalg.solve(square, self.class_text.T @ (weights - weights.mean(0))) @ self.model.components.T
        )
