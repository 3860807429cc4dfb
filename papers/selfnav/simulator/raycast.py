"""The first triangle along rays: Embree where its wheel is installed, else torch with the same results."""

import importlib.util
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

EPSILON = 1e-9
CHUNK = 512  # rays at a time with torch


@dataclass(frozen=True)
class Hits:
    """For each ray: distance in units of its direction (inf: none), triangle (-1: none), barycentric u and v."""

    distance: np.ndarray
    triangle: np.ndarray
    u: np.ndarray
    v: np.ndarray


class Caster(Protocol):
    def cast(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        """Rays (N, 3) and (N, 3) float32; a hit's place is (1 - u - v) a + u b + v c of its triangle a, b, c."""


class EmbreeCaster:
    """Intel Embree through embreex."""

    def __init__(self, triangles: np.ndarray) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self.scene = EmbreeScene()
        self.mesh = TriangleMesh(self.scene, np.ascontiguousarray(triangles, np.float32))  # the scene does not hold it

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        found = self.scene.run(
            np.ascontiguousarray(origins, np.float32), np.ascontiguousarray(directions, np.float32), output=True
        )
        missed = found["primID"] < 0
        return Hits(np.where(missed, np.inf, found["tfar"]), found["primID"], found["u"], found["v"])


class TorchCaster:
    """Every ray against every triangle (Moeller and Trumbore, 1997)."""

    def __init__(self, triangles: np.ndarray) -> None:
        corner = torch.from_numpy(np.ascontiguousarray(triangles, np.float32))
        self.corner, self.b, self.c = corner[:, 0], corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        rays = [torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in (origins, directions)]
        parts = [self._some(o, d) for o, d in zip(*(x.split(CHUNK) for x in rays), strict=True)]
        return Hits(*(np.concatenate(x) for x in zip(*parts, strict=True)))

    def _some(self, origin: torch.Tensor, direction: torch.Tensor) -> tuple[np.ndarray, ...]:
        across = torch.linalg.cross(direction[:, None], self.c[None])
        determinant = (across * self.b).sum(-1)
        safe = torch.where(determinant.abs() < EPSILON, torch.ones_like(determinant), determinant)
        to_origin = origin[:, None] - self.corner
        u = (to_origin * across).sum(-1) / safe
        other = torch.linalg.cross(to_origin, self.b[None].expand_as(to_origin))
        v = (direction[:, None] * other).sum(-1) / safe
        distance = (self.c * other).sum(-1) / safe
        hit = (determinant.abs() >= EPSILON) & (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
        distance = torch.where(hit, distance, torch.inf)
        nearest, triangle = distance.min(1)
        row = torch.arange(len(origin))
        missed = torch.isinf(nearest)
        return (
            nearest.numpy(),
            torch.where(missed, -1, triangle).numpy(),
            u[row, triangle].numpy(),
            v[row, triangle].numpy(),
        )


def make_caster(triangles: np.ndarray) -> Caster:
    """Embree if embreex is installed, else torch, which is some hundred times slower."""
    return EmbreeCaster(triangles) if importlib.util.find_spec("embreex") else TorchCaster(triangles)
