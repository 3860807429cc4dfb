"""The two dense networks: the segmenter with its embedding of places, and PONI's potential network."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 4  # of the normalisation, which has no statistics that a few hundred frames of one house would spoil
EMBEDDING = 32


class Block(nn.Sequential):
    """Two convolutions."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        layers: list[nn.Module] = []
        for channels, step in ((before, stride), (after, 1)):
            layers += [
                nn.Conv2d(channels, after, 3, step, padding=1, bias=False),
                nn.GroupNorm(min(GROUPS, after), after),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class Decoder(nn.Module):
    """Back to the first level's resolution, with the encoder's maps on the way."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        pairs = reversed(list(pairwise(widths)))
        self.blocks = nn.ModuleList(Block(fine + coarse, fine) for fine, coarse in pairs)

    def forward(self, levels: list[Tensor]) -> Tensor:
        x = levels[-1]
        for block, level in zip(self.blocks, reversed(levels[:-1]), strict=True):
            x = F.interpolate(x, level.shape[-2:], mode="bilinear", align_corners=True)
            x = block(torch.cat([level, x], 1))
        return x


class Encoder(nn.Module):
    def __init__(self, channels: int, widths: Sequence[int], stride: int) -> None:
        super().__init__()
        pairs = zip((channels, *widths[:-1]), widths, strict=True)
        self.blocks = nn.ModuleList(Block(a, b, stride if k == 0 else 1) for k, (a, b) in enumerate(pairs))

    def forward(self, x: Tensor) -> list[Tensor]:
        levels: list[Tensor] = []
        for block in self.blocks:
            x = block(F.max_pool2d(x, 2) if levels else x)
            levels.append(x)
        return levels


class Segmenter(nn.Module):
    """A U-Net at half of the image's resolution.

    Args:
        classes: with the background, which is class 0.
        widths: channels of the levels.
    """

    def __init__(self, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.encoder = Encoder(3, widths, stride=2)
        self.decoder = Decoder(widths)
        self.head = nn.Conv2d(widths[0], classes, 1)
        self.embedding = nn.Sequential(
            nn.Conv2d(widths[0], EMBEDDING, 1), nn.ReLU(inplace=True), nn.Conv2d(EMBEDDING, EMBEDDING, 1)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K, H / 2, W / 2) and embeddings (B, D, H / 2, W / 2), not normalised, of images in [0, 1]."""
        x = self.decoder(self.encoder(2 * images - 1))
        return self.head(x), self.embedding(x)


class PotentialNet(nn.Module):
    """Potentials of a partial map: of each object class, and of the area that lies beyond.

    Args:
        classes: object classes C; the map has 2 + C channels: floor, wall, classes.
        widths: channels of the levels.
    """

    def __init__(self, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.embed = nn.Conv2d(2 + classes, 2 * widths[0], 1)
        self.encoder = Encoder(2 * widths[0], widths, stride=1)
        self.objects, self.area = Decoder(widths), Decoder(widths)
        self.objects_head, self.area_head = nn.Conv2d(widths[0], classes, 1), nn.Conv2d(widths[0], 1, 1)
        for head in (self.objects_head, self.area_head):  # potentials are 0 almost everywhere
            nn.init.constant_(head.bias, -3.0)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Object potentials (B, C, M, M) and area potential (B, M, M), both in [0, 1], of maps (B, 2 + C, M, M)."""
        levels = self.encoder(self.embed(maps))
        objects, area = self.objects_head(self.objects(levels)), self.area_head(self.area(levels))
        return objects.sigmoid(), area[:, 0].sigmoid()
