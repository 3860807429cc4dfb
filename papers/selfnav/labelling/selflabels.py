"""Labels of a house's frames from the predictions of a network: per frame, by SEAL's rule, or by location consistency.

Unknown pixels are `IGNORED`, never background.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from ..losses import IGNORED
from ..mapping.voxels import Voxels
from .instances import instances
from .seal import label_map
from .voting import Rule, per_view, vote

Labels = Literal["self-training", "seal", "location", "truth", "mesh"]


@dataclass(frozen=True)
class Labelled:
    """Labels of a house's frames.

    Attributes:
        labels: (n, H, W) uint8: 0 background, 1 + class, or `IGNORED`.
        instances: (X, Y, Z) object of each voxel, 0 for none. voxel_labels: (X, Y, Z) 0 for none, else 1 + class.
    """

    labels: np.ndarray
    instances: np.ndarray
    voxel_labels: np.ndarray


def self_labels(
    probabilities: np.ndarray,
    voxels: Voxels,
    method: Labels,
    *,
    threshold: float,
    rule: Rule = "mean",
    background: float = 0.5,
    least_views: int = 2,
) -> Labelled:
    """Labels of n frames from class probabilities (n, 1 + C, H, W), class 0 is the background.

    Args:
        method: ``self-training`` takes each frame by itself; ``seal`` the highest score of a class over the views,
            after a clean-up of the voxel map; ``location`` votes over the views by ``rule``.
        threshold: least probability of a class that becomes a label.
        background: SEAL labels as background what no class scores so high at.
        least_views: of a voxel, for location consistency.
    """
    views, place, _, where = per_view(probabilities, voxels.index)
    seen = np.zeros(voxels.shape, int)
    seen.ravel()[where] = np.bincount(place, minlength=len(where))
    grid = np.full(voxels.shape, IGNORED, np.uint8)
    if method == "seal":
        scores = np.zeros((*voxels.shape, probabilities.shape[1] - 1), np.float32)
        highest = np.zeros((len(where), views.shape[1]))
        np.maximum.at(highest, place, views)
        scores.reshape(-1, scores.shape[-1])[where] = highest[:, 1:]
        _, labelled, _ = label_map(scores, seen > 0, threshold=threshold)
        low = (scores.max(-1) < background) & (seen > 0)
        grid[low] = 0
        grid[labelled > 0] = labelled[labelled > 0]
    else:
        label, resolved = vote(views, place, len(where), rule)
        accepted = (resolved.max(1) >= threshold) & (seen.ravel()[where] >= least_views)
        grid.ravel()[where] = np.where(accepted, label, IGNORED)
    objects = np.where(grid == IGNORED, 0, grid)
    if method == "self-training":
        label = probabilities.argmax(1).astype(np.uint8)
        labels = np.where(probabilities.max(1) >= threshold, label, IGNORED).astype(np.uint8)
    else:
        labels = projected(grid, voxels)
    return Labelled(labels, instances(objects, seen, least_views), objects)


def true_labels(truth: np.ndarray, voxels: Voxels) -> Labelled:
    """The simulator's labels (n, H, W), as they are."""
    grid = _commonest(truth, voxels)
    return Labelled(truth.astype(np.uint8), instances(grid, grid * 0 + 2), grid)


def mesh_labels(truth: np.ndarray, instance: np.ndarray, voxels: Voxels, rng: np.random.Generator) -> Labelled:
    """Labels as an annotated scan has them: moved by 5 to 10 cm, a tenth of the objects missing, neighbours merged.

    Args:
        truth: (n, H, W) 0 or 1 + class. instance: (n, H, W) object numbers, 0 for none.
    """
    count = int(instance.max()) + 1
    category = np.zeros(count, int)
    category[instance[truth > 0]] = truth[truth > 0]
    kinds = category.copy()
    centres = np.full((count, 3), np.inf)
    for k in np.flatnonzero(category):
        centres[k] = np.median(voxels.points[instance == k], 0)
    for k in np.flatnonzero(category):
        apart = np.linalg.norm(centres - centres[k], axis=1)
        apart[k] = np.inf
        nearest = int(apart.argmin())
        if rng.uniform() < 0.1:
            kinds[k] = 0
        elif apart[nearest] < 1.5 and rng.uniform() < 0.1:
            kinds[k] = category[nearest]
    length, angle = rng.uniform(0.05, 0.1), rng.uniform(0, 2 * np.pi)
    shift = length * np.array([np.cos(angle), np.sin(angle), 0]) / voxels.size
    grid = _moved(_commonest(kinds[instance], voxels), shift, voxels)
    labels = projected(grid.astype(np.uint8), voxels)
    return Labelled(labels, instances(grid, grid * 0 + 2), grid)


def _moved(grid: np.ndarray, shift: np.ndarray, voxels: Voxels) -> np.ndarray:
    """Labels moved by so many voxels: each seen voxel has the label of the nearest one to where it came from."""
    seen = np.unique(voxels.index[voxels.index >= 0])
    cells = np.stack(np.unravel_index(seen, voxels.shape), 1)
    _, nearest = cKDTree(cells).query(cells - shift)
    moved = np.zeros_like(grid)
    moved.ravel()[seen] = grid.ravel()[seen[nearest]]
    return moved


def projected(grid: np.ndarray, voxels: Voxels) -> np.ndarray:
    """(n, H, W) uint8 label of each pixel's voxel; `IGNORED` where depth is missing."""
    return np.where(voxels.index >= 0, grid.ravel()[voxels.index], IGNORED).astype(np.uint8)


def _commonest(labels: np.ndarray, voxels: Voxels) -> np.ndarray:
    """(X, Y, Z) the commonest label of each voxel's pixels."""
    seen = voxels.index >= 0
    classes = int(labels.max()) + 1
    counts = np.zeros((int(np.prod(voxels.shape)), classes), np.int32)
    np.add.at(counts, (voxels.index[seen], labels[seen]), 1)
    return counts.argmax(1).reshape(voxels.shape)


def coverage(labelled: Labelled) -> float:
    """Share of the pixels with a label that is an object's."""
    return float(((labelled.labels > 0) & (labelled.labels != IGNORED)).mean())


def label_quality(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Quality of labels over object pixels in percent; 0 without any.

    Returns: recall and precision over all pixels of objects; F1, their harmonic mean, as the mean over the categories,
        as mIoU is one.
    """
    objects, claimed = truth > 0, (labels > 0) & (labels != IGNORED)
    right = float(((labels == truth) & objects).sum())
    kinds = np.unique(truth[objects])
    each = [2 * ((labels == k) & (truth == k)).sum() / ((labels == k).sum() + (truth == k).sum()) for k in kinds]
    return {
        "label_recall_percent": 100 * right / max(1, objects.sum()),
        "label_precision_percent": 100 * right / max(1, claimed.sum()),
        "label_f1_percent": 100 * float(np.mean(each)) if each else 0.0,
    }
