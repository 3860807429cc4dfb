"""PVTv2 as a FastMIM encoder: timm's stages behind the interface every encoder of this folder has.

Source: FastMIM's official code (PVTv2-B2/B5); timm for patch embedding and stages.
"""

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial

from timm.layers import calculate_drop_path_rates
from timm.models.pvt_v2 import OverlapPatchEmbed, PyramidVisionTransformerStage
from torch import Tensor, nn

from shared import UserError

from .sizes import check_stages


class PVTv2(nn.Module):
    """Pyramid Vision Transformer v2: images (B, 3, S, S) -> tokens (B, (S/stride)^2, width).

    There are as many stages as ``widths`` has entries; ``depths``, ``heads``, ``mlp_ratios`` and ``reductions`` give
    one value a stage. The first stage works on a grid of ``patch_size`` pixels and each further one halves it, so
    ``stride = patch_size * 2**(stages - 1)``: 32 for four stages of patch size 4 (all published sizes), 8 for three
    stages of patch size 2. The first convolution is ``2 * patch_size - 1`` wide (7 for 4, as published), at least 3.
    Every stage's grid must be divisible by its reduction, which shrinks the keys and values; four published stages
    need S to be a multiple of 32. PVTv2-B2: widths 64-128-320-512, depths 3-4-6-3, heads 1-2-5-8,
    MLP ratios 8-8-4-4, reductions 8-4-2-1.

    A depth may be 0: pre-training without the last d blocks is a PVTv2 with d blocks fewer.
    """

    prefix = 0

    def __init__(
        self,
        image_size: int,
        widths: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        mlp_ratios: Sequence[float],
        reductions: Sequence[int],
        drop_path: float = 0.0,
        patch_size: int = 4,
    ) -> None:
        super().__init__()
        check_stages("PVTv2", len(widths), depths=depths, heads=heads, mlp_ratios=mlp_ratios, reductions=reductions)
        self.depths = tuple(depths)
        self.reductions = tuple(reductions)
        self.patch_size = patch_size
        self.stride = patch_size * 2 ** (len(widths) - 1)
        self.width = widths[-1]
        self.layers = sum(depths) + 1
        self.no_weight_decay: set[str] = set()
        self.set_image_size(image_size)

        # Two epsilons, as in the official code: 1e-6 here, nn.LayerNorm's 1e-5 in the patch embeddings and after the
        # spatial reduction.
        norm = partial(nn.LayerNorm, eps=1e-6)
        kernel = max(2 * patch_size - 1, 3)
        self.patch_embed = OverlapPatchEmbed(patch_size=kernel, stride=patch_size, embed_dim=widths[0])
        drop_paths = calculate_drop_path_rates(drop_path, list(depths), stagewise=True)
        self.stages = nn.ModuleList(
            PyramidVisionTransformerStage(
                dim=widths[max(k - 1, 0)],
                dim_out=widths[k],
                depth=depths[k],
                downsample=k > 0,
                num_heads=heads[k],
                sr_ratio=reductions[k],
                mlp_ratio=mlp_ratios[k],
                drop_path=drop_paths[k],
                norm_layer=norm,
            )
            for k in range(len(widths))
        )
        self.stages[-1].norm = nn.Identity()  # it is self.norm, so that forward can leave it out
        self.norm = norm(self.width)
        self.apply(_initialise)

    def forward(self, images: Tensor, norm: bool = True) -> Tensor:
        """``images`` (B, 3, S, S) -> (B, (S/stride)^2, width), row by row; ``norm=False`` skips the final LayerNorm."""
        x = self.patch_embed(images)
        for stage in self.stages:
            x = stage(x)
        tokens = x.flatten(2).transpose(1, 2)
        return self.norm(tokens) if norm else tokens

    def set_image_size(self, size: int) -> None:
        """Check that images of ``size`` pixels fit, else ``UserError``. No parameter depends on the size."""
        for k, reduction in enumerate(self.reductions):
            unit = self.patch_size * 2**k * reduction
            if size % unit:
                raise UserError(
                    f"PVTv2 cannot take images of {size} pixels: stage {k + 1} needs a multiple of {unit} (patch size "
                    f"{self.patch_size}, reduction {reduction}). Change the image size or the reductions."
                )
        if size % self.stride:
            raise UserError(f"PVTv2 cannot take images of {size} pixels: use a multiple of its stride {self.stride}.")

    def layer_id(self, name: str) -> int:
        """Layer of parameter ``name`` for layer decay: scale = decay**(layers - id). ``KeyError`` if it has none.

        First patch embedding 0, blocks 1, 2, ... through all stages; a later patch embedding has the id of the block
        before it, a stage's norm that of the block it follows, the final norm ``layers``. Source: official code.
        """
        if name.startswith("patch_embed."):
            return 0
        if name.startswith("norm."):
            return self.layers
        if match := re.match(r"stages\.(\d+)\.(downsample|blocks|norm)\.(\d*)", name):
            k = int(match[1])
            before = sum(self.depths[:k])
            if match[2] == "blocks":
                return before + int(match[3]) + 1
            return before if match[2] == "downsample" else before + self.depths[k]
        raise KeyError(name)

    @staticmethod
    def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The official encoder's tensors (with or without the prefix ``encoder.``) under this class's names.

        Everything else in the checkpoint (mask token, decoder, classification head) is left out.
        """
        official = {name.removeprefix("encoder."): tensor for name, tensor in state_dict.items()}
        matches = {name: re.match(r"(patch_embed|block|norm)(\d+)\.(.+)", name) for name in official}
        last = max((int(match[2]) for match in matches.values() if match), default=0)
        renamed = {}
        for name, match in matches.items():
            if match is None:
                continue
            part, k, rest = match[1], int(match[2]) - 1, match[3].replace("dwconv.dwconv", "dwconv")
            if part == "patch_embed":
                module = "patch_embed" if k == 0 else f"stages.{k}.downsample"
            elif part == "block":
                module = f"stages.{k}.blocks"
            else:
                module = "norm" if k + 1 == last else f"stages.{k}.norm"
            renamed[f"{module}.{rest}"] = official[name]
        return renamed


def _initialise(module: nn.Module) -> None:
    """Linear xavier-uniform, convolutions He-normal over their group's outputs, biases 0. Source: official code."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
