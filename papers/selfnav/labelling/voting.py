"""One class for a place that was seen several times."""

from typing import Literal

import numpy as np

Rule = Literal["mean", "seal_max", "ours", "max", "bayes", "majority"]


def vote(views: np.ndarray, rule: Rule = "mean") -> tuple[np.ndarray, np.ndarray]:
    """Class (K,) and probabilities (K, C) of K places from the probabilities (K, V, C) of V views each.

    A view that did not see a place is NaN. Of classes that are level the first one is taken.

    Args:
        rule: ``mean`` of the views; ``seal_max`` takes the view with the highest single score (SEAL), ``max`` is
            another name of it; ``ours`` (Look Around And Learn) that view's class with the mean probabilities;
            ``bayes`` multiplies the views' probabilities; ``majority`` counts the views' classes.
    """
    mean = np.nanmean(views, 1)
    if rule == "mean":
        return mean.argmax(1), mean
    if rule in ("seal_max", "max", "ours"):
        best = np.nanmax(views, 2)
        view = np.where(np.isnan(best), -np.inf, best).argmax(1)
        chosen = views[np.arange(len(views)), view]
        return chosen.argmax(1), mean if rule == "ours" else chosen
    if rule == "bayes":
        logs = np.nansum(np.log(np.clip(views, 1e-12, None)), 1)
        product = np.exp(logs - logs.max(1, keepdims=True))
        product /= product.sum(1, keepdims=True)
        return product.argmax(1), product
    seen = ~np.isnan(views).any(2)
    classes = np.where(seen, np.nan_to_num(views).argmax(2), -1)
    counts = np.stack([(classes == k).sum(1) for k in range(views.shape[2])], 1)
    return counts.argmax(1), counts / counts.sum(1, keepdims=True)
