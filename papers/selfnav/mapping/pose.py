"""Poses (x, y, heading) in the plane: what lies between two, and what follows from one and a change."""

import numpy as np


def relative_pose(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(..., 3): forward and left displacement in the frame of ``before``, and the turn, which is not wrapped.

    Args:
        before, after: (..., 3) x, y, heading in radians.
    """
    dx, dy, turn = np.moveaxis(after - before, -1, 0)
    c, s = np.cos(before[..., 2]), np.sin(before[..., 2])
    return np.stack([c * dx + s * dy, c * dy - s * dx, turn], axis=-1)


def composed_pose(pose: np.ndarray, change: np.ndarray) -> np.ndarray:
    """(..., 3) x, y, heading in radians in (-pi, pi], after a change as :func:`relative_pose` gives it."""
    c, s = np.cos(pose[..., 2]), np.sin(pose[..., 2])
    forward, left, turn = np.moveaxis(change, -1, 0)
    heading = pose[..., 2] + turn
    wrapped = np.pi - (np.pi - heading) % (2 * np.pi)
    return np.stack([pose[..., 0] + c * forward - s * left, pose[..., 1] + s * forward + c * left, wrapped], axis=-1)
