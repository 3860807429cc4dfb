"""Voxels of posed frames: which pixels of which frames show the same place."""

from dataclasses import dataclass

import numpy as np

from .projection import Camera, world_points

TALLEST = 2.6  # metres of the grid above its floor, which is 0.2 m below the house's


@dataclass(frozen=True)
class Voxels:
    """Voxels of the pixels of n frames.

    Attributes:
        index: (n, H, W) number of each pixel's voxel in the grid, flattened; -1 where depth is missing.
        shape: (X, Y, Z) of the grid. origin: (3,) metres of its corner. size: metres of a voxel.
        points: (n, H, W, 3) metres.
    """

    index: np.ndarray
    shape: tuple[int, int, int]
    origin: np.ndarray
    size: float
    points: np.ndarray


def voxelise(depth: np.ndarray, poses: np.ndarray, camera: Camera, size: float) -> Voxels:
    """Voxels of depth images (n, H, W) in metres, 0 where missing, at poses (n, 3).

    Args:
        camera: of the depth images' own resolution. size: metres of a voxel.
    """
    points = np.stack([world_points(d, camera, p) for d, p in zip(depth, poses, strict=True)])
    seen = depth > 0
    low = np.append(points[seen][:, :2].min(0) - size, -0.2) if seen.any() else np.zeros(3)
    high = np.append(points[seen][:, :2].max(0) + size, TALLEST) if seen.any() else np.ones(3)
    shape = np.ceil((high - low) / size).astype(int)
    cell = np.floor((points - low) / size).astype(int)
    inside = seen & ((cell >= 0) & (cell < shape)).all(-1)
    flat = (cell[..., 0] * shape[1] + cell[..., 1]) * shape[2] + cell[..., 2]
    return Voxels(np.where(inside, flat, -1), tuple(shape.tolist()), low, size, points)
