"""Generated houses: what a camera sees in them, and how an agent moves."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from papers.selfnav.mapping.projection import Camera, world_points
from papers.selfnav.mapping.sparse import Grid
from papers.selfnav.simulator.environment import ObjectNav, PoseNoise
from papers.selfnav.simulator.furniture import CATEGORIES
from papers.selfnav.simulator.house import LENGTH, STYLES, WALL, House, make_house
from papers.selfnav.simulator.raycast import TorchCaster, make_caster
from papers.selfnav.simulator.render import Renderer
from papers.selfnav.simulator.world import CELL, MOVE_FORWARD, RADIUS, STOP, TURN_LEFT, World

CAMERA = Camera(32, 32)


@pytest.fixture(scope="module")
def house() -> House:
    return make_house(5, "sim")


@pytest.mark.parametrize("style", STYLES)
def test_every_house_has_every_category(style: str) -> None:
    for seed in range(3):
        found = make_house(seed, style)
        assert set(found.category) >= set(range(1 + len(CATEGORIES)))
        assert np.isfinite(found.triangles).all() and found.triangles[..., 2].min() >= 0


def test_a_seed_has_one_floor_plan_and_a_style_its_looks(house: House) -> None:
    again, real = make_house(5, "sim"), make_house(5, "real")
    assert np.array_equal(house.triangles, again.triangles) and np.array_equal(house.textures, again.textures)
    count = (house.box_instance == 0).sum()
    assert np.array_equal(house.boxes[:count], real.boxes[:count])
    assert not any((x == y).all() for x in house.textures for y in real.textures)
    assert not np.array_equal(house.boxes[:count], make_house(6, "sim").boxes[:count])


def test_torch_and_embree_agree(house: House) -> None:
    pytest.importorskip("embreex")
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(600, 3)).astype(np.float32)
    origins = np.tile(np.array([5.0, 2.0, 1.0], np.float32), (600, 1))
    a, b = (
        make_caster(house.triangles).cast(origins, directions),
        TorchCaster(house.triangles).cast(origins, directions),
    )
    same = a.triangle == b.triangle
    assert same.mean() > 0.99 and (a.triangle >= 0).all()  # edges belong to two triangles
    np.testing.assert_allclose(a.distance, b.distance, rtol=1e-4)
    np.testing.assert_allclose(a.u[same], b.u[same], atol=1e-3)


def test_depth_is_planar_and_points_lie_on_the_walls(house: House) -> None:
    pose = np.array([LENGTH / 2 + 2, 1.5, 0.0])
    frame = Renderer(house, CAMERA)(pose, np.random.default_rng(0), farthest=20)
    points = world_points(frame.depth[0], CAMERA, pose)
    assert points[..., 0].max() == pytest.approx(LENGTH - WALL / 2, abs=0.02)
    assert points[..., 2].min() > -0.01 and (frame.depth > 0).all()
    wall = frame.instance[0] == 0
    np.testing.assert_allclose(points[-1][wall[-1]][:, 2], 0, atol=1e-3)  # the lowest row sees the floor


def test_instances_lie_where_their_boxes_are(house: House) -> None:
    world = World(house)
    rng = np.random.default_rng(1)
    for _ in range(6):
        pose = world.sample_pose(rng)
        frame = Renderer(house, CAMERA)(pose, rng)
        points = world_points(frame.depth[0], CAMERA, pose)
        for instance in np.unique(frame.instance[frame.instance > 0]):
            boxes = house.boxes[house.box_instance == instance]
            found = points[(frame.instance[0] == instance) & (frame.depth[0] > 0)]
            assert ((found > boxes[:, 0].min(0) - 0.02) & (found < boxes[:, 1].max(0) + 0.02)).all()


def test_an_agent_stops_at_walls_or_slides_along_them(house: House) -> None:
    for contact in ("block", "slide"):
        world = World(house, contact)  # type: ignore[arg-type]
        rng = np.random.default_rng(2)
        walked = []
        for _ in range(40):
            pose = world.sample_pose(rng)
            moved = world.move(pose, MOVE_FORWARD)
            assert world.free(moved[:2])
            walked.append(np.linalg.norm(moved[:2] - pose[:2]))
        assert max(walked) == pytest.approx(0.25)
    pose = np.array([LENGTH - WALL / 2 - RADIUS - 0.2, 3.0, np.radians(30)])
    ends = [World(house, contact).move(pose, MOVE_FORWARD) for contact in ("block", "slide")]  # type: ignore[arg-type]
    assert ends[1][1] >= ends[0][1]


def test_turns_are_thirty_degrees(house: House) -> None:
    world, pose = World(house), np.array([5.0, 2.0, np.radians(170)])
    assert np.degrees(world.move(pose, TURN_LEFT)[2]) == pytest.approx(-160)
    assert np.array_equal(world.move(pose, STOP), pose)


def test_geodesic_distances_are_no_shorter_than_straight_ones(house: House) -> None:
    world = World(house)
    distance = world.geodesic(0, 1.0)
    region = np.argwhere(world.goal_region(0, 1.0))
    for cell in np.argwhere(np.isfinite(distance))[::997]:
        straight = np.linalg.norm(region - cell, axis=1).min() * CELL
        assert distance[tuple(cell)] >= straight - 2 * CELL


def test_a_semantic_map_has_the_objects_where_they_are(house: House) -> None:
    world = World(house)
    grid = Grid(112, 0.1, (-0.6, -1.6))
    complete = world.semantic_map(grid.resolution, grid.size, grid.origin)
    for k in range(len(CATEGORIES)):
        marked = {tuple(cell) for cell in np.argwhere(complete[2 + k])}
        centres = (np.argwhere(world.objects[k])[:, ::-1] + 0.5) * CELL
        assert marked == {tuple(cell) for cell in grid.cells(centres)}


def test_gymnasium_accepts_the_environment(house: House) -> None:
    check_env(ObjectNav(house, resolution=32, max_steps=10), skip_render_check=True)


def test_episodes_end_with_stop_or_at_the_last_step(house: House) -> None:
    env = ObjectNav(house, resolution=32, max_steps=3)
    observation, info = env.reset(seed=3)
    assert 1.5 <= info["distance"] < np.inf and observation["rgb"].shape == (32, 32, 3)
    total = 0.0
    for step in range(3):
        _, reward, ended, cut, after = env.step(MOVE_FORWARD)
        total += reward
        assert (ended, cut) == (False, step == 2)
    assert total == pytest.approx(info["distance"] - after["distance"])
    env.reset(seed=3)
    assert env.step(STOP)[2:4] == (True, False)


def test_odometry_drifts_only_if_it_is_noisy(house: House) -> None:
    for noise, expected in ((PoseNoise(), True), (PoseNoise(odometry_metres=0.02, odometry_degrees=2), False)):
        env = ObjectNav(house, resolution=32, noise=noise)
        env.reset(seed=1)
        for action in (TURN_LEFT, MOVE_FORWARD, MOVE_FORWARD, TURN_LEFT, MOVE_FORWARD):
            observation, _, _, _, info = env.step(action)
        apart = (observation["pose"] - info["true_pose"] + np.pi) % (2 * np.pi) - np.pi
        assert np.allclose(apart, 0, atol=1e-9) == expected
