"""MAE and SimMIM on the same encoders, to compare with: MAE drops masked tokens, SimMIM replaces their embeddings.

Shapes: B images of side S, D the encoder's width, N = (S / stride)^2 tokens, n blocks a side.
"""

from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from shared import UserError

from .encoders import Swin, ViT
from .encoders.sizes import check_size
from .encoders.vit import initialise_linear, sincos_positions
from .losses import pixel_loss
from .masking import block_mask, check_noise, enlarge
from .model import Prediction


class MAE(nn.Module):
    """Masked autoencoder: the encoder sees only the visible patches, the decoder all, with mask tokens in between.

    The decoder has its own sine-cosine positions and, unless told otherwise, one head for every 32 channels (16 of 512,
    as published). The target is pixels normalised in each patch. Source: He et al., "Masked Autoencoders Are Scalable
    Vision Learners" (CVPR 2022), and its official code.
    """

    decoder_pos_embed: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(encoder, ViT):
            raise UserError(
                f"MAE drops tokens, which a {type(encoder).__name__} cannot do without; choose a ViT or another method."
            )
        heads = decoder_heads or max(decoder_width // 32, 1)
        if decoder_width % 4 or decoder_width % heads:
            raise UserError(f"decoder width {decoder_width}: choose a multiple of 4 and of its {heads} heads.")
        self.encoder = encoder
        self.image_size = encoder.image_size
        norm: Any = partial(nn.LayerNorm, eps=1e-6)  # timm declares a class but takes what makes a module
        self.decoder_embed = nn.Linear(encoder.width, decoder_width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder_width))
        positions = sincos_positions(decoder_width, encoder.image_size // encoder.stride)
        self.register_buffer("decoder_pos_embed", positions, persistent=False)
        self.decoder_blocks = nn.Sequential(
            *(Block(decoder_width, heads, qkv_bias=True, norm_layer=norm) for _ in range(decoder_depth))
        )
        self.decoder_norm = norm(decoder_width)
        self.decoder_pred = nn.Linear(decoder_width, 3 * encoder.stride**2)
        for module in (self.decoder_embed, self.decoder_blocks, self.decoder_pred):
            initialise_linear(module)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, images: Tensor, noise: Tensor, ratio: float = 0.75) -> Prediction:
        """``images`` (B, 3, S, S), ``noise`` (B, N) in [0, 1): pred (B, N, 3 stride^2) as in ``pixel_targets``."""
        check_size(images, self.image_size)
        check_noise(noise, self.image_size, self.encoder.stride)
        mask = block_mask(noise, ratio)
        kept = noise.argsort(dim=1, stable=True)[:, : int(noise.shape[1] * (1 - ratio))]  # as block_mask counts
        pred = self.decode(self.encode(images, kept), kept)
        return Prediction(pixel_loss(pred, images, mask, self.encoder.stride), pred, mask)

    def encode(self, images: Tensor, kept: Tensor) -> Tensor:
        """The encoder on the patches ``kept`` (B, K), in that order -> (B, 1 + K, D), class token first."""
        encoder = self.encoder
        patches = encoder.patch_embed(images) + encoder.pos_embed[:, 1:]
        patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[-1]))
        cls_token = encoder.cls_token + encoder.pos_embed[:, :1]
        tokens = torch.cat([cls_token.expand(len(images), -1, -1), patches], dim=1)
        for block in encoder.blocks:
            tokens = block(tokens)
        return encoder.norm(tokens)

    def decode(self, latent: Tensor, kept: Tensor) -> Tensor:
        """``latent`` (B, 1 + K, D) of the patches ``kept`` (B, K) -> predicted pixels of all (B, N, 3 stride^2)."""
        visible = self.decoder_embed(latent)
        batch, _, width = visible.shape
        tokens = self.mask_token.to(visible.dtype).expand(batch, self.decoder_pos_embed.shape[1] - 1, -1)
        tokens = tokens.scatter(1, kept[..., None].expand(-1, -1, width), visible[:, 1:])
        tokens = torch.cat([visible[:, :1], tokens], dim=1) + self.decoder_pos_embed
        return self.decoder_pred(self.decoder_norm(self.decoder_blocks(tokens)))[:, 1:]


class SimMIM(nn.Module):
    """SimMIM: a mask token replaces embedded patches, one 1x1 convolution predicts their raw pixels, L1 loss.

    ``block`` is the side of a mask block in pixels, a multiple of the encoder's patch. ViT has this folder's
    sine-cosine positions instead of SimMIM's relative ones. Source: Xie et al., "SimMIM: A Simple Framework for Masked
    Image Modeling" (CVPR 2022), and its official code.
    """

    def __init__(self, encoder: nn.Module, block: int = 32) -> None:
        super().__init__()
        if not isinstance(encoder, ViT | Swin):
            raise UserError(f"SimMIM is defined for ViT and Swin, not {type(encoder).__name__}; choose one of them.")
        patch = encoder.patch_embed.patch_size[0]
        if block % patch:
            raise UserError(f"mask blocks of {block} pixels do not align with patches of {patch}; choose a multiple.")
        self.encoder = encoder
        self.block = block
        self.enlargement = block // patch
        embedding = encoder.patch_embed.proj.out_channels
        self.mask_token = nn.Parameter(torch.empty(1, 1, 1, embedding))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.decoder = nn.Sequential(
            nn.Conv2d(encoder.width, 3 * encoder.stride**2, kernel_size=1), nn.PixelShuffle(encoder.stride)
        )

    def forward(self, images: Tensor, noise: Tensor, ratio: float = 0.6) -> Prediction:
        """``images`` (B, 3, S, S), ``noise`` (B, (S / block)^2) in [0, 1): pred (B, 3, S, S), the restored images."""
        check_size(images, self.encoder.image_size)
        check_noise(noise, self.encoder.image_size, self.block)
        mask = block_mask(noise, ratio, round_up=True)
        latent = self.encode(images, enlarge(mask, self.enlargement))[:, self.encoder.prefix :]
        side = images.shape[-1] // self.encoder.stride
        pred = self.decoder(latent.transpose(1, 2).unflatten(2, (side, side)))
        return Prediction(simmim_loss(pred, images, enlarge(mask, self.block)), pred, mask)

    def encode(self, images: Tensor, mask: Tensor) -> Tensor:
        """The encoder, where ``mask`` (B, 1, S / patch, S / patch) replaces embedded patches -> (B, prefix + N, D)."""
        encoder = self.encoder
        patches = encoder.patch_embed(images)
        masked = mask.permute(0, 2, 3, 1)
        if isinstance(encoder, Swin):
            tokens = patches * (1 - masked) + self.mask_token * masked
            for stage in encoder.stages:
                tokens = stage(tokens)
            return encoder.norm(tokens.flatten(1, 2))
        masked = masked.flatten(1, 2)
        patches = patches * (1 - masked) + self.mask_token[0] * masked  # before the positions: they stay visible
        tokens = torch.cat([encoder.cls_token.expand(len(images), -1, -1), patches], dim=1) + encoder.pos_embed
        for block in encoder.blocks:
            tokens = block(tokens)
        return encoder.norm(tokens)


def simmim_loss(pred: Tensor, images: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error of ``pred`` over masked pixels -> scalar, in float32.

    ``pred`` and ``images`` (B, 3, S, S), ``mask`` (B, 1, S, S), 1 = masked.
    """
    return ((pred.float() - images.float()).abs() * mask).sum() / (mask.sum() + 1e-5) / images.shape[1]
