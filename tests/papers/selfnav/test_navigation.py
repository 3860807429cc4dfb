"""Exploring and navigating: frontiers, potentials, learned goals, and whole episodes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from papers.selfnav.exploration.explore import PICKERS, covered, explore, half_circle, nearest_frontier
from papers.selfnav.exploration.global_policy import GlobalPolicy
from papers.selfnav.exploration.learned import goal_on_map, interest, learned_picker, policy_maps, rollout
from papers.selfnav.exploration.ppo import ppo_loss, targets
from papers.selfnav.mapping.sparse import Grid
from papers.selfnav.model import PotentialNet
from papers.selfnav.navigation.episodes import POLICIES, Episode, navigate, potential_policy
from papers.selfnav.navigation.metrics import habitat_outcome, semexp_outcome
from papers.selfnav.navigation.planner import fmm_distance
from papers.selfnav.navigation.potentials import (
    FIRST_CLASS,
    FLOOR,
    area_potential,
    class_distances,
    descend,
    partial_map,
)
from papers.selfnav.navigation.walker import Walker
from papers.selfnav.simulator.environment import ObjectNav
from papers.selfnav.simulator.world import MOVE_FORWARD, STOP, TURN_LEFT

GRID = Grid(112, 0.1, (-0.6, -1.6))


@pytest.fixture(scope="module")
def env() -> Iterator[ObjectNav]:
    yield ObjectNav(7, "sim", resolution=32, max_steps=120)


def test_the_frontier_policy_leaves_the_first_room(env: ObjectNav) -> None:
    frames, walker = explore(env, GRID, picker=PICKERS["frontier"], steps=240, every=8, seed=1)
    assert len(frames) == 30 and covered(walker) > 25


def test_the_walker_does_not_push_against_a_doorpost() -> None:
    """A ring of 50 cm around the agent looks across the corner of a wall, where the agent then stays for good."""
    env = ObjectNav(101, "real", resolution=32)
    frames, _ = explore(env, GRID, picker=nearest_frontier, steps=100, every=1, seed=101)
    still = (np.diff(frames.poses, axis=0) == 0).all(1)
    assert still.mean() < 0.1


def test_an_exploration_repeats_itself(env: ObjectNav) -> None:
    first, second = (explore(env, GRID, picker=nearest_frontier, steps=40, every=4, seed=2)[0] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(vars(first).values(), vars(second).values(), strict=True))


def test_a_collision_blocks_what_is_ahead(env: ObjectNav) -> None:
    env.reset(seed=0)
    walker = Walker(GRID, env.camera, 6)
    depth = np.full((32, 32), 3.0, np.float32)
    walker.see(depth, None, np.array([5.0, 4.0, 0.0]))
    walker.last = MOVE_FORWARD
    walker.see(depth, None, np.array([5.0, 4.0, 0.0]))
    assert walker.blocked[GRID.cell(np.array([5.25, 4.0]))] and walker.width == pytest.approx(0.15)
    walker.see(depth, None, np.array([5.25, 4.0, 0.0]))
    assert walker.width == 0.05


def test_the_walker_turns_walks_and_stops() -> None:
    env = ObjectNav(7, "sim", resolution=32)
    walker = Walker(GRID, env.camera, 6)
    walker.see(np.full((32, 32), 4.0, np.float32), None, np.array([5.0, 4.0, 0.0]))
    goal = np.zeros((112, 112), bool)
    goal[GRID.cell(np.array([5.0, 6.5]))] = True
    assert walker.towards(goal) == TURN_LEFT
    walker.pose = np.array([5.0, 4.0, np.pi / 2])
    assert walker.towards(goal) == MOVE_FORWARD
    walker.pose = np.array([5.0, 6.45, np.pi / 2])
    assert walker.towards(goal) == STOP


def test_half_a_circle_gives_another_view_of_an_object() -> None:
    walker = Walker(GRID, ObjectNav(7, "sim", resolution=32).camera, 6)
    walker.map.explored[:] = True
    walker.pose = np.array([5.0, 4.0, 0.0])
    walker.visited[GRID.cell(walker.pose)] = True
    rng = np.random.default_rng(0)
    assert half_circle(walker, rng) is None
    walker.map.category[2][GRID.cell(np.array([6.5, 4.0]))] = 1
    goal = half_circle(walker, rng)
    assert goal is not None
    distance = np.linalg.norm(np.argwhere(goal) - GRID.cell(np.array([6.5, 4.0])), axis=1) * 0.1
    assert distance.min() > 0.85 and distance.max() < 1.6
    assert np.argwhere(goal)[:, 1].min() >= GRID.cell(np.array([6.5, 4.0]))[1], "not on the agent's side"


# -- potentials -------------------------------------------------------------------------------------------------------


def two_rooms() -> np.ndarray:
    """(2 + 1, 48, 48) two rooms with a doorway; an object in the second one."""
    complete = np.zeros((3, 48, 48), bool)
    complete[FLOOR, 4:44, 4:44] = True
    complete[1, 4:44, 24], complete[FLOOR, 4:44, 24] = True, False
    complete[1, 20:26, 24], complete[FLOOR, 20:26, 24] = False, True
    complete[FIRST_CLASS, 10:14, 36:40], complete[FLOOR, 10:14, 36:40] = True, False
    return complete


def test_distances_go_around_walls() -> None:
    distance = class_distances(two_rooms(), 0.1)[0]
    assert distance[12, 38] == 0 and distance[12, 30] == pytest.approx(0.6, abs=0.15)
    assert distance[12, 22] > 1.9, "the way leads through the doorway"
    empty = two_rooms()
    empty[FIRST_CLASS] = False
    assert np.isinf(class_distances(empty, 0.1)).all()


def test_partial_maps_reveal_a_walk_and_have_potentials_at_its_frontiers() -> None:
    complete = two_rooms()
    distances = class_distances(complete, 0.1)
    rng = np.random.default_rng(0)
    made = [partial_map(complete, distances, 0.1, rng) for _ in range(12)]
    assert len({x.seen.sum() for x in made}) > 6
    for x in made:
        assert 0 < x.seen.sum() <= complete.sum() and x.known.sum() == complete.any(0).sum()
        assert x.objects.min() >= 0 and x.objects.max() <= 1 and x.area.min() >= 0 and x.area.max() <= 1
        hidden = x.known & ~x.seen.any(0)
        if not hidden.any():
            assert x.objects.max() == 0 and x.area.max() == 0
    assert max(x.objects.max() for x in made) > 0.5 and max(x.area.max() for x in made) > 0.3


def test_a_path_descends_to_the_goal() -> None:
    complete = two_rooms()
    goal = np.zeros((48, 48), bool)
    goal[40, 40] = True
    path = descend(fmm_distance(complete[FLOOR], goal), np.array([40, 8]))
    assert path[0] == (40, 8) and path[-1] == (40, 40) and any(column == 24 for _, column in path)
    assert all(complete[FLOOR][cell] for cell in path)


def test_a_larger_hidden_area_has_the_larger_potential() -> None:
    frontier, hidden = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    frontier[5, 2:8], hidden[6:19, 2:8] = True, True
    frontier[5, 14:17], hidden[6:9, 14:17] = True, True
    area = area_potential(frontier, hidden, 200)
    assert area[5, 5] == pytest.approx(78 / 100) and area[5, 15] == pytest.approx(9 / 100)


# -- episodes ---------------------------------------------------------------------------------------------------------


def truth_of(env: ObjectNav) -> Any:
    return lambda observation, info: env.house.category[info["instance"]]


def test_an_agent_that_sees_the_truth_finds_its_goals(env: ObjectNav) -> None:
    episodes = [
        navigate(env, GRID, POLICIES["frontier"], truth_of(env), seed=seed, metric="semexp") for seed in range(4)
    ]
    assert sum(x.outcome.success for x in episodes) >= 3
    for x in episodes:
        assert len(x.poses) == x.steps + 1 and 0 <= x.outcome.spl <= x.outcome.success
    blind = navigate(
        env, GRID, POLICIES["random"], lambda observation, info: np.zeros((32, 32), int), seed=0, metric="semexp"
    )
    assert blind.steps == 120


def test_the_two_definitions_of_success_differ(env: ObjectNav) -> None:
    def again(metric: Any) -> Episode:
        return navigate(env, GRID, POLICIES["frontier"], truth_of(env), seed=0, metric=metric)

    ours, theirs = again("semexp"), again("habitat")
    assert np.array_equal(ours.poses, theirs.poses)
    assert semexp_outcome(2.0, 0.0, 3.0).success == 1 and habitat_outcome(2.0, 0.0, 3.0, False, 0.1).success == 0
    assert semexp_outcome(2.0, 0.0, 1.0).spl == 1 and semexp_outcome(2.0, 0.05, 3.0).success == 0
    assert habitat_outcome(2.0, 0.05, 4.0, True, 0.1).spl == 0.5


def test_potentials_lead_to_unexplored_cells(env: ObjectNav) -> None:
    torch.manual_seed(0)
    choose = potential_policy(PotentialNet(6, (4, 4, 4, 4, 4)).eval(), torch.device("cpu")).choose
    _, walker = explore(env, GRID, picker=nearest_frontier, steps=20, every=4, seed=3)
    goal = choose(walker, 2, np.random.default_rng(0))
    assert goal is not None and goal.sum() == 1 and not walker.map.explored[goal].any()
    walker.map.explored[:] = True
    assert choose(walker, 2, np.random.default_rng(0)) is None


def test_a_cell_is_an_object_or_a_wall_for_the_potentials(env: ObjectNav) -> None:
    """As on the complete maps that the network learns from."""
    network, shown = PotentialNet(6, (4, 4, 4, 4, 4)).eval(), []
    network.register_forward_pre_hook(lambda _, maps: shown.append(maps[0][0]))
    _, walker = explore(env, GRID, picker=nearest_frontier, steps=4, every=4, seed=3)
    walker.map.category[2, walker.map.obstacle] = 1
    potential_policy(network, torch.device("cpu")).choose(walker, 2, np.random.default_rng(0))
    assert shown[0][FIRST_CLASS + 2].any() and shown[0].sum(0).max() == 1


# -- learned explorers ------------------------------------------------------------------------------------------------


def test_a_policy_sees_its_surroundings_and_sets_goals_in_them(env: ObjectNav) -> None:
    policy = GlobalPolicy(14, 56)
    _, walker = explore(env, GRID, picker=learned_picker(policy), steps=20, every=4, seed=3)
    maps, extras = policy_maps(walker, 56)
    assert maps.shape == (14, 56, 56) and maps[2].sum() == 1 and maps[4:8].shape == (4, 56, 56)
    assert 0 <= extras[0] < 72
    row, column = np.argwhere(maps[2].numpy())[0]
    assert np.array_equal(np.argwhere(goal_on_map(walker, np.array([row, column]), 56))[0], GRID.cell(walker.pose))


def test_ppo_begins_at_its_own_advantage_and_moves_towards_reward(env: ObjectNav) -> None:
    torch.manual_seed(0)
    policy = GlobalPolicy(14, 56)
    collected = rollout([env], GRID, policy, None, goals=2, reward="coverage", seed=5)
    assert collected.rewards.shape == (2, 1) and (collected.rewards >= 0).all() and collected.rewards.sum() > 0
    again = rollout([env], GRID, policy, None, goals=2, reward="coverage", seed=5)
    assert torch.equal(again.rewards, collected.rewards)
    expected, advantage = targets(collected)
    torch.testing.assert_close(expected[-1], collected.rewards[-1, 0] + 0.99 * collected.next_value[0])
    rows = torch.arange(2)
    distribution, value = policy(collected.maps[:, 0], collected.extras[:, 0])
    loss = ppo_loss(policy, collected, rows, expected, advantage)
    entropy = distribution.entropy().sum(1).mean()
    by_hand = -advantage.mean() + 0.25 * (value - expected).square().mean() - 0.001 * entropy
    torch.testing.assert_close(loss, by_hand, rtol=1e-4, atol=1e-5)


def test_a_step_towards_the_goal_is_rewarded_as_in_semexp(env: ObjectNav) -> None:
    walker = Walker(GRID, env.camera, 6)
    distance = np.full((112, 112), np.inf)
    walker.pose = np.array([5.0, 4.0, 0.0])
    assert interest(walker, "goal", distance) == -1, "out of reach is ten metres away"
    distance[GRID.cell(walker.pose)] = 3.0
    assert interest(walker, "goal", distance) == pytest.approx(-0.3)
    walker.map.explored[:10, :10] = True
    assert interest(walker, "goal", distance) == pytest.approx(-0.3 + 0.02)


def test_a_policy_is_told_a_category_that_the_house_has(env: ObjectNav) -> None:
    distances = np.full((6, 112, 112), np.inf)
    distances[4] = 1.0
    policy = GlobalPolicy(14, 56, goals=6)
    collected = rollout([env], GRID, policy, None, goals=1, reward="goal", seed=5, distances=[distances])
    assert collected.extras[..., 1].tolist() == [[4]] and collected.rewards.sum() > 0


def test_curiosity_counts_cells_with_a_class() -> None:
    walker = Walker(GRID, ObjectNav(7, "sim", resolution=32).camera, 6)
    assert interest(walker, "curiosity") == 0
    walker.map.category[1, 5, 5:8] = 1
    walker.map.category[2, 5, 5] = 1
    assert interest(walker, "curiosity") == pytest.approx(0.03)
