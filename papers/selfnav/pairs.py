"""Training samples: web pictures with labels, and pairs of frames that see the same places from different views."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse

from .config import Config
from .data import House
from .labelling.selflabels import Labelled
from .losses import IGNORED
from .mapping.voxels import Voxels, voxelise
from .navigation.potentials import class_distances, partial_map
from .perception import halved

LEAST_SHARED = 12  # voxels that a pair of frames sees both
LEAST_DISTANCE = 0.5  # metres between the places of a pair whose viewing directions are alike
BRIGHTNESS, GAIN = 0.25, 0.2  # largest change of all channels, and of each, as a share
GAMMA = 0.3  # largest logarithm of the exponent


def voxels_of(config: Config, house: House) -> Voxels:
    """Voxels of a house's pixels at the network's resolution.

    Points are those of the full image's pixels: a camera of half the size would see them half a pixel aside.
    """
    full = voxelise(house.frames.depth, house.frames.poses, house.camera, config.voxel)
    return replace(full, index=halved(full.index), points=halved(full.points))


def jittered(rgb: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """(3, H, W) float in [0, 1], with a random brightness, contrast and colour cast."""
    gains = (1 + rng.uniform(-BRIGHTNESS, BRIGHTNESS)) * (1 + rng.uniform(-GAIN, GAIN, 3))
    pixels = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
    pixels = pixels ** float(np.exp(rng.uniform(-GAMMA, GAMMA)))
    return (pixels * torch.from_numpy(gains).float()[:, None, None]).clamp(0, 1)


class Pictures:
    """Labelled pictures, mirrored and jittered at random."""

    def __init__(self, houses: Sequence[House]) -> None:
        self.rgb = np.concatenate([x.frames.rgb for x in houses])
        self.labels = halved(np.concatenate([x.truth for x in houses]))

    def __len__(self) -> int:
        return len(self.rgb)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        image, label = jittered(self.rgb[index], rng), torch.from_numpy(self.labels[index].astype(np.int64))
        if rng.uniform() < 0.5:
            image, label = image.flip(-1), label.flip(-1)
        return {"image": image, "label": label, "name": f"picture {index}"}


@dataclass(frozen=True)
class _Seen:
    """A house's frames with their labels and voxels, and the frames that can be a frame's partner."""

    house: House
    labels: np.ndarray
    voxels: Voxels
    partners: list[np.ndarray]


def partners(voxels: Voxels, poses: np.ndarray, config: Config) -> list[np.ndarray]:
    """For each frame the frames that see some of the same voxels from another place or in another direction."""
    count = len(poses)
    flat = voxels.index.reshape(count, -1)
    frame, pixel = np.nonzero(flat >= 0)
    shape = (count, int(np.prod(voxels.shape)))
    sees = sparse.csr_matrix((np.ones(len(frame)), (frame, flat[frame, pixel])), shape=shape)
    sees.data[:] = 1
    shared = (sees @ sees.T).toarray()
    turned = np.abs((poses[:, None, 2] - poses[:, 2] + np.pi) % (2 * np.pi) - np.pi)
    apart = np.linalg.norm(poses[:, None, :2] - poses[:, :2], axis=2)
    other = (turned >= np.radians(config.least_angle)) | (apart >= LEAST_DISTANCE)
    return [np.flatnonzero((shared[k] >= LEAST_SHARED) & other[k]) for k in range(count)]


class Pairs:
    """Frames of explored houses, each with a partner that sees some of the same places.

    A sample holds ``image`` (2, 3, H, W), ``label`` (2, H / 2, W / 2), and of `config.matches` places: ``pixels``
    (N, 2) flattened pixels in both label maps, ``place`` (N, 3) metres, ``place_label`` (N,), ``house`` (N,) which is
    -1 for padding.
    """

    def __init__(self, config: Config, houses: Sequence[House], labelled: Sequence[Labelled]) -> None:
        self.config = config
        self.seen = []
        for house, labels in zip(houses, labelled, strict=True):
            voxels = voxels_of(config, house)
            self.seen.append(_Seen(house, labels.labels, voxels, partners(voxels, house.frames.poses, config)))
        self.frames = [(h, k) for h, x in enumerate(self.seen) for k in range(len(x.house.frames))]

    def __len__(self) -> int:
        return len(self.frames)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        number, first = self.frames[index]
        seen = self.seen[number]
        candidates = seen.partners[first]
        second = int(rng.choice(candidates)) if len(candidates) else first
        pixels, voxel = self._matches(seen.voxels, first, second if len(candidates) else None, rng)
        width = seen.labels.shape[2]
        images, labels = [], []
        for side, frame in enumerate((first, second)):
            image = jittered(seen.house.frames.rgb[frame], rng)
            label = torch.from_numpy(seen.labels[frame].astype(np.int64))
            if rng.uniform() < 0.5:
                image, label = image.flip(-1), label.flip(-1)
                row, column = np.divmod(pixels[:, side], width)
                pixels[:, side] = row * width + width - 1 - column
            images.append(image)
            labels.append(label)
        place = seen.voxels.points[first].reshape(-1, 3)[voxel[:, 0]]
        padding = voxel[:, 1] < 0
        place_label = seen.labels[first].reshape(-1)[voxel[:, 0]].astype(np.int64)
        return {
            "image": torch.stack(images),
            "label": torch.stack(labels),
            "pixels": torch.from_numpy(pixels),
            "place": torch.from_numpy(np.where(padding[:, None], 0, place)).float(),
            "place_label": torch.from_numpy(np.where(padding, IGNORED, place_label)),
            "house": torch.from_numpy(np.where(padding, -1, number)),
            "name": f"{seen.house.name}, frames {first} and {second}",
        }

    def _matches(
        self, voxels: Voxels, first: int, second: int | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) of places in both frames, and (N, 2) pixel of the first frame and voxel, -1 for padding."""
        count = self.config.matches
        pixels, found = np.zeros((count, 2), np.int64), np.full((count, 2), -1, np.int64)
        found[:, 0] = 0
        if second is None:
            return pixels, found
        a, b = (voxels.index[k].reshape(-1) for k in (first, second))
        common, at_a, at_b = np.intersect1d(a, b, return_indices=True)
        valid = np.flatnonzero(common >= 0)
        chosen = rng.permutation(valid)[:count]
        pixels[: len(chosen)] = np.stack([at_a[chosen], at_b[chosen]], 1)
        found[: len(chosen)] = np.stack([at_a[chosen], common[chosen]], 1)
        return pixels, found


class PartialMaps:
    """Partial maps of houses in turn, each made anew, with the potentials of their frontiers (see PartialMap)."""

    def __init__(self, config: Config, maps: Sequence[np.ndarray]) -> None:
        self.config, self.maps = config, maps
        self.distances = [class_distances(x, config.cell) for x in maps]

    def __len__(self) -> int:
        return self.config.partial_maps

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        house = index % len(self.maps)
        made = partial_map(self.maps[house], self.distances[house], self.config.cell, rng)
        tensors = {key: torch.from_numpy(x.astype(np.float32)) for key, x in vars(made).items()}
        return tensors | {"name": f"a part of house {house}"}
