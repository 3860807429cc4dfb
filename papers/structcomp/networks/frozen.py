"""Frozen visual features for the semantic discriminators and the perceptual loss."""

from typing import Any, Literal

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.clip import OpenCLIP, load_clip
from shared.offline.towers import efficientnet_lite0

Features = Literal["lite0", "random", "clip"]
LITE0_STAGES = (1, 2, 3)  # of EfficientNet-Lite0: 24, 40 and 80 channels at strides 4, 8 and 16
CLIP_BLOCKS = (3, 7, 11)  # of a ViT with 12 blocks, counted from 0: the maps after blocks 4, 8 and 12


class FrozenFeatures(nn.Module):
    """Feature maps of a network that is never trained, each channel normalised by its statistics on real images.

    Gradients reach the image. Without the normalisation the first logits of a semantic discriminator are large.

    Args:
        kind: ``lite0`` (EfficientNet-Lite0, ImageNet weights), ``random`` (the same network with random weights), or
            ``clip`` (the image tower of CLIP ViT-B/32 or another open_clip ViT).
        input_size: side in pixels that images are resized to.
        model, weights: of open_clip, for ``clip``.
    """

    input_mean: Tensor
    input_std: Tensor

    def __init__(
        self, kind: Features, input_size: int, *, model: str = "ViT-B-32-quickgelu", weights: str | None = None
    ) -> None:
        super().__init__()
        self.kind, self.input_size = kind, input_size
        if kind == "clip":
            clip = load_clip(model, pretrained=weights)
            assert isinstance(clip, OpenCLIP)
            self.tower: Any = clip.model.visual
            normalisation = clip.transform.transforms[-1]
            mean, std = torch.tensor(normalisation.mean), torch.tensor(normalisation.std)
            self.input_size = clip.image_size  # its positions are those of one size
        else:
            self.tower = efficientnet_lite0() if kind == "lite0" else timm.create_model("tf_efficientnet_lite0")
            self.tower.blocks = self.tower.blocks[: max(LITE0_STAGES) + 1]
            for unused in ("conv_head", "bn2", "global_pool", "classifier"):
                delattr(self.tower, unused)
            mean, std = torch.full((3,), 0.5), torch.full((3,), 0.5)
        self.register_buffer("input_mean", mean.view(3, 1, 1))
        self.register_buffer("input_std", std.view(3, 1, 1))
        self.means: list[Tensor] = []
        self.deviations: list[Tensor] = []
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FrozenFeatures":
        """Stays in evaluation mode."""
        return super().train(False)

    def _maps(self, images: Tensor) -> list[Tensor]:
        if images.shape[-1] > self.input_size:
            images = F.interpolate(images, (self.input_size,) * 2, mode="area")
        elif images.shape[-1] < self.input_size:
            images = F.interpolate(images, (self.input_size,) * 2, mode="bilinear", align_corners=False)
        x = (images * 0.5 + 0.5 - self.input_mean) / self.input_std
        if self.kind == "clip":
            options = {"indices": list(CLIP_BLOCKS), "normalize_intermediates": False, "intermediates_only": True}
            return self.tower.forward_intermediates(x, output_fmt="NCHW", **options)["image_intermediates"]
        x = self.tower.bn1(self.tower.conv_stem(x))
        maps = []
        for i, stage in enumerate(self.tower.blocks):
            x = stage(x)
            if i in LITE0_STAGES:
                maps.append(x)
        return maps

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> "FrozenFeatures":
        """Take the statistics of each channel on real images (N, 3, H, W) in [-1, 1].

        Random weights have their batch statistics estimated on the same images first, layer by layer in one pass.
        """
        if self.kind == "random":
            normalisations = [x for x in self.modules() if isinstance(x, nn.BatchNorm2d)]
            for x in normalisations:
                x.train()
                x.momentum = None
                x.reset_running_stats()
            self._maps(images)
            self.eval()
        maps = self._maps(images)
        self.means = [x.mean((0, 2, 3), keepdim=True) for x in maps]
        self.deviations = [x.std((0, 2, 3), keepdim=True).clamp(min=1e-4) for x in maps]
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised feature maps of images (N, 3, H, W) in [-1, 1], the finest first."""
        maps = self._maps(images)
        return [(x - m) / d for x, m, d in zip(maps, self.means, self.deviations, strict=True)]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Resolution and channels of each map."""
        with torch.no_grad():
            maps = self._maps(torch.zeros(1, 3, self.input_size, self.input_size, device=self.input_mean.device))
        return [(x.shape[-1], x.shape[1]) for x in maps]
