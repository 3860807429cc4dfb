"""Location consistency: who is compared with whom; and what two processes compute."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from papers.selfnav.losses import IGNORED, instance_consistency, location_consistency, potential_loss, segmentation_loss


def test_two_processes_are_one(two_processes: Callable[..., str]) -> None:
    assert "2 processes agree with 1" in two_processes("losses")


def places(count: int = 6) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "first": torch.randn(count, 8, dtype=torch.float64),
        "second": torch.randn(count, 8, dtype=torch.float64),
        "place": torch.arange(count)[:, None].repeat(1, 3).double(),
        "label": torch.full((count,), IGNORED),
        "house": torch.zeros(count, dtype=torch.long),
    }


def by_hand(first: Tensor, second: Tensor, compared: Tensor, temperature: float = 0.1) -> Tensor:
    """Mean of both directions; `compared` (N, N) are the keys in a query's softmax."""
    logits = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / temperature
    losses = [F.cross_entropy(x.masked_fill(~compared, -1e9), torch.arange(len(x))) for x in (logits, logits.T)]
    return sum(losses, start=torch.zeros((), dtype=torch.float64)) / 2


def test_far_places_are_negatives() -> None:
    x = places()
    torch.testing.assert_close(location_consistency(**x), by_hand(x["first"], x["second"], torch.ones(6, 6) > 0))


def test_near_places_are_no_negatives_unless_in_another_house() -> None:
    x = places()
    x["place"][1] = x["place"][0] + 0.1
    compared = torch.ones(6, 6) > 0
    compared[0, 1] = compared[1, 0] = False
    torch.testing.assert_close(location_consistency(**x), by_hand(x["first"], x["second"], compared))
    x["house"][1] = 1
    torch.testing.assert_close(location_consistency(**x), by_hand(x["first"], x["second"], torch.ones(6, 6) > 0))


def test_places_of_one_self_label_are_no_negatives_if_asked() -> None:
    x = places()
    x["label"][:3] = torch.tensor([2, 2, 0])
    compared = torch.ones(6, 6) > 0
    compared[0, 1] = compared[1, 0] = False
    torch.testing.assert_close(location_consistency(**x), by_hand(x["first"], x["second"], compared))
    every = location_consistency(**x, exclude_same_label=False)
    torch.testing.assert_close(every, by_hand(x["first"], x["second"], torch.ones(6, 6) > 0))


def test_padding_changes_nothing() -> None:
    x = places()
    expected = location_consistency(**{key: value[:4] for key, value in x.items()})
    x["house"][4:] = -1
    torch.testing.assert_close(location_consistency(**x), expected)
    x["house"][:] = -1
    assert float(location_consistency(**x)) == 0


def test_a_roi_without_a_second_view_is_no_anchor() -> None:
    z = places()["first"].requires_grad_()
    alone = torch.tensor([1, 1, 2, 3, -1, -1])
    loss = instance_consistency(z, alone)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all()  # type: ignore[arg-type]
    assert (z.grad[4:] == 0).all() and (z.grad[2] != 0).any()  # type: ignore[index]
    label = torch.tensor([1, 1, 1, 2, 1, 1])
    assert instance_consistency(z, alone, label) < loss, "one negative less"


def test_unlabelled_pixels_do_not_count() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    weights = torch.tensor([0.35, 1.0, 1.0])
    label[0, :2] = IGNORED
    expected = F.cross_entropy(logits, label, weights, ignore_index=IGNORED)
    torch.testing.assert_close(segmentation_loss(logits, label, weights), expected)
    nothing = segmentation_loss(logits, torch.full_like(label, IGNORED), weights)
    assert float(nothing) == 0


def test_potentials_are_compared_on_known_cells_and_areas_everywhere() -> None:
    objects, target = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    area, target_area = torch.rand(2, 4, 4), torch.rand(2, 4, 4)
    known = torch.zeros(2, 4, 4)
    known[0, :2] = 1
    found = potential_loss(objects, area, target, target_area, known)
    expected = (objects - target)[0, :, :2].square().mean() + (area - target_area).square().mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert np.isfinite(float(potential_loss(objects, area, target, target_area, 0 * known)))
