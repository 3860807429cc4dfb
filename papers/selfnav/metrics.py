"""Intersection over union of the categories, and masks for the average precision."""

import numpy as np
from scipy import ndimage

from .detection.ap import Masks

LEAST_PIXELS = 8  # of an object in a frame


def confusion(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) pixel counts, rows = truth."""
    return np.bincount(truth.ravel().astype(int) * classes + predicted.ravel(), minlength=classes**2).reshape(
        classes, classes
    )


def mean_iou_percent(counts: np.ndarray) -> float:
    """Mean over the categories (not the background) that occur in truth or prediction, in percent."""
    right, union = np.diag(counts)[1:], (counts.sum(0) + counts.sum(1) - np.diag(counts))[1:]
    return 100 * float((right[union > 0] / union[union > 0]).mean()) if (union > 0).any() else 0.0


def true_masks(truth: np.ndarray, instance: np.ndarray) -> Masks:
    """Objects of the categories in frames (n, H, W) by their instance numbers."""
    rows = [
        (mask, k, int(truth[k][mask][0]), 1.0)
        for k in range(len(truth))
        for number in np.unique(instance[k][truth[k] > 0])
        if (mask := instance[k] == number).sum() >= LEAST_PIXELS
    ]
    return _masks(rows, truth.shape[1:])


def predicted_masks(probability: np.ndarray) -> Masks:
    """Connected components of each category in probabilities (n, 1 + C, H, W), scored by their mean probability."""
    rows = []
    label = probability.argmax(1)
    for k in range(len(label)):
        for category in np.unique(label[k][label[k] > 0]):
            parts, count = ndimage.label(label[k] == category)
            for part in range(1, count + 1):
                mask = parts == part
                if mask.sum() >= LEAST_PIXELS:
                    rows.append((mask, k, int(category), float(probability[k, category][mask].mean())))
    return _masks(rows, label.shape[1:])


def _masks(rows: list[tuple[np.ndarray, int, int, float]], shape: tuple[int, ...]) -> Masks:
    if not rows:
        return Masks(np.zeros((0, *shape), bool), np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    masks, image, label, score = zip(*rows, strict=True)
    return Masks(np.stack(masks), np.array(image), np.array(label), np.array(score))
