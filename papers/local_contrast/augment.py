"""Transformations of slices. A dataset draws their parameters, these functions apply them to a batch on its device.

Source: official code (`utils.crop_batch`, `models.brit_cont_net`, `utils.augmentation_function`,
`utils.create_rand_augs`, `utils.calc_deform`, `utils.mixup_data_gen`). Images are (B, 1, H, W), labels (B, C, H, W).
"""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import zoom
from torch import Tensor

HIGHEST = 1.5  # intensity at which pre-training clips


# -- pre-training -----------------------------------------------------------------------------------------------------


def crop(images: Tensor, box: Tensor) -> Tensor:
    """Cut a square out of each image and enlarge it, bilinearly, to the image's size.

    Args:
        box: (B, 3): top row, left column and side, each as a share of the image's.
    """
    top, left, side = box.to(images).unbind(1)
    zero = torch.zeros_like(side)
    affine = torch.stack([side, zero, 2 * left + side - 1, zero, side, 2 * top + side - 1], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def change_intensity(images: Tensor, delta: Tensor, factor: Tensor, highest: float = math.inf) -> Tensor:
    """Add ``delta`` (B,), stretch by ``factor`` (B,) about the image's mean, and clip to [0, ``highest``]."""
    images = images + _of_images(delta, images)
    mean = images.mean((1, 2, 3), keepdim=True)
    changed = (images - mean) * _of_images(factor, images) + mean
    return changed.clamp(0, highest) if highest < math.inf else changed


# -- fine-tuning ------------------------------------------------------------------------------------------------------


def move(images: Tensor, labels: Tensor, angle: Tensor, scale: Tensor, flip: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate, scale and flip: images bilinearly with zeros around, labels by the nearest pixel, background around.

    Args:
        angle: (B,) degrees, counter-clockwise. scale: (B,), above 1 enlarges. flip: (B,) boolean, left to right.
    """
    radians = torch.deg2rad(angle.to(images))
    sign = 1 - 2 * flip.to(images)
    cos, sin, zero = radians.cos() / scale.to(images), radians.sin() / scale.to(images), torch.zeros_like(radians)
    affine = torch.stack([sign * cos, -sign * sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    moved = F.grid_sample(labels[:, 1:], grid, mode="nearest", align_corners=False)
    return F.grid_sample(images, grid, align_corners=False), with_background(moved)


def with_background(foreground: Tensor) -> Tensor:
    """Labels of all classes (B, C, H, W) from those of the foreground (B, C - 1, H, W)."""
    return torch.cat([1 - foreground.sum(1, keepdim=True), foreground], dim=1)


def elastic_flow(displacement: Tensor, size: tuple[int, int]) -> Tensor:
    """A coarse grid of displacements (B, 2, h, w), rows and columns in pixels, as a flow (B, 2, H, W): cubic splines.

    Like scikit-image's `resize`, it stays between the least and the largest value of the grid.
    """
    rows, columns = (
        _cubic_spline(coarse, fine).to(displacement) for coarse, fine in zip(displacement.shape[2:], size, strict=True)
    )
    flow = rows @ displacement @ columns.T
    least, most = (displacement.flatten(2).aminmax(dim=2)[k][..., None, None] for k in (0, 1))
    return flow.clamp(least, most)


@functools.cache
def _cubic_spline(coarse: int, fine: int) -> Tensor:
    """(fine, coarse): values on a fine axis of the spline through those on a coarse one, mirrored at its ends."""
    return torch.from_numpy(zoom(np.eye(coarse), (fine / coarse, 1), order=3, mode="mirror", grid_mode=True))


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Backward warp, out[i, j] = x[i - flow_0, j - flow_1]: bilinear, the edge continued. flow: (B, 2, H, W) pixels."""
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device)[:, None] - flow[:, 0]
    columns = torch.arange(width, device=x.device) - flow[:, 1]
    grid = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], dim=-1).to(x.dtype)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=True)


def mixup(x: Tensor, weight: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Row k becomes weight_k x[first_k] + (1 - weight_k) x[second_k]; the same is done to images and labels."""
    weight = _of_images(weight, x)
    return weight * x[first] + (1 - weight) * x[second]


def _of_images(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images)[:, None, None, None]
