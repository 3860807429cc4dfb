"""The semantic mapping module of SemExp: a dense grid of voxels is splatted, projected, moved and merged.

:mod:`.sparse` does the same work with what is seen alone; this is what it is measured against (``bench.py``).
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LOWEST, HIGHEST, STEP = -40, 360, 5  # cm, heights of the voxels
OBSTACLE_FROM = 25  # cm above the floor
INVALID = 10_050.0  # cm, depth of a pixel without return: its point is outside every map


@dataclass(frozen=True)
class DenseMapping:
    """Options of SemExp, with its defaults; lengths in cm.

    Attributes:
        window: cells of the egocentric map, ahead of the agent and across.
        category_points: points of a class that fill a cell.
    """

    map_size: int = 2400
    resolution: int = 5
    window: int = 100
    fov: float = 79.0
    camera_height: float = 88.0
    category_points: float = 5.0

    def __call__(self, observation: Tensor, change: Tensor, maps: Tensor, poses: Tensor) -> tuple[Tensor, ...]:
        """One step.

        Args:
            observation: (B, 4 + C, H, W), channel 3 depth in cm, then planes of the classes.
            change: (B, 3) forward and left in metres, turn in radians.
            maps: (B, 4 + C, M, M) the map so far: obstacle, explored, two unused, classes.
            poses: (B, 3) x and y in metres, heading in degrees.

        Returns: the egocentric obstacle map (B, 1, window, window), the map, and the poses.
        """
        seen = self.egocentric(observation)
        poses = _moved(poses, change)
        cells = self.map_size // self.resolution
        view = observation.new_zeros(*maps.shape[:2], cells, cells)
        left, ahead = cells // 2 - self.window // 2, cells // 2
        where = (slice(ahead, ahead + self.window), slice(left, left + self.window))
        view[:, :2, *where], view[:, 4:, *where] = seen[:, :2], seen[:, 2:]
        half = cells // 2
        shift = -(poses[:, :2] * 100 / self.resolution - half) / half
        turn = torch.deg2rad(90 - poses[:, 2])
        rotation, translation = _grids(shift, turn, view.shape)
        # The grids come from affine_grid without aligned corners and are sampled with them: SemExp's quirk.
        view = F.grid_sample(view, rotation, align_corners=True)
        view = F.grid_sample(view, translation, align_corners=True)
        return seen[:, :1], torch.maximum(maps, view), poses

    def egocentric(self, observation: Tensor) -> Tensor:
        """(B, 2 + C, window, window) obstacle, explored and classes ahead of the agent, in [0, 1]."""
        depth = observation[:, 3]
        _, height, width = depth.shape
        focal = (width / 2) / torch.tan(torch.deg2rad(torch.tensor(self.fov / 2, dtype=torch.float64))).item()
        column = torch.arange(width) - (width - 1) / 2
        row = (height - 1) / 2 - torch.arange(height)
        centre = self.window * self.resolution // 2
        x = (column * depth / focal + centre) / self.resolution
        z = (row[:, None] * depth / focal + self.camera_height) / STEP
        top, bottom = HIGHEST // STEP, LOWEST // STEP
        half = self.window // 2
        coordinates = torch.stack(
            [
                (x - half) / self.window * 2,
                (depth / self.resolution - half) / self.window * 2,
                (z - (top + bottom) // 2) / (top - bottom) * 2,
            ],
            1,
        ).flatten(2)
        features = torch.cat([torch.ones_like(depth)[:, None], observation[:, 4:]], 1).flatten(2)
        voxels = splat(features, coordinates, (self.window, self.window, top - bottom)).transpose(2, 3)
        lowest, highest = OBSTACLE_FROM // STEP - bottom, int((self.camera_height + 1) / STEP) - bottom
        band = voxels[..., lowest:highest].sum(4)
        explored = voxels[:, :1].sum(4)
        return torch.cat([band[:, :1], explored, band[:, 1:] / self.category_points], 1).clamp(0, 1)


def splat(features: Tensor, coordinates: Tensor, dims: tuple[int, ...]) -> Tensor:
    """(B, F, *dims): features (B, F, N) at coordinates (B, D, N) in [-1, 1], shared among the 2^D cells around each.

    Cells of index 0 get nothing, and the grid is rounded after each of the 2^D additions, as in SemExp.
    """
    corners = []
    for d, size in enumerate(dims):
        position = coordinates[:, d] * size / 2 + size / 2
        of_dim = []
        for offset in (0, 1):
            index = torch.floor(position) + offset
            safe = ((index > 0) & (index < size)).to(position.dtype)
            of_dim.append((index * safe, (1 - (position - index).abs()) * safe))
        corners.append(of_dim)
    grid = features.new_zeros(*features.shape[:2], torch.Size(dims).numel())
    for chosen in itertools.product(*corners):
        flat, weight = torch.zeros_like(coordinates[:, 0]), torch.ones_like(coordinates[:, 0])
        for size, (index, share) in zip(dims, chosen, strict=True):
            flat, weight = flat * size + index, weight * share
        grid.scatter_add_(2, flat.long()[:, None].expand_as(features), features * weight[:, None])
        grid = grid.round()
    return grid.view(*features.shape[:2], *dims)


def _moved(poses: Tensor, change: Tensor) -> Tensor:
    heading = torch.deg2rad(poses[:, 2])
    c, s = torch.cos(heading), torch.sin(heading)
    x = poses[:, 0] + change[:, 0] * c - change[:, 1] * s
    y = poses[:, 1] + change[:, 0] * s + change[:, 1] * c
    degrees = poses[:, 2] + torch.rad2deg(change[:, 2])
    degrees = torch.fmod(torch.fmod(degrees - 180, 360) + 360, 360) - 180
    return torch.stack([x, y, degrees], 1)


def _grids(shift: Tensor, turn: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    zero, one = torch.zeros_like(turn), torch.ones_like(turn)
    c, s = torch.cos(turn), torch.sin(turn)
    rotation = torch.stack([torch.stack([c, -s, zero], 1), torch.stack([s, c, zero], 1)], 1)
    translation = torch.stack([torch.stack([one, zero, shift[:, 0]], 1), torch.stack([zero, one, shift[:, 1]], 1)], 1)
    return tuple(F.affine_grid(x, list(shape), align_corners=False) for x in (rotation, translation))  # type: ignore[return-value]
