"""Comparisons of ``make bench``: the sparse mapper against SemExp's dense one, and Embree against torch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .mapping.dense import DenseMapping
from .mapping.projection import Camera
from .mapping.sparse import Grid, SemanticMap
from .simulator.house import make_house
from .simulator.raycast import TorchCaster, make_caster
from .simulator.render import Renderer

SETTINGS = (  # frame (W, H), classes, cells of the window, cells of the map
    ("SemExp's defaults", (160, 120), 16, 100, 480),
    ("128 px, 6 classes", (128, 128), 6, 80, 240),
    ("the cpu preset's frames", (64, 64), 6, 64, 240),
)


def bench() -> Iterator[dict[str, Any]]:
    for name, (width, height), classes, window, cells in SETTINGS:
        yield mapping_step(name, width, height, classes, window, cells)
    yield ray_casting()


def mapping_step(name: str, width: int, height: int, classes: int, window: int, cells: int) -> dict[str, Any]:
    """One step of either mapper with a frame of a generated house; both have to find the same obstacles."""
    camera = Camera(width, height)
    house = make_house(3, "sim")
    frame = Renderer(house, camera)(np.array([5.0, 2.0, np.pi / 2]), np.random.default_rng(0))
    depth, labels = frame.depth[0], house.category[frame.instance[0]]
    planes = np.stack([labels == 1 + k for k in range(classes)])
    observation = np.concatenate([np.zeros((3, height, width)), np.where(depth > 0, 100 * depth, 10_050)[None], planes])
    seen = torch.from_numpy(observation).float()[None]
    dense = DenseMapping(5 * cells, 5, window, camera.fov, 100 * camera.elevation)
    start = torch.tensor([[5 * cells / 200, 5 * cells / 200, 90.0]])
    sparse = SemanticMap(Grid(cells, 0.05), camera, classes)
    pose = np.array([5 * cells / 200, 5 * cells / 200, np.pi / 2])

    def ours() -> np.ndarray:
        sparse.update(depth, labels, pose)
        return sparse.obstacle

    @torch.no_grad()
    def reference() -> torch.Tensor:
        return dense(seen, torch.zeros(1, 3), torch.zeros(1, 4 + classes, cells, cells), start)[1]

    found, expected = ours(), reference()[0, 0].numpy() > 0.5
    near = torch.nn.functional.max_pool2d(torch.from_numpy(found[None, None].astype(np.float32)), 3, 1, 1)[0, 0].numpy()
    agree = float((expected & (near > 0)).sum() / expected.sum())
    assert agree > 0.9, f"the mappers agree on {agree:.0%} of the obstacles"
    return {
        "name": f"map update, {name}",
        "detail": f"{width} x {height} px, {classes} classes; reference: SemExp's dense splat, window {window}",
        "ours": ours,
        "reference": reference,
        "unit": "frame",
    }


def ray_casting() -> dict[str, Any]:
    """Rays of a small frame through Embree, where it is installed, and through torch."""
    camera, house = Camera(64, 64), make_house(3, "sim")
    origins = np.tile(np.array([5.0, 2.0, 0.88], np.float32), (64 * 64, 1))
    directions = camera.rays().reshape(-1, 3).astype(np.float32)
    fast, plain = make_caster(house.triangles), TorchCaster(house.triangles)
    a, b = (caster.cast(origins, directions) for caster in (fast, plain))
    assert np.mean(np.abs(a.distance - b.distance) < 1e-3) > 0.99
    return {
        "name": "ray casting",
        "detail": f"64 x 64 rays, {len(house.triangles)} triangles; reference: torch, the fallback",
        "ours": lambda: fast.cast(origins, directions),
        "reference": lambda: plain.cast(origins, directions),
        "unit": "frame",
    }
