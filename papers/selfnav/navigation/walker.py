"""An agent's body: it keeps the map of what it has seen, and walks towards goals on it."""

import numpy as np
from scipy import ndimage

from ..mapping.projection import Camera
from ..mapping.sparse import Grid, SemanticMap
from ..simulator.world import FORWARD, MOVE_FORWARD, STOP, TALLEST, TURN_LEFT, TURN_RIGHT, disk
from .planner import fmm_distance, short_term_goal
from .potentials import frontiers

AIM = np.radians(15)  # of heading, within which the agent walks instead of turning
RADIUS = 0.15  # metres by which obstacles grow
BLOCKED = 0.8 * FORWARD  # metres of a forward step that moved less: the agent collided
NARROW, WIDER, WIDEST = 0.05, 0.1, 0.35  # metres of the patch that a collision blocks, and that each further one adds


class Walker:
    """Map, collisions and local planning.

    Args:
        grid: the map. camera: the agent's. classes: of the map.
    """

    def __init__(self, grid: Grid, camera: Camera, classes: int) -> None:
        self.grid = grid
        self.map = SemanticMap(grid, camera, classes, highest=TALLEST, vote=True, carve=True)
        self.visited = np.zeros((grid.size, grid.size), bool)
        self.blocked = np.zeros((grid.size, grid.size), bool)
        self.pose = np.zeros(3)
        self.width = NARROW
        self.step = int(np.ceil(FORWARD / grid.resolution))  # cells to the short-term goal
        self.last: int | None = None

    def see(self, depth: np.ndarray, labels: np.ndarray | None, pose: np.ndarray) -> None:
        """Take in a frame; a forward step that moved too little marks what is ahead as blocked."""
        if self.last == MOVE_FORWARD:
            if np.linalg.norm(pose[:2] - self.pose[:2]) < BLOCKED:
                self._collided(pose)
                self.width = min(self.width + WIDER, WIDEST)
            else:
                self.width = NARROW
        self.pose = np.asarray(pose, float).copy()
        self.map.update(depth, labels, self.pose)
        self.visited[self.grid.cell(self.pose)] = True

    def _collided(self, pose: np.ndarray) -> None:
        ahead = np.array([np.cos(pose[2]), np.sin(pose[2])])
        aside = np.array([-ahead[1], ahead[0]])
        for forward in (0.2, 0.25):
            for across in np.linspace(-self.width / 2, self.width / 2, 8):
                self.blocked[self.grid.cell(pose[:2] + forward * ahead + across * aside)] = True

    def traversible(self) -> np.ndarray:
        """(M, M) cells where the agent may be, as far as it knows."""
        grown = ndimage.binary_dilation(self.map.obstacle, disk(max(1, round(RADIUS / self.grid.resolution))))
        free = ~grown
        row, column = self.grid.cell(self.pose)
        free[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
        free[self.blocked] = False
        free[self.visited] = True
        return free

    def distance_from_here(self) -> np.ndarray:
        """(M, M) cells to walk to every cell; those out of reach have the largest value."""
        here = np.zeros_like(self.visited)
        here[self.grid.cell(self.pose)] = True
        return fmm_distance(self.traversible(), here)

    def towards(self, goals: np.ndarray, reach: float = 0.1) -> int | None:
        """The action towards goal cells (M, M); STOP within ``reach`` + 0.25 m, None if there is no way."""
        around = ndimage.binary_dilation(goals, disk(round(reach / self.grid.resolution)))
        free = self.traversible()
        distance = fmm_distance(free, around)
        row, column = (self.pose[1::-1] - np.array(self.grid.origin)[::-1]) / self.grid.resolution
        found = short_term_goal(distance, row, column, self.step)
        here = distance[self.grid.cell(self.pose)]
        if here * self.grid.resolution < 0.25:
            return STOP
        if found.replan and here >= distance.max() - 1:
            return None
        aim = self.grid.centre(found.row, found.column) - self.pose[:2]
        turn = (np.arctan2(aim[1], aim[0]) - self.pose[2] + np.pi) % (2 * np.pi) - np.pi
        if turn > AIM:
            return TURN_LEFT
        return TURN_RIGHT if turn < -AIM else MOVE_FORWARD

    def frontiers(self) -> np.ndarray:
        """(M, M) explored free cells next to unexplored ones."""
        return frontiers(~self.map.explored, self.map.explored & ~self.map.obstacle)
