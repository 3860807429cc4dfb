"""Where an agent may be in a house, how it moves there, and how far it is from things."""

from typing import Literal

import numpy as np
from scipy import ndimage

from ..navigation.metrics import goal_distance
from .furniture import CATEGORIES
from .house import LENGTH, WIDTH, House

CELL = 0.05  # metres
RADIUS = 0.18  # metres of the agent
TALLEST = 1.5  # metres: what is above does not block the agent
FORWARD, TURN = 0.25, np.radians(30)
STOP, MOVE_FORWARD, TURN_LEFT, TURN_RIGHT = range(4)
ACTIONS = ("stop", "move_forward", "turn_left", "turn_right")


def disk(radius: int) -> np.ndarray:
    """A boolean disk, (2 radius + 1) cells wide."""
    square = np.arange(-radius, radius + 1) ** 2
    return square[:, None] + square <= radius**2


class World:
    """Grids of `CELL` metres over a house, row = y, column = x, and the motion of an agent.

    Args:
        on_contact: at a wall the agent stops (``block``), or goes on along it (``slide``).
    """

    def __init__(self, house: House, on_contact: Literal["block", "slide"] = "slide") -> None:
        self.house, self.on_contact = house, on_contact
        shape = (round(WIDTH / CELL), round(LENGTH / CELL))
        self.obstacles = np.zeros(shape, bool)
        self.objects = np.zeros((len(CATEGORIES), *shape), bool)
        for (low, high), instance in zip(house.boxes, house.box_instance, strict=True):
            rows = slice(max(0, int(np.floor(low[1] / CELL))), int(np.ceil(high[1] / CELL)))
            columns = slice(max(0, int(np.floor(low[0] / CELL))), int(np.ceil(high[0] / CELL)))
            if low[2] < TALLEST:
                self.obstacles[rows, columns] = True
            if house.category[instance]:
                self.objects[house.category[instance] - 1, rows, columns] = True
        self.navigable = ~ndimage.binary_dilation(self.obstacles, disk(int(np.ceil(RADIUS / CELL))), border_value=1)
        parts, count = ndimage.label(self.navigable)
        if count > 1:  # what furniture has walled in
            self.navigable = parts == np.bincount(parts.ravel())[1:].argmax() + 1

    def cell(self, position: np.ndarray) -> tuple[int, int]:
        """Row and column of x and y in metres, cut to the house."""
        rows, columns = self.navigable.shape
        return min(max(int(position[1] / CELL), 0), rows - 1), min(max(int(position[0] / CELL), 0), columns - 1)

    def free(self, position: np.ndarray) -> bool:
        return bool(self.navigable[self.cell(position)])

    def sample_pose(self, rng: np.random.Generator) -> np.ndarray:
        """A random free pose, heading a multiple of a turn."""
        cells = np.argwhere(self.navigable)
        row, column = cells[rng.integers(len(cells))]
        return np.array([(column + 0.5) * CELL, (row + 0.5) * CELL, TURN * rng.integers(12)])

    def move(self, pose: np.ndarray, action: int, distance: float = FORWARD, turn: float = TURN) -> np.ndarray:
        """The pose after an action; a forward one in steps of half a cell, as far as it is free."""
        x, y, heading = pose
        if action in (TURN_LEFT, TURN_RIGHT):
            heading += turn if action == TURN_LEFT else -turn
            return np.array([x, y, (heading + np.pi) % (2 * np.pi) - np.pi])
        if action == MOVE_FORWARD:
            step = CELL / 2 * np.array([np.cos(heading), np.sin(heading)])
            place = np.array([x, y])
            for _ in range(round(distance / (CELL / 2))):
                ways = [step, step * (1, 0), step * (0, 1)] if self.on_contact == "slide" else [step]
                chosen = next((way for way in ways if self.free(place + way)), None)
                if chosen is None:
                    break
                place = place + chosen
            return np.array([*place, heading])
        return pose.copy()

    def goal_region(self, category: int, radius: float) -> np.ndarray:
        """Navigable cells within ``radius`` metres of an object of a category (index into CATEGORIES)."""
        objects = self.objects[category]
        if not objects.any():
            return objects
        return (ndimage.distance_transform_edt(~objects) <= int(radius / CELL)) & self.navigable

    def geodesic(self, category: int, radius: float) -> np.ndarray:
        """Metres from every cell to the goal region; infinite where there is no way or no region."""
        region = self.goal_region(category, radius)
        if not region.any():
            return np.full(self.navigable.shape, np.inf)
        return np.where(self.navigable, goal_distance(self.navigable, region, CELL), np.inf)

    def semantic_map(self, resolution: float, size: int, origin: tuple[float, float]) -> np.ndarray:
        """(2 + C, size, size) the complete map: floor, wall or other obstacle, and categories.

        Args:
            resolution: metres a cell. origin: x and y of the map's corner.
        """
        complete = np.zeros((2 + len(CATEGORIES), size, size), bool)
        inside = np.zeros((size, size), bool)
        layers = (np.ones_like(self.obstacles), self.obstacles, *self.objects)
        for channel, layer in zip((inside, *complete[1:]), layers, strict=True):
            place = (np.argwhere(layer) + 0.5) * CELL - np.array(origin)[::-1]
            cell = np.floor(place / resolution).astype(int)
            cell = cell[((cell >= 0) & (cell < size)).all(1)]
            channel[cell[:, 0], cell[:, 1]] = True
        complete[1] &= ~complete[2:].any(0)
        complete[0] = inside & ~complete[1:].any(0)
        return complete
