"""Navigation episodes: a walker, a policy for what it has not seen yet, and the rule to stop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from ..exploration.explore import nearest_frontier, random_goal
from ..mapping.sparse import Grid
from ..model import PotentialNet
from ..simulator.environment import ObjectNav
from ..simulator.furniture import CATEGORIES
from ..simulator.world import STOP, TURN_LEFT, disk
from .metrics import Outcome, habitat_outcome, semexp_outcome
from .walker import Walker

LOOK_AROUND = 12  # turns at the start of an episode
REACH = 0.5  # metres around an object's cells that count as the goal: an object cannot be walked on
NEAR = 1.0  # metres around the agent where no potential counts
EVERY = 5  # steps between two choices of a long-term goal
HABITAT_RADIUS = 0.1  # metres from the goal region, for habitat-lab's success

Policy = Callable[[Walker, int, np.random.Generator], np.ndarray | None]
Labels = Callable[[dict[str, Any], dict[str, Any]], np.ndarray]


@dataclass(frozen=True)
class Episode:
    """An episode as it went: outcome, steps, poses (T, 3), and the goal's category."""

    outcome: Outcome
    steps: int
    poses: np.ndarray
    goal: int


def potential_policy(network: PotentialNet, device: torch.device) -> Policy:
    """PONI: the unexplored cell with the highest mean of its object and its area potential."""

    @torch.no_grad()
    def choose(walker: Walker, goal: int, rng: np.random.Generator) -> np.ndarray | None:
        seen = walker.map
        floor = seen.explored & ~seen.obstacle
        channels = np.concatenate([[floor, seen.obstacle], seen.category > 0]).astype(np.float32)
        objects, area = network(torch.from_numpy(channels)[None].to(device))
        potential = (0.5 * objects[0, goal] + 0.5 * area[0]).cpu().numpy()
        potential[seen.explored] = 0
        row, column = walker.grid.cell(walker.pose)
        around = disk(round(NEAR / walker.grid.resolution))
        half = len(around) // 2
        rows, columns = np.nonzero(around)
        inside = np.clip([row + rows - half, column + columns - half], 0, walker.grid.size - 1)
        potential[inside[0], inside[1]] = 0
        if potential.max() <= 0:
            return None
        chosen = np.zeros_like(walker.visited)
        chosen[np.unravel_index(int(potential.argmax()), potential.shape)] = True
        return chosen

    return choose


POLICIES: dict[str, Policy] = {
    "frontier": lambda walker, goal, rng: nearest_frontier(walker, rng),
    "random": lambda walker, goal, rng: random_goal(walker, rng),
}


def navigate(
    env: ObjectNav, grid: Grid, policy: Policy, labels: Labels, *, seed: int, metric: Literal["semexp", "habitat"]
) -> Episode:
    """One episode from a random start at least 1.5 m from the goal region.

    Args:
        labels: label image (H, W), 0 for none, else 1 + class, of an observation and its info.
        seed: of the start, the goal and the policy.
    """
    rng = np.random.default_rng((seed, 4))
    observation, info = env.reset(seed=seed)
    goal, start = int(observation["goal"]), float(info["distance"])
    walker = Walker(grid, env.camera, len(CATEGORIES))
    poses = [info["true_pose"]]
    target: np.ndarray | None = None
    done = False
    while not done:
        walker.see(observation["depth"], labels(observation, info), observation["pose"])
        found = walker.map.category[goal] > 0
        if found.any():
            action = walker.towards(found, REACH)
        elif len(poses) <= LOOK_AROUND:
            action = TURN_LEFT
        else:
            if target is None or (len(poses) - LOOK_AROUND) % EVERY == 1:
                target = policy(walker, goal, rng)
            action = _explore(walker, target, rng)
            target = None if action is None else target
        walker.last = TURN_LEFT if action is None else action
        observation, _, ended, cut, info = env.step(walker.last)
        poses.append(info["true_pose"])
        done = ended or cut
    track = np.stack(poses)
    walked = float(np.linalg.norm(np.diff(track[:, :2], axis=0), axis=1).sum())
    distance = float(info["distance"])
    if metric == "semexp":
        outcome = semexp_outcome(start, distance, walked, env.radius)
    else:
        outcome = habitat_outcome(start, distance, walked, env.stopped, HABITAT_RADIUS)
    return Episode(outcome, env.steps, track, goal)


def _explore(walker: Walker, target: np.ndarray | None, rng: np.random.Generator) -> int | None:
    """The action towards a long-term goal; to a frontier or any place if there is no way."""
    for goals in (lambda: target, lambda: nearest_frontier(walker, rng), lambda: random_goal(walker, rng)):
        cells = goals()
        action = None if cells is None else walker.towards(cells)
        if action is not None and action != STOP:
            return action
    return None
