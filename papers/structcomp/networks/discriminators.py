"""The four discriminators: of image or object crop, with or without frozen pretrained features.

Each reads an image together with its condition: the mask and the guidance, and of a crop the object's own mask.
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .stylegan import EqualConv, EqualLinear, Mapping, batch_deviation

PROJECTION_LAYERS = 2  # of the network that embeds a class


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a 1 x 1 shortcut, at half the size in the end."""

    def __init__(self, inputs: int, outputs: int, rgb: int | None) -> None:
        super().__init__()
        self.fromrgb = EqualConv(rgb, inputs, 1) if rgb else None
        self.conv0 = EqualConv(inputs, inputs, 3)
        self.conv1 = EqualConv(inputs, outputs, 3, down=True)
        self.skip = EqualConv(inputs, outputs, 1, bias=False, activate=False, down=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.fromrgb is not None:
            x = self.fromrgb(x)
        return self.skip(x, gain=0.5**0.5) + self.conv1(self.conv0(x), gain=0.5**0.5)


class Epilogue(nn.Module):
    """From 4 x 4 features to a logit.

    Args:
        group: samples over which the standard deviation is taken; 0: none, for crops that have nothing in common.
        outputs: 1, or the width of a class embedding.
    """

    def __init__(self, channels: int, group: int, outputs: int = 1) -> None:
        super().__init__()
        self.group = group
        self.conv = EqualConv(channels + (group > 0), channels, 3)
        self.fc = EqualLinear(16 * channels, channels, activate=True)
        self.out = EqualLinear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.group:
            x = batch_deviation(x, self.group)
        return self.out(self.fc(self.conv(x).flatten(1)))


class Discriminator(nn.Module):
    """StyleGAN2's residual discriminator.

    Args:
        size: height and width, a power of two.
        inputs: channels of image and condition together.
        channels: of each scale, from ``size`` to 4 x 4.
        group: see :class:`Epilogue`.
        classes: number of classes for a projection of the object's class, None without it.
    """

    def __init__(
        self, size: int, inputs: int, channels: tuple[int, ...], *, group: int = 4, classes: int | None = None
    ) -> None:
        super().__init__()
        self.resolutions = [size >> i for i in range(len(channels) - 1)]
        for i, resolution in enumerate(self.resolutions):
            block = ResidualBlock(channels[i], channels[i + 1], None if i else inputs)
            self.add_module(f"b{resolution}", block)
        self.mapping = Mapping(0, channels[-1], PROJECTION_LAYERS, classes=classes) if classes else None
        self.b4 = Epilogue(channels[-1], group, channels[-1] if classes else 1)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits (N, 1) of (N, inputs, size, size).

        Args:
            label: (N, classes) one-hot, if the network has a class projection.
        """
        for resolution in self.resolutions:
            x = self.get_submodule(f"b{resolution}")(x)
        x = self.b4(x)
        if self.mapping is not None:
            embedded = self.mapping(label)
            x = (x * embedded).sum(1, keepdim=True) / embedded.shape[1] ** 0.5
        return x


class SemanticDiscriminator(nn.Module):
    """A trainable encoder of image and condition, joined by frozen features of the image at each scale they have.

    The frozen features alone do not see the condition, and the encoder alone is an ordinary discriminator.

    Args:
        size: height and width of the image, a power of two.
        inputs: channels of image and condition together.
        channels: of each scale of the trainable encoder, from ``size`` to 4 x 4.
        frozen: resolution and channels of each frozen feature map; each joins the scale nearest to its own.
        group: see :class:`Epilogue`.
    """

    def __init__(
        self,
        size: int,
        inputs: int,
        channels: tuple[int, ...],
        frozen: Sequence[tuple[int, int]],
        *,
        group: int = 4,
    ) -> None:
        super().__init__()
        self.stem = EqualConv(inputs, channels[0], 3)
        self.down = nn.ModuleList(EqualConv(a, b, 3, down=True) for a, b in itertools.pairwise(channels))
        resolutions = {i: size >> i for i in range(1, len(channels))}
        self.scales = [min(resolutions, key=lambda i: abs(math.log2(resolutions[i] / r))) for r, _ in frozen]
        self.project = nn.ModuleList(
            EqualConv(c, channels[i], 1) for i, (_, c) in zip(self.scales, frozen, strict=True)
        )
        self.fuse = nn.ModuleList(EqualConv(2 * channels[i], channels[i], 3) for i in self.scales)
        self.b4 = Epilogue(channels[-1], group)

    def forward(self, x: Tensor, frozen: Sequence[Tensor]) -> Tensor:
        """Logits (N, 1) of (N, inputs, size, size) and the frozen feature maps of the same image."""
        x = self.stem(x)
        for i, down in enumerate(self.down, 1):
            x = down(x)
            for j, features, project, fuse in zip(self.scales, frozen, self.project, self.fuse, strict=True):
                if i == j:
                    x = fuse(torch.cat([x, F.interpolate(project(features), x.shape[-2:], mode="area")], 1))
        return self.b4(x)


class FeatureHeads(nn.Module):
    """Vision-aided GAN's form: a small head on each frozen feature map, which see no condition; a logit a level."""

    def __init__(self, frozen: Sequence[tuple[int, int]], width: int = 64) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.utils.parametrizations.spectral_norm(nn.Conv2d(c, width, 1)),
                nn.LeakyReLU(0.2),
                nn.utils.parametrizations.spectral_norm(nn.Conv2d(width, 1, 1)),
            )
            for _, c in frozen
        )

    def forward(self, x: Tensor, frozen: Sequence[Tensor]) -> list[Tensor]:
        """Logits (N, 1, h, w) of each level; ``x`` is not looked at."""
        return [head(features) for head, features in zip(self.heads, frozen, strict=True)]
