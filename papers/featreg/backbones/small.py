"""A small convolutional network that is trained from scratch: no ImageNet feature helps it."""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from ..model import Segmenter

WIDTHS = (32, 64, 96, 128)
JOINT = 64
"""Channels of ``last``."""


class Head(nn.Module):
    """Maps of stride 8 and 16 projected to `JOINT` channels each, and added at stride 8."""

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(fine, JOINT, 1)
        self.coarse = nn.Conv2d(coarse, JOINT, 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        raised = F.interpolate(self.coarse(coarse), fine.shape[-2:], mode="bilinear", align_corners=False)
        output: Tensor = self.fine(fine) + raised
        return output


def classifier(classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(JOINT, JOINT, 3, padding=1), nn.ReLU(), nn.Conv2d(JOINT, classes, 1))


class SmallNet(Segmenter):
    """Four stages of two 3 x 3 convolutions with batch normalisation, at strides 2, 4, 8 and 16."""

    def __init__(self, classes: int) -> None:
        super().__init__((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        names, channels = ("stem", "stride4", "stride8", "stride16"), (3, *WIDTHS)
        stages = {name: _stage(channels[i], channels[i + 1]) for i, name in enumerate(names)}
        self.parts = nn.ModuleDict(stages | {"last": Head(WIDTHS[2], WIDTHS[3]), "logits": classifier(classes)})

    def stages(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield "stem", (x := self.parts["stem"](pixels))
        yield "stride4", (x := self.parts["stride4"](x))
        yield "stride8", (fine := self.parts["stride8"](x))
        yield "stride16", (coarse := self.parts["stride16"](fine))
        yield "last_linear", (x := self.parts["last"](fine, coarse))
        yield "last", (x := F.relu(x))
        yield "logits", self.parts["logits"](x)


def _stage(channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, stride in enumerate((2, 1)):
        layers += [
            nn.Conv2d(width if i else channels, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)
