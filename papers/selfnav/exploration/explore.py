"""Exploring a house: a policy picks goals, the walker goes there, every frame on the way is kept."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from scipy import ndimage

from ..mapping.sparse import Grid
from ..navigation.walker import Walker
from ..simulator.furniture import CATEGORIES
from ..simulator.render import Frames
from ..simulator.world import TURN_LEFT, disk

LEAST = 4  # cells of a frontier worth walking to
PATIENCE = 25  # steps after which another goal is picked


class Environment(Protocol):
    """As :class:`..simulator.environment.ObjectNav` and the adapter for habitat-sim have it."""

    camera: Any

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]: ...
    def step(self, action: int) -> tuple[dict, float, bool, bool, dict]: ...


GoalPicker = Callable[[Walker, np.random.Generator], np.ndarray | None]


def nearest_frontier(walker: Walker, rng: np.random.Generator) -> np.ndarray | None:
    """Cells (M, M) of the frontier that is nearest to walk to; None if none is left within reach."""
    distance = walker.distance_from_here()
    parts, count = ndimage.label(walker.frontiers(), np.ones((3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    reachable = np.where(distance < distance.max(), distance, np.inf)
    # A frontier is reached from beside it: it often lies in the shadow of furniture.
    near = ndimage.minimum_filter(reachable, 3)
    best = [near[parts == k].min() if sizes[k] >= LEAST else np.inf for k in range(1, count + 1)]
    # The agent may stand at a frontier that it cannot see beyond.
    best = [x if x * walker.grid.resolution > 0.6 else np.inf for x in best]
    if not best or np.isinf(min(best)):
        return None
    return parts == int(np.argmin(best)) + 1


def random_goal(walker: Walker, rng: np.random.Generator) -> np.ndarray | None:
    """A random cell that is free as far as is known."""
    distance = walker.distance_from_here()
    cells = np.argwhere((distance < distance.max()) & walker.map.explored)
    if not len(cells):
        return None
    goal = np.zeros_like(walker.visited)
    goal[tuple(cells[rng.integers(len(cells))])] = True
    return goal


def half_circle(walker: Walker, rng: np.random.Generator) -> np.ndarray | None:
    """Free cells about 1.2 m from the nearest object on the map, a quarter of a circle or more from the agent.

    Cells near those that were visited do not count; None if there is no other view.
    """
    objects = walker.map.category.max(0) > 0
    if not objects.any():
        return None
    resolution = walker.grid.resolution
    row, column = walker.grid.cell(walker.pose)
    parts, _ = ndimage.label(objects, np.ones((3, 3)))
    cells = np.argwhere(objects)
    nearest = cells[np.linalg.norm(cells - (row, column), axis=1).argmin()]
    inner, outer = disk(round(0.9 / resolution)), disk(round(1.5 / resolution))
    object_ = parts == parts[tuple(nearest)]
    ring = ndimage.binary_dilation(object_, outer) & ~ndimage.binary_dilation(object_, inner)
    seen = ndimage.binary_dilation(walker.visited, disk(round(0.5 / resolution)))
    centre = np.argwhere(object_).mean(0)
    offset = np.indices(ring.shape) - centre[:, None, None]
    aside = np.tensordot(np.array([row, column]) - centre, offset, 1) <= 0
    distance = walker.distance_from_here()
    goal = ring & aside & ~seen & walker.map.explored & (distance < distance.max())
    return goal if goal.any() else None


PICKERS: dict[str, GoalPicker] = {"frontier": nearest_frontier, "random": random_goal}


def actions(walker: Walker, picker: GoalPicker, rng: np.random.Generator, *, revisit: bool = False) -> Iterator[int]:
    """Endless actions of an exploration; :meth:`Walker.see` is called between them.

    The agent looks around at the start and at every goal; when nothing is left to explore, it walks to random cells.

    Args:
        revisit: walk half around the nearest object after every goal.
    """
    while True:
        for _ in range(12):
            yield TURN_LEFT
        for choose in (picker, half_circle) if revisit else (picker,):
            goal = choose(walker, rng)
            if goal is None and choose is picker:
                goal = random_goal(walker, rng)
            if goal is None:
                continue
            for _ in range(PATIENCE):
                action = walker.towards(goal)
                if not action:  # it is there, or there is no way
                    break
                yield action


def explore(
    env: Environment,
    grid: Grid,
    *,
    picker: GoalPicker,
    steps: int,
    every: int,
    seed: int,
    segment: Callable[[np.ndarray], np.ndarray] | None = None,
    revisit: bool = False,
    options: dict[str, Any] | None = None,
) -> tuple[Frames, Walker]:
    """Frames of an exploration of ``steps`` actions, every how many-th of them, and the walker with its map.

    Args:
        segment: labels (H, W) of an image (H, W, 3), for the semantic map; None: no classes.
        revisit: see :func:`actions`. options: of ``env.reset``.
    """
    rng = np.random.default_rng((seed, 3))
    observation, info = env.reset(seed=seed, options=options)
    walker = Walker(grid, env.camera, len(CATEGORIES))
    kept: list[tuple[np.ndarray, ...]] = []
    plan = actions(walker, picker, rng, revisit=revisit)
    for step in range(steps):
        labels = segment(observation["rgb"]) if segment else None
        walker.see(observation["depth"], labels, observation["pose"])
        if step % every == 0:
            kept.append((observation["rgb"], observation["depth"], info["instance"], observation["pose"]))
        walker.last = next(plan)
        observation, _, _, _, info = env.step(walker.last)
    return Frames(*(np.stack(x) for x in zip(*kept, strict=True))), walker


def covered(walker: Walker) -> float:
    """Explored square metres."""
    return float(walker.map.explored.sum()) * walker.grid.resolution**2
