"""Metrics of a course, and of the tasks where no golden array tells."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from papers.atc import eval as evaluation
from papers.atc import metrics
from papers.atc.config import Config
from papers.atc.corruption import IGNORED, Special, denoise, mlm
from papers.atc.data import Shard
from papers.atc.figures import same_data
from papers.atc.metrics import Window

CLIENTS = ("movies", "movies", "topics", "topics")


def write_rounds(folder: Path, nearest: list[list[int]], **arrays: object) -> None:
    """Distances by which every client's nearest other client is a given one, in every round."""
    distances = np.ones((len(nearest), 4, 4))
    for matrix, row in zip(distances, nearest, strict=True):
        np.fill_diagonal(matrix, 0)
        for i, j in enumerate(row):
            matrix[i, j] = 0.2
    content = {"distances": distances, "clients": np.array(CLIENTS), "megabytes": np.array([9.0, 1.0])} | arrays
    np.savez(folder / "rounds.npz", **content)  # type: ignore[arg-type]


def test_likeness_counts_twins_in_the_middle_rounds(tmp_path: Path, config: Config) -> None:
    twins, strangers, half = [1, 0, 3, 2], [2, 2, 0, 0], [1, 2, 3, 0]
    write_rounds(tmp_path, [strangers, half, twins, strangers])
    found = evaluation.likeness(replace(config, clients=CLIENTS), tmp_path)
    assert found["same_data_percent"] == pytest.approx(100 * (2 / 4 + 1) / 2)
    assert found["same_data_chance_percent"] == pytest.approx(100 / 3)
    with np.load(tmp_path / "rounds.npz") as content:
        assert same_data(dict(content)).tolist() == [0, 0.5, 1, 0]


def test_clients_that_were_left_out_do_not_count(tmp_path: Path, config: Config) -> None:
    write_rounds(tmp_path, [[1, 0, 3, 2]])
    with np.load(tmp_path / "rounds.npz") as content:
        arrays = dict(content)
    arrays["distances"][0, 1] = arrays["distances"][0, :, 1] = np.nan
    np.savez(tmp_path / "rounds.npz", **arrays)
    assert evaluation.nearest_other(arrays["distances"][0], 1) is None
    found = evaluation.likeness(replace(config, clients=CLIENTS), tmp_path)
    assert found["same_data_percent"] == pytest.approx(200 / 3)


def test_traffic_of_the_official_design(tmp_path: Path) -> None:
    write_rounds(tmp_path, [[1, 0, 3, 2]], synthetic=np.array([10, 6, 8]), shared_bytes=np.array(1000))
    features, z = 4 * 10 * 6 * 8, 4 * 10 * 8
    found = evaluation.traffic(tmp_path)
    assert found == {"round_megabytes": 1.0, "official_round_megabytes": (2000 + 2 * (features + 4 * z) + z) / 1e6}


def test_chance() -> None:
    labelled = Shard("classification", 2, [{"label": x} for x in (0, 1, 1, 1)], 0)
    assert evaluation.chance(labelled) == 0.75
    asked = Shard("span", 2, [{"passage": "the owl sleeps now", "references": ["owl"]}], 0)
    assert evaluation.chance(asked) == 0.25
    written = Shard("generation", 2, [{"target": [5, 9, 9, 7, 6]}], 0)
    assert evaluation.chance(written) == 0.5


def test_geometric_mean() -> None:
    assert evaluation.geometric_mean([10.0, 40.0]) == pytest.approx(20.0)
    assert evaluation.geometric_mean([0.0, 100.0]) > 0


def test_the_best_span_of_two_windows() -> None:
    """The larger score wins whichever window it is in; an answer begins only where a window shows a word best."""
    first = Window(np.array([9.0, 1, 0, 0]), np.array([9.0, 1, 0, 0]), np.array([False, True, True, False]))
    second = Window(np.array([0.0, 5, 3, 0]), np.array([0.0, 0, 4, 1]), np.array([False, False, True, True]))
    assert metrics.best_span([first, second], 4, 3, None) == (1, 2, 2)
    assert metrics.best_span([first, second], 4, 3, 0.0) == (1, 2, 2)  # the smallest "no answer" of the windows counts
    assert metrics.best_span([first], 4, 3, 0.0) is None
    context = np.array([False, True, True, True])
    assert metrics.best_span([replace(second, context=context)], 4, 1, None) == (0, 2, 2)


def test_rouge() -> None:
    assert metrics.rouge_l(["the owl hunts", "a dog"], ["the owl hunts", "no match"]) == pytest.approx(0.5)


MARKS = Special(pad=0, bos=1, eos=2, eoq=3, mask=4, all=(0, 1, 2, 3, 4))


def texts(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    row = np.concatenate([[1], rng.integers(5, 50, 12), [3], rng.integers(5, 50, 8), [2], [0, 0]])
    return np.tile(row, (count, 1))


def test_masked_words_are_a_seventh_of_the_words() -> None:
    tokens = texts(400)
    corrupted, labels = mlm(tokens, MARKS, 50, np.random.default_rng(1))
    chosen = labels != IGNORED
    words = ~np.isin(tokens, MARKS.all)
    assert not (chosen & ~words).any() and np.array_equal(labels[chosen], tokens[chosen])
    assert chosen.sum() / words.sum() == pytest.approx(0.15, abs=0.01)
    assert (corrupted[chosen] == MARKS.mask).mean() == pytest.approx(0.8, abs=0.03)
    assert np.array_equal(corrupted[~chosen], tokens[~chosen])


def test_denoising_keeps_the_marks_and_hides_a_third_of_the_words() -> None:
    tokens = texts(200)
    corrupted = denoise(tokens, MARKS, 0.3, np.random.default_rng(1))
    for mark in (MARKS.bos, MARKS.eos, MARKS.eoq):
        assert ((corrupted == mark).sum(1) == 1).all()
    left = (~np.isin(corrupted, MARKS.all)).sum() / (~np.isin(tokens, MARKS.all)).sum()
    assert 0.6 < left < 0.8
    places = [int(np.flatnonzero(row == MARKS.eoq)[0]) for row in corrupted]
    assert len({p > 11 for p in places}) == 2, "sentences never changed places"
