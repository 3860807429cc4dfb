"""From a feature map, or from boxes, to the visual tokens of the Transformer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dictionary import VisualDictionary

Mixture = Literal["gate", "add", "code"]
"""Input of the Transformer, from feature and code: a learned mixture, their sum, or the code alone."""


@dataclass(frozen=True)
class Visual:
    """Visual embeddings of B images at P positions, before the masking."""

    embedding: Tensor
    """(B, P, c)."""
    position: Tensor
    """(B, P, c), the code of the place."""
    real: Tensor
    """(B, P) bool: False for padding."""
    index: Tensor | None = None
    """(B, P) int64, codes of the dictionary."""

    def at(self, of: Tensor) -> "Visual":
        """The images with the numbers ``of`` (R,)."""
        return Visual(*(None if x is None else x[of] for x in self.parts))  # type: ignore[arg-type]

    def to(self, device: torch.device | str) -> "Visual":
        return Visual(*(None if x is None else x.to(device) for x in self.parts))  # type: ignore[arg-type]

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        return self.embedding, self.position, self.real, self.index

    @staticmethod
    def cat(visuals: "Sequence[Visual]") -> "Visual":
        """Images with the same number of positions, one after another."""
        columns = zip(*(visual.parts for visual in visuals), strict=True)
        return Visual(*(None if column[0] is None else torch.cat(column) for column in columns))  # type: ignore[arg-type]


class VisualEmbedding(nn.Module):
    """Pooling, 1 x 1 convolution, dictionary, place: a feature map to tokens (`SOHO/models/necks/necks.py`).

    Args:
        channels: of the feature map.
        width: c, of the Transformer.
        dictionary: None leaves out the lookup and what belongs to it.
        mixture: see `Mixture`; with a dictionary.
    """

    def __init__(
        self, channels: int, width: int, dictionary: VisualDictionary | None = None, mixture: Mixture = "gate"
    ) -> None:
        super().__init__()
        self.mixture = mixture
        self.conv = nn.Conv2d(channels, width, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.dictionary = dictionary
        if dictionary is not None:
            self.line = nn.Linear(width, width)
            self.mask_token = nn.Parameter(torch.randn(width))
            if mixture == "gate":
                self.gate = nn.Sequential(nn.Conv2d(2 * width, 2, 1, bias=False), nn.BatchNorm2d(2))
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor, valid: Tensor) -> Visual:
        """Embed feature maps (B, C, H, W); ``valid`` (B, 2) is the share of height and width that is no padding."""
        x = self.bn(self.conv(F.max_pool2d(features, 2)))
        real = valid_cells(valid, x.shape[2], x.shape[3])
        position = sine_position(real, x.shape[1]).to(x.dtype).flatten(2).transpose(1, 2)
        index, embedding = None, x
        if self.dictionary is not None:
            codes, index = self.dictionary(x.permute(0, 2, 3, 1))
            codes = self.line(codes).permute(0, 3, 1, 2)
            if self.mixture == "gate":
                share = self.gate(torch.cat([codes, x], 1)).softmax(1)
                embedding = share[:, :1] * codes + share[:, 1:] * x
            else:
                embedding = codes + x if self.mixture == "add" else codes
            index = index.flatten(1)
        return Visual(embedding.flatten(2).transpose(1, 2), position, real.flatten(1), index)

    def tokens(self, visual: Visual, masked: Tensor | None = None) -> Tensor:
        """Tokens (B, P, c). Masked positions, (B, P) bool, lose their feature and keep their place."""
        embedding = visual.embedding
        if masked is not None:
            embedding = torch.where(masked[..., None], self.mask_token.to(embedding.dtype), embedding)
        return self.norm(embedding + visual.position)


class RegionEmbedding(nn.Module):
    """Features of boxes to tokens: the baseline that sees objects alone.

    Args:
        channels: of the features. width: of the Transformer.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, width, 1, bias=False)
        self.bn = nn.BatchNorm1d(width)
        self.place = nn.Linear(5, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor, boxes: Tensor, real: Tensor) -> Visual:
        """Embed features (B, R, C) of boxes (B, R, 4), xyxy as shares of the image; ``real`` (B, R) bool."""
        x = features.new_zeros(*real.shape, self.conv.out_channels)
        x[real] = self.bn(self.conv(features[real][..., None]))[..., 0]  # padding stays out of the statistics
        area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
        return Visual(x, self.place(torch.cat([boxes, area[..., None]], -1)), real)

    def tokens(self, visual: Visual, masked: Tensor | None = None) -> Tensor:
        """Tokens (B, R, c)."""
        return self.norm(visual.embedding + visual.position)


def valid_cells(valid: Tensor, height: int, width: int) -> Tensor:
    """(B, height, width) bool: cells whose first pixel is no padding; ``valid`` (B, 2), shares of height and width.

    The same as resizing a mask of pixels to the nearest one. The official code builds that mask with the height twice.
    """
    rows, columns = (torch.arange(n, device=valid.device) / n for n in (height, width))
    return (rows < valid[:, :1])[:, :, None] & (columns < valid[:, 1:])[:, None]


def sine_position(real: Tensor, width: int) -> Tensor:
    """Two-dimensional sine code of real cells (B, h, w) bool, (B, width, h, w): half for the row, half for the column.

    Rows and columns are counted from 1 and divided by the number of real ones (DETR, Carion et al., 2020).
    """
    half = width // 2
    frequency = 10000 ** (2 * (torch.arange(half, device=real.device) // 2) / half)
    codes = []
    for axis in (1, 2):
        count = real.float().cumsum(axis)
        last = count.narrow(axis, count.shape[axis] - 1, 1)
        angle = (2 * math.pi * count / (last + 1e-6))[..., None] / frequency
        codes.append(torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], -1).flatten(-2))
    return torch.cat(codes, -1).permute(0, 3, 1, 2)
