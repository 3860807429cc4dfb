"""The top-down semantic map, updated with the points that are seen and nothing else."""

from dataclasses import dataclass

import numpy as np

from .projection import Camera, world_points

LEAST_VIEWS = 4  # frames that have to see a cell before a vote gives it a class


@dataclass(frozen=True)
class Grid:
    """A square map: cells of a side, metres a cell, and x and y of its corner; row = y, column = x."""

    size: int = 480
    resolution: float = 0.05
    origin: tuple[float, float] = (0.0, 0.0)

    def cells(self, positions: np.ndarray) -> np.ndarray:
        """(..., 2) row and column of positions (..., 2 or 3) in metres, which may lie outside."""
        place = (positions[..., :2] - np.array(self.origin)) / self.resolution
        return np.floor(place[..., ::-1]).astype(int)

    def centre(self, row: float, column: float) -> np.ndarray:
        """x and y in metres of a cell's centre."""
        return np.array([column + 0.5, row + 0.5]) * self.resolution + np.array(self.origin)

    def cell(self, position: np.ndarray) -> tuple[int, int]:
        """Row and column of a position, cut to the map."""
        row, column = np.clip(self.cells(position), 0, self.size - 1)
        return int(row), int(column)


class SemanticMap:
    """Obstacles, explored cells and classes of a house, as SemExp's mapping module has them.

    Args:
        grid: the map. camera: whose depth images are given.
        classes: number of classes.
        lowest, highest: metres above the floor between which a point is an obstacle; by default up to the camera.
        points: of a class that fill a cell.
        vote: a cell's class is the one that most of its views gave it; otherwise the highest of all views stays, as
            SemExp has it, and one false view is never forgotten.
        carve: also mark as explored what lies between the camera and the farthest point of every column of the image,
            which small images would leave full of holes.
    """

    def __init__(
        self,
        grid: Grid,
        camera: Camera,
        classes: int,
        *,
        lowest: float = 0.25,
        highest: float | None = None,
        points: float = 5.0,
        vote: bool = False,
        carve: bool = False,
    ) -> None:
        self.grid, self.camera, self.classes = grid, camera, classes
        self.lowest, self.points, self.vote, self.carve = lowest, points, vote, carve
        self.highest = camera.elevation + 0.01 if highest is None else highest
        self.rays = world_points(np.ones((camera.height, camera.width)), camera, np.array([0.0, 0.0, np.pi / 2]))
        self.obstacle = np.zeros((grid.size, grid.size), bool)
        self.explored = np.zeros((grid.size, grid.size), bool)
        self.category = np.zeros((classes, grid.size, grid.size), np.float32)
        self.views = np.zeros(grid.size**2, np.int32)  # frames that saw something in a cell
        self.votes = np.zeros((classes, grid.size**2), np.int32)  # those in which it was mostly of a class

    def update(self, depth: np.ndarray, labels: np.ndarray | None, pose: np.ndarray) -> None:
        """Add a frame.

        Args:
            depth: (H, W) metres, 0 where nothing was measured.
            labels: (H, W) 0 for no class, else 1 + class; None: no classes.
            pose: (3,) x, y, heading.
        """
        grid, size = self.grid, self.grid.size
        seen = np.flatnonzero(depth)
        distance = depth.ravel()[seen]
        ray = self.rays.reshape(-1, 3)[seen]
        height = (ray[:, 2] - self.camera.elevation) * distance + self.camera.elevation
        c, s = np.cos(pose[2] - np.pi / 2), np.sin(pose[2] - np.pi / 2)
        x = (c * ray[:, 0] - s * ray[:, 1]) * distance + (pose[0] - grid.origin[0])
        y = (s * ray[:, 0] + c * ray[:, 1]) * distance + (pose[1] - grid.origin[1])
        row, column = np.floor(y / grid.resolution).astype(int), np.floor(x / grid.resolution).astype(int)
        inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        index = (row * size + column)[inside]
        band = (height >= self.lowest) & (height < self.highest)
        band = band[inside]
        self.explored.ravel()[index] = True
        self.obstacle.ravel()[index[band]] = True
        if labels is not None:
            label = labels.ravel()[seen][inside][band]
            known = label > 0
            keys, counts = np.unique((label[known] - 1) * size * size + index[band][known], return_counts=True)
            if self.vote:
                self._count(index[band], keys, counts)
            else:
                flat = self.category.ravel()
                flat[keys] = np.maximum(flat[keys], np.minimum(counts / self.points, 1))
        if self.carve:
            self._carve(depth, pose)

    def _count(self, index: np.ndarray, keys: np.ndarray, counts: np.ndarray) -> None:
        """Add a frame to the vote: the cells of its points, and how many of them are of a class, by class and cell."""
        cells, total = np.unique(index, return_counts=True)
        most = 2 * counts > total[np.searchsorted(cells, keys % self.grid.size**2)]
        self.views[cells] += 1
        self.votes.ravel()[keys[most]] += 1
        share = self.votes[:, cells] / self.views[cells]
        decided = (share > 0.5) & (self.views[cells] >= LEAST_VIEWS)
        self.category.reshape(self.classes, -1)[:, cells] = np.where(decided, share, 0)

    def _carve(self, depth: np.ndarray, pose: np.ndarray) -> None:
        farthest = depth.max(0)
        steps = np.arange(0, farthest.max(), self.grid.resolution / 2)
        along = steps[:, None] * (steps[:, None] < farthest)
        ray = self.rays[0]
        c, s = np.cos(pose[2] - np.pi / 2), np.sin(pose[2] - np.pi / 2)
        x = (c * ray[:, 0] - s * ray[:, 1]) * along + pose[0]
        y = (s * ray[:, 0] + c * ray[:, 1]) * along + pose[1]
        cells = self.grid.cells(np.stack([x, y], -1)).reshape(-1, 2)
        cells = cells[((cells >= 0) & (cells < self.grid.size)).all(1)]
        self.explored[cells[:, 0], cells[:, 1]] = True
