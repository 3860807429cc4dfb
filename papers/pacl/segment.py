"""Open-vocabulary segmentation: class maps of an image's patches, their upsampling, the background, sliding windows."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from shared import UserError

from .towers.clip import Towers

Order = Literal["upsample-softmax", "softmax-upsample"]
WINDOWS = 16  # the image tower sees so many at a time; most images have fewer


@torch.no_grad()
def class_embeddings(towers: Towers, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Prompt ensemble (C, D): each prompt's embedding normalised, their mean, normalised again.

    Normalising each first is CLIP's convention; two third-party codes average raw embeddings.
    """
    prompts = [template.format(name) for name in names for template in templates]
    each = F.normalize(towers.encode_text(prompts), dim=-1)
    return F.normalize(each.unflatten(0, (len(names), len(templates))).mean(1), dim=-1)


def cosine_maps(patches: Tensor, classes: Tensor, grid: tuple[int, int]) -> Tensor:
    """Cosine of every patch with every class: (B, h * w, D), (C, D) -> (B, C, h, w)."""
    cosine = F.normalize(patches, dim=-1) @ F.normalize(classes, dim=-1).T
    return cosine.transpose(1, 2).unflatten(2, grid)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, (B, C, h, w) -> (B, C, H, W)."""
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def upsample_patches(maps: Tensor, size: tuple[int, int], patch: int, stride: int) -> Tensor:
    """Bilinear between the centres of overlapping patches, constant beyond the outermost: (B, C, h, w) -> (B, C, H, W).

    Args:
        patch: pixels of one. stride: pixels between two; the centre of number i lies at ``stride * i + patch / 2``.
    """
    grid = (maps.shape[2], maps.shape[3])
    if stride == patch and size == (patch * grid[0], patch * grid[1]):  # they tile the image
        return upsample(maps, size)
    y, x = (  # every pixel's centre, in patches, then from -1 to 1 across all of them
        (2 * (torch.arange(length, device=maps.device) + 0.5 - patch / 2) / stride + 1) / count - 1
        for length, count in zip(size, grid, strict=True)
    )
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(maps.dtype)
    places = places.expand(len(maps), *size, 2)
    return F.grid_sample(maps, places, mode="bilinear", padding_mode="border", align_corners=False)


def probabilities(maps: Tensor, size: tuple[int, int], scale: float, order: Order = "upsample-softmax") -> Tensor:
    """Distribution over the classes for every pixel: cosine maps (B, C, h, w) -> (B, C, H, W).

    Args:
        scale: factor of the cosines.
        order: which comes first is not known of the paper; the best class of a pixel may differ.
    """
    if order == "upsample-softmax":
        return (scale * upsample(maps, size)).softmax(1)
    return upsample((scale * maps).softmax(1), size)


def entropy(probability: Tensor) -> Tensor:
    """In nats, of distributions over dimension 1: (B, C, H, W) -> (B, H, W)."""
    return -(probability * probability.clamp(min=1e-12).log()).sum(1)


def label_map(probability: Tensor, entropy_threshold: float | None = None) -> Tensor:
    """The best class of every pixel, int64 (B, H, W).

    Args:
        probability: (B, C, H, W).
        entropy_threshold: nats above which a pixel is background; 0 then is background and c + 1 class c. The
            paper's is 1.5, as a third party quotes it; base and scale are not known. With unscaled cosines the entropy
            of 20 classes is near ln 20 = 3.0 everywhere and all would be background, so the cosines need CLIP's scale.
    """
    best = probability.argmax(1)
    if entropy_threshold is None:
        return best
    return torch.where(entropy(probability) > entropy_threshold, 0, best + 1)


class Windows:
    """An image by sliding windows over a resized copy: what the towers make of it, for any sets of classes.

    Args:
        embedder: patch tokens -> joint space; None: CLIP's own projection.
        short_side: pixels of the resized copy, its ratio kept.
        window, window_stride: pixels; the last window of a row or column ends at the border.
        stride: pixels between two patches; None: the patch size.

    Raises:
        UserError: if the windows would leave gaps.
    """

    @torch.no_grad()
    def __init__(
        self,
        towers: Towers,
        embedder: nn.Module | None,
        image: Image.Image,
        device: torch.device,
        *,
        short_side: int,
        window: int,
        window_stride: int,
        stride: int | None,
    ) -> None:
        if not 0 < window_stride <= window:
            raise UserError(f"window_stride is {window_stride}; expected 1 to the window's {window} pixels.")
        ratio = short_side / min(image.size)
        width, height = (max(window, round(length * ratio)) for length in image.size)
        resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        pixels = towers.normalize(resized).to(device)
        self.image_size, self.resized_size, self.window = (image.height, image.width), (height, width), window
        self.patch_size, self.stride = towers.patch_size, stride
        self.places = [
            (slice(None), slice(top, top + window), slice(left, left + window))
            for top in window_starts(height, window, window_stride)
            for left in window_starts(width, window, window_stride)
        ]
        parts = []
        for start in range(0, len(self.places), WINDOWS):
            batch = torch.stack([pixels[place] for place in self.places[start : start + WINDOWS]])
            tokens, self.grid = towers.patch_tokens(batch, stride)
            parts.append(towers.project(tokens) if embedder is None else embedder(tokens))
        self.patches = torch.cat(parts).float()  # (windows, h * w, D); cosines times 100 need more than autocast's bits

    @torch.no_grad()
    def segment(
        self,
        classes: Tensor,
        *,
        scale: float,
        order: Order = "upsample-softmax",
        entropy_threshold: float | None = None,
        size: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The cosines of the windows, averaged where these overlap, and brought to the image's own resolution.

        They are upsampled, those of a ViT from where the centres of its patches lie.

        Args:
            classes: (C, D).
            scale, order, entropy_threshold: see :func:`probabilities` and :func:`label_map`.
            size: H and W of what is returned; default: the image's own.

        Returns: label map int64 (H, W) and probabilities (C, H, W).
        """
        total = torch.zeros(len(classes), *self.resized_size, device=classes.device)
        count = torch.zeros(self.resized_size, device=classes.device)
        maps = cosine_maps(self.patches, classes, self.grid)
        if order == "softmax-upsample":
            maps = (scale * maps).softmax(1)
        square, size = (self.window, self.window), size or self.image_size
        for place, one in zip(self.places, maps.split(1), strict=True):
            total[place] += (
                upsample(one, square)
                if self.patch_size is None
                else upsample_patches(one, square, self.patch_size, self.stride or self.patch_size)
            )[0]
            count[place[1:]] += 1
        averaged = (total / count)[None]
        probability = probabilities(averaged, size, scale) if order == "upsample-softmax" else upsample(averaged, size)
        return label_map(probability, entropy_threshold)[0], probability[0]


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Starts of windows that cover ``length``; the last one ends there."""
    starts = list(range(0, max(length - window, 0) + 1, stride))
    return starts if starts[-1] + window >= length else [*starts, length - window]
