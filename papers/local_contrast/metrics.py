"""The 95 % Hausdorff distance of label volumes. Their Dice, which validation needs, too, is in :mod:`.segment`."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure


def hausdorff95(predicted: np.ndarray, truth: np.ndarray, classes: int, spacing: Sequence[float]) -> list[float | None]:
    """95 % Hausdorff distance of every class but the background, in the unit of ``spacing`` (mm).

    The larger of the two directed 95th percentiles of surface distances. A class that neither volume has is None; one
    that only one of them has is as far away as the volume is large: the length of its diagonal.
    """
    diagonal = float(np.linalg.norm(np.array(truth.shape) * np.asarray(spacing)))
    distances: list[float | None] = []
    for k in range(1, classes):
        a, b = predicted == k, truth == k
        if not a.any() or not b.any():
            distances.append(diagonal if a.any() or b.any() else None)
            continue
        of_a, of_b = surface(a), surface(b)
        to_b, to_a = (distance_transform_edt(~x, sampling=spacing) for x in (of_b, of_a))
        distances.append(float(max(np.percentile(to_b[of_a], 95), np.percentile(to_a[of_b], 95))))
    return distances


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask that have a face in common with the outside; beyond the edge of the volume is outside."""
    return mask & ~binary_erosion(mask, generate_binary_structure(3, 1))
