"""Aligned crops of instances, for the object discriminators and the object metrics."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import roi_align

SAMPLING = 2  # sampling points of a crop's pixel in either direction
ENLARGED = 1.2  # side of the square crop, as a factor on the longer side of the instance's box


@dataclass(frozen=True)
class Instances:
    """Instances of a batch that lie mostly in the hole; K of them, at least one.

    Attributes:
        boxes: (K, 5): index of the image, then x1, y1, x2, y2 in pixels of a square; it may leave the image.
        numbers: (K,) instance numbers.
        classes: (K,) int64 classes.
        weights: (K,) 1, or 0 for the stand-in of a batch that has no such instance, so that processes stay in step.
    """

    boxes: Tensor
    numbers: Tensor
    classes: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, chosen: Tensor) -> "Instances":
        """Some of the instances, by index (k,)."""
        return Instances(*(x[chosen] for x in (self.boxes, self.numbers, self.classes, self.weights)))


def square_around(silhouette: Tensor) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of the aligned crop of a silhouette (H, W) bool: a square that may leave the image."""
    ys, xs = torch.nonzero(silhouette, as_tuple=True)
    x1, x2, y1, y2 = xs.min().item(), xs.max().item() + 1, ys.min().item(), ys.max().item() + 1
    half, x, y = ENLARGED * max(x2 - x1, y2 - y1) / 2, (x1 + x2) / 2, (y1 + y2) / 2
    return x - half, y - half, x + half, y + half


def find_instances(
    instances: Tensor, label: Tensor, hole: Tensor, *, least_area: float, least_missing: float = 0.5
) -> Instances:
    """All instances with more than ``least_missing`` of their pixels in the hole.

    An instance that is mostly known would look the same in real and completed images.

    Args:
        instances: (N, H, W) int64, 0 for stuff and void.
        label: (N, H, W) int64 classes.
        hole: (N, 1, H, W).
        least_area: share of the image's pixels that an instance has at least.
    """
    found: list[tuple[float, ...]] = []
    side = instances.shape[-1]
    for i in range(len(instances)):
        own_map, missing = instances[i], hole[i, 0] > 0
        for number in torch.unique(own_map[missing]).tolist():
            own = own_map == number
            if not number or own.sum() < least_area * own.numel() or not missing[own].float().mean() > least_missing:
                continue
            found.append((i, *square_around(own), number, int(label[i][own].mode().values), 1.0))
    table = torch.tensor(found or [(0, 0.0, 0.0, side, side, 0, 0, 0.0)], dtype=torch.float32, device=instances.device)
    return Instances(table[:, :5], table[:, 5].long(), table[:, 6].long(), table[:, 7])


def aligned_crops(maps: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Crops (K, C, size, size) of maps (N, C, H, W) at boxes (K, 5), bilinear; zero outside of the image.

    The second derivative does not exist: R1 is taken with respect to the crop.
    """
    return roi_align(maps, boxes.to(maps.dtype), size, sampling_ratio=SAMPLING, aligned=True)


def own_masks(instances: Tensor, chosen: Instances, size: int) -> Tensor:
    """Crops (K, 1, size, size) of each instance's own mask: which object of the crop is judged."""
    rows = chosen.boxes[:, 0].long()
    own = (instances[rows] == chosen.numbers[:, None, None]).float()[:, None] * chosen.weights[:, None, None, None]
    boxes = chosen.boxes.clone()
    boxes[:, 0] = torch.arange(len(boxes), device=boxes.device)
    return aligned_crops(own, boxes, size)
