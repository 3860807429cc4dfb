"""The dictionary's two rules, what it leaves alone, and the masking of codes."""

from collections.abc import Callable

import pytest
import torch

from papers.soho.losses import masked_loss, text_rows
from papers.soho.visual.dictionary import Rule, VisualDictionary, mask_codes


def test_two_processes_are_one(two_processes: Callable[..., str]) -> None:
    assert "2 processes agree with 1" in two_processes("dictionary")


@pytest.mark.parametrize(
    ("rule", "expected"), [("written", [[0.25, 0.25], [3.5, 0.0]]), ("official", [[0.5, 0.5], [3.0, 0.0]])]
)
def test_worked_example(rule: Rule, expected: list[list[float]]) -> None:
    """Codes (0, 0) and (4, 0), features (1, 0), (0, 1) and (3, 0), gamma 0.5."""
    dictionary = VisualDictionary(2, 2, rule, decay=0.5).train()
    dictionary.embed.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
    codes, index = dictionary(torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0]]))
    assert index.tolist() == [0, 0, 1]
    torch.testing.assert_close(dictionary.embed, torch.tensor(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(codes, dictionary.embed[index])


def test_a_code_without_features_stays_or_shrinks() -> None:
    for rule, stays in (("written", True), ("official", False)):
        dictionary = VisualDictionary(2, 2, rule).train()  # type: ignore[arg-type]
        dictionary.embed.copy_(torch.tensor([[0.0, 0.0], [9.0, 9.0]]))
        dictionary(torch.ones(4, 2))
        assert (dictionary.embed[1] == 9).all() == stays
        assert dictionary.embed.isfinite().all()


@pytest.mark.parametrize("frozen", [False, True])
def test_it_moves_in_training_alone(frozen: bool) -> None:
    torch.manual_seed(0)
    dictionary = VisualDictionary(4, 3, frozen=frozen)
    before = dictionary.embed.clone()
    dictionary.eval()(torch.randn(9, 3))
    assert torch.equal(dictionary.embed, before)
    dictionary.train()(torch.randn(9, 3))
    assert torch.equal(dictionary.embed, before) == frozen
    assert not list(dictionary.parameters())


def test_the_lowest_of_equally_near_codes_wins_and_shapes_are_kept() -> None:
    dictionary = VisualDictionary(3, 2).eval()
    dictionary.embed.copy_(torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]))
    codes, index = dictionary(torch.tensor([0.9, 0.0]).expand(2, 3, 4, 2))
    assert codes.shape == (2, 3, 4, 2) and index.shape == (2, 3, 4) and (index == 0).all()


def test_every_position_of_the_code_is_masked() -> None:
    index = torch.tensor([[1, 2, 1, 1], [1, 2, 2, 1], [3, 3, 3, 3]])
    real = torch.tensor([[True, True, True, False], [True] * 4, [True] * 4])
    chosen = torch.tensor([True, False, True])
    none = -100
    assert mask_codes(index, real, torch.tensor(0), chosen).tolist() == [[1, none, 1, none], [none] * 4, [3] * 4]
    alone = mask_codes(index, real, torch.tensor(0), chosen, grouped=False)
    assert alone.tolist() == [[1, none, none, none], [none] * 4, [3, none, none, none]]
    padding = mask_codes(index, real, torch.tensor(3), chosen)
    assert padding.tolist() == [[none] * 4, [none] * 4, [3] * 4]


def test_rows_that_do_not_match_do_not_count() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 5), torch.tensor([[1, -100, 2], [3, 3, 3]])
    matched = text_rows(torch.tensor([1, 0]), positives_only=True)
    torch.testing.assert_close(masked_loss(logits, labels, matched), masked_loss(logits[:1], labels[:1]))
    both = text_rows(torch.tensor([1, 0]), positives_only=False)
    torch.testing.assert_close(masked_loss(logits, labels, both), masked_loss(logits, labels))
    nothing = masked_loss(logits.requires_grad_(), torch.full_like(labels, -100))
    assert nothing.item() == 0
    nothing.backward()
    assert logits.grad is not None and (logits.grad == 0).all()
