"""Handwritten digits that come with scikit-learn, as small colour images: few labels, many unlabelled images.

Digits on a dark background of low frequency, because a small transformer learns from them in minutes; with a random
contrast polarity, or with shapes on textures, it stays on its first plateau.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import interpolate, pad

SIZE = 32
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
PRETRAIN, VALIDATION = 1297, 200  # the other 500 of the 1797 digits are the test set
CLASSES = [str(digit) for digit in range(10)]

BACKGROUND = 0.3  # brightest background
STROKE = (0.6, 1.0)
GRID = 4  # random colours a side of the background, interpolated between
NOISE = 0.03
SEED = 0


def build() -> dict[str, np.ndarray]:
    """Every digit drawn once in colour, and split; the same on every machine.

    Returns: ``pretrain`` (1297, 3, 32, 32) uint8 with ``pretrain_labels`` in an order whose every start is balanced
    over the classes, and ``test`` (500, 3, 32, 32) with ``test_labels``. The last 200 of ``pretrain`` are for
    validation: their labels are never trained on.
    """
    bunch = load_digits()
    rng = np.random.default_rng(SEED)
    images, labels = _draw(bunch.images / 16, rng), bunch.target.astype(np.int64)
    order = rng.permutation(len(images))
    test = order[PRETRAIN:]
    # The labelled come first, so the validation images are taken out before the classes are dealt round.
    rest, validation = order[: PRETRAIN - VALIDATION], order[PRETRAIN - VALIDATION : PRETRAIN]
    pretrain = np.concatenate([rest[dealt(labels[rest])], validation])
    return {
        "pretrain": images[pretrain],
        "pretrain_labels": labels[pretrain],
        "test": images[test],
        "test_labels": labels[test],
    }


def dealt(labels: np.ndarray) -> np.ndarray:
    """Indices (N,) that take one of each class in turn, so that every start of them is balanced while classes last."""
    turn = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = labels == label
        turn[members] = np.arange(members.sum())
    return np.lexsort((labels, turn))


def _draw(strokes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Strokes (N, 8, 8) in [0, 1] -> images (N, 3, 32, 32) uint8."""
    count = len(strokes)
    opacity = _enlarged(pad(torch.from_numpy(strokes[:, None]), (1, 1, 1, 1))).clip(0, 1)
    background = _enlarged(torch.from_numpy(rng.uniform(0, BACKGROUND, (count, 3, GRID, GRID)))).clip(0, BACKGROUND)
    colour = rng.uniform(*STROKE, (count, 3, 1, 1))
    image = opacity * colour + (1 - opacity) * background + rng.normal(0, NOISE, background.shape)
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def _enlarged(x: torch.Tensor) -> np.ndarray:
    return interpolate(x, (SIZE, SIZE), mode="bicubic", align_corners=False).numpy()
