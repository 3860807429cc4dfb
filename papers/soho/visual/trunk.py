"""The trainable CNN: an early part that stays frozen, and a late part that is trained end to end."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from shared import UserError
from shared.offline.towers import efficientnet_lite0
from shared.support.weights import finite_weights, load_checkpoint

Name = Literal["resnet18", "resnet50", "resnet101", "lite0", "small"]
CHANNELS = {"resnet18": 512, "resnet50": 2048, "resnet101": 2048, "lite0": 80, "small": 16}
_IMAGENET, _HALF = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5,) * 3, (0.5,) * 3)
NORMALISATION = {"resnet18": _IMAGENET, "resnet50": _IMAGENET, "resnet101": _IMAGENET, "lite0": _HALF, "small": _HALF}
"""Mean and standard deviation of RGB in [0, 1]."""


class Trunk(nn.Module):
    """A CNN whose early part is frozen, its batch normalisation too; the late part is trained.

    Args:
        early: pixels (B, 3, H, W) to the maps that may be computed once.
        late: those maps to the features (B, C, h, w).
        trained: False freezes the late part as well.
    """

    def __init__(self, early: nn.Module, late: nn.Module, trained: bool = True) -> None:
        super().__init__()
        self.early, self.late, self.trained = early.requires_grad_(False), late.requires_grad_(trained), trained

    def train(self, mode: bool = True) -> "Trunk":
        super().train(mode)
        self.early.eval()
        if not self.trained:
            self.late.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Features of pixels, or of the early maps of the same images if ``x`` has other than three channels."""
        if x.shape[1] == 3:
            with torch.no_grad():
                x = self.early(x)
        features: Tensor = self.late(x)
        return features


def build_trunk(name: Name, weights: str | None, trained: bool = True) -> Trunk:
    """A trunk with ImageNet weights, those of a file (a state dict of torchvision's model), or random ones (None).

    ResNets freeze stem and first stage, as the official code does. EfficientNet-Lite0 is cut after its fourth stage
    (80 channels at stride 16) and trains the two blocks that end it; it always has its packaged weights.

    Raises:
        UserError: if the file cannot be read, or holds weights of another model.
    """
    if name == "lite0":
        model = efficientnet_lite0()
        early = nn.Sequential(model.conv_stem, model.bn1, *model.blocks[:3], model.blocks[3][0])
        return Trunk(early, model.blocks[3][1:], trained)
    if name == "small":
        early = nn.Sequential(nn.AvgPool2d(4), nn.PixelUnshuffle(2))  # nothing random: its maps are computed once
        return Trunk(early, nn.Sequential(nn.Conv2d(12, 16, 2, 2), nn.BatchNorm2d(16), nn.ReLU()), trained)
    import torchvision

    resnet = torchvision.models.get_model(name, weights="DEFAULT" if weights == "imagenet" else None)
    if weights not in (None, "imagenet"):
        try:
            resnet.load_state_dict(finite_weights(load_checkpoint(Path(weights))))
        except (RuntimeError, AttributeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0].rstrip(":")
            raise UserError(f"{weights} is no usable state dict of torchvision's {name} ({reason}).") from error
    early = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool, resnet.layer1)
    return Trunk(early, nn.Sequential(resnet.layer2, resnet.layer3, resnet.layer4), trained)
