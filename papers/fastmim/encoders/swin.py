"""Swin as FastMIM pre-trains it, of timm's stages, and its bias tables in other windows. Source: official code."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import RectBivariateSpline
from timm.layers import PatchEmbed
from timm.models.swin_transformer import SwinTransformerStage, get_relative_position_index
from torch import Tensor, nn

from shared import UserError

from .sizes import check_size, reshape_parameter, tokens_a_side
from .vit import initialise_linear


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
        window = tokens_a_side(image_size, self.stride) if window is None else window
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
        window = tokens_a_side(size, self.stride)
        self.image_size = size
        stages: list[Any] = list(self.stages)
        for i, stage in enumerate(stages):
            resolution = size * 2 ** (len(stages) - 1 - i) // self.stride
            for k, block in enumerate(stage.blocks):
                attention = block.attn
                table = attention.relative_position_bias_table
                reshape_parameter(table, remap_bias_table(table.detach(), window))
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
