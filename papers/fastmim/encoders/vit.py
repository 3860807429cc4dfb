"""ViT as FastMIM pre-trains it, of timm's blocks, and its positions at other image sizes. Source: official code."""

from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from timm.layers import PatchEmbed, resample_abs_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from shared import UserError

from .sizes import check_size, reshape_parameter, tokens_a_side


class ViT(nn.Module):
    """Vision transformer with a class token, pre-norm blocks and 2-D sine-cosine positions.

    The defaults are ViT-B/16. The official pre-training code has 6 heads, its fine-tuning code 12; shapes agree, so
    its checkpoint loads into both. Positions stay ``fixed`` in pre-training; in fine-tuning they are ``trainable``.
    """

    prefix = 1
    no_weight_decay = frozenset({"pos_embed", "cls_token"})

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        drop_path: float = 0.0,
        positions: Literal["fixed", "trainable"] = "fixed",
    ) -> None:
        super().__init__()
        if width % 4 or width % heads:
            raise UserError(f"width {width} with {heads} heads: choose a multiple of 4 and of the number of heads.")
        self.image_size, self.stride, self.width, self.layers = image_size, patch_size, width, depth + 1
        grid = tokens_a_side(image_size, patch_size)
        norm: Any = partial(nn.LayerNorm, eps=1e-6)  # timm declares a class but takes what makes a module
        self.patch_embed = PatchEmbed(None, patch_size, 3, width)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(sincos_positions(width, grid), requires_grad=positions == "trainable")
        self.blocks = nn.ModuleList(
            Block(width, heads, qkv_bias=True, drop_path=rate, norm_layer=norm)
            for rate in np.linspace(0, drop_path, depth).tolist()
        )
        self.norm = norm(width)

        initialise_linear(self)
        projection: Any = self.patch_embed.proj
        nn.init.xavier_uniform_(projection.weight.data.flatten(1))
        nn.init.zeros_(projection.bias)
        nn.init.normal_(self.cls_token, std=0.02)

    def forward(self, images: Tensor, norm: bool = True) -> Tensor:
        """``(B, 3, S, S)`` -> ``(B, 1 + (S / stride)^2, width)``; ``norm=False`` leaves the final LayerNorm out."""
        check_size(images, self.image_size)
        tokens = self.patch_embed(images)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens) if norm else tokens

    def set_image_size(self, size: int) -> None:
        """Stretches the positions for images of ``size`` pixels. The parameter stays the same object."""
        grid = tokens_a_side(size, self.stride)
        self.image_size = size
        reshape_parameter(self.pos_embed, stretch_positions(self.pos_embed.detach(), grid))

    def layer_id(self, name: str) -> int:
        """The layer of the parameter ``name``: 0 for patches, positions and class token, k + 1 for block k."""
        if name.startswith(("patch_embed", "pos_embed", "cls_token")):
            return 0
        return int(name.split(".")[1]) + 1 if name.startswith("blocks") else self.layers


def sincos_positions(width: int, grid: int) -> Tensor:
    """MAE's table (1, 1 + grid^2, width): half the channels encode the column, half the row, each as [sin, cos].

    The class token's row is zero.
    """
    frequency = 1 / 10000 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angle = torch.arange(grid, dtype=torch.float64)[:, None] * frequency
    code = torch.cat([angle.sin(), angle.cos()], dim=1)
    columns, rows = code.expand(grid, -1, -1), code[:, None].expand(-1, grid, -1)
    table = torch.cat([columns, rows], dim=-1).flatten(0, 1)
    return F.pad(table, (0, 0, 1, 0)).float()[None]


def stretch_positions(table: Tensor, grid: int) -> Tensor:
    """Stretches the positions of a square grid: ``(1, 1 + n^2, C)`` -> ``(1, 1 + grid^2, C)``, bicubic.

    A token keeps its relative position in the image; a fresh sine-cosine table would have coordinates that
    pre-training never saw. The class token's row is kept.
    """
    return resample_abs_pos_embed(table, [grid, grid], antialias=False)


def initialise_linear(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for all linear layers of ``module``, as the official code has it."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
