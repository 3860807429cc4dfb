"""Depth images to points: camera frame, agent frame, world (SemExp's geometry, see DEVIATIONS.md)."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels.

    Attributes:
        width, height: pixels.
        fov: horizontal field of view in degrees.
        elevation: height above the floor in metres.
    """

    width: int
    height: int
    fov: float = 79.0
    elevation: float = 0.88

    @property
    def focal(self) -> float:
        """Focal length in pixels, the same for both axes."""
        return focal_length(self.width, self.fov)

    def rays(self) -> Array:
        """(H, W, 3) directions x right, y forward, z up with y = 1, so that a distance along a ray is planar depth."""
        return point_cloud(np.ones((self.height, self.width)), self.fov)


def focal_length(width: int, fov: float) -> float:
    return (width / 2) / float(np.tan(np.radians(fov) / 2))


def point_cloud(depth: Array, fov: float, stride: int = 1) -> Array:
    """(H', W', 3) points x right, y forward, z up, in the unit of ``depth`` (H, W), which is planar; NaN stays NaN.

    The centre of the image is pixel ((W - 1) / 2, (H - 1) / 2); row 0 is the top.

    Args:
        fov: horizontal field of view in degrees.
        stride: every how many pixels a point is made.
    """
    height, width = depth.shape
    depth = depth[::stride, ::stride]
    column = np.arange(0, width, stride) - (width - 1) / 2
    row = (height - 1) / 2 - np.arange(0, height, stride)
    focal = focal_length(width, fov)
    return np.stack([column * depth / focal, depth, row[:, None] * depth / focal], axis=-1)


def camera_view(points: Array, elevation: float, pitch: float = 0.0) -> Array:
    """Points (..., 3) turned about x by the camera's ``pitch`` (degrees, positive up) and raised to its height."""
    c, s = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([x, c * y - s * z, s * y + c * z + elevation], axis=-1)


def geocentric(points: Array, pose: Array) -> Array:
    """Points (..., 3) of an agent at ``pose`` (x, y, heading in radians) in the world; heading 0 looks along x."""
    x, y, heading = pose
    c, s = np.cos(heading - np.pi / 2), np.sin(heading - np.pi / 2)
    return np.stack(
        [c * points[..., 0] - s * points[..., 1] + x, s * points[..., 0] + c * points[..., 1] + y, points[..., 2]],
        axis=-1,
    )


def world_points(depth: Array, camera: Camera, pose: Array) -> Array:
    """(H, W, 3) points in the world, metres, of a depth image in metres."""
    return geocentric(camera_view(point_cloud(depth, camera.fov), camera.elevation), pose)


def bin_counts(points: Array, size: int, z_bins: Array, resolution: float) -> Array:
    """(size, size, len(z_bins) + 1): points of every cell [row y, column x] and height bin.

    Cells are found by rounding half to even; points that are NaN or out of range are dropped.
    """
    points = points.reshape(-1, 3)
    points = points[~np.isnan(points).any(1)]
    cell = np.round(points[:, :2] / resolution).astype(int)
    height = np.digitize(points[:, 2], z_bins)
    inside = ((cell >= 0) & (cell < size)).all(1)
    levels = len(z_bins) + 1
    index = (cell[inside, 1] * size + cell[inside, 0]) * levels + height[inside]
    return np.bincount(index, minlength=size * size * levels).reshape(size, size, levels)
