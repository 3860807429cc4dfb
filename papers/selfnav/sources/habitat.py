"""Houses of Gibson and HM3D through habitat-sim, with the interface of the generated ones.

habitat-sim is not on PyPI: ``conda install habitat-sim -c conda-forge -c aihabitat``. Its axes are x right, y up, -z
forward; here x = -z, y = -x, and the heading is the rotation about the vertical, as in SemExp.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from shared import UserError

from ..mapping.projection import Camera
from ..simulator.furniture import CATEGORIES
from ..simulator.world import ACTIONS, FORWARD, TURN

FARTHEST = 5.0  # metres of the depth sensor
NAMES = {name: k for k, name in enumerate(CATEGORIES)} | {"plant": 2, "sofa": 1, "tv_monitor": 5, "television": 5}
TRIES = 100  # random starts


class HabitatObjectNav:
    """Object-goal navigation in a scanned house; see :class:`..simulator.environment.ObjectNav`.

    Args:
        scene: the .glb file. dataset: its scene_dataset_config.json, if there is one.
        resolution: pixels of a side. radius: metres around an object that count as its goal region.

    Raises:
        UserError: habitat-sim is not installed, or the scene is missing.
    """

    def __init__(
        self,
        scene: Path,
        *,
        dataset: Path | None = None,
        resolution: int = 128,
        max_steps: int = 500,
        radius: float = 1.0,
        sliding: bool = True,
    ) -> None:
        if not scene.is_file():
            raise UserError(f"--scene {scene} is missing; expected a .glb of Gibson or HM3D.")
        try:
            self.habitat: Any = importlib.import_module("habitat_sim")
        except ImportError:
            raise UserError(
                "habitat-sim is not installed: conda install habitat-sim -c conda-forge -c aihabitat."
            ) from None
        self.camera = Camera(resolution, resolution)
        self.max_steps, self.radius = max_steps, radius
        self.sim = self.habitat.Simulator(
            self.habitat.Configuration(self._simulator(scene, dataset, sliding), [self._agent(resolution)])
        )
        self.objects = {int(x.id.rsplit("_", 1)[-1]): x for x in self.sim.semantic_scene.objects if x is not None}
        largest = max(self.objects, default=0)
        self.category = np.zeros(largest + 1, int)
        for number, found in self.objects.items():
            kind = NAMES.get(found.category.name().strip().lower().replace("_", " "))
            kind = NAMES.get(found.category.name().strip().lower()) if kind is None else kind
            self.category[number] = 0 if kind is None else 1 + kind

    def _simulator(self, scene: Path, dataset: Path | None, sliding: bool) -> Any:
        config = self.habitat.SimulatorConfiguration()
        config.scene_id = str(scene)
        if dataset is not None:
            config.scene_dataset_config_file = str(dataset)
        config.allow_sliding, config.enable_physics = sliding, False
        return config

    def _agent(self, resolution: int) -> Any:
        sensors = []
        for name, kind in (("rgb", "COLOR"), ("depth", "DEPTH"), ("semantic", "SEMANTIC")):
            sensor = self.habitat.CameraSensorSpec()
            sensor.uuid, sensor.sensor_type = name, getattr(self.habitat.SensorType, kind)
            sensor.resolution, sensor.position = [resolution, resolution], [0.0, self.camera.elevation, 0.0]
            sensor.hfov = self.camera.fov
            sensors.append(sensor)
        config = self.habitat.agent.AgentConfiguration()
        config.sensor_specifications = sensors
        amounts = {"move_forward": FORWARD, "turn_left": np.degrees(TURN), "turn_right": np.degrees(TURN)}
        config.action_space = {
            name: self.habitat.agent.ActionSpec(name, self.habitat.agent.ActuationSpec(amount=float(amount)))
            for name, amount in amounts.items()
        }
        return config

    @property
    def pose(self) -> np.ndarray:
        """x, y, heading."""
        state = self.sim.get_agent(0).get_state()
        rotation = state.rotation  # a quaternion; agents turn about the vertical alone
        heading = 2 * np.arctan2(float(rotation.y), float(rotation.w))
        return np.array([-state.position[2], -state.position[0], (heading + np.pi) % (2 * np.pi) - np.pi])

    def distance(self, goal: int) -> float:
        """Geodesic metres to the goal region; infinite where there is no way."""
        path = self.habitat.MultiGoalShortestPath()
        path.requested_start = self.sim.get_agent(0).get_state().position
        path.requested_ends = [
            self.sim.pathfinder.snap_point(found.aabb.center)
            for number, found in self.objects.items()
            if self.category[number] == 1 + goal
        ]
        if not path.requested_ends:
            return np.inf
        self.sim.pathfinder.find_path(path)
        return max(0.0, float(path.geodesic_distance) - self.radius)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode at a random place, towards a random category that the house has, or ``options["goal"]``."""
        rng = np.random.default_rng(seed)
        if seed is not None:
            self.sim.pathfinder.seed(seed)
        kinds = np.unique(self.category[self.category > 0]) - 1
        self.goal = int((options or {}).get("goal", rng.choice(kinds) if len(kinds) else 0))
        self.steps, self.stopped, self.collided = 0, False, False
        for _ in range(TRIES):
            state = self.sim.get_agent(0).get_state()
            state.position = self.sim.pathfinder.get_random_navigable_point()
            self.sim.get_agent(0).set_state(state)
            if not len(kinds) or 1.5 <= self.distance(self.goal) < np.inf:
                break
        return self._look(self.sim.get_sensor_observations())

    def step(self, action: int) -> tuple[dict, float, bool, bool, dict]:
        before = self.distance(self.goal)
        self.stopped = ACTIONS[action] == "stop"
        seen = self.sim.get_sensor_observations() if self.stopped else self.sim.step(ACTIONS[action])
        self.collided = bool(seen.get("collided", False))
        self.steps += 1
        observation, info = self._look(seen)
        cut = self.steps >= self.max_steps and not self.stopped
        return observation, before - info["distance"], self.stopped, cut, info

    def _look(self, seen: dict[str, Any]) -> tuple[dict, dict]:
        depth = np.asarray(seen["depth"], np.float32)
        instance = np.asarray(seen["semantic"]).astype(np.int32).clip(0, len(self.category) - 1)
        observation = {
            "rgb": np.asarray(seen["rgb"])[..., :3].astype(np.uint8),  # habitat has an alpha channel
            "depth": np.where(depth > FARTHEST, 0, depth),
            "pose": self.pose,
            "goal": self.goal,
        }
        info = {"instance": instance, "true_pose": self.pose, "distance": self.distance(self.goal)}
        return observation, info | {"collided": self.collided}
