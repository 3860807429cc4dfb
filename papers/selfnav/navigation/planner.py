"""Fast marching: distances to a goal set and the next few steps towards it (SemExp's planner)."""

from dataclasses import dataclass

import numpy as np
import skfmm

STEP = 5  # cells to the short-term goal: one forward step of 25 cm at 5 cm a cell
STOP = 5.0  # cells from the goal at which the agent has arrived: 25 cm at 5 cm a cell
STEEPEST = -1.5  # descent a cell that no free path has: the ring has jumped over a wall


@dataclass(frozen=True)
class ShortTermGoal:
    """The cell to head for; ``replan`` if no cell of the ring is nearer to the goal, ``stop`` at the goal."""

    row: float
    column: float
    replan: bool
    stop: bool


def fmm_distance(traversible: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """(H, W) distance in cells to the nearest goal cell; obstacles and what cannot be reached have the largest + 1.

    Args:
        traversible: (H, W), 1 or True where an agent may be.
        goals: (H, W) goal cells, which count as free.

    Raises:
        ValueError: there is no goal cell.
    """
    goals = np.asarray(goals, bool)
    if not goals.any():
        raise ValueError("no goal cell")
    free = np.asarray(traversible, float)
    front = np.ma.MaskedArray(free, mask=(free == 0) & ~goals)
    front[goals] = 0
    if not (front > 0).any():  # the goal fills all that is free
        return np.where(goals, 0.0, 1.0)
    found = skfmm.distance(front, dx=1)
    return np.ma.filled(found, np.max(found) + 1)


def short_term_goal(distance: np.ndarray, row: float, column: float, step: int = STEP) -> ShortTermGoal:
    """The cell of the ring of ``step`` cells around a place that is best by descent of ``distance`` (H, W).

    A ring that is wider than a forward step would cut the corners of walls.
    """
    r, c = int(row), int(column)
    far = float(len(distance) ** 2)
    around = np.pad(distance, step, constant_values=far)[r : r + 2 * step + 1, c : c + 2 * step + 1]
    ring, length = ring_and_length(row - r, column - c, step)
    here = around[step, step]
    descent = np.where(ring > 0, around, far) - here
    descent[descent / length < STEEPEST] = 1
    best = np.unravel_index(int(np.argmin(descent)), descent.shape)
    return ShortTermGoal(
        float(best[0] + r - step), float(best[1] + c - step), bool(descent[best] > -1e-4), bool(here < STOP)
    )


def ring_and_length(row: float, column: float, step: int = STEP) -> tuple[np.ndarray, np.ndarray]:
    """The ring of cells around a place with these fractions of a cell, and the length of a step to each.

    Both are (2 step + 1, 2 step + 1).
    """
    offset = np.arange(2 * step + 1) + 0.5 - step
    square = (offset[:, None] - row) ** 2 + (offset - column) ** 2
    ring = ((square <= step**2) & (square > (step - 1) ** 2)).astype(float)
    ring[step, step] = 1
    return ring, np.where(square <= step**2, np.maximum(step, np.sqrt(square)), 1e-10)
