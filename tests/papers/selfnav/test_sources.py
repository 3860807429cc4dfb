"""Recorded houses, and scanned ones through a module that looks like habitat-sim."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from papers.selfnav import data
from papers.selfnav.exploration.explore import explore, nearest_frontier
from papers.selfnav.mapping.projection import Camera
from papers.selfnav.mapping.sparse import Grid
from papers.selfnav.simulator.house import make_house
from papers.selfnav.simulator.render import Renderer
from papers.selfnav.simulator.world import MOVE_FORWARD, STOP, TURN_LEFT, World
from papers.selfnav.sources import log, record
from papers.selfnav.sources.habitat import HabitatObjectNav
from shared import UserError

from .bad_input import build_house, build_log


def test_a_recorded_house_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--house", "7", "--out", str(tmp_path), "--resolution", "32", "--steps", "12", "--every", "3"]
    assert record.main(arguments) == 0 and "Wrote 4 frames" in capsys.readouterr().out
    frames, truth, camera = log.read_house(tmp_path)
    assert frames.rgb.shape == (4, 32, 32, 3) and camera == Camera(32, 32)
    house = make_house(7, "real")
    for k, pose in enumerate(frames.poses):
        again = Renderer(house, camera)(pose, np.random.default_rng(0))
        assert np.abs(again.depth[0] - frames.depth[k]).max() <= 0.0006
        assert np.array_equal(house.category[again.instance[0]], truth[k])


def test_a_middle_square_sees_less(tmp_path: Path) -> None:
    build_house(tmp_path)
    frames, truth, camera = log.read_house(tmp_path, 16)
    assert frames.depth.shape == (3, 16, 16) and set(np.unique(truth)) == {0, 1}
    assert camera.fov == 79 and camera.width == 16


def test_quaternions_are_headings(tmp_path: Path) -> None:
    s = np.sin(np.pi / 8)
    rows = f"frame,tx,ty,tz,qx,qy,qz,qw\na,1,2,0.9,0,0,{s},{np.cos(np.pi / 8)}\n"
    (tmp_path / "poses.csv").write_text(rows)
    names, poses = log.read_poses(tmp_path / "poses.csv")
    assert names == ["a"]
    np.testing.assert_allclose(poses, [[1, 2, np.pi / 4]], atol=1e-12)


def test_check_data_counts_and_misses(tmp_path: Path) -> None:
    build_log(tmp_path)
    lines = data.check(tmp_path)
    assert "insitu/kitchen: 3 frames with labels, 3 usable" in lines and "sim: missing" in lines
    with pytest.raises(UserError, match="holds no recorded house"):
        data.check(tmp_path / "web")


def test_check_data_names_every_frame_that_cannot_be_used(tmp_path: Path) -> None:
    build_log(tmp_path)
    kitchen = tmp_path / "unseen" / "kitchen"
    (kitchen / "rgb" / "00000.png").write_bytes(b"no image")
    (kitchen / "depth" / "00002.png").unlink()
    lines = data.check(tmp_path)
    first = lines.index("unseen/kitchen: 3 frames with labels, 1 usable")
    assert "rgb/00000.png" in lines[first + 1] and "depth/00002.png" in lines[first + 2]
    assert "insitu/kitchen: 3 frames with labels, 3 usable" in lines


@pytest.mark.parametrize("options", [[], ["--house", "1", "--scene", "x.glb"]])
def test_one_house_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert record.main([*options, "--out", str(tmp_path / "x")]) == 1
    assert "Give either --scene" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--house", "-1"], ["--house", "1", "--seed", "-1"]])
def test_negative_seeds_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert record.main([*options, "--out", str(tmp_path / "x")]) == 1
    assert "have to be 0 or more" in capsys.readouterr().err and not (tmp_path / "x").exists()


# -- habitat-sim ------------------------------------------------------------------------------------------------------


class Quaternion(SimpleNamespace):
    w: float
    y: float


class FakeSimulator:
    """A generated house with the axes and names of habitat-sim."""

    def __init__(self, configuration: Any) -> None:
        self.options, (self.agent_options,) = configuration
        sensors = {x.uuid: x for x in self.agent_options.sensor_specifications}
        assert set(sensors) == {"rgb", "depth", "semantic"} and sensors["rgb"].hfov == 79
        size = sensors["rgb"].resolution[0]
        self.house = make_house(7, "sim")
        self.world = World(self.house, "slide" if self.options.allow_sliding else "block")
        self.renderer = Renderer(self.house, Camera(size, size))
        names = ("", "chair", "couch", "plant", "bed", "toilet", "tv_monitor")
        self.semantic_scene = SimpleNamespace(
            objects=[
                SimpleNamespace(
                    id=f"0_0_{k}",
                    category=SimpleNamespace(name=lambda kind=kind: names[kind] or "wall"),
                    aabb=SimpleNamespace(center=self.to_habitat(self.centre(k))),
                )
                for k, kind in enumerate(self.house.category)
            ]
        )
        self.rng = np.random.default_rng(0)
        self.pathfinder = SimpleNamespace(
            seed=self.seed,
            get_random_navigable_point=lambda: self.to_habitat(self.world.sample_pose(self.rng)[:2]),
            snap_point=lambda point: point,
            find_path=self.find_path,
        )
        self.state = SimpleNamespace(position=np.zeros(3), rotation=Quaternion(w=1.0, x=0.0, y=0.0, z=0.0))

    def seed(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def centre(self, instance: int) -> np.ndarray:
        boxes = self.house.boxes[self.house.box_instance == instance]
        return (boxes[:, 0].min(0) + boxes[:, 1].max(0))[:2] / 2

    @staticmethod
    def to_habitat(place: np.ndarray) -> np.ndarray:
        return np.array([-place[1], 0.0, -place[0]])

    @staticmethod
    def from_habitat(position: np.ndarray) -> np.ndarray:
        return np.array([-position[2], -position[0]])

    def find_path(self, path: Any) -> bool:
        here = self.from_habitat(path.requested_start)
        ends = [self.from_habitat(x) for x in path.requested_ends]
        path.geodesic_distance = min(np.linalg.norm(here - x) for x in ends)
        return True

    def get_agent(self, number: int) -> Any:
        assert number == 0
        return SimpleNamespace(get_state=lambda: self.state, set_state=lambda state: setattr(self, "state", state))

    def heading(self) -> float:
        return 2 * np.arctan2(self.state.rotation.y, self.state.rotation.w)

    def get_sensor_observations(self) -> dict[str, Any]:
        pose = np.array([*self.from_habitat(self.state.position), self.heading()])
        frame = self.renderer(pose, self.rng, farthest=100)
        alpha = np.full((*frame.rgb.shape[1:3], 1), 255, np.uint8)
        return {
            "rgb": np.concatenate([frame.rgb[0], alpha], 2),
            "depth": frame.depth[0],
            "semantic": frame.instance[0].astype(np.uint32),
        }

    def step(self, name: str) -> dict[str, Any]:
        assert name in self.agent_options.action_space
        amount = self.agent_options.action_space[name].actuation.amount
        pose = np.array([*self.from_habitat(self.state.position), self.heading()])
        if name == "move_forward":
            assert amount == 0.25
            moved = self.world.move(pose, MOVE_FORWARD)
        else:
            assert amount == pytest.approx(30)
            moved = self.world.move(pose, TURN_LEFT, turn=np.radians(amount if name == "turn_left" else -amount))
        rotation = Quaternion(w=np.cos(moved[2] / 2), x=0.0, y=np.sin(moved[2] / 2), z=0.0)
        self.state = SimpleNamespace(position=self.to_habitat(moved[:2]), rotation=rotation)
        return self.get_sensor_observations() | {"collided": bool(np.allclose(moved, pose))}


@pytest.fixture
def habitat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A scene, and a module of the names that the adapter uses."""
    module: Any = ModuleType("habitat_sim")
    module.SimulatorConfiguration = SimpleNamespace
    module.Configuration = lambda simulator, agents: (simulator, agents)
    module.Simulator = FakeSimulator
    module.CameraSensorSpec = SimpleNamespace
    module.SensorType = SimpleNamespace(COLOR="color", DEPTH="depth", SEMANTIC="semantic")
    module.MultiGoalShortestPath = SimpleNamespace
    module.agent = SimpleNamespace(
        AgentConfiguration=SimpleNamespace,
        ActionSpec=lambda name, actuation: SimpleNamespace(name=name, actuation=actuation),
        ActuationSpec=lambda amount: SimpleNamespace(amount=amount),
    )
    monkeypatch.setitem(sys.modules, "habitat_sim", module)
    (tmp_path / "scene.glb").write_bytes(b"glTF")
    return tmp_path / "scene.glb"


def test_habitat_has_the_interface_of_the_generated_houses(habitat: Path) -> None:
    env = HabitatObjectNav(habitat, resolution=32, max_steps=4)
    observation, info = env.reset(seed=3)
    assert observation["rgb"].shape == (32, 32, 3) and observation["depth"].max() <= 5
    assert 1.5 <= info["distance"] < np.inf
    before = observation["pose"]
    observation, *_ = env.step(TURN_LEFT)
    assert observation["pose"][2] - before[2] == pytest.approx(np.radians(30))
    observation, reward, ended, cut, after = env.step(MOVE_FORWARD)
    moved = observation["pose"][:2] - before[:2]
    if np.linalg.norm(moved) > 0.2:  # it looks where it goes
        assert np.arctan2(moved[1], moved[0]) == pytest.approx(observation["pose"][2], abs=0.3)
    assert reward == pytest.approx(info["distance"] - after["distance"]) and not ended and not cut
    assert env.step(STOP)[2]


def test_points_of_habitat_lie_on_its_walls(habitat: Path) -> None:
    """Depth, pose and axes fit together: what the agent explores is the floor plan."""
    env = HabitatObjectNav(habitat, resolution=32)
    _, walker = explore(env, Grid(112, 0.1, (-0.6, -1.6)), picker=nearest_frontier, steps=60, every=4, seed=1)
    truth = World(make_house(7, "sim")).semantic_map(0.1, 112, (-0.6, -1.6))
    near = np.pad(truth[1:].any(0), 1).astype(int)
    near = sum(np.roll(near, (r, c), (0, 1)) for r in (-1, 0, 1) for c in (-1, 0, 1))[1:-1, 1:-1] > 0
    assert walker.map.obstacle.sum() > 40 and (near & walker.map.obstacle).sum() / walker.map.obstacle.sum() > 0.95


def test_a_scanned_house_is_recorded(habitat: Path, tmp_path: Path) -> None:
    out = tmp_path / "recorded"
    assert record.main(["--scene", str(habitat), "--out", str(out), "--resolution", "32", "--steps", "6"]) == 0
    _, truth, _ = log.read_house(out)
    assert truth.shape == (3, 32, 32)


def test_what_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"expected a \.glb"):
        HabitatObjectNav(tmp_path / "none.glb")
    (tmp_path / "a.glb").touch()
    monkeypatch.setitem(sys.modules, "habitat_sim", None)
    with pytest.raises(UserError, match="conda install habitat-sim"):
        HabitatObjectNav(tmp_path / "a.glb")


@pytest.mark.skipif(not importlib.util.find_spec("habitat_sim"), reason="habitat-sim is not installed")
def test_habitat_itself_has_the_names() -> None:
    habitat_sim: Any = importlib.import_module("habitat_sim")
    for name in ("SimulatorConfiguration", "Configuration", "Simulator", "CameraSensorSpec", "MultiGoalShortestPath"):
        assert hasattr(habitat_sim, name)
