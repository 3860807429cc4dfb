"""PONI: potentials of frontiers for an object class, from complete maps, and partial maps to learn them from."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .planner import fmm_distance

CUTOFF = 10.0  # metres at which an object's potential is 0
REVEALED = 3.0  # metres of the square that is revealed around every point of a path
WIDTH = 7  # cells of a frontier, which is one cell wide, where potentials are defined
REACH = 1.0  # metres by which an object is made traversable, so that distances reach it
FLOOR, WALL, FIRST_CLASS = 0, 1, 2  # channels of a map


def frontiers(unexplored: np.ndarray, free: np.ndarray) -> np.ndarray:
    """(H, W) explored free cells with an unexplored 4-neighbour; what is outside of the map counts as explored."""
    padded = np.pad(unexplored.astype(bool), 1)
    beside = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return free.astype(bool) & beside


def object_potential(distance: np.ndarray, cutoff: float = CUTOFF) -> np.ndarray:
    """Potential in [0, 1] of geodesic distances in metres (any shape): 1 at an object, 0 from ``cutoff`` on."""
    return np.clip((cutoff - distance) / cutoff, 0, 1)


def class_distances(complete: np.ndarray, resolution: float) -> np.ndarray:
    """(C, M, M) geodesic metres to the nearest object of each class; infinite where there is none or no way.

    Args:
        complete: (2 + C, M, M) floor, wall and classes. resolution: metres a cell.
    """
    floor = complete[FLOOR] > 0
    reach = max(1, int(REACH / resolution))
    found = np.full(complete[FIRST_CLASS:].shape, np.inf)
    for k, objects in enumerate(complete[FIRST_CLASS:] > 0):
        if not objects.any():
            continue
        around = ndimage.binary_dilation(objects, iterations=reach)
        cells = fmm_distance(floor | around, objects)
        found[k] = np.where(cells < cells.max(), cells * resolution, np.inf)
        found[k][objects] = 0
    return found


@dataclass(frozen=True)
class PartialMap:
    """The part of a house that an agent may have seen of a house, and the potentials there.

    Attributes:
        seen: (2 + C, M, M) the revealed part of the complete map.
        objects: (C, M, M), area: (M, M) potentials on frontiers, 0 elsewhere.
        known: (M, M) cells of the complete map that are floor, wall or object.
    """

    seen: np.ndarray
    objects: np.ndarray
    area: np.ndarray
    known: np.ndarray


def partial_map(complete: np.ndarray, distances: np.ndarray, resolution: float, rng: np.random.Generator) -> PartialMap:
    """Walk a shortest path between two random floor cells, reveal what is around it, and compute the potentials.

    The map is turned by a random number of quarter turns and mirrored at random.

    Args:
        complete: (2 + C, M, M). distances: (C, M, M), see :func:`class_distances`.
    """
    floor = complete[FLOOR] > 0
    cells = np.argwhere(floor)
    start, end = cells[rng.integers(len(cells), size=2)]
    goals = np.zeros_like(floor)
    goals[tuple(end)] = True
    revealed = np.zeros_like(floor)
    half = int(REVEALED / 2 / resolution)
    for r, c in descend(fmm_distance(floor, goals), start):
        revealed[max(0, r - half) : r + half + 1, max(0, c - half) : c + half + 1] = True
    known = np.asarray(complete.any(0))
    seen = complete * revealed
    unexplored = known & ~revealed
    frontier = frontiers(unexplored, seen[FLOOR] > 0)
    wide = ndimage.maximum_filter(frontier, WIDTH)
    objects = object_potential(distances) * wide
    area = area_potential(frontier, floor & ~revealed, int(floor.sum()))
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))

    def turned(x: np.ndarray) -> np.ndarray:
        x = np.rot90(x, turns, (-2, -1))
        return np.ascontiguousarray(x[..., ::-1] if mirror else x)

    return PartialMap(turned(seen), turned(objects), turned(area), turned(known))


def descend(distance: np.ndarray, start: np.ndarray) -> list[tuple[int, int]]:
    """Cells from ``start`` down the distance to a goal, by steps to the best of the eight neighbours."""
    place = (int(start[0]), int(start[1]))
    path = [place]
    for _ in range(distance.size):
        r, c = place
        r0, c0 = max(0, r - 1), max(0, c - 1)
        window = distance[r0 : r + 2, c0 : c + 2]
        best = np.unravel_index(int(window.argmin()), window.shape)
        if window[best] >= distance[place]:
            break
        place = (r0 + int(best[0]), c0 + int(best[1]))
        path.append(place)
    return path


def area_potential(frontier: np.ndarray, hidden: np.ndarray, floor_cells: int, longest: int = 5) -> np.ndarray:
    """(M, M) share of half of the floor that lies hidden behind each of the longest frontiers, around it."""
    parts, count = ndimage.label(frontier, np.ones((3, 3)))
    rooms, _ = ndimage.label(hidden)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    area = np.zeros(frontier.shape)
    for part in np.argsort(-sizes[1:], kind="stable")[:longest] + 1:
        where = parts == part
        touched = np.unique(rooms[ndimage.binary_dilation(where, np.ones((3, 3)))])
        behind = np.isin(rooms, touched[touched > 0]).sum()
        area[where] = np.clip(behind / (floor_cells / 2), 0, 1)
    return ndimage.maximum_filter(area, WIDTH)
