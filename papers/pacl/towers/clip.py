"""Frozen image-text towers with patch tokens: any ViT of open_clip, with the stride trick."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from shared import UserError
from shared.clip import OpenCLIP, load_clip


class Towers(nn.Module):
    """Interface of a frozen CLIP: no gradients, and `train()` leaves it in evaluation mode.

    Attributes:
        model: the image-text model itself.
        width: Dv, of the patch tokens. joint: D, of the joint space.
        logit_scale: 1 / temperature that the model was trained with.
        patch_size: pixels of a patch of a ViT; None where `stride` does nothing: the tokens then tile the image.
    """

    model: Any
    width: int
    joint: int
    logit_scale: float
    patch_size: int | None = None

    def train(self, mode: bool = True) -> "Towers":
        return super().train(False)

    @property
    def preprocess(self) -> Callable[[Image.Image], Tensor]:
        """Image -> (3, H, W) as the image tower expects; of an open_clip model without the model in it."""
        raise NotImplementedError

    def normalize(self, image: Image.Image) -> Tensor:
        """(3, H, W) with the pixels of the image as they are, for inference at other sizes than `preprocess` has."""
        raise NotImplementedError

    def patch_tokens(self, images: Tensor, stride: int | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Last-layer patch tokens.

        Args:
            images: (B, 3, H, W), normalised.
            stride: pixels between two patches; None: the patch size.

        Returns: (B, h * w, Dv) row by row, no class token, after the tower's last norm, not projected; (h, w).
        """
        raise NotImplementedError

    def project(self, tokens: Tensor) -> Tensor:
        """Patch tokens (B, T, Dv) through the projection that was trained for the class token: (B, T, D)."""
        raise NotImplementedError

    def encode_image(self, images: Tensor) -> Tensor:
        """The class token's embedding (B, D)."""
        raise NotImplementedError

    def encode_text(self, texts: list[str]) -> Tensor:
        """(N, D), raw: no norm is taken."""
        raise NotImplementedError


class OpenCLIPTowers(Towers):
    """A ViT of open_clip: "ViT-B-16", "ViT-L-14", ...

    Args:
        name, pretrained: see `shared.clip.load_clip`.

    Raises:
        UserError: if the image tower is no ViT of open_clip's own, or what `load_clip` raises.
    """

    def __init__(self, name: str, pretrained: str | None = None) -> None:
        super().__init__()
        clip = load_clip(name, pretrained=pretrained)
        visual: Any = clip.model.visual if isinstance(clip, OpenCLIP) else None
        parts = ("conv1", "class_embedding", "positional_embedding", "ln_post")
        if not all(hasattr(visual, part) for part in parts) or visual.attn_pool is not None:
            raise UserError(
                f"{name} has no ViT of open_clip with a class token as its image tower, whose patches PACL aligns. "
                "Choose a ViT, such as ViT-B-16 or ViT-L-14."
            )
        self.model = clip
        self.visual = visual
        self.joint = clip.width
        self.width, self.patch_size = self.visual.conv1.out_channels, self.visual.conv1.kernel_size[0]
        self.logit_scale = clip.logit_scale

    @property
    def preprocess(self) -> Callable[[Image.Image], Tensor]:
        return self.model.preprocess

    def normalize(self, image: Image.Image) -> Tensor:
        normal = self.model.transform.transforms[-1]  # torchvision's Compose
        to_tensor = self.model.transform.transforms[-2]
        return normal(to_tensor(image.convert("RGB")))

    @torch.no_grad()
    def patch_tokens(self, images: Tensor, stride: int | None = None) -> tuple[Tensor, tuple[int, int]]:
        tokens, grid = self._tokens(images, stride)
        return tokens[:, 1:], grid

    @torch.no_grad()
    def project(self, tokens: Tensor) -> Tensor:
        return tokens if self.visual.proj is None else tokens @ self.visual.proj

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        return self.model.encode_image(images)

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        return self.model.encode_text(texts)

    def _tokens(self, images: Tensor, stride: int | None) -> tuple[Tensor, tuple[int, int]]:
        visual = self.visual
        patches, grid = strided_tokens(
            images, visual.conv1.weight, visual.conv1.bias, stride or visual.conv1.kernel_size[0]
        )
        native = tuple(visual.grid_size)
        positions = resize_positions(visual.positional_embedding[None], native, grid)
        x = torch.cat([visual.class_embedding.expand(len(patches), 1, -1), patches], dim=1) + positions
        x = visual.transformer(visual.ln_pre(visual.patch_dropout(x)))
        return visual.ln_post(x), grid


def strided_tokens(images: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> tuple[Tensor, tuple[int, int]]:
    """A patch embedding at another stride than its patch size, without padding; the weights stay the same.

    Args:
        images: (B, 3, H, W). weight: (D, 3, p, p).
        stride: any, also one that does not divide p.

    Returns: (B, h * w, D) row by row, and (h, w) = ((H - p) // stride + 1, (W - p) // stride + 1).

    Raises:
        ValueError: if the image is smaller than a patch, or the stride is not positive.
    """
    patch = weight.shape[-1]
    if min(images.shape[-2:]) < patch or stride < 1:
        raise ValueError(f"images of {tuple(images.shape[-2:])} pixels hold no patch of {patch} at stride {stride}")
    found = F.conv2d(images, weight, bias, stride=stride)
    return found.flatten(2).transpose(1, 2), (found.shape[2], found.shape[3])


def resize_positions(positions: Tensor, old: tuple[int, ...], grid: tuple[int, int]) -> Tensor:
    """Position embeddings of another grid: the class token's kept, the others resized bicubically to the very grid.

    Args:
        positions: (1, 1 + N, D), class token first. old: (h, w) with h * w = N. grid: the new one.
    """
    if tuple(old) == tuple(grid):
        return positions
    height, width = old
    cells = positions[:, 1:].unflatten(1, (height, width)).permute(0, 3, 1, 2)
    cells = F.interpolate(
        cells.to(torch.promote_types(cells.dtype, torch.float32)), grid, mode="bicubic", align_corners=False
    ).to(positions.dtype)
    return torch.cat([positions[:, :1], cells.flatten(2).transpose(1, 2)], dim=1)
