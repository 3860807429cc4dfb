"""Segmentation metrics from one confusion matrix over all images of a set."""

import numpy as np
import torch
from torch import Tensor

from .losses import IGNORED


class ConfusionMatrix:
    """Pixels counted by true class (rows) and predicted class (columns); ignored pixels are dropped."""

    def __init__(self, classes: int) -> None:
        self.counts = torch.zeros(classes, classes, dtype=torch.int64)

    def update(self, predicted: Tensor, label: Tensor) -> None:
        """Count label maps (..., H, W) of class numbers.

        Raises:
            ValueError: if a label is neither a class nor `IGNORED`.
        """
        valid = label != IGNORED
        truth, guess, classes = label[valid].long(), predicted[valid].long(), len(self.counts)
        if truth.numel() and int(truth.max()) >= classes:
            raise ValueError(f"a label is {int(truth.max())}; expected 0 to {classes - 1}, or {IGNORED}")
        found = torch.bincount(classes * truth + guess, minlength=classes**2)
        self.counts += found.view(classes, classes).to(self.counts.device)

    @property
    def intersection_over_union(self) -> np.ndarray:
        """(K,) float64: TP / (TP + FP + FN); NaN for a class that is neither labelled nor predicted."""
        hits = self.counts.diag().double().numpy()
        union = (self.counts.sum(0) + self.counts.sum(1)).double().numpy() - hits
        return np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)

    @property
    def class_accuracies(self) -> np.ndarray:
        """(K,) float64: share of a class's pixels that are found; NaN for a class without pixels."""
        hits, total = self.counts.diag().double().numpy(), self.counts.sum(1).double().numpy()
        return np.divide(hits, total, out=np.full_like(hits, np.nan), where=total > 0)

    def percents(self) -> dict[str, float]:
        """``miou_percent`` over the classes that occur (FCN's score script), ``miou_all_percent`` with 0 for those that
        do not (the VOC development kit's convention), ``accuracy_percent`` of pixels, and ``class_accuracy_percent``.

        Raises:
            ValueError: if no pixel was counted.
        """
        if not int(self.counts.sum()):
            raise ValueError("no labelled pixel was counted")
        each = self.intersection_over_union
        return {
            "miou_percent": 100 * float(np.nanmean(each)),
            "miou_all_percent": 100 * float(np.nan_to_num(each).mean()),
            "accuracy_percent": 100 * float(self.counts.diag().sum() / self.counts.sum()),
            "class_accuracy_percent": 100 * float(np.nanmean(self.class_accuracies)),
        }
