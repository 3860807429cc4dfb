"""Object-goal navigation in a generated house, as a Gymnasium environment."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ..mapping.pose import composed_pose, relative_pose
from ..mapping.projection import Camera
from .furniture import CATEGORIES
from .house import STYLES, House, make_house
from .render import Renderer
from .world import ACTIONS, FORWARD, MOVE_FORWARD, STOP, TURN, World

Observation = dict[str, Any]


@dataclass(frozen=True)
class PoseNoise:
    """Standard deviations of what a step does beyond what was asked, and of what the odometry says of it.

    Attributes:
        actuation_metres, actuation_degrees: of a forward step, and of a turn.
        odometry_metres, odometry_degrees: the same of the reported pose, which drifts.
    """

    actuation_metres: float = 0.0
    actuation_degrees: float = 0.0
    odometry_metres: float = 0.0
    odometry_degrees: float = 0.0


class ObjectNav(gymnasium.Env[Observation, int]):
    """Find an object of a category. Actions: stop, move_forward (0.25 m), turn_left, turn_right (30 degrees).

    An observation holds ``rgb`` (H, W, 3) uint8, ``depth`` (H, W) metres (0: no return), ``pose`` (3,) x, y, heading
    by odometry, and ``goal``, an index into CATEGORIES. ``info`` holds what an agent must not use to navigate:
    ``instance`` (H, W), ``true_pose``, ``distance`` (metres to within ``radius`` of the goal); and ``collided``. The
    reward is the decrease of that distance.

    Args:
        house: an apartment, or its seed.
        style: of the apartment of a seed.
        resolution: pixels of a side.
        max_steps: after which an episode is cut short.
        radius: metres around an object that count as its goal region.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as gymnasium declares it

    def __init__(
        self,
        house: House | int = 0,
        style: str = "sim",
        *,
        resolution: int = 64,
        max_steps: int = 500,
        radius: float = 1.0,
        noise: PoseNoise | None = None,
        world: Callable[[House], World] = World,
        render_mode: str | None = None,
    ) -> None:
        self.house = make_house(house, style) if isinstance(house, int) else house
        self.world = world(self.house)
        self.camera = Camera(resolution, resolution, elevation=STYLES[self.house.style].elevation)
        self.renderer = Renderer(self.house, self.camera)
        self.max_steps, self.radius, self.noise, self.render_mode = max_steps, radius, noise or PoseNoise(), render_mode
        self.action_space: gymnasium.Space[Any] = spaces.Discrete(len(ACTIONS))
        shape = (resolution, resolution)
        self.observation_space = spaces.Dict(
            {
                "rgb": spaces.Box(0, 255, (*shape, 3), np.uint8),
                "depth": spaces.Box(0, np.inf, shape, np.float32),
                "pose": spaces.Box(-np.inf, np.inf, (3,), np.float64),
                "goal": spaces.Discrete(len(CATEGORIES)),
            }
        )
        self._distances: dict[int, np.ndarray] = {}

    def distance(self, pose: np.ndarray, goal: int) -> float:
        """Geodesic metres to the goal region."""
        if goal not in self._distances:
            self._distances[goal] = self.world.geodesic(goal, self.radius)
        return float(self._distances[goal][self.world.cell(pose)])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        """Begin an episode.

        Args:
            options: ``pose`` (3,) and ``goal``, which are random otherwise: at least 1.5 m from the goal region.
        """
        super().reset(seed=seed)
        given = options or {}
        reachable = [k for k in range(len(CATEGORIES)) if self.world.goal_region(k, self.radius).any()]
        self.goal = int(given.get("goal", reachable[self.np_random.integers(len(reachable))]))
        self.pose = np.array(given.get("pose", self.world.sample_pose(self.np_random)), float)
        for _ in range(100):
            if "pose" in given or 1.5 <= self.distance(self.pose, self.goal) < np.inf:
                break
            self.pose = self.world.sample_pose(self.np_random)
        self.reported, self.steps, self.collided, self.stopped = self.pose.copy(), 0, False, False
        return self._look()

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict]:
        before, distance = self.pose, self.distance(self.pose, self.goal)
        rng, noise = self.np_random, self.noise
        length = max(0.0, FORWARD + noise.actuation_metres * rng.normal()) if noise.actuation_metres else FORWARD
        turn = TURN + np.radians(noise.actuation_degrees) * rng.normal() if noise.actuation_degrees else TURN
        self.pose = self.world.move(before, int(action), length, turn)
        self._report(before)
        moved = float(np.linalg.norm(self.pose[:2] - before[:2]))
        self.collided = int(action) == MOVE_FORWARD and moved < 0.8 * FORWARD
        self.stopped = int(action) == STOP
        self.steps += 1
        observation, info = self._look()
        reward = distance - info["distance"]
        return observation, reward, self.stopped, self.steps >= self.max_steps and not self.stopped, info

    def _report(self, before: np.ndarray) -> None:
        """Add what happened, as the odometry has it, to the reported pose."""
        noise, rng = self.noise, self.np_random
        change = relative_pose(before, self.pose)
        moved = change.any()
        if noise.odometry_metres and change[:2].any():
            change[:2] += noise.odometry_metres * rng.normal(size=2)
        if noise.odometry_degrees and moved:
            change[2] += np.radians(noise.odometry_degrees) * rng.normal()
        self.reported = composed_pose(self.reported, change)

    def _look(self) -> tuple[Observation, dict]:
        frame = self.renderer(self.pose, self.np_random)
        self.rgb = frame.rgb[0]
        observation = {"rgb": self.rgb, "depth": frame.depth[0], "pose": self.reported.copy(), "goal": self.goal}
        info = {
            "instance": frame.instance[0],
            "true_pose": self.pose.copy(),
            "distance": self.distance(self.pose, self.goal),
            "collided": self.collided,
        }
        return observation, info

    def render(self) -> np.ndarray:
        return self.rgb
