"""Holes around objects: CM-GAN's object-aware rule, and holes that cover whole instances.

Masks are (H, W) bool, True where pixels are missing; instance maps (H, W) hold 0 for stuff and void.
"""

import numpy as np
from scipy import ndimage

from .strokes import TRAIN, Rng, at_any_size, comod_mask_at

REMOVED = 0.5  # an instance with more than this share of its pixels in the hole is taken out of it
CROSS = ndimage.generate_binary_structure(2, 1)  # 4-neighbourhood


def keep_objects(
    hole: np.ndarray, instances: np.ndarray, erosion: int, ratio: float = REMOVED
) -> tuple[np.ndarray, np.ndarray]:
    """CM-GAN's rule: instances that lie mostly in the hole become known, except for a rim.

    Trained with it, a network learns to continue the background and never invents an object.

    Args:
        erosion: times that the union of those instances is eroded, so that their outline does not show; 2 to 4.
        ratio: share of an instance's pixels above which it is taken out.

    Returns: the new hole, and the pixels that became known.
    """
    chosen = np.zeros_like(hole)
    for number in np.unique(instances[hole]):
        own = instances == number
        if number and hole[own].mean() > ratio:
            chosen |= own
    kept = ndimage.binary_erosion(chosen, CROSS, erosion) if erosion else chosen
    return hole & ~kept, kept & hole


def object_hole(instances: np.ndarray, rng: np.random.Generator, most: int = 2) -> np.ndarray:
    """A hole over one or two whole instances: their dilated silhouette, or a box around it, half of the time each."""
    size = len(instances)
    hole = np.zeros(instances.shape, bool)
    numbers = np.unique(instances[instances > 0])
    count = min(len(numbers), int(rng.integers(1, most + 1)))
    for number in rng.permutation(numbers)[:count]:
        own = ndimage.binary_dilation(instances == number, CROSS, max(1, round(size * rng.uniform(0.02, 0.06))))
        if rng.random() < 0.5:
            rows, columns = np.nonzero(own.any(1))[0], np.nonzero(own.any(0))[0]
            hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        else:
            hole |= own
    return hole


def random_hole(instances: np.ndarray, rng: np.random.Generator, objects: float) -> np.ndarray:
    """A training hole: around objects with probability ``objects``, else LaMa's strokes and boxes.

    Where the image has no instance, or the hole is empty or everything, strokes are drawn (again).
    """
    if rng.random() < objects and (instances > 0).any():
        hole = object_hole(instances, rng)
        if not hole.all():
            return hole
    return _strokes(len(instances), rng)


def cmgan_hole(instances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """CM-GAN's training masks: silhouettes 45, CoModGAN's random masks 45, boxes 10; then :func:`keep_objects`.

    The published silhouettes are a data set of their own; here they are those of the image's instances, mirrored and
    shifted with wrap-around as there.
    """
    size = len(instances)
    for _ in range(7):  # so often does the published code try again while nearly everything is known
        kind = rng.choice(3, p=[0.45, 0.45, 0.1])
        if kind == 0 and (instances > 0).any():
            hole = object_hole(instances, rng)
            hole = hole[:, ::-1] if rng.random() < 0.5 else hole
            if rng.random() < 0.8:
                reach = size * 3 // 8
                hole = np.roll(hole, rng.integers(-reach, reach, 2), (0, 1))
        elif kind == 1:
            hole = comod_mask_at(size, legacy(rng))
        else:
            hole = at_any_size(TRAIN.boxes, size, legacy(rng))
        hole, _ = keep_objects(hole, instances, int(rng.integers(2, 5)))
        if hole.mean() >= 0.05:
            return hole
    return _strokes(size, rng)


def _strokes(size: int, rng: np.random.Generator) -> np.ndarray:
    while True:
        hole = at_any_size(TRAIN, size, legacy(rng))
        if 0.02 < hole.mean() < 0.9:
            return hole


def legacy(rng: np.random.Generator) -> Rng:
    """A generator with the draws of the published mask code, seeded by another."""
    return Rng(int(rng.integers(2**32)))
