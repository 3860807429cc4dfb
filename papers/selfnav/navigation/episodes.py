"""Navigation episodes: a walker, a policy for what it has not seen yet, and the rule to stop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy import ndimage

from ..exploration.explore import PATIENCE, nearest_frontier, random_goal
from ..mapping.sparse import Grid
from ..model import PotentialNet
from ..simulator.environment import ObjectNav
from ..simulator.furniture import CATEGORIES
from ..simulator.world import STOP, TURN_LEFT, disk
from .metrics import Outcome, habitat_outcome, path_length, semexp_outcome
from .potentials import WIDTH
from .walker import Walker

LOOK_AROUND = 12  # turns at the start of an episode
REACH = 0.5  # metres around an object's cells that count as the goal: an object cannot be walked on
NEAR = 1.0  # metres around the agent where no potential counts
HABITAT_RADIUS = 0.1  # metres from the goal region, for habitat-lab's success

Choice = Callable[[Walker, int, np.random.Generator], np.ndarray | None]
Labels = Callable[[dict[str, Any], dict[str, Any]], np.ndarray]


def _frontier(walker: Walker, goal: int, rng: np.random.Generator) -> np.ndarray | None:
    return nearest_frontier(walker, rng)


def _random(walker: Walker, goal: int, rng: np.random.Generator) -> np.ndarray | None:
    return random_goal(walker, rng)


@dataclass(frozen=True)
class Policy:
    """Where to go as long as the goal is not on the map.

    Attributes:
        choose: a long-term goal, cells (M, M), for a walker and the category that it looks for; None if there is none.
        every: steps between two choices.
        otherwise: choices in turn where there is no way to the long-term goal, or it is reached.
    """

    choose: Choice
    every: int = 5
    otherwise: tuple[Choice, ...] = (_frontier, _random)


POLICIES = {
    "frontier": Policy(_frontier),
    "random": Policy(_random, every=PATIENCE, otherwise=(_random,)),  # no frontier, of which it knows nothing
}


@dataclass(frozen=True)
class Episode:
    """An episode as it went: outcome, steps, poses (T, 3), and the goal's category."""

    outcome: Outcome
    steps: int
    poses: np.ndarray
    goal: int


def potential_policy(network: PotentialNet, device: torch.device) -> Policy:
    """PONI: the unexplored cell at a frontier with the highest mean of its object and its area potential."""

    @torch.no_grad()
    def choose(walker: Walker, goal: int, rng: np.random.Generator) -> np.ndarray | None:
        seen = walker.map
        found = seen.category > 0
        no_object = ~found.any(0)  # on the maps that the network learned from, a cell is either an object or a wall
        floor, wall = seen.explored & ~seen.obstacle & no_object, seen.obstacle & no_object
        channels = np.concatenate([[floor, wall], found]).astype(np.float32)
        objects, area = network(torch.from_numpy(channels)[None].to(device))
        potential = (0.5 * objects[0, goal] + 0.5 * area[0]).cpu().numpy()
        at_frontier = ndimage.maximum_filter(walker.frontiers(), WIDTH)  # potentials are defined there alone
        potential[seen.explored | ~at_frontier] = 0
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

    return Policy(choose)


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
    age = policy.every
    done = False
    while not done:
        walker.see(observation["depth"], labels(observation, info), observation["pose"])
        found = walker.map.category[goal] > 0
        action = walker.towards(found, REACH) if found.any() else None
        if action is None and len(poses) <= LOOK_AROUND:
            action = TURN_LEFT
        elif action is None:  # not seen yet, or out of reach: a false object within a wall must not hold the agent
            if age >= policy.every:
                target, age = policy.choose(walker, goal, rng), 0
            action, target = _explore(walker, goal, policy, target, rng)
            age += 1
        walker.last = action
        observation, _, ended, cut, info = env.step(walker.last)
        poses.append(info["true_pose"])
        done = ended or cut
    track = np.stack(poses)
    walked = path_length(track[:, :2])
    distance = float(info["distance"])
    if metric == "semexp":
        outcome = semexp_outcome(start, distance, walked, env.radius)
    else:
        outcome = habitat_outcome(start, distance, walked, env.stopped, HABITAT_RADIUS)
    return Episode(outcome, env.steps, track, goal)


def _explore(
    walker: Walker, goal: int, policy: Policy, target: np.ndarray | None, rng: np.random.Generator
) -> tuple[int, np.ndarray | None]:
    """The action towards a long-term goal, and the goal: another one if there is no way to it, or it is reached."""
    for choose in (None, *policy.otherwise):
        target = choose(walker, goal, rng) if choose else target
        action = None if target is None else walker.towards(target)
        if action is not None and action != STOP:
            return action, target
    return TURN_LEFT, None
