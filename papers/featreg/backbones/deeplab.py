"""DeepLab-v2 with ResNet-101, as a sibling project of the paper's first author used it in the same year."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from ..model import Segmenter
from .imagenet import MEAN, STD, imagenet_weights

RATES = (6, 12, 18, 24)
SCALES = (1.0, 0.75, 0.5)


class AtrousHead(nn.Module):
    """The sum of four 3 x 3 convolutions with dilations 6, 12, 18 and 24, whose weights begin with deviation 0.01."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(channels, classes, 3, padding=rate, dilation=rate) for rate in RATES)
        for branch in self.branches:
            nn.init.normal_(branch.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(branch.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([branch(x) for branch in self.branches]).sum(0)


class DeepLab(Segmenter):
    """torchvision's ResNet-101 with dilation 2 in its third and 4 in its fourth stage: output stride 8.

    ``logits`` is the maximum over three scales of the image, which share all weights; the scores of each scale are
    outputs of their own. Regressed layers are those of the image in its own size.
    """

    LAYERS = (
        "stem", "stride4", "stride8", "res4", "last", "logits_1.0", "logits_0.75", "logits_0.5", "logits",
    )  # fmt: skip
    SUPERVISED = ("logits_1.0", "logits_0.75", "logits_0.5", "logits")

    def __init__(self, classes: int, weights: str | None) -> None:
        super().__init__(MEAN, STD)
        net = torchvision.models.resnet101(replace_stride_with_dilation=[False, True, True])
        if weights is not None:
            net.load_state_dict(imagenet_weights(weights, torchvision.models.ResNet101_Weights.IMAGENET1K_V1))
        self.parts = nn.ModuleDict(
            {
                "stem": nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool),
                "stride4": net.layer1,
                "stride8": net.layer2,
                "res4": net.layer3,
                "last": net.layer4,
                "logits": AtrousHead(net.fc.in_features, classes),
            }
        )

    def stages(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        x = pixels
        for name in ("stem", "stride4", "stride8", "res4", "last"):
            yield name, (x := self.parts[name](x))
        scores = [self.parts["logits"](x)]
        yield "logits_1.0", scores[0]
        for scale in SCALES[1:]:
            x = F.interpolate(pixels, scale_factor=scale, mode="bilinear", align_corners=False)
            for part in self.parts.values():
                x = part(x)
            yield f"logits_{scale}", x
            scores.append(F.interpolate(x, scores[0].shape[-2:], mode="bilinear", align_corners=False))
        yield "logits", torch.stack(scores).amax(0)
