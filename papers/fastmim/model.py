"""FastMIM: predict HOG features (or pixels) of masked regions of small images, with any encoder.

Masked pixels are replaced before the encoder, not dropped: the encoder always sees a full grid. Source: official code.
"""

from functools import partial
from typing import Any, Literal, NamedTuple, cast

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from shared import UserError

from .encoders import ViT
from .encoders.vit import initialise_linear
from .losses import hog_loss, pixel_loss
from .masking import block_mask, check_noise, enlarge


class Prediction(NamedTuple):
    """The scalar ``loss`` of B images, ``pred`` (B, N, outputs) and ``mask`` (B, 1, n, n), 1 = masked."""

    loss: Tensor
    pred: Tensor
    mask: Tensor


class Decoder(nn.Module):
    """Linear, ``depth`` transformer blocks on all tokens, LayerNorm, linear: ``(B, T, inputs)`` -> ``(B, T, outputs)``.

    It has no positions of its own. One head for every 32 channels. With depth 0, LayerNorm and the last linear only.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int, depth: int, eps: float) -> None:
        super().__init__()
        heads = max(width // 32, 1)
        if depth == 0 and width != inputs:
            raise UserError(f"decoder width {width} without blocks: choose the encoder's width, {inputs}, or a block.")
        if width % heads:
            raise UserError(f"decoder width {width} cannot be split into {heads} heads; choose a multiple of 32.")
        norm: Any = partial(nn.LayerNorm, eps=eps)  # timm declares a class but takes what makes a module
        self.embed = nn.Linear(inputs, width) if depth else nn.Identity()
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth)))
        self.norm = norm(width)
        self.head = nn.Linear(width, outputs)
        initialise_linear(self)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(tokens))))


class FastMIM(nn.Module):
    """An encoder with a decoder that predicts the HOG features or pixels of every token; masked ones are the loss.

    ``encoder`` is one of this folder's (attributes ``stride``, ``width``, ``prefix``); ``block`` is the side of a mask
    block and ``cell`` that of a HOG cell, in pixels. Outputs a token: 27 (stride / cell)^2 or 3 stride^2. ``normalize``
    is the L2 norm of each cell and channel for HOG, mean and variance of each token for pixels.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        target: Literal["hog", "pixel"],
        block: int,
        cell: int = 8,
        decoder_width: int,
        decoder_depth: int,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        stride, width, self.prefix = (cast(int, getattr(encoder, name)) for name in ("stride", "width", "prefix"))
        if target == "hog" and stride % cell:
            raise UserError(
                f"HOG cells of {cell} pixels do not divide tokens of {stride}; choose a divisor of {stride}."
            )
        if block % stride and stride % block:
            raise UserError(f"mask blocks of {block} pixels do not align with tokens of {stride}; choose {stride}.")
        if target == "hog" and block < stride and block % cell:
            raise UserError(f"mask blocks of {block} pixels do not align with HOG cells of {cell}; choose a multiple.")
        self.encoder = encoder
        self.target, self.block, self.cell, self.stride, self.normalize = target, block, cell, stride, normalize
        outputs = 27 * (stride // cell) ** 2 if target == "hog" else 3 * stride**2
        # Official code: 1e-5 with PVTv2 and CMT, too, whose own blocks have 1e-6.
        eps = 1e-6 if isinstance(encoder, ViT) else 1e-5
        self.decoder = Decoder(width, outputs, width=decoder_width, depth=decoder_depth, eps=eps)
        self.mask_token = nn.Parameter(torch.empty(1, 3, 1, 1))  # one colour, in normalised image space
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, images: Tensor, noise: Tensor, ratio: float = 0.75) -> Prediction:
        """``images`` (B, 3, S, S), ``noise`` (B, (S / block)^2) in [0, 1) and the masked share of blocks -> loss.

        The targets are those of ``images`` as given, before masking.
        """
        check_noise(noise, images.shape[-1], self.block)
        mask = block_mask(noise, ratio)
        pixels = enlarge(mask, self.block)
        tokens = self.encoder(images * (1 - pixels) + pixels * self.mask_token)
        pred = self.decoder(tokens)[:, self.prefix :]
        if self.target == "hog":
            loss = hog_loss(pred, images, mask, self.stride, self.cell, self.normalize)
        else:
            loss = pixel_loss(pred, images, mask, self.stride, self.normalize)
        return Prediction(loss, pred, mask)
