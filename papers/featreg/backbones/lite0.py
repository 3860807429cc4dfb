"""The packaged EfficientNet-Lite0, cut at stride 16, with a light decoder."""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from shared.offline.towers import efficientnet_lite0

from ..model import Segmenter
from .small import Head, classifier

MOMENTUM = 0.1  # of batch statistics; the package's 0.01 would take longer to follow than training here lasts


class Lite0(Segmenter):
    """Blocks 0 to 3: 16, 24, 40 and 80 channels at strides 2, 4, 8 and 16, with ImageNet weights; 300,000 in all."""

    def __init__(self, classes: int) -> None:
        super().__init__((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        tower = efficientnet_lite0()
        blocks = tower.blocks
        self.parts = nn.ModuleDict(
            {
                "stem": nn.Sequential(tower.conv_stem, tower.bn1, blocks[0]),
                "stride4": blocks[1],
                "stride8": blocks[2],
                "stride16": blocks[3],
                "last": Head(40, 80),
                "logits": classifier(classes),
            }
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = MOMENTUM

    def stages(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield "stem", (x := self.parts["stem"](pixels))
        yield "stride4", (x := self.parts["stride4"](x))
        yield "stride8", (fine := self.parts["stride8"](x))
        yield "stride16", (coarse := self.parts["stride16"](fine))
        yield "last_linear", (x := self.parts["last"](fine, coarse))
        yield "last", (x := F.relu(x))
        yield "logits", self.parts["logits"](x)
