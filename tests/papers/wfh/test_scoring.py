"""papers/wfh/scoring.py: ranks in both directions."""

import numpy as np

from papers.wfh.data import Texts
from papers.wfh.datasets.texts import Text
from papers.wfh.scoring import accuracy, chance, pools, ranks, recalls


def test_ranks_of_one_text_an_image() -> None:
    scores = np.array([[3.0, 2, 1], [5, 4, 6], [0, 1, 2]])
    text_ranks, image_ranks = ranks(scores, np.arange(3))
    assert image_ranks.tolist() == [0, 2, 0]
    assert text_ranks.tolist() == [1, 0, 1]


def test_the_best_of_several_texts_counts() -> None:
    scores = np.array([[1.0, 0], [9, 0], [5, 2], [0, 3]])
    text_ranks, image_ranks = ranks(scores, np.array([0, 0, 1, 1]))
    assert text_ranks.tolist() == [0, 0] and image_ranks.tolist() == [0, 0, 1, 0]


def test_equal_scores_count_against() -> None:
    text_ranks, image_ranks = ranks(np.zeros((4, 4)), np.arange(4))
    assert text_ranks.tolist() == image_ranks.tolist() == [3] * 4


def test_recalls_add_up() -> None:
    found = recalls(np.array([0, 4, 9, 30]), np.array([0, 0, 7, 11]))
    assert [found[f"tr{k}_percent"] for k in (1, 5, 10)] == [25, 50, 75]
    assert [found[f"ir{k}_percent"] for k in (1, 5, 10)] == [50, 50, 75]
    assert found["rsum_percent"] == 325


def test_pools_are_whole() -> None:
    assert [list(pool) for pool in pools(7, 3)] == [[0, 1, 2], [3, 4, 5]]
    assert [list(pool) for pool in pools(2, 3)] == [[0, 1]]


def test_accuracy_is_the_mean_score_of_the_best_answers() -> None:
    texts = [Text((0,), "?", {"yes": 1.0, "no": 0.3}), Text((0,), "?", {"no": 0.6}), Text((0,), "?", {"rare": 1.0})]
    found = Texts([], texts)  # type: ignore[arg-type]
    scores = np.array([[1.0, 0], [0, 1], [1, 0]])
    assert accuracy(scores, found, range(3), ("yes", "no")) == 100 * (1 + 0.6 + 0) / 3


def test_chance_is_the_mean_of_random_ranks() -> None:
    rng = np.random.default_rng(0)
    found = [recalls(*ranks(rng.normal(size=(20, 20)), np.arange(20)))["rsum_percent"] for _ in range(300)]
    assert abs(np.mean(found) - chance(20)) < 3
    assert chance(2) == 100 + 200 + 200
