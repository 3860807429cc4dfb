"""papers/wfh/losses.py."""

from collections.abc import Callable

import torch

from papers.wfh import losses


def test_two_processes_are_one(two_processes: Callable[..., str]) -> None:
    assert "2 processes agree with 1" in two_processes("losses")


def test_nothing_masked_is_no_loss() -> None:
    logits = torch.randn(0, 7, requires_grad=True)
    loss = losses.masked_loss(logits, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0


def test_detector_loss_counts_every_region_by_confidence() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4), torch.randint(4, (2, 3))
    confidence = torch.tensor([[1.0, 0, 0], [0, 0, 0.5]])
    by_hand = torch.tensor(0.0)
    for row, column, weight in ((0, 0, 1.0), (1, 2, 0.5)):
        by_hand -= weight * logits[row, column].log_softmax(0)[labels[row, column]]
    everywhere = torch.ones(2, 3, dtype=torch.bool)
    torch.testing.assert_close(losses.detector_loss(logits, labels, confidence, everywhere), by_hand / 6 / 0.15)
    padded = torch.tensor([[True, True, False], [True, True, True]])
    torch.testing.assert_close(losses.detector_loss(logits, labels, confidence, padded), by_hand / 5 / 0.15)


def test_feature_loss_counts_masked_regions_and_divides_by_all() -> None:
    predicted, features = torch.zeros(1, 4, 2), torch.full((1, 4, 2), 3.0)
    masked = torch.tensor([[0.0, 1, 0, 0]])
    present = torch.ones(1, 4, dtype=torch.bool)
    loss = losses.feature_loss(predicted, features, masked, present)
    torch.testing.assert_close(loss, torch.tensor(2.5 / 4 / 0.15))


def test_pieces_of_a_tag_are_averaged() -> None:
    scores = torch.tensor([[[9.0, 9], [1, 2], [3, 4], [5, 0]]])
    owner = torch.tensor([[-1, 2, 2, 0]])
    mean, tagged = losses.tag_scores(scores, owner, 3)
    assert mean.tolist() == [[[5, 0], [0, 0], [2, 3]]] and tagged.tolist() == [[True, False, True]]


def test_visual_words_of_regions_that_count() -> None:
    scores = torch.tensor([[[10.0, 0], [0, 10]]])
    nearest = torch.tensor([[0, 0]])
    right, wrong = (losses.visual_word_loss(scores, nearest, torch.tensor([x])) for x in ([True, False], [False, True]))
    assert right < 1e-3 and wrong > 9
