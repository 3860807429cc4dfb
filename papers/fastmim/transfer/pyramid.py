"""A feature pyramid over the tokens of an encoder.

The encoders end in one map of tokens, however many stages they have. The simple feature pyramid of ViTDet (Li et al.,
"Exploring Plain Vision Transformer Backbones for Object Detection", 2022, section 3) makes a map of every other
resolution from that one, by (transposed) convolutions and pooling. Images may be larger than those of pre-training:
positions, bias tables and relative positions are resized by the encoder's ``set_image_size``; Swin's windows then grow
with the image, to 32 x 32 tokens at 1024 pixels, where mmdetection and mmsegmentation keep the windows and pad.
"""

from collections.abc import Sequence

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from shared import UserError

from ..encoders import Encoder, PVTv2


class Pyramid(nn.Module):
    """One map (B, C, S/s, S/s) -> maps (B, out_width, S/t, S/t), one for each t of ``strides``, named "0", "1", ...

    A finer map comes from transposed convolutions that double the resolution and halve the channels, LayerNorm and
    GELU between them, a coarser one from max pooling; then a 1x1 and a 3x3 convolution, LayerNorm after both.

    Raises:
        UserError: if the ratio of two strides is no power of 2.
    """

    def __init__(self, width: int, stride: int, out_width: int = 256, strides: Sequence[int] = (4, 8, 16, 32)) -> None:
        super().__init__()
        for target in strides:
            ratio = max(stride, target) / min(stride, target)
            if not ratio.is_integer() or int(ratio).bit_count() != 1:
                raise UserError(
                    f"An encoder of stride {stride} cannot give a map of stride {target}: expected a power of 2 "
                    "between them; choose a patch size that is a power of 2."
                )
        self.levels = nn.ModuleList(_level(width, stride, target, out_width) for target in strides)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {str(k): level(features) for k, level in enumerate(self.levels)}


def _level(width: int, stride: int, target: int, out_width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    if target > stride:
        layers.append(nn.MaxPool2d(target // stride))
    while stride > target:
        layers.append(nn.ConvTranspose2d(width, width // 2, 2, 2))
        stride, width = stride // 2, width // 2
        if stride > target:
            layers += [LayerNorm2d(width), nn.GELU()]
    layers += [nn.Conv2d(width, out_width, 1, bias=False), LayerNorm2d(out_width)]
    layers += [nn.Conv2d(out_width, out_width, 3, padding=1, bias=False), LayerNorm2d(out_width)]
    return nn.Sequential(*layers)


class Backbone(nn.Module):
    """An encoder and its pyramid: images (B, 3, S, S) -> maps, as :class:`Pyramid` has them.

    S is what the encoder was set to by ``set_image_size``. As in classification, the encoder's final norm is left out
    but for PVTv2's. ``out_channels`` is what torchvision's detectors ask for.
    """

    def __init__(self, encoder: Encoder, width: int = 256, strides: Sequence[int] = (4, 8, 16, 32)) -> None:
        super().__init__()
        self.encoder, self.out_channels = encoder, width
        self.pyramid = Pyramid(encoder.width, encoder.stride, width, strides)
        if not isinstance(encoder, PVTv2):
            encoder.norm.requires_grad_(False)  # not used; DistributedDataParallel wants a gradient of everything

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        tokens = self.encoder(images, norm=isinstance(self.encoder, PVTv2))[:, self.encoder.prefix :]
        side = images.shape[-1] // self.encoder.stride
        return self.pyramid(tokens.transpose(1, 2).unflatten(2, (side, side)))
