"""FCN-8s with VGG-16."""

from collections.abc import Iterator

import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from ..model import Segmenter
from .imagenet import MEAN, STD, imagenet_weights

POOLS = (17, 24, 31)  # where torchvision's layers end with the third, fourth and fifth pooling


class Scores(nn.Module):
    """A 1 x 1 convolution for each of pool3, pool4 and the last map, added from coarse to fine."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.pool3, self.pool4, self.last = (nn.Conv2d(n, classes, 1) for n in (256, 512, 4096))
        for score in (self.pool3, self.pool4, self.last):
            nn.init.zeros_(score.weight)
            assert score.bias is not None
            nn.init.zeros_(score.bias)

    def forward(self, pool3: Tensor, pool4: Tensor, last: Tensor) -> Tensor:
        output: Tensor = self.last(last)
        for skip in (self.pool4(pool4), self.pool3(pool3)):
            output = F.interpolate(output, skip.shape[-2:], mode="bilinear", align_corners=False) + skip
        return output


class FCN8s(Segmenter):
    """torchvision's VGG-16 with its first two linear layers as convolutions, and scores of three depths.

    The classifier reads ``pool3`` and ``pool4``, too: regress those with ``last`` to bind all that it sees.
    """

    LAYERS = ("pool3", "pool4", "pool5", "last", "logits")

    def __init__(self, classes: int, weights: str | None) -> None:
        super().__init__(MEAN, STD)
        net = torchvision.models.vgg16()
        if weights is not None:
            net.load_state_dict(imagenet_weights(weights, torchvision.models.VGG16_Weights.IMAGENET1K_V1))
        for module in net.features:
            if isinstance(module, nn.MaxPool2d):
                module.ceil_mode = True  # as in Caffe: no pixel is dropped at the border
        fc6, fc7 = nn.Conv2d(512, 4096, 7, padding=3), nn.Conv2d(4096, 4096, 1)
        for convolution, index in ((fc6, 0), (fc7, 3)):
            linear: nn.Linear = net.classifier[index]
            convolution.load_state_dict({"weight": linear.weight.view_as(convolution.weight), "bias": linear.bias})
        third, fourth, fifth = POOLS
        relu, drop = nn.ReLU(), nn.Dropout2d()
        self.parts = nn.ModuleDict(
            {
                "pool3": net.features[:third],
                "pool4": net.features[third:fourth],
                "pool5": net.features[fourth:fifth],
                "last": nn.Sequential(fc6, relu, drop, fc7, relu, drop),
                "logits": Scores(classes),
            }
        )

    def stages(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield "pool3", (pool3 := self.parts["pool3"](pixels))
        yield "pool4", (pool4 := self.parts["pool4"](pool3))
        yield "pool5", (x := self.parts["pool5"](pool4))
        yield "last", (x := self.parts["last"](x))
        yield "logits", self.parts["logits"](pool3, pool4, x)
