"""A camera in a house: colour, planar metric depth, and instance numbers."""

from dataclasses import dataclass

import numpy as np

from ..mapping.projection import Camera
from .house import STYLES, House
from .raycast import Caster, make_caster

FARTHEST = 5.0  # metres of the depth sensor
LIGHT = np.array([0.3, 0.5, 0.8]) / np.linalg.norm([0.3, 0.5, 0.8])


@dataclass(frozen=True)
class Frames:
    """n posed frames: rgb (n, H, W, 3) uint8, depth (n, H, W) float32 metres (0: nothing within reach), instance
    (n, H, W) int32, poses (n, 3) x, y, heading."""

    rgb: np.ndarray
    depth: np.ndarray
    instance: np.ndarray
    poses: np.ndarray

    def __len__(self) -> int:
        return len(self.poses)


class Renderer:
    """Renders a house from poses.

    Args:
        caster: of the house's triangles; default: :func:`make_caster`'s.
    """

    def __init__(self, house: House, camera: Camera, caster: Caster | None = None) -> None:
        self.house, self.camera = house, camera
        self.caster = caster or make_caster(house.triangles)
        edges = house.triangles[:, 1:] - house.triangles[:, :1]
        normal = np.cross(edges[:, 0], edges[:, 1])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-12)
        self.shade = 0.6 + 0.4 * np.abs(normal @ LIGHT)
        self.rays = camera.rays().reshape(-1, 3)

    def __call__(self, poses: np.ndarray, rng: np.random.Generator, farthest: float = FARTHEST) -> Frames:
        """Frames of poses (n, 3).

        Args:
            rng: makes the noise of the camera.
            farthest: metres of depth beyond which the depth sensor returns 0.
        """
        parts = [self._frame(pose, rng, farthest) for pose in np.atleast_2d(poses)]
        return Frames(*(np.stack(x) for x in zip(*parts, strict=True)), poses=np.atleast_2d(poses).astype(float))  # type: ignore[misc]

    def _frame(self, pose: np.ndarray, rng: np.random.Generator, farthest: float) -> tuple[np.ndarray, ...]:
        house, style = self.house, STYLES[self.house.style]
        shape = (self.camera.height, self.camera.width)
        c, s = np.cos(pose[2] - np.pi / 2), np.sin(pose[2] - np.pi / 2)
        right, forward, up = self.rays.T
        directions = np.stack([c * right - s * forward, s * right + c * forward, up], 1).astype(np.float32)
        origin = np.array([pose[0], pose[1], self.camera.elevation], np.float32)
        hits = self.caster.cast(np.broadcast_to(origin, directions.shape), directions)
        triangle, missed = np.maximum(hits.triangle, 0), hits.triangle < 0
        a, b, c3 = np.moveaxis(house.uv[triangle], 1, 0)
        uv = a + hits.u[:, None] * (b - a) + hits.v[:, None] * (c3 - a)
        size = house.textures.shape[1]
        column, row = np.moveaxis((uv % 1 * size).astype(int).clip(0, size - 1), 1, 0)
        colour = house.textures[house.texture[triangle], row, column] / 255
        distance = np.where(missed, 1e3, hits.distance)
        colour = colour * (self.shade[triangle] / (1 + 0.03 * distance))[:, None]
        colour = colour**style.gamma * np.array(style.gains) + rng.normal(0, style.noise, colour.shape)
        colour[missed] = 0
        rgb = (255 * np.clip(colour, 0, 1)).round().astype(np.uint8)
        depth = np.where(distance > farthest, 0, distance).astype(np.float32)
        instance = np.where(missed, 0, house.instance[triangle]).astype(np.int32)
        return rgb.reshape(*shape, 3), depth.reshape(shape), instance.reshape(shape)
