"""Metrics of segmentation, of single class maps, and of patches against patches and texts.

Sums of mIoU run over the whole dataset, as in mmsegmentation's IoUMetric; a mean over images is another number. Label
255 means ignored everywhere. The pixel AUC and pointing of a single map are not the paper's; patch accuracy and
coherence follow descriptions in later work (unverified: how the paper labels a patch, and which classes compete).
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.metrics import roc_curve
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize, one_hot

from shared import UserError

from .datasets.benchmarks import IGNORED

CURVE_POINTS = 200


@dataclass
class ConfusionMatrix:
    """Counts pixels of a dataset by class; IoU and accuracies of the whole, and the areas behind them.

    The Jaccard index of torchmetrics agrees, but the golden cases, computed with mmsegmentation, hold areas and
    accuracies of each class, too.

    Matrices of parts of a dataset are joined by adding their ``counts``.
    """

    classes: int
    ignore_index: int = IGNORED
    counts: Tensor = field(init=False)
    """int64 (C, C) on the CPU: pixels of class row that were predicted as class column."""

    def __post_init__(self) -> None:
        self.counts = torch.zeros(self.classes, self.classes, dtype=torch.int64)

    def update(self, predicted: Tensor, labels: Tensor) -> None:
        """Add integer maps of one shape, any number of dimensions; ignored pixels do not count in either.

        Raises:
            UserError: if the shapes differ, or a class is neither below ``classes`` nor, as a label, ignored.
        """
        if predicted.shape != labels.shape:
            raise UserError(
                f"the prediction has shape {tuple(predicted.shape)}, its labels {tuple(labels.shape)}; expected the "
                "size of the labels."
            )
        kept = labels != self.ignore_index
        rows, columns = labels[kept].long(), predicted[kept].long()
        for name, values in (("label", rows), ("predicted class", columns)):
            if len(unknown := values[(values < 0) | (values >= self.classes)]):
                raise UserError(
                    f"{name} {int(unknown[0])} is not one of the {self.classes} classes (0 to {self.classes - 1}); do "
                    "the labels need reduce_zero_label, or is it another dataset's list of classes?"
                )
        pairs = torch.bincount(rows * self.classes + columns, minlength=self.classes**2)
        self.counts += pairs.view(self.classes, self.classes).cpu()

    @property
    def area_intersect(self) -> Tensor:
        """int64 (C,): pixels of a class predicted as such."""
        return self.counts.diagonal()

    @property
    def area_label(self) -> Tensor:
        """int64 (C,): pixels of a class."""
        return self.counts.sum(dim=1)

    @property
    def area_pred(self) -> Tensor:
        """int64 (C,): pixels predicted as a class."""
        return self.counts.sum(dim=0)

    @property
    def area_union(self) -> Tensor:
        """int64 (C,)"""
        return self.area_label + self.area_pred - self.area_intersect

    @property
    def iou(self) -> Tensor:
        """float64 (C,): intersection over union, NaN for a class neither labelled nor predicted."""
        return self.area_intersect.double() / self.area_union

    @property
    def acc(self) -> Tensor:
        """float64 (C,): share of a class's pixels predicted as such, NaN for a class never labelled."""
        return self.area_intersect.double() / self.area_label

    @property
    def miou(self) -> float:
        """Mean of ``iou`` over the classes that occur; a class only predicted counts as 0."""
        return float(self.iou.nanmean())

    @property
    def macc(self) -> float:
        """Mean of ``acc`` over the labelled classes."""
        return float(self.acc.nanmean())

    @property
    def aacc(self) -> float:
        """Share of all labelled pixels predicted right; NaN if there are none."""
        return float(self.area_intersect.sum().double() / self.counts.sum())


def roc_auc(score: np.ndarray, positive: np.ndarray) -> float | None:
    """Probability that a positive scores higher than a negative, equal scores counting half: scores (P,), bool (P,).

    Returns None if all are positive, or none.
    """
    count = int(positive.sum())
    if count in (0, len(positive)):
        return None
    rank_sum = rankdata(score)[positive].sum()
    return float((rank_sum - count * (count + 1) / 2) / (count * (len(positive) - count)))


def roc_points(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """False and true positive rates behind :func:`roc_auc`, from 0 to 1, at most 200 points; None as there."""
    if not positive.any() or positive.all():
        return None
    false_positive, true_positive, _ = roc_curve(positive, score)
    count = len(false_positive)
    shown = np.linspace(0, count - 1, min(count, CURVE_POINTS)).round().astype(int)
    return false_positive[shown], true_positive[shown]


def pixel_auc(score: Tensor, mask: Tensor) -> float | None:
    """ROC AUC of a class map (H, W) as a score for lying in a mask (H, W) bool: 0.5 is chance, so is a constant map.

    Returns None for a mask that is empty or full.
    """
    return roc_auc(score.flatten().double().cpu().numpy(), mask.flatten().cpu().numpy())


def pointing(score: Tensor, mask: Tensor) -> bool:
    """Does the largest value of a class map (H, W), the first of equals, lie in the mask (H, W) bool?"""
    return bool(mask.flatten()[score.argmax()])


@dataclass
class Localisation:
    """Collects how well maps of the cosines of every concept find those that a scene holds."""

    right: int = 0
    of: int = 0
    """Pixels of objects, where more than one concept competes."""
    aucs: list[float] = field(default_factory=list)
    points: list[bool] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)

    def add(self, cosine: Tensor, labels: Tensor) -> None:
        """Cosines (C, H, W) of a scene, and its labels (H, W) or 255."""
        objects = labels != IGNORED
        present = labels[objects].unique()
        if len(present) > 1:
            chosen = present[cosine[present].argmax(0)]
            self.right += int((chosen == labels)[objects].sum())
            self.of += int(objects.sum())
        for k in present.tolist():
            mask = labels == k
            auc = pixel_auc(cosine[k], mask)
            self.aucs += [] if auc is None else [auc]
            self.points.append(pointing(cosine[k], mask))
            self.areas.append(float(mask.double().mean()))

    def percents(self) -> dict[str, float]:
        """``two_way``: only the concepts of a scene compete, on the pixels of its objects; ``auc``, ``pointing``: of
        each concept's own map; ``chance_pointing``: mean area of the concepts."""
        return {
            "two_way_percent": 100 * self.right / max(self.of, 1),
            "auc_percent": 100 * float(np.mean(self.aucs)),
            "pointing_percent": 100 * float(np.mean(self.points)),
            "chance_pointing_percent": 100 * float(np.mean(self.areas)),
        }


@dataclass
class Patches:
    """Collects labelled patches: for their classification by text, and the coherence of their frozen tokens.

    Every list has an entry an image.
    """

    tokens: list[Tensor] = field(default_factory=list)
    """(n, Dv), frozen."""
    labels: list[Tensor] = field(default_factory=list)
    """(n,)"""
    scores: list[Tensor] = field(default_factory=list)
    """(n, C)"""
    present: list[Tensor] = field(default_factory=list)
    """bool (n, C): the classes of the image."""

    def add(self, tokens: Tensor, cosine: Tensor, labels: Tensor) -> None:
        """Tokens (h * w, Dv) of an image, its cosine maps (C, h, w), and its labels (H, W) or 255."""
        cells = patch_labels(labels, (cosine.shape[1], cosine.shape[2])).flatten()
        kept = cells != IGNORED
        present = torch.zeros(len(cosine), dtype=torch.bool)
        present[labels[labels != IGNORED].long().unique()] = True
        self.tokens.append(tokens.cpu()[kept])
        self.labels.append(cells[kept])
        self.scores.append(cosine.flatten(1).T.cpu()[kept])
        self.present.append(present.expand(len(self.labels[-1]), -1))

    def accuracy(self) -> float | None:
        """Share of patches whose best class, among those of their image, is their label.

        Images with a single class, where nothing competes, are left out; None if there are no others.
        """
        labels, present = torch.cat(self.labels), torch.cat(self.present)
        several = present.sum(1) > 1
        return patch_accuracy(torch.cat(self.scores)[several], labels[several], present[several])


def coherence(features: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Cosine of two patch features, a score for their having one label, and whether they have: (P,) and bool (P,).

    For :func:`roc_auc` and :func:`roc_points`.

    Of all pairs within ``features`` (N, D) with ``labels`` (N,), each once; ignored patches are left out. Memory: some
    30 bytes a pair.

    Source: the paper's motivation, as DiffCut (section "Semantic coherence in vision encoders") describes it.
    """
    kept = labels != IGNORED
    features, labels = normalize(features[kept], dim=1), labels[kept]
    rows, columns = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    cosine, same = (features @ features.T)[rows, columns], labels[rows] == labels[columns]
    return cosine.cpu().numpy(), same.cpu().numpy()


def patch_accuracy(scores: Tensor, labels: Tensor, present: Tensor | None = None) -> float | None:
    """Share of labelled patches whose best class is their label.

    Args:
        scores: (N, C) of every patch for every class.
        labels: integer (N,); 255 does not count.
        present: bool (N, C), the classes that compete for a patch, such as those of its image; None: all of them. The
            paper's numbers (CLIP 52.49 %, PACL 96.51 % on VOC, unverified) do not say which it was.

    Returns None if there are no labelled patches.
    """
    kept = labels != IGNORED
    if not kept.any():
        return None
    scores = scores if present is None else scores.masked_fill(~present, -torch.inf)
    return float((scores[kept].argmax(dim=1) == labels[kept]).double().mean())


def patch_labels(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """The most frequent label of every cell: integer (H, W) -> (h, w), of the same type.

    Cell (i, j) covers rows floor(i H / h) to ceil((i + 1) H / h) and columns alike, so maps need be no multiple of the
    grid and may even be smaller. 255 counts like a label: a cell that is mostly ignored is ignored. The smallest of
    equally frequent labels wins. Unverified: how the paper labels a patch.
    """
    values, index = labels.unique(return_inverse=True)  # in ascending order
    share = adaptive_avg_pool2d(one_hot(index, len(values)).permute(2, 0, 1).double(), grid)
    return values[share.argmax(dim=0)]


def top1(scores: Tensor, labels: Tensor) -> float:
    """Share of images (N, C) whose best class is their label (N,)."""
    return float((scores.argmax(1) == labels).double().mean())
