"""CMT, the hybrid of convolution and attention, as a FastMIM encoder (timm has no CMT).

Sources: Guo et al., "CMT: Convolutional Neural Networks Meet Vision Transformers" (CVPR 2022); FastMIM's official code
where it differs (layer order, epsilons, initialisation).

Shapes: B images, S image side, C channels, n a stage's grid side, r its reduction, N = n^2 queries, M = (n/r)^2 keys.
"""

import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from shared import UserError

from .sizes import check_size, check_stages


class CMT(nn.Module):
    """CMT: images (B, 3, S, S) -> tokens (B, (S/stride)^2, width).

    There are as many stages as ``widths`` has entries; ``depths``, ``heads`` and ``reductions`` give one value a stage.
    The stem halves the resolution, and so does the 2x2 patch embedding that every stage begins with: the stride is 32
    for four stages (as published), 8 for two. Every stage's grid must be divisible by its reduction. CMT-S: widths
    64-128-256-512, depths 3-3-16-3, heads 1-2-4-8, reductions 8-4-2-1, stem 32.

    The relative positions belong to one image size; ``set_image_size`` changes it. A depth may be 0: pre-training
    without the last d blocks is a CMT with d blocks fewer.
    """

    prefix = 0

    def __init__(
        self,
        image_size: int,
        widths: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        reductions: Sequence[int],
        stem: int = 32,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_stages("CMT", len(widths), depths=depths, heads=heads, reductions=reductions)
        for width, number in zip(widths, heads, strict=True):
            if width % number:
                raise UserError(
                    f"A CMT stage of width {width} cannot have {number} heads: heads must divide the width."
                )
        self.depths = tuple(depths)
        self.reductions = tuple(reductions)
        self.stride = 2 ** (len(widths) + 1)
        self.width = widths[-1]
        self.layers = sum(depths) + 1
        self.no_weight_decay: set[str] = set()
        self.image_size = image_size

        self.stem = nn.Sequential(*_stem_layer(3, stem, 2), *_stem_layer(stem, stem, 1), *_stem_layer(stem, stem, 1))
        drop_paths = torch.linspace(0, drop_path, sum(depths), device="cpu").split(list(depths))
        self.stages = nn.ModuleList(
            Stage(stem if k == 0 else widths[k - 1], widths[k], heads[k], reductions[k], grid, drop_paths[k])
            for k, grid in enumerate(self._grids(image_size))
        )
        self.norm = nn.LayerNorm(self.width, eps=1e-6)
        self.apply(_initialise)

    def forward(self, images: Tensor, norm: bool = True) -> Tensor:
        """``images`` (B, 3, S, S) -> (B, (S/stride)^2, width), row by row; ``norm=False`` skips the final LayerNorm."""
        check_size(images, self.image_size)
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        tokens = x.flatten(2).transpose(1, 2)
        return self.norm(tokens) if norm else tokens

    def set_image_size(self, size: int) -> None:
        """Resize the relative positions for images of ``size`` pixels, in place; ``UserError`` if they do not fit."""
        for stage, grid in zip(self.stages, self._grids(size), strict=True):
            assert isinstance(stage, Stage)
            stage.set_grid(grid)
        self.image_size = size

    def layer_id(self, name: str) -> int:
        """Layer of parameter ``name`` for layer decay: scale = decay**(layers - id). ``KeyError`` if it has none.

        Stem 0, blocks 1, 2, ... through all stages, a stage's patch embedding and relative positions the id of its
        first block (in PVTv2 a patch embedding has that of the block before it), the final norm ``layers``. Source:
        official code.
        """
        if name.startswith("stem."):
            return 0
        if name.startswith("norm."):
            return self.layers
        if match := re.match(r"stages\.(\d+)\.(?:patch_embed|relative_pos$|blocks\.(\d+))", name):
            return sum(self.depths[: int(match[1])]) + int(match[2] or 0) + 1
        raise KeyError(name)

    @staticmethod
    def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The official encoder's tensors (with or without the prefix ``encoder.``) under this class's names.

        Everything else in the checkpoint (mask token, decoder, classification head) is left out.
        """
        renamed = {}
        for official, tensor in state_dict.items():
            name = official.removeprefix("encoder.")
            if match := re.match(r"stem_(conv|norm)(\d)\.(.+)", name):
                layer = 3 * (int(match[2]) - 1) + (2 if match[1] == "norm" else 0)
                renamed[f"stem.{layer}.{match[3]}"] = tensor
            elif match := re.match(r"(patch_embed|blocks|relative_pos)_([a-z])(.*)", name):
                k = ord(match[2]) - ord("a")
                block = match[3]
                for before, after in _BLOCK_NAMES:
                    block = re.sub(before, after, block)
                renamed[f"stages.{k}.{match[1]}{block}"] = tensor
            elif name.startswith("norm."):
                renamed[name] = tensor
        return renamed

    def _grids(self, size: int) -> list[int]:
        """Side of every stage's grid for images of ``size`` pixels."""
        for k, reduction in enumerate(self.reductions):
            unit = 2 ** (k + 2) * reduction
            if size % unit:
                raise UserError(
                    f"CMT cannot take images of {size} pixels: stage {k + 1} needs a multiple of {unit} "
                    f"(reduction {reduction}). Change the image size or the reductions."
                )
        return [size // 2 ** (k + 2) for k in range(len(self.reductions))]


# Official sub-module names inside a block or a patch embedding -> those of Block and Stage.
_BLOCK_NAMES = [
    (r"^(\.\d+)\.proj\.", r"\1.perception."),
    (r"\.mlp\.conv1\.0\.", ".mlp.expand.0."),
    (r"\.mlp\.conv1\.2\.", ".mlp.expand.2."),
    (r"\.mlp\.proj_bn\.", ".mlp.norm."),
    (r"\.mlp\.proj\.", ".mlp.depthwise."),
    (r"\.mlp\.conv2\.", ".mlp.contract."),
    (r"\.attn\.sr\.", ".attn.reduce."),
]


class Stage(nn.Module):
    """2x2 patch embedding, then blocks that share one table of relative positions.

    (B, in_width, 2n, 2n) -> (B, width, n, n) for a grid of side n; one block for each entry of ``drop_paths``.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        heads: int,
        reduction: int,
        grid: int,
        drop_paths: Sequence[float],
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(in_width, width, kernel_size=2, stride=2), "norm": nn.LayerNorm(width)}
        )
        self.relative_pos = nn.Parameter(torch.randn(heads, grid**2, (grid // reduction) ** 2))
        self.blocks = nn.ModuleList(Block(width, heads, reduction, rate) for rate in drop_paths)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed["proj"](x)
        x = _over_channels(self.patch_embed["norm"], x)
        for block in self.blocks:
            x = block(x, self.relative_pos)
        return x

    def set_grid(self, grid: int) -> None:
        """Resize the relative positions for a grid of side ``grid``."""
        queries, keys = grid**2, (grid // self.reduction) ** 2
        if self.relative_pos.shape[1:] != (queries, keys):
            resized = resize_relative_pos(self.relative_pos.detach(), queries, keys)
            self.relative_pos.data, self.relative_pos.grad = resized, None  # the optimizer still holds it


def resize_relative_pos(table: Tensor, queries: int, keys: int) -> Tensor:
    """Relative positions (heads, N, M) -> (heads, queries, keys), bicubic over both axes. Source: official code."""
    return F.interpolate(table[None], size=(queries, keys), mode="bicubic", align_corners=False)[0]


class Block(nn.Module):
    """Local perception unit, attention, feed-forward, each with its residual: (B, C, n, n) -> same."""

    def __init__(self, width: int, heads: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.perception = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, reduction)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = FeedForward(width, 4 * width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, relative_pos: Tensor) -> Tensor:
        """``x`` (B, C, n, n), ``relative_pos`` (heads, N, M)."""
        x = x + self.perception(x)
        x = x + self.drop_path(self.attn(_over_channels(self.norm1, x), relative_pos))
        return x + self.drop_path(self.mlp(_over_channels(self.norm2, x)))


def _over_channels(norm: nn.Module, x: Tensor) -> Tensor:
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Attention over the whole grid; keys and values come from a grid ``reduction`` times smaller."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        self.reduce = nn.Sequential()
        if reduction > 1:
            self.reduce.append(nn.Conv2d(width, width, kernel_size=reduction, stride=reduction, groups=width))
            self.reduce.append(nn.BatchNorm2d(width))

    def forward(self, x: Tensor, relative_pos: Tensor) -> Tensor:
        """``x`` (B, C, n, n), ``relative_pos`` (heads, N, M), added to the logits -> (B, C, n, n)."""
        tokens, reduced = (grid.flatten(2).transpose(1, 2) for grid in (x, self.reduce(x)))
        q, k, v = (
            layer(y).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, y in ((self.q, tokens), (self.k, reduced), (self.v, reduced))
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=relative_pos[None])
        return self.proj(attended.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)


class FeedForward(nn.Module):
    """Inverted residual: 1x1 up, depth-wise 3x3 with a residual, 1x1 down; (B, C, n, n) -> same."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(width, hidden, kernel_size=1), nn.GELU(), nn.BatchNorm2d(hidden))
        self.depthwise = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.norm = nn.BatchNorm2d(hidden)
        self.contract = nn.Sequential(nn.Conv2d(hidden, width, kernel_size=1), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        x = self.norm(F.gelu(x + self.depthwise(x)))
        return self.contract(x)


def _stem_layer(in_channels: int, channels: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1), nn.GELU(), nn.BatchNorm2d(channels)]


def _initialise(module: nn.Module) -> None:
    """Linear xavier-uniform, convolutions He-normal (fan-out), biases 0. Source: official code."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
