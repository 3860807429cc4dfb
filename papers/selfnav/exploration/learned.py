"""Policies that learn where to go, to explore or to find an object: maps, rewards, and rollouts for PPO."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..mapping.sparse import Grid
from ..navigation.walker import Walker
from ..simulator.world import TURN_LEFT
from .explore import PATIENCE, Environment, GoalPicker, covered
from .global_policy import ORIENTATIONS, GlobalPolicy
from .ppo import Rollout

COVERAGE_SCALE = 0.02  # of a square metre, as in SemExp
GOAL_SCALE, FARTHEST = 0.1, 10.0  # of a metre nearer to the goal, as in SemExp; metres that count at most
CURIOSITY_SCALE = 0.01  # of a cell with a confident class
Segment = Callable[[np.ndarray], np.ndarray]


def policy_maps(walker: Walker, size: int, goal: int = 0) -> tuple[Tensor, Tensor]:
    """(8 + C, size, size) maps and (2,) extras of the global policy.

    Obstacles, explored cells, the agent and where it was: around the agent, then of the whole map at half of the
    resolution, then the classes around the agent. The extras are the heading in steps of 5 degrees, and the goal.
    """
    here = np.zeros_like(walker.visited)
    here[walker.grid.cell(walker.pose)] = True
    layers = np.stack([walker.map.obstacle, walker.map.explored, here, walker.visited]).astype(np.float32)
    row, column = local_corner(walker, size)
    window = (slice(None), slice(row, row + size), slice(column, column + size))
    local = np.concatenate([layers, walker.map.category])[window]
    whole = torch.nn.functional.max_pool2d(torch.from_numpy(layers)[None], walker.grid.size // size)[0]
    maps = torch.cat([torch.from_numpy(local[:4]), whole, torch.from_numpy(local[4:])])
    heading = int(np.degrees(walker.pose[2]) % 360 / (360 / ORIENTATIONS))
    return maps, torch.tensor([min(heading, ORIENTATIONS - 1), goal])


def local_corner(walker: Walker, size: int) -> tuple[int, int]:
    """First row and column of the window around the agent."""
    row, column = walker.grid.cell(walker.pose)
    last = walker.grid.size - size
    return min(max(row - size // 2, 0), last), min(max(column - size // 2, 0), last)


def goal_on_map(walker: Walker, cell: np.ndarray, size: int) -> np.ndarray:
    """(M, M) the goal cell of a policy, which is given in the window around the agent."""
    goal = np.zeros_like(walker.visited)
    row, column = local_corner(walker, size)
    goal[row + int(cell[0]), column + int(cell[1])] = True
    return goal


def learned_choice(policy: GlobalPolicy) -> Callable[[Walker, int, np.random.Generator], np.ndarray | None]:
    """Long-term goals of a trained policy that looks for a category, drawn from its distribution."""

    @torch.no_grad()
    def choose(walker: Walker, goal: int, rng: np.random.Generator) -> np.ndarray:
        maps, extras = policy_maps(walker, policy.size, goal)
        distribution, _ = policy(maps[None], extras[None])
        noise = torch.from_numpy(rng.normal(size=(1, 2))).float()
        action = distribution.mean + distribution.stddev * noise
        return goal_on_map(walker, policy.goal_cell(action)[0].numpy(), policy.size)

    return choose


def learned_picker(policy: GlobalPolicy) -> GoalPicker:
    """The same of a policy that explores, and looks for nothing."""
    choose = learned_choice(policy)
    return lambda walker, rng: choose(walker, 0, rng)


def interest(walker: Walker, reward: str, distance: np.ndarray | None = None) -> float:
    """The quantity whose increase is rewarded.

    Args:
        reward: ``coverage``: square metres explored; ``curiosity``: cells of the map that hold a class; ``goal``:
            square metres explored, and metres nearer to the goal.
        distance: (M, M) metres to the goal's category on a self-labelled map.
    """
    if reward == "curiosity":
        return CURIOSITY_SCALE * float((walker.map.category.max(0) > 0).sum())
    explored = COVERAGE_SCALE * covered(walker)
    if distance is None:
        return explored
    return explored - GOAL_SCALE * min(float(distance[walker.grid.cell(walker.pose)]), FARTHEST)


def rollout(
    envs: list[Environment], grid: Grid, policy: GlobalPolicy, segment: Segment | None, *, goals: int, reward: str,
    seed: int, distances: Sequence[np.ndarray | None] | None = None,
) -> Rollout:  # fmt: skip
    """Goals that the policy sets in houses, one after the other, from a new random place in each.

    Args:
        segment: labels of an image, those with a probability of 0.9 or more for curiosity.
        goals: of a house. reward: see :func:`interest`.
        distances: (C, M, M) of each house, metres to the categories; the agent looks for one that the house has.
    """
    generator = torch.Generator().manual_seed(seed)
    columns = [
        _of_house(env, grid, policy, segment, goals, reward, generator, seed + k, distance)
        for k, (env, distance) in enumerate(zip(envs, distances or [None] * len(envs), strict=True))
    ]
    maps, extras, *rows, last = zip(*columns, strict=True)
    actions, log_probabilities, values, rewards, alive = (torch.stack(x, 1) for x in rows)
    return Rollout(
        torch.stack(maps, 1), torch.stack(extras, 1), actions, log_probabilities, values, rewards, alive,
        next_value=torch.stack(last),
    )  # fmt: skip


@torch.no_grad()
def _of_house(
    env: Environment, grid: Grid, policy: GlobalPolicy, segment: Segment | None, goals: int, reward: str,
    generator: torch.Generator, seed: int, distances: np.ndarray | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    observation, _ = env.reset(seed=seed)
    walker = Walker(grid, env.camera, policy.network.main[1].in_channels - 8)  # type: ignore[operator, arg-type]

    def see() -> None:
        walker.see(observation["depth"], segment(observation["rgb"]) if segment else None, observation["pose"])

    see()
    category, distance = 0, None
    if distances is not None and len(present := np.flatnonzero(np.isfinite(distances).any((1, 2)))):
        category = int(present[int(torch.randint(len(present), (), generator=generator))])
        distance = distances[category]
    rows: list[tuple[Tensor, ...]] = []
    for _ in range(goals):
        maps, extras = policy_maps(walker, policy.size, category)
        distribution, value = policy(maps[None], extras[None])
        action = distribution.mean + distribution.stddev * torch.randn(1, 2, generator=generator)
        before = interest(walker, reward, distance)
        goal = goal_on_map(walker, policy.goal_cell(action)[0].numpy(), policy.size)
        for _ in range(PATIENCE):
            walker.last = walker.towards(goal) or TURN_LEFT  # at the goal it looks around
            observation, *_ = env.step(walker.last)
            see()
        gained = torch.tensor(interest(walker, reward, distance) - before, dtype=torch.float32)
        log_probability = distribution.log_prob(action).sum()
        rows.append((maps, extras, action[0], log_probability, value[0], gained, torch.tensor(1.0)))
    maps, extras = policy_maps(walker, policy.size, category)
    return *(torch.stack(x) for x in zip(*rows, strict=True)), policy(maps[None], extras[None])[1][0]
