"""Success, SPL, SoftSPL and distances of an episode, by the definitions of habitat-lab and of SemExp."""

from dataclasses import dataclass

import numpy as np

from .planner import fmm_distance


@dataclass(frozen=True)
class Outcome:
    """An episode. ``distance`` is that to the goal in habitat-lab's definition, that to success in SemExp's; metres."""

    success: float
    spl: float
    soft_spl: float
    distance: float


def habitat_outcome(
    start_distance: float, distance: float, path_length: float, stopped: bool, success_distance: float
) -> Outcome:
    """habitat-lab: success needs STOP, and a distance strictly below ``success_distance``.

    Args:
        start_distance, distance: geodesic distance to the goal at the start and now, metres.
        path_length: metres walked.
    """
    success = float(stopped and distance < success_distance)
    efficiency = start_distance / max(start_distance, path_length)
    return Outcome(success, success * efficiency, max(0.0, 1 - distance / start_distance) * efficiency, distance)


def semexp_outcome(
    start_distance: float, distance: float, path_length: float, success_distance: float = 1.0
) -> Outcome:
    """SemExp: success is to end inside the goal region, with STOP or without it; SPL is cut at 1.

    Args:
        start_distance, distance: geodesic distance to the goal region at the start and now, metres; 0 is inside.
        path_length: metres walked.
        success_distance: radius of the goal region, which SemExp adds to the shortest path.
    """
    success = float(distance == 0)
    shortest = start_distance + success_distance
    efficiency = min(shortest / max(path_length, 1e-5), 1.0)
    progress = max(0.0, 1 - distance / start_distance) if start_distance > 0 else 1.0
    return Outcome(success, success * efficiency, progress * efficiency, distance)


def goal_distance(traversible: np.ndarray, region: np.ndarray, resolution: float) -> np.ndarray:
    """(H, W) geodesic distance in metres to the goal region, 0 inside; ``resolution`` is metres a cell."""
    return fmm_distance(traversible, region) * resolution


def path_length(positions: np.ndarray) -> float:
    """Metres along positions (T, 2 or 3)."""
    return float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())
