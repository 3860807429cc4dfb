"""Accuracy, macro-F1 and ROC-AUC."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score


def classification(logits: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Percents of logits (N, C) for labels (N,): `accuracy_percent` and the mean F1 of the classes."""
    best = logits.argmax(1)
    return {
        "accuracy_percent": 100 * float((best == label).mean()),
        "f1_percent": 100 * float(f1_score(label, best, average="macro", zero_division=0)),
    }


def matching(logits: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Percents of logits (N, 2): accuracy, F1 of the class that matches, and area under the ROC curve."""
    best, score = logits.argmax(1), logits[:, 1] - logits[:, 0]
    found = {
        "accuracy_percent": 100 * float((best == label).mean()),
        "f1_percent": 100 * float(f1_score(label, best, zero_division=0)),
    }
    if len(set(label.tolist())) == 2:  # the curve needs both
        found["auc_percent"] = 100 * float(roc_auc_score(label, score))
    return found


def mean(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of every metric that all have."""
    return {key: float(np.mean([x[key] for x in found])) for key in found[0] if all(key in x for x in found)}
