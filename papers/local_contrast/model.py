"""The 2-D U-Net and the two projection heads, with the names of the paper: e, d_l, g1, g2.

Source: official code (`models.py`, `layers_bn.py`).
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH_NORM_EPSILON = 1e-3
LEVELS = 5  # poolings of the encoder, and decoder blocks
MULTIPLE = 2**LEVELS  # an image's height and width are multiples of it


class ConvUnit(nn.Sequential):
    """Convolution with bias, batch normalisation, ReLU: (B, in, H, W) -> (B, out, H, W).

    A 2x2 kernel is padded by one row below and one column at the right, as TensorFlow's "SAME" does.
    """

    def __init__(self, channels_in: int, channels_out: int, momentum: float, kernel: int = 3) -> None:
        after = kernel // 2
        before = kernel - 1 - after
        super().__init__(
            nn.ZeroPad2d((before, after, before, after)) if before != after else nn.Identity(),
            nn.Conv2d(channels_in, channels_out, kernel, padding=before if before == after else 0),
            nn.BatchNorm2d(channels_out, eps=BATCH_NORM_EPSILON, momentum=momentum),
            nn.ReLU(inplace=True),
        )


class Encoder(nn.Module):
    """e: images (B, 1, H, W) -> five skip maps, from (B, c1, H, W) to (B, c5, H/16, W/16), and (B, c6, H/32, W/32)."""

    def __init__(self, widths: Sequence[int], momentum: float) -> None:
        super().__init__()
        levels, channels = [], 1
        for width in (*widths, widths[-1]):
            levels.append(nn.Sequential(ConvUnit(channels, width, momentum), ConvUnit(width, width, momentum)))
            channels = width
        self.levels = nn.ModuleList(levels)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        skips = []
        for level in self.levels[:-1]:
            skips.append(level(x))
            x = F.max_pool2d(skips[-1], 2)
        return skips, self.levels[-1](x)


class DecoderBlock(nn.Module):
    """Double the size, join the skip of that size, convolve: (B, in, h, w), (B, c, 2h, 2w) -> (B, c, 2h, 2w)."""

    def __init__(self, channels_in: int, width: int, momentum: float, convolutions: int = 2) -> None:
        super().__init__()
        self.up = ConvUnit(channels_in, width, momentum, kernel=2)
        units = [ConvUnit(width if k else 2 * width, width, momentum) for k in range(convolutions)]
        self.units = nn.Sequential(*units)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        upsampled = self.up(F.interpolate(x, scale_factor=2, mode="nearest"))
        return self.units(torch.cat([upsampled, skip], dim=1))


class UNet(nn.Module):
    """Encoder, five decoder blocks and segmentation head: images (B, 1, H, W) -> logits (B, classes, H, W).

    Args:
        widths: c1 to c5, the channels of the levels; the bottleneck has c5, too.
        momentum: share of a batch in the running statistics of batch normalisation (1 - decay).
    """

    def __init__(self, widths: Sequence[int], classes: int, momentum: float = 0.01) -> None:
        super().__init__()
        if len(widths) != LEVELS:
            raise ValueError(f"expected {LEVELS} widths, found {tuple(widths)}")
        self.encoder = Encoder(widths, momentum)
        levels = list(reversed(widths))
        # The block at the size of the image has one convolution after the skip is joined, the others have two.
        self.decoder = nn.ModuleList(
            DecoderBlock(below, width, momentum, convolutions=2 if block < LEVELS else 1)
            for block, (below, width) in enumerate(zip([levels[0], *levels], levels, strict=False), 1)
        )
        self.head = nn.Sequential(
            ConvUnit(widths[0], widths[0], momentum),
            ConvUnit(widths[0], widths[0], momentum),
            nn.Conv2d(widths[0], classes, 3, padding=1, bias=False),
        )
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(decode(self.decoder, *self.encoder(images)))


def decode(blocks: Iterable[nn.Module], skips: Sequence[Tensor], bottleneck: Tensor) -> Tensor:
    """d_l: the map after l decoder blocks, (B, c, H / 2^(5 - l), W / 2^(5 - l))."""
    x = bottleneck
    for block, skip in zip(blocks, reversed(skips), strict=False):
        x = block(x, skip)
    return x


class GlobalHead(nn.Module):
    """g1: the bottleneck (B, c6, h, w) -> vectors (B, out). Two dense layers without bias, ReLU between them."""

    def __init__(self, channels: int, size: int, hidden: int = 1024, out: int = 128) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            nn.Linear(channels * size * size, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, out, bias=False)
        )
        self.apply(_initialise)

    def forward(self, bottleneck: Tensor) -> Tensor:
        return self.dense(bottleneck.flatten(1))


class LocalHead(nn.Module):
    """g2: a decoder map (B, C, h, w) and U corners of regions -> a vector a region, (B, U, D).

    Two 1x1 convolutions without bias, batch normalisation and ReLU between them. A region of 3x3 is then flattened
    (row, column, channel) and goes through a dense layer that all regions share (D = ``out``); one of 1x1 is the
    vector at its place (D = C).
    """

    def __init__(self, channels: int, region: int, momentum: float = 0.01, out: int = 128) -> None:
        super().__init__()
        self.region = region
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, momentum=momentum),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
        )
        self.dense = nn.Identity() if region == 1 else nn.Linear(region**2 * channels, out, bias=False)
        self.apply(_initialise)

    def forward(self, features: Tensor, corners: Tensor) -> Tensor:
        return self.dense(cut_regions(self.convolutions(features), corners, self.region))


def cut_regions(features: Tensor, corners: Tensor, region: int) -> Tensor:
    """Regions of a map (B, C, h, w) with top-left ``corners`` (U, 2): (B, U, region² C), order row, column, channel."""
    steps = torch.arange(region, device=corners.device)
    rows, columns = (corners[:, axis, None] + steps for axis in (0, 1))  # (U, region)
    found = features[:, :, rows[:, :, None], columns[:, None, :]]  # (B, C, U, region, region)
    return found.permute(0, 2, 3, 4, 1).flatten(2)


class SliceProjector(nn.Module):
    """Network of stage 1: images (B, 1, H, W) -> g1(e(images)), or what another head makes of the bottleneck."""

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images)[1])


class RegionProjector(nn.Module):
    """Network of stage 2: images (B, 1, H, W) -> g2(d_l(e(images))), a vector a region, (B, U, D). e is frozen."""

    def __init__(self, encoder: Encoder, decoder: nn.ModuleList, head: LocalHead) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = encoder.requires_grad_(False), decoder, head

    def forward(self, images: Tensor, corners: Tensor) -> Tensor:
        with torch.no_grad():
            skips, bottleneck = self.encoder(images)
        return self.head(decode(self.decoder, skips, bottleneck), corners)


class RotationHead(nn.Module):
    """The pretext task of one baseline: the bottleneck (B, c6, h, w) -> logits (B, 4) of the quarter turns."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 4)

    def forward(self, bottleneck: Tensor) -> Tensor:
        return self.linear(bottleneck.mean((2, 3)))


def _initialise(layer: nn.Module) -> None:
    """He's normal initialisation of convolutions, Glorot's uniform one of dense layers, no bias."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
