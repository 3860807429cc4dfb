"""In-situ fine-tuning of Mask R-CNN: instances of a house by votes over detections, then losses on their masks."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..config import Config
from ..data import House
from ..labelling.instances import assign, eroded, instances, near_mean, visible_objects
from ..labelling.voting import Rule, vote
from ..losses import instance_consistency, triplet_loss
from ..mapping.voxels import Voxels, voxelise
from ..pairs import jittered, partners
from ..perception import as_images
from .maskrcnn import Detections, Detector, detect


def instance_labels(
    detections: Sequence[Detections],
    depth: np.ndarray,
    voxels: Voxels,
    *,
    threshold: float,
    rule: Rule = "mean",
    least_views: int = 2,
    kernel: int = 7,
) -> tuple[np.ndarray, np.ndarray]:
    """Objects of a house, and their classes, from the detections of its n frames.

    Args:
        depth: (n, H, W) metres. voxels: of the same pixels. kernel: pixels by which masks are eroded.
        threshold: least probability of an object's class; the others are unknown.

    Returns: (X, Y, Z) object of each voxel, 0 for none, and (objects + 1,) class: 0 unknown, else 1 + class.
    """
    members, probabilities, frames = [], [], []
    for k, found in enumerate(detections):
        for mask, probability in zip(found.masks.numpy(), found.probabilities.numpy(), strict=True):
            inside = near_mean(depth[k], eroded(mask, kernel)) & (voxels.index[k] >= 0)
            if inside.any():
                members.append(np.unique(voxels.index[k][inside]))
                probabilities.append(probability)
                frames.append(k)
    if not members:
        return np.zeros(voxels.shape, int), np.zeros(1, int)
    views = np.concatenate([np.tile(p, (len(m), 1)) for m, p in zip(members, probabilities, strict=True)])
    where, place = np.unique(np.concatenate(members), return_inverse=True)
    label, _ = vote(views, place, len(where), rule)
    grid, seen = np.zeros(voxels.shape, int), np.zeros(voxels.shape, int)
    grid.ravel()[where] = label
    frame = np.concatenate([np.full(len(m), f) for m, f in zip(members, frames, strict=True)])
    different = np.unique(place * len(depth) + frame) // len(depth)  # detections of one frame count once
    seen.ravel()[where] = np.bincount(different, minlength=len(where))
    objects = instances(grid, seen, least_views)
    of = assign(members, objects)
    count = int(objects.max()) + 1
    chosen, resolved = vote(np.stack(probabilities)[of > 0], of[of > 0], count, rule)
    accepted = (resolved.max(1) >= threshold) & (chosen > 0)
    return objects, np.where(accepted, chosen, 0)


def targets_of(objects: np.ndarray, classes: np.ndarray, voxel: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
    """Boxes, labels and masks of the known objects that a frame shows, and their object numbers.

    Args:
        objects: (X, Y, Z). classes: see :func:`instance_labels`. voxel: (H, W) of the frame.
    """
    shown = [(k, mask) for k, mask in visible_objects(objects, voxel) if classes[k] > 0]
    boxes, masks = [], []
    for _, mask in shown:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        masks.append(mask)
    numbers = torch.tensor([k for k, _ in shown], dtype=torch.long)
    height, width = voxel.shape
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([int(classes[k]) for k, _ in shown], dtype=torch.long),
        "masks": torch.from_numpy(np.stack(masks)).to(torch.uint8)
        if masks
        else torch.zeros(0, height, width, dtype=torch.uint8),
    }, numbers


class ObjectPairs:
    """Frames of explored houses in pairs of different views, with the objects that they show.

    A sample has two ``parts``, each an ``image`` (3, H, W), a ``target`` of Mask R-CNN and the ``numbers`` of its
    objects, unique over houses.
    """

    def __init__(self, config: Config, houses: Sequence[House], detector: Detector, device: torch.device) -> None:
        self.houses = []
        for house in houses:
            voxels = voxelise(house.frames.depth, house.frames.poses, house.camera, config.voxel)
            found = [detect(detector, [x.to(device)])[0] for x in as_images(house.frames.rgb)]
            objects, classes = instance_labels(
                found, house.frames.depth, voxels, threshold=config.threshold, rule=config.rule,
                least_views=config.least_views,
            )  # fmt: skip
            self.houses.append((house, voxels, objects, classes, partners(voxels, house.frames.poses, config)))
        self.frames = [(h, k) for h, x in enumerate(self.houses) for k in range(len(x[0].frames))]

    def __len__(self) -> int:
        return len(self.frames)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        number, first = self.frames[index]
        house, voxels, objects, classes, others = self.houses[number]
        second = int(rng.choice(others[first])) if len(others[first]) else first
        parts = []
        for frame in (first, second):
            target, numbers = targets_of(objects, classes, voxels.index[frame])
            image = jittered(house.frames.rgb[frame], rng)
            parts.append({"image": image, "target": target, "numbers": numbers + 100_000 * number})
        return {"parts": parts, "name": f"{house.name}, frames {first} and {second}"}


def fine_tuning_loss(
    detector: Detector, images: list[Tensor], targets: list[dict[str, Tensor]], numbers: list[Tensor], *,
    contrastive: float, temperature: float = 0.1, form: Literal["supcon", "triplet"] = "supcon",
) -> tuple[Tensor, dict[str, Any]]:  # fmt: skip
    """Mask R-CNN's losses on self-labels, without box regression, and the contrastive loss of RoIs by object.

    Box regression is left out as self-labelled masks end where the voxels do (facts from ReSEAL).

    Args:
        numbers: object of each box, unique over the houses of a batch.
        form: of the contrastive loss: supervised contrastive, or batch-hard triplets (Look Around And Learn).
    """
    losses = detector.losses(images, targets)
    kept = {name: x for name, x in losses.items() if "box_reg" not in name}
    boxes = [x["boxes"] for x in targets]
    embedding = detector.embeddings(images, boxes)
    objects = torch.cat(numbers)
    if form == "triplet":
        consistency = triplet_loss(embedding, objects)
    else:
        labels = torch.cat([x["labels"] for x in targets])
        consistency = instance_consistency(embedding, objects, labels, temperature=temperature)
    loss = sum(kept.values(), start=contrastive * consistency)
    return loss, {name: x.detach() for name, x in kept.items()} | {"consistency": consistency.detach()}
