"""Fréchet distance, U-IDS and P-IDS, SSIM, and bootstrap intervals. Numbers of samples matter: compare equal ones."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.svm import LinearSVC
from torch import Tensor

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
RESAMPLES = 200  # of a bootstrap


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to features (N, D) and (M, D); FID if they are Inception's.

    The trace of the root of S_r S_f is taken from the eigenvalues of the symmetric S_r^(1/2) S_f S_r^(1/2), which has
    no imaginary part where a covariance is singular.
    """
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    difference = real.mean(0) - fake.mean(0)
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (real, fake)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ covariances[1] @ root).clip(0)).sum()
    return float(difference @ difference + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * cross)


def inception_discriminative_scores(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    """U-IDS and P-IDS (CoModGAN): how badly a linear SVM tells completed images from real ones. Higher is better.

    U-IDS is its error on the samples it was fitted to, 0.5 at most; P-IDS the share of completed images that it takes
    for more real than the real image of the same row.

    Args:
        real, fake: features (N, D), row i of ``fake`` is the completion of row i of ``real``. D should be well below N.
    """
    features = np.concatenate([real, fake]).astype(np.float64)
    label = np.repeat([1, 0], [len(real), len(fake)])
    svm = LinearSVC(dual=False).fit(features, label)
    margin_real, margin_fake = np.split(svm.decision_function(features), [len(real)])
    return 1 - float(svm.score(features, label)), float((margin_fake > margin_real).mean())


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity of images (N, C, H, W) in [0, 1], (N,): Gaussian windows of 11 pixels, zero padding."""
    offsets = torch.arange(SSIM_WINDOW, dtype=first.dtype) - SSIM_WINDOW // 2
    taps = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    taps = taps / taps.sum()
    channels = first.shape[1]
    kernel = torch.outer(taps, taps).expand(channels, 1, -1, -1).to(first.device)

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(x, kernel, padding=SSIM_WINDOW // 2, groups=channels)

    m1, m2 = mean(first), mean(second)
    v1, v2 = mean(first.square()) - m1.square(), mean(second.square()) - m2.square()
    covariance = mean(first * second) - m1 * m2
    c1, c2 = 0.01**2, 0.03**2
    each = (2 * m1 * m2 + c1) * (2 * covariance + c2) / ((m1.square() + m2.square() + c1) * (v1 + v2 + c2))
    return each.mean((1, 2, 3))


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a score of the first set is above one of the second; ties count half."""
    above = positive[:, None] > negative[None]
    return float((above + 0.5 * (positive[:, None] == negative[None])).mean())


def bootstrap_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float], real: np.ndarray, fake: np.ndarray
) -> tuple[float, float]:
    """95 % interval of a statistic of paired rows (N, ...), over resampled rows; basic bootstrap, 200 resamples.

    Mirrored at the estimate: a distance between resampled sets is larger than between the sets themselves.
    """
    rng = np.random.default_rng(0)
    estimate, values = statistic(real, fake), []
    for _ in range(RESAMPLES):
        rows = rng.integers(len(real), size=len(real))
        values.append(statistic(real[rows], fake[rows]))
    low, high = np.quantile(values, [0.025, 0.975])
    return 2 * estimate - float(high), 2 * estimate - float(low)


def confusion_matrix(predicted: Tensor, label: Tensor, classes: int) -> Tensor:
    """Pixels counted by true class (rows) and predicted class (columns), (classes, classes), of maps of one shape."""
    return torch.bincount(classes * label.flatten() + predicted.flatten(), minlength=classes**2).view(classes, classes)


def mean_iou(counts: np.ndarray) -> float:
    """Mean intersection over union of the classes that are labelled, from a confusion matrix."""
    hits = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - hits
    labelled = counts.sum(1) > 0
    return float((hits[labelled] / union[labelled]).mean())
