"""A small U-Net: the layout network, and the independent segmenter and classifier of the evaluation."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (20, 40, 64, 64)


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class UNet(nn.Module):
    """Label logits at the input's resolution.

    Args:
        inputs: channels of the input.
        outputs: channels of the logits.
        widths: channels at each level, from the input's resolution on; each level has half the size.
    """

    def __init__(self, inputs: int, outputs: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.stem = _block(inputs, widths[0])
        self.down = nn.ModuleList(nn.Sequential(_block(a, b, 2), _block(b, b)) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(_block(a + b, a) for a, b in itertools.pairwise(widths))
        self.head = nn.Conv2d(widths[0], outputs, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Features of every level, the finest first."""
        features = [self.stem(x)]
        for down in self.down:
            features.append(down(features[-1]))
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, outputs, H, W) of (N, inputs, H, W)."""
        *skips, x = self.encode(x)
        for skip, up in zip(reversed(skips), reversed(self.up), strict=True):
            x = up(torch.cat([skip, F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)], 1))
        return self.head(x)

    def pooled(self, x: Tensor) -> Tensor:
        """Mean over the image of the coarsest features, (N, 64)."""
        return self.encode(x)[-1].mean((2, 3))


class LayoutNetwork(nn.Module):
    """The layout of an image with a hole: class logits and boundary logit of every pixel.

    Args:
        classes: number of classes without void.
        widths: see :class:`UNet`; the coarsest level has to see through large holes.
    """

    def __init__(self, classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.network = UNet(4, classes + 2, widths)

    def forward(self, image: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (N, K + 1, H, W), index 0 void, and boundary logits (N, 1, H, W).

        Args:
            image: (N, 3, H, W) in [-1, 1]; what the hole holds is not looked at.
            hole: (N, 1, H, W).
        """
        logits = self.network(torch.cat([image * (1 - hole), 0.5 - hole], 1))
        return logits[:, :-1], logits[:, -1:]


class ObjectClassifier(nn.Module):
    """The class of an object crop (N, 3, S, S): five convolutions and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (3, 24, 48, 64, 64, 64)
        strides = (1, 2, 1, 2, 2)
        self.features = nn.Sequential(*(_block(a, b, s) for a, b, s in zip(widths, widths[1:], strides, strict=False)))
        self.head = nn.Linear(widths[-1], classes)

    def pooled(self, x: Tensor) -> Tensor:
        """Mean over the crop of the last features, (N, 64)."""
        return self.features(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pooled(x))
