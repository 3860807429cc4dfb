"""papers/wfh/hallucination/hallucinator.py: visual words, and what words hallucinate."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.wfh.hallucination.hallucinator import Hallucinator, random_visual_words, visual_words
from papers.wfh.losses import visual_word_loss

WORDS, WIDTH, FEATURES, VISUAL = 12, 8, 5, 6
CONTENT = torch.tensor([False] * 4 + [True] * 8)


def hallucinator(free: bool = False, **options: Any) -> Hallucinator:
    torch.manual_seed(0)
    chosen = {"sampling": "gumbel", "temperature": 1.0, "dropout": 0.0} | options
    visual = None if free else torch.randn(VISUAL, FEATURES)
    return Hallucinator(
        torch.randn(WORDS, WIDTH), CONTENT, visual, torch.ones(FEATURES), layers=1, heads=2, positions=9, **chosen
    )


def caption() -> tuple[Tensor, Tensor]:
    """Two captions; the second one is shorter and has one content word."""
    words = torch.tensor([[1, 5, 2, 7, 9], [1, 2, 6, 0, 0]])
    return words, torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


def test_visual_words_are_centres_of_clusters() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [1, 100], [2, -100]])  # the second number varies a hundred times as much
    features = (centres[rng.integers(3, size=300)] + rng.normal(scale=0.01, size=(300, 2))).astype(np.float32)
    found, deviation = visual_words(features, 3, seed=1)
    np.testing.assert_allclose(found[found[:, 0].argsort()], centres, atol=0.02)
    np.testing.assert_allclose(deviation, features.std(0), rtol=1e-4)
    assert (visual_words(features, 3, seed=1)[0] == found).all(), "seeded"


def test_random_visual_words_have_the_spread_of_the_centres_alone() -> None:
    features = np.random.default_rng(0).normal(3, 2, (400, 6)).astype(np.float32)
    centres, noise = visual_words(features, 20, 0)[0], random_visual_words(features, 20, 0)[0]
    assert noise.std() == pytest.approx(centres.std(), rel=0.3) and noise.mean() == pytest.approx(3, abs=0.5)
    assert np.abs(noise - centres).min() > 0


def test_content_words_alone_are_hallucinated() -> None:
    _, there, places = hallucinator().eval()(*caption())
    assert there.tolist() == [[True, True, True], [True, False, False]]
    assert places[0].tolist() == [1, 3, 4] and places[1, 0] == 2


def test_hallucinations_are_convex_combinations_of_visual_words() -> None:
    model = hallucinator().train()
    assert model.visual is not None
    found, there, _ = model(*caption())
    weights = torch.linalg.lstsq(torch.cat([model.visual, torch.ones(VISUAL, 1)], 1).T, torch.cat(
        [found[there], torch.ones(int(there.sum()), 1)], 1).T).solution  # fmt: skip
    assert weights.min() > -1e-4
    torch.testing.assert_close(weights.sum(0), torch.ones(weights.shape[1]))


def test_training_draws_and_evaluation_does_not() -> None:
    model = hallucinator()
    for training in (True, False):
        model.train(training)
        same = torch.equal(model(*caption())[0], model(*caption())[0])
        assert same != training
    soft = hallucinator(sampling="soft").train()
    assert torch.equal(soft(*caption())[0], soft(*caption())[0])


@pytest.mark.parametrize("training", [True, False])
def test_hard_hallucinations_are_visual_words(training: bool) -> None:
    model = hallucinator(sampling="hard").train(training)
    assert model.visual is not None
    found, there, _ = model(*caption())
    assert torch.cdist(found[there], model.visual).min(1).values.max() < 1e-5


def test_padding_does_not_count() -> None:
    model = hallucinator().eval()
    words, mask = caption()
    alone = model(words[1:, :3], mask[1:, :3])[0]
    torch.testing.assert_close(model(words, mask)[0][1, 0], alone[0, 0])


def test_nearest_visual_word_is_found_among_standardised_features() -> None:
    model = hallucinator()
    model.visual, model.deviation = torch.tensor([[0.0, 0], [1, 1000]]), torch.tensor([1.0, 1000])
    assert model.nearest(torch.tensor([[[0.3, 900], [0.7, 100], [0, 10]]])).tolist() == [[1, 0, 0]]


def test_positions_that_tags_never_reach_do_not_change_a_word() -> None:
    model = hallucinator().eval()
    early, late = torch.tensor([[5] + [2] * 7]), torch.tensor([[2] * 7 + [5]])
    first, last = (model(words, torch.ones_like(words, dtype=torch.bool))[0] for words in (early, late))
    torch.testing.assert_close(first, last)


@pytest.mark.parametrize("free", [False, True])
def test_tags_teach_the_features_of_their_regions(free: bool) -> None:
    """Two tags whose regions never look alike are told apart after a few steps, whatever stands beside them."""
    model = hallucinator(free).train()
    visual = hallucinator().visual
    assert visual is not None
    features = visual[[2, 4]][None]
    words, mask = torch.tensor([[1, 5, 3, 8, 2]]), torch.ones(1, 5, dtype=torch.bool)
    owner, present = torch.tensor([[-1, 0, -1, 1, -1]]), torch.ones(1, 2, dtype=torch.bool)
    optimizer = torch.optim.Adam([x for x in model.parameters() if x.requires_grad], 0.02)
    for _ in range(120):
        loss = model.supervise(words, mask, owner, features, present, 0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found, _, _ = model.eval()(torch.tensor([[1, 5, 2], [1, 8, 2]]), torch.ones(2, 3, dtype=torch.bool))
    torch.testing.assert_close(found[:, 0], features[0], atol=0.5, rtol=0)
    assert not model.words.weight.requires_grad


def test_supervision_leaves_out_regions_that_are_not_there() -> None:
    model = hallucinator().eval()
    words, mask = torch.tensor([[1, 5, 3, 8, 2]]), torch.ones(1, 5, dtype=torch.bool)
    owner = torch.tensor([[-1, 0, -1, 1, -1]])
    features = torch.randn(1, 2, FEATURES)
    present = torch.tensor([[True, False]])
    expected = visual_word_loss(
        model.scores(model.encode(words, mask))[:, 1:2], model.nearest(features)[:, :1], present[:, :1]
    )
    torch.testing.assert_close(model.supervise(words, mask, owner, features, present, 0.0), expected)
