"""Frames of houses: web pictures of objects, explorations, and held-out poses; generated, or a user's recordings."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared import UserError
from shared.loading import cache_file
from shared.offline import cutouts, packs
from shared.support.files import write_atomic

from .build import grid_of
from .config import Config
from .exploration import explore
from .mapping import pose, projection, sparse, voxels
from .navigation import planner, potentials, walker
from .simulator import environment, furniture, house, raycast, render, textures, world
from .simulator.environment import ObjectNav, PoseNoise
from .simulator.house import STYLES, make_house
from .simulator.render import Frames, Renderer
from .simulator.world import World
from .sources import log
from .sources.log import LAYOUT, read_house, recorded

__all__ = ["LAYOUT", "House", "check", "explored", "held_out", "prepare", "web_views"]

WORLD = (
    explore, pose, projection, sparse, voxels, planner, potentials, walker, environment, furniture, house, raycast,
    render, textures, world, cutouts, packs, log,
)  # fmt: skip
SPLITS = {"web": 0, "sim": 1, "insitu": 2, "unseen": 3, "sim-unseen": 4}  # places in the sequence of house seeds
PHOTOGRAPHERS = (0.8, 1.5)  # metres of the camera above the floor, one for each house of web pictures
DISTANCES = (0.7, 3.5)  # metres between a web picture's camera and the object
ASIDE = 0.4  # radians at most between the middle of a web picture and the object
VALIDATION = 500  # added to the place of a house of the validation splits


@dataclass(frozen=True)
class House:
    """Frames of a house with what is true of them.

    Attributes:
        frames: what the agent has seen. truth: (n, H, W) uint8, 0 background, 1 + category.
        camera: of the frames.
    """

    name: str
    frames: Frames
    truth: np.ndarray
    camera: projection.Camera


def house_seed(seed: int, split: str, number: int) -> int:
    """Seed of a generated house: no two runs, splits or numbers share one."""
    return (seed * 16 + SPLITS[split]) * 1000 + number


def house_seeds(config: Config, seed: int, split: str) -> list[int]:
    """Seeds of the generated houses of a split; unseen ones are others for validation."""
    first = VALIDATION if config.split == "validation" and split in ("unseen", "sim-unseen") else 0
    count = config.web_houses if split == "web" else config.houses
    return [house_seed(seed, split, first + k) for k in range(count)]


def style_of(split: str) -> str:
    return "web" if split == "web" else "sim" if split.startswith("sim") else "real"


def environment_of(config: Config, seed: int, split: str) -> ObjectNav:
    """A generated house to walk in."""
    noise = PoseNoise(config.actuation_noise, 10 * config.actuation_noise, config.pose_noise, 10 * config.pose_noise)
    return ObjectNav(seed, style_of(split), resolution=config.resolution, max_steps=config.max_steps, noise=noise)


# -- frames -----------------------------------------------------------------------------------------------------------


def web_views(config: Config, cache: Path, seed: int) -> list[House]:
    """Pictures of objects in apartments of the web's style, which photographers of different height have taken."""
    if config.data is not None:
        return recordings(config, "web")

    def make(number: int) -> Frames:
        place = make_house(number, "web")
        rng = np.random.default_rng((number, 1))
        camera = projection.Camera(config.resolution, config.resolution, elevation=rng.uniform(*PHOTOGRAPHERS))
        return Renderer(place, camera)(object_poses(World(place), config.web_views, rng), rng)

    return stored(config, cache, "web", house_seeds(config, seed, "web"), make, config.web_views)


def object_poses(place: World, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 3) free poses that look at an object of a category, the categories in turn, or a little beside it."""
    kinds = place.house.category[place.house.box_instance]
    poses: list[np.ndarray] = []
    while len(poses) < count:
        category = 1 + len(poses) % len(furniture.CATEGORIES)
        instances = np.unique(place.house.box_instance[kinds == category])
        boxes = place.house.boxes[place.house.box_instance == rng.choice(instances)]
        low, high = boxes[:, 0].min(0), boxes[:, 1].max(0)
        centre, radius = (low + high)[:2] / 2, np.linalg.norm((high - low)[:2]) / 2
        for _ in range(200):
            angle, distance = rng.uniform(0, 2 * np.pi), radius + rng.uniform(*DISTANCES)
            position = centre + distance * np.array([np.cos(angle), np.sin(angle)])
            inside = (position > 0.2).all() and position[0] < house.LENGTH - 0.2 and position[1] < house.WIDTH - 0.2
            way = np.linspace(centre + radius * (position - centre) / distance, position, 40)
            if inside and place.free(position) and not any(place.obstacles[place.cell(x)] for x in way):
                break
        poses.append(np.array([*position, angle + np.pi + rng.uniform(-ASIDE, ASIDE)]))
    return np.stack(poses)


def explored(
    config: Config, cache: Path, seed: int, split: str, picker: explore.GoalPicker | None = None, **options: Any
) -> list[House]:
    """Frames of an exploration of each house of a split: ``insitu`` or ``sim``.

    Args:
        picker: chooses the goals; the frames are then not kept. Default: the nearest frontier, or random goals.
        options: of :func:`.explore.explore`.
    """
    if config.data is not None:
        return recordings(config, split)
    chosen = picker or explore.PICKERS[config.exploration]

    def make(number: int) -> Frames:
        env = environment_of(config, number, split)
        return explore.explore(
            env,
            grid_of(config),
            picker=chosen,
            steps=config.explore_steps,
            every=config.frame_every,
            seed=number,
            **options,
        )[0]

    seeds = house_seeds(config, seed, split)
    if picker is not None or options:
        return [whole(config, split, number, make(number)) for number in seeds]
    settings = (config.exploration, config.explore_steps, config.frame_every, config.cell, config.map_cells)
    noise = (config.actuation_noise, config.pose_noise)
    return stored(config, cache, split, seeds, make, "explored", *settings, *noise)


def held_out(config: Config, cache: Path, seed: int, split: str) -> list[House]:
    """Frames at random free poses of each house of a split: ``insitu``, ``unseen`` or ``sim-unseen``."""
    if config.data is not None:
        return recordings(config, f"{split}-test" if split == "insitu" else split)

    def make(number: int) -> Frames:
        rng = np.random.default_rng((number, 2 if config.split == "test" else 5))
        env = environment_of(config, number, split)
        poses = np.stack([env.world.sample_pose(rng) for _ in range(config.held_out)])
        return env.renderer(poses, rng)

    return stored(
        config, cache, split, house_seeds(config, seed, split), make, "held-out", config.held_out, config.split
    )


def stored(
    config: Config, cache: Path, split: str, seeds: list[int], make: Callable[[int], Frames], *settings: Any
) -> list[House]:
    """Frames of houses, made once for all runs and kept in the cache."""
    houses = []
    for number in seeds:
        path = cache_file(cache, f"{split}-{number}.npz", *WORLD, config.resolution, *settings)
        if not path.exists():
            content = vars(make(number))
            write_atomic(path, functools.partial(np.savez_compressed, allow_pickle=False, **content))
        with np.load(path) as content:
            frames = Frames(**{key: content[key] for key in ("rgb", "depth", "instance", "poses")})
        houses.append(whole(config, split, number, frames))
    return houses


def whole(config: Config, split: str, number: int, frames: Frames) -> House:
    """With the truth, which generated houses know."""
    style = style_of(split)
    camera = projection.Camera(config.resolution, config.resolution, elevation=STYLES[style].elevation)
    category = make_house(number, style).category
    return House(f"{split}-{number}", frames, category[frames.instance].astype(np.uint8), camera)


def recordings(config: Config, split: str) -> list[House]:
    """A user's recorded houses of a split."""
    found = []
    for folder in recorded(Path(config.data or ""), split):
        frames, truth, camera = read_house(folder, config.resolution)
        found.append(House(folder.name, frames, truth, camera))
    return found


# -- what reproduce asks for ------------------------------------------------------------------------------------------


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Look at the user's recordings; generated houses are made as runs need them. Describe the data.

    Returns: ``{"name", "train", "test", "sha256", "scale"}`` for the results file.

    Raises:
        UserError: if ``config.data`` does not hold what LAYOUT says, or options do not fit.
    """
    if config.map_cells % 16:
        raise UserError(f"--map-cells is {config.map_cells}; expected a multiple of 16.")
    if config.resolution % 32:
        raise UserError(f"--resolution is {config.resolution}; expected a multiple of 32 pixels.")
    if config.map_cells * config.cell < house.LENGTH + 0.5 and config.data is None:
        raise UserError(
            f"--map-cells {config.map_cells} of --cell {config.cell} m do not hold an apartment of {house.LENGTH} m."
        )
    scale = (
        f"{config.resolution} px, {config.houses} explored and {config.houses} unseen houses a seed, "
        f"{config.web_steps} steps on web pictures, {config.steps} of fine-tuning, {config.episodes} episodes"
    )
    if config.data is not None:
        return log.describe(Path(config.data)) | {"scale": scale}
    sample = make_house(0, "real")
    digest = hashlib.sha256()
    for x in (sample.triangles, sample.uv, sample.textures, sample.instance):
        digest.update(np.ascontiguousarray(x).tobytes())
    return {
        "name": "generated apartments",
        "train": config.houses,
        "test": config.houses,
        "sha256": digest.hexdigest(),
        "scale": scale,
    }


def check(root: Path) -> list[str]:
    """Lines on the recordings below ``root``, and on what is missing.

    Raises:
        UserError: if nothing of it is there.
    """
    return log.check(root)
