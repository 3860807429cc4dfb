"""ViT and Swin as FastMIM pre-trains them, of timm's blocks, for images whose size may change between stages.

An encoder maps images (B, 3, S, S) to tokens (B, prefix + (S / stride)^2, width), row-major, class tokens first.
To leave out the last d blocks in pre-training, build it with a smaller depth. Parameters carry the official names,
but for Swin's stages (see ``from_official``). Source: official code.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import RectBivariateSpline
from timm.layers import PatchEmbed, resample_abs_pos_embed
from timm.models.swin_transformer import SwinTransformerStage, get_relative_position_index
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from shared import UserError


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
        grid = _grid(image_size, patch_size)
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
        grid = _grid(size, self.stride)
        self.image_size = size
        _replace(self.pos_embed, stretch_positions(self.pos_embed.detach(), grid))

    def layer_id(self, name: str) -> int:
        """The layer of the parameter ``name``: 0 for patches, positions and class token, k + 1 for block k."""
        if name.startswith(("patch_embed", "pos_embed", "cls_token")):
            return 0
        return int(name.split(".")[1]) + 1 if name.startswith("blocks") else self.layers


class Swin(nn.Module):
    """Swin transformer: windowed attention with relative position biases in four stages (or as many as ``depths``).

    The defaults are Swin-B. ``window`` defaults to the last stage's resolution, size / 32 with patches of 4; a stage
    whose resolution does not exceed it has one window and no shift. Otherwise the resolution must be a multiple of it.
    """

    prefix = 0
    no_weight_decay: frozenset[str] = frozenset()

    def __init__(
        self,
        *,
        image_size: int,
        width: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        heads: Sequence[int] = (4, 8, 16, 32),
        patch_size: int = 4,
        window: int | None = None,
        drop_path: float = 0.0,
    ) -> None:
        """``width`` is that of the first stage, doubled by every next one; the attribute is that of the output."""
        super().__init__()
        if len(depths) != len(heads):
            raise UserError(f"depths {tuple(depths)} and heads {tuple(heads)}: give one number of each a stage.")
        self.image_size = image_size
        self.depths = tuple(depths)
        self.stride, self.width = patch_size * 2 ** (len(depths) - 1), width * 2 ** (len(depths) - 1)
        self.layers = sum(depths) + 1
        window = _grid(image_size, self.stride) if window is None else window
        self._check_window(image_size, window)

        self.patch_embed = PatchEmbed(None, patch_size, 3, width, norm_layer=nn.LayerNorm, output_fmt="NHWC")
        rates = np.split(np.linspace(0, drop_path, sum(depths)), np.cumsum(depths)[:-1])
        self.stages = nn.ModuleList(
            SwinTransformerStage(
                dim=width * 2 ** max(i - 1, 0),
                out_dim=width * 2**i,
                input_resolution=(image_size // patch_size // 2 ** max(i - 1, 0),) * 2,
                depth=depths[i],
                downsample=i > 0,
                num_heads=heads[i],
                window_size=window,
                drop_path=rates[i].tolist(),
                norm_layer=nn.LayerNorm,
            )
            for i in range(len(depths))
        )
        self.norm = nn.LayerNorm(self.width)
        initialise_linear(self)

    def forward(self, images: Tensor, norm: bool = True) -> Tensor:
        """``(B, 3, S, S)`` -> ``(B, (S / stride)^2, width)``; ``norm=False`` leaves the final LayerNorm out."""
        check_size(images, self.image_size)
        tokens = self.patch_embed(images)
        for stage in self.stages:
            tokens = stage(tokens)
        tokens = tokens.flatten(1, 2)
        return self.norm(tokens) if norm else tokens

    def set_image_size(self, size: int) -> None:
        """Changes to images of ``size`` pixels and windows of size / stride tokens; remaps the bias tables.

        The bias tables stay the same parameter objects.
        """
        window = _grid(size, self.stride)
        self.image_size = size
        stages: list[Any] = list(self.stages)
        for i, stage in enumerate(stages):
            resolution = size * 2 ** (len(stages) - 1 - i) // self.stride
            for k, block in enumerate(stage.blocks):
                attention = block.attn
                table = attention.relative_position_bias_table
                _replace(table, remap_bias_table(table.detach(), window))
                # timm would resize the table in another way and make a new parameter of it; it leaves an attention
                # alone that has the window already.
                attention.window_size, attention.window_area = (window, window), window * window
                index = get_relative_position_index(window, window, device=table.device)
                attention.register_buffer("relative_position_index", index, persistent=False)
                block.target_shift_size = (window // 2,) * 2 if k % 2 else (0, 0)
                block.set_input_size((resolution, resolution), (window, window))

    def layer_id(self, name: str) -> int:
        """The layer of the parameter ``name``: 0 for patches, k + 1 for block k, counted through all stages.

        A down-sampling layer has that of the last block before it.
        """
        if name.startswith("patch_embed"):
            return 0
        if not name.startswith("stages"):
            return self.layers
        _, stage, part, *rest = name.split(".")
        before = sum(self.depths[: int(stage)])
        return before if part == "downsample" else before + int(rest[0]) + 1

    def _check_window(self, size: int, window: int) -> None:
        for i in range(len(self.depths)):
            resolution = size * 2**i // self.stride
            if resolution > window and resolution % window:
                raise UserError(
                    f"window {window} does not divide a stage of {resolution} x {resolution} tokens "
                    f"at {size} pixels; choose image size / {self.stride} = {size // self.stride}."
                )


def from_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames a published checkpoint's encoder and classifier parameters to those of ``ViT``, ``Swin`` and their head.

    Takes pre-training checkpoints (which prefix all encoders but ViT with ``encoder.``) and fine-tuned ones. Leaves out
    the decoder, the mask token and Swin's buffers, which are computed.
    """
    renamed = {}
    for official, value in state.items():
        if official.startswith(("decoder", "mask_token")) or official.endswith(
            ("relative_position_index", "attn_mask")
        ):
            continue
        name = official.removeprefix("encoder.")
        if name.startswith("layers."):
            _, stage, part, *rest = name.split(".")
            moved = int(stage) + 1 if part == "downsample" else int(stage)
            name = ".".join(["stages", str(moved), part, *rest])
        renamed[name] = value
    return renamed


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


def remap_bias_table(table: Tensor, window: int, mode: Literal["geometric", "bicubic"] = "geometric") -> Tensor:
    """Resizes a relative position bias table to another window: ``((2w-1)^2, heads)`` -> ``((2 window-1)^2, heads)``.

    ``geometric`` places the source's rows and columns at 0, +-1, +-(1 + q), +-(1 + q + q^2), ... with the q in [0.5, 2]
    that takes the outermost to the target's, so that neighbours stay neighbours and the far entries are spread; a
    bicubic spline (linear with 3 entries a side) is read at the target's integers, held constant beyond the source.
    ``bicubic`` interpolates evenly. Source: SimMIM, which the official code takes it from.
    """
    source, target = round(table.shape[0] ** 0.5), 2 * window - 1
    if source == target:
        return table
    if source == 1:  # windows of one token know no distance
        return table.expand(target * target, -1).clone()
    if mode == "bicubic":
        grid = table.T.unflatten(1, (source, source))[None]
        return F.interpolate(grid, size=(target, target), mode="bicubic", align_corners=False)[0].flatten(1).T

    distances = _geometric_distances(source // 2, target // 2)
    at = np.concatenate([-distances[::-1], [0], distances])
    reach = target // 2
    wanted = np.clip(np.arange(-reach, reach + 1), at[0], at[-1])
    degree = 1 if source <= 3 else 3
    grids = table.T.unflatten(1, (source, source)).double().cpu().numpy()
    remapped = [RectBivariateSpline(at, at, grid, kx=degree, ky=degree, s=0)(wanted, wanted) for grid in grids]
    return torch.from_numpy(np.stack(remapped)).flatten(1).T.to(table)


def _geometric_distances(steps: int, reach: int) -> np.ndarray:
    """``(steps,)``: 1, 1 + q, 1 + q + q^2, ..., the last of them equal to ``reach`` where q in [0.5, 2] allows it."""
    low, high = 0.5, 2.0
    while high - low > 1e-6:
        q = (low + high) / 2
        low, high = (low, q) if np.sum(q ** np.arange(steps)) > reach else (q, high)
    return np.cumsum(q ** np.arange(steps))


def initialise_linear(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for all linear layers of ``module``, as the official code has it."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _grid(size: int, stride: int) -> int:
    if size % stride or size < stride:
        raise UserError(f"image size {size} is no multiple of the encoder's stride; choose one of {stride}.")
    return size // stride


def check_size(images: Tensor, size: int) -> None:
    """Raises UserError if images (B, 3, H, W) are not those that a network is built for."""
    if images.shape[-2:] != (size, size):
        height, width = images.shape[-2:]
        raise UserError(f"images of {height} x {width} pixels, expected {size} x {size}; build the network for them.")


def check_stages(encoder: str, stages: int, **values: Sequence[float]) -> None:
    """Raises UserError if an option that has one value a stage has more or fewer."""
    for name, of_stages in values.items():
        if len(of_stages) != stages:
            raise UserError(
                f"{encoder} has {stages} widths but {len(of_stages)} {name}: {tuple(of_stages)}. Give one a stage."
            )


def _replace(parameter: nn.Parameter, value: Tensor) -> None:
    """Gives a parameter another shape in place, so that optimiser groups still hold it."""
    parameter.data = value
    parameter.grad = None
