"""Houses labelled by the agent itself: labels of frames, and complete maps for the policy."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from shared import UserError

from .build import CLASSES, grid_of
from .config import Config
from .data import House, environment_of, explored, house_seeds
from .labelling.selflabels import Labelled, Labels, mesh_labels, self_labels, true_labels
from .mapping.sparse import Grid
from .mapping.voxels import Voxels
from .model import Segmenter
from .navigation.potentials import FIRST_CLASS, FLOOR, WALL
from .pairs import voxels_of
from .perception import halved, probabilities

WALL_BAND = (0.25, 1.5)  # metres above the floor of what is a wall on a map


def labelled_houses(
    config: Config, houses: Sequence[House], network: Segmenter, device: torch.device
) -> list[Labelled]:
    """Labels of the frames of explored houses, at the network's resolution, by the configured rule."""
    found = []
    for house in houses:
        voxels = voxels_of(config, house)
        truth = halved(house.truth)
        if config.labels == "truth":
            found.append(true_labels(truth, voxels))
        elif config.labels == "mesh":
            if config.data is not None:
                raise UserError("--labels mesh needs numbers of objects, and recordings have none; choose others.")
            rng = np.random.default_rng((6, *house.name.encode()))
            found.append(mesh_labels(truth, halved(house.frames.instance), voxels, rng))
        else:
            found.append(own_labels(config, house, voxels, network, device, config.labels))
    return found


def own_labels(
    config: Config, house: House, voxels: Voxels, network: Segmenter, device: torch.device, method: Labels = "location"
) -> Labelled:
    """Labels of a house's frames from the network's predictions; by default of location consistency."""
    return self_labels(
        probabilities(network, house.frames.rgb, device), voxels, method,
        threshold=config.threshold, rule=config.rule, least_views=config.least_views,
    )  # fmt: skip


def policy_maps(config: Config, cache: Path, seed: int, network: Segmenter, device: torch.device) -> list[np.ndarray]:
    """(2 + C, M, M) complete maps of simulated houses: the simulator's, or those of an exploration with self-labels."""
    grid = grid_of(config)
    numbers = policy_houses(config, seed)
    if config.maps == "truth":
        worlds = [environment_of(config, number, "sim").world for number in numbers]
        return [world.semantic_map(grid.resolution, grid.size, grid.origin) for world in worlds]
    found = []
    for house in explored(policy_config(config), cache, seed, "sim"):
        voxels = voxels_of(config, house)
        labelled = own_labels(config, house, voxels, network, device)
        found.append(top_down(labelled.voxel_labels, voxels, grid, CLASSES))
    return found


def policy_config(config: Config) -> Config:
    """The configuration of the explorations that the policy's maps are made of."""
    return replace(config, houses=config.policy_houses, exploration="frontier")


def policy_houses(config: Config, seed: int) -> list[int]:
    return house_seeds(policy_config(config), seed, "sim")


def top_down(labels: np.ndarray, voxels: Voxels, grid: Grid, classes: int) -> np.ndarray:
    """(2 + C, M, M) bool map of labelled voxels: of each column the class of its highest labelled voxel.

    Walls are columns with points at the height of walls; the floor is what else was seen. Objects win over both.

    Args:
        labels: (X, Y, Z) 0 for none, else 1 + class.
    """
    seen = np.zeros(voxels.shape, bool)
    seen.ravel()[voxels.index[voxels.index >= 0]] = True
    height = voxels.origin[2] + (np.arange(voxels.shape[2]) + 0.5) * voxels.size
    wall = np.any(seen & ((height > WALL_BAND[0]) & (height < WALL_BAND[1])), 2)
    top = labels.shape[2] - 1 - (labels > 0)[:, :, ::-1].argmax(2)
    label = np.take_along_axis(labels, top[..., None], 2)[..., 0]
    corner, size = voxels.origin[:2], voxels.size
    middle = (np.arange(grid.size) + 0.5) * grid.resolution
    x = np.floor((middle + grid.origin[0] - corner[0]) / size).astype(int)
    y = np.floor((middle + grid.origin[1] - corner[1]) / size).astype(int)
    inside = np.asarray((y >= 0) & (y < voxels.shape[1]))[:, None] & ((x >= 0) & (x < voxels.shape[0]))
    rows, columns = np.clip(y, 0, voxels.shape[1] - 1)[:, None], np.clip(x, 0, voxels.shape[0] - 1)
    found = np.zeros((FIRST_CLASS + classes, grid.size, grid.size), bool)
    at = np.where(inside, label[columns, rows], 0)
    found[WALL] = inside & wall[columns, rows] & (at == 0)
    found[FLOOR] = inside & np.any(seen, 2)[columns, rows] & ~wall[columns, rows] & (at == 0)
    for k in range(classes):
        found[FIRST_CLASS + k] = at == 1 + k
    return found
