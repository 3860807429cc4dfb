"""Objects in three dimensions: components of labelled voxels, and the detections that belong to them."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

EVERY_NEIGHBOUR = np.ones((3, 3, 3), bool)


def instances(labels: np.ndarray, seen: np.ndarray, least_views: int = 2, least_voxels: int = 2) -> np.ndarray:
    """(X, Y, Z) number of the object of each voxel, 0 for none.

    Components are taken class by class, so that a chair that touches a table stays apart from it.

    Args:
        labels: (X, Y, Z) 0 for none, else 1 + class. seen: (X, Y, Z) views of each voxel.
    """
    found, last = np.zeros(labels.shape, int), 0
    for label in np.unique(labels[labels > 0]):
        parts, count = ndimage.label((labels == label) & (seen >= least_views), EVERY_NEIGHBOUR)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        kept = np.flatnonzero(sizes >= least_voxels)
        kept = kept[kept > 0]
        number = np.zeros(count + 1, int)
        number[kept] = last + np.arange(1, len(kept) + 1)
        found += number[parts]
        last += len(kept)
    return found


def assign(detections: Sequence[np.ndarray], objects: np.ndarray, least_share: float = 0.3) -> np.ndarray:
    """(D,) the object that holds the largest share of each detection's voxels, or 0 if that is below the least share.

    Args:
        detections: numbers of the voxels of each detection in the flattened grid. objects: see :func:`instances`.
    """
    found = np.zeros(len(detections), int)
    for k, voxels in enumerate(detections):
        if not len(voxels):
            continue
        counts = np.bincount(objects.ravel()[voxels])
        counts[0] = 0
        best = int(counts.argmax())
        if counts[best] >= least_share * len(voxels) and counts[best] > 0:
            found[k] = best
    return found


def visible_objects(objects: np.ndarray, voxel: np.ndarray, least_pixels: int = 8) -> list[tuple[int, np.ndarray]]:
    """Object number and mask (H, W) of the objects that a frame shows, by the voxels (H, W) of its pixels."""
    number = np.where(voxel >= 0, objects.ravel()[voxel], 0)
    found = [(int(k), number == k) for k in np.unique(number[number > 0])]
    return [(k, mask) for k, mask in found if mask.sum() >= least_pixels]


def eroded(mask: np.ndarray, kernel: int = 7) -> np.ndarray:
    """A mask without its border, which bleeds onto the wall behind."""
    return ndimage.binary_erosion(mask, np.ones((kernel, kernel)))


def near_mean(depth: np.ndarray, mask: np.ndarray, nearest: float = 0.5, farthest: float = 10.0) -> np.ndarray:
    """The part of a mask whose depth is within the sensor's reach and one standard deviation from the mask's mean."""
    valid = mask & (depth > nearest) & (depth < farthest)
    if not valid.any():
        return valid
    values = depth[valid]
    return valid & (np.abs(depth - values.mean()) <= max(float(values.std()), 0.05))
