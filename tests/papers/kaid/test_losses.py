"""papers/kaid/losses.py and the model's switches: masks, duplicates, two processes."""

from collections.abc import Callable

import pytest
import torch

from papers.kaid.losses import alignment_loss, attention_loss, hidden_loss
from papers.kaid.model import AdapterStack, ClassificationHead, Fusion, pair_feature


def test_alignment_over_two_processes(two_processes: Callable[..., str]) -> None:
    assert "2 processes agree with 1" in two_processes("losses")


def test_a_repeated_phrase_is_one_column() -> None:
    """A phrase that occurs twice among the columns would be its query's own negative, or count twice."""
    torch.manual_seed(0)
    query, phrase = torch.randn(3, 4), torch.randn(3, 4)
    phrase[2] = phrase[0]

    def related(ids: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[n == own for n in ids.tolist()] for own in (7, 8, 7)])

    found = alignment_loss(query, phrase, torch.tensor([7, 8, 7]), related, 0.5)
    logits = torch.nn.functional.normalize(query, dim=1) @ torch.nn.functional.normalize(phrase[:2], dim=1).T / 0.5
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 0])))


@pytest.mark.parametrize("kind", ["mse", "cos"])
def test_padding_does_not_count_in_hidden_losses(kind: str) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 5, 3)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    expected = hidden_loss(student, teacher, mask, kind)  # type: ignore[arg-type]
    student[0, 3:] = 1e3
    torch.testing.assert_close(hidden_loss(student, teacher, mask, kind), expected)  # type: ignore[arg-type]


def test_negative_scores_count_where_there_is_a_mask() -> None:
    student, teacher = torch.full((1, 1, 2, 2), -3.0), torch.full((1, 1, 2, 2), -1.0)
    assert float(attention_loss(student, teacher, None)) == 0
    assert float(attention_loss(student, teacher, torch.ones(1, 2))) == pytest.approx(4)


def test_adapters_attend_to_padding_in_the_official_mode_alone() -> None:
    torch.manual_seed(0)
    states = {0: torch.randn(1, 6, 8), 1: torch.randn(1, 6, 8)}
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    for mode, changes in (("real", False), ("official", True)):
        stack = AdapterStack(
            8,
            (0, 1),
            adapter_mask=mode,
            size=4,
            heads=2,
            layers=1,
            feed_forward=8,  # type: ignore[arg-type]
        ).eval()
        for adapter in stack.adapter:
            torch.nn.init.normal_(adapter.up_project.weight)  # type: ignore[union-attr, arg-type]
            torch.nn.init.normal_(adapter.down_project.weight)  # type: ignore[union-attr, arg-type]
        before = stack(states, mask)[:, :4]
        other = {k: x.clone() for k, x in states.items()}
        for x in other.values():
            x[:, 4:] += 5
        assert torch.allclose(stack(other, mask)[:, :4], before, atol=1e-6) != changes


def test_a_new_fusion_is_the_average_of_its_parts() -> None:
    last, a, b = torch.randn(3, 2, 6)
    found = Fusion(6, ["x", "y"], "concat")(last, {"x": a, "y": b})
    torch.testing.assert_close(found, (last + (a + b) / 2) / 2)
    assert Fusion(6, [], "concat")(last, {}) is last


def test_a_new_head_of_pairs_is_the_cosine() -> None:
    a, b = torch.randn(2, 5, 6)
    logits = ClassificationHead(12, 2, dense=False, of_pairs=True)(pair_feature(a, b))
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], 10 * torch.cosine_similarity(a, b))
