"""One class for a place that was seen several times."""

from typing import Literal

import numpy as np

Rule = Literal["mean", "seal_max", "ours", "bayes", "majority"]


def vote(views: np.ndarray, place: np.ndarray, places: int, rule: Rule = "mean") -> tuple[np.ndarray, np.ndarray]:
    """Class (K,) and probabilities (K, C) of K places; those that no view saw have class 0 and zeros.

    Of classes, or views, that are level the first one is taken.

    Args:
        views: (N, C) class probabilities of a view of a place. place: (N,) its number. places: K.
        rule: ``mean`` of the views; ``seal_max`` takes the view with the highest single score (SEAL); ``ours`` (Look
            Around And Learn) that view's class with the mean probabilities; ``bayes`` multiplies the views'
            probabilities; ``majority`` counts the views' classes.
    """
    classes = views.shape[1]
    count = np.bincount(place, minlength=places).clip(1)[:, None]
    if rule in ("seal_max", "ours"):
        order = np.lexsort((np.arange(len(place)), -views.max(1), place))
        first = order[np.append(True, np.diff(place[order]) > 0)] if len(order) else order
        best = np.zeros((places, classes), views.dtype)
        best[place[first]] = views[first]
        return best.argmax(1), _summed(views, place, places) / count if rule == "ours" else best
    if rule == "bayes":
        logs = _summed(np.log(views.clip(1e-12)), place, places)
        product = np.exp(logs - logs.max(1, keepdims=True))
        found = product / product.sum(1, keepdims=True)
    elif rule == "majority":
        found = _summed(np.eye(classes)[views.argmax(1)], place, places) / count
    else:
        found = _summed(views, place, places) / count
    return found.argmax(1), found


def _summed(values: np.ndarray, place: np.ndarray, places: int) -> np.ndarray:
    return np.stack([np.bincount(place, x, minlength=places) for x in values.T], 1)


def per_view(probabilities: np.ndarray, voxel: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of frames as views of places: the mean over the pixels of a frame that fall into one voxel.

    Args:
        probabilities: (n, C, H, W). voxel: (n, H, W), -1 for none.

    Returns: views (N, C), place of each view (N,), frame of each view (N,), and the voxel of each place (K,).
    """
    frame, row, column = np.nonzero(voxel >= 0)
    key = voxel[frame, row, column].astype(np.int64) * len(voxel) + frame
    keys, inverse = np.unique(key, return_inverse=True)
    pixels = probabilities[frame, :, row, column]
    count = np.bincount(inverse)[:, None]
    views = _summed(pixels, inverse, len(keys)) / count
    voxels, place = np.unique(keys // len(voxel), return_inverse=True)
    return views, place, keys % len(voxel), voxels
