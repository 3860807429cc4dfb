"""Dice and Hausdorff distance of shapes whose values are known."""

import numpy as np
import pytest

from papers.local_contrast.metrics import hausdorff95, surface
from papers.local_contrast.segment import dice, mean


def cube(start: int, size: int = 4, label: int = 1) -> np.ndarray:
    volume = np.zeros((16, 16, 16), np.uint8)
    volume[start : start + size, 4:8, 4:8] = label
    return volume


def test_dice_of_shifted_cubes() -> None:
    assert dice(cube(4), cube(4), 2) == [1.0]
    assert dice(cube(4), cube(5), 2) == [pytest.approx(0.75)]
    assert dice(cube(4), cube(10), 2) == [0.0]


def test_classes_that_are_missing() -> None:
    """A class in neither volume is left out; the classes after it keep their numbers."""
    scores = dice(cube(4, label=3), cube(4, label=3), 4)
    assert scores == [None, None, 1.0] and mean(scores) == 1.0
    assert dice(cube(4, label=1), cube(4, label=2), 3) == [0.0, 0.0]
    assert mean([None, None]) == 0.0


def test_hausdorff_distance_is_in_millimetres() -> None:
    assert hausdorff95(cube(4), cube(4), 2, (1, 1, 1)) == [0.0]
    assert hausdorff95(cube(4), cube(6), 2, (1.5, 9, 9)) == [pytest.approx(3.0)]


def test_hausdorff_distance_of_missing_classes() -> None:
    diagonal = np.sqrt(3) * 16 * 2
    assert hausdorff95(cube(4), cube(4, label=2), 4, (2, 2, 2)) == [pytest.approx(diagonal)] * 2 + [None]


def test_a_few_far_voxels_do_not_count() -> None:
    far = cube(4)
    far[15, 15, 15] = 1
    assert hausdorff95(far, cube(4), 2, (1, 1, 1)) == [0.0]


def test_surface_is_a_shell() -> None:
    mask = cube(4) == 1
    assert surface(mask).sum() == 4**3 - 2**3 and not (surface(mask) & ~mask).any()
    assert surface(np.ones((3, 3, 3), bool)).sum() == 26
