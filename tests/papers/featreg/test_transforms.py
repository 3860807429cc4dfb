"""Domains by name and parameters, noise that belongs to an image, and controlled misalignment."""

import pytest
import torch

from papers.featreg.transforms import TRANSFORMS, misaligned, parse, transform
from shared import UserError

IMAGE = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0))


def test_parameters_of_a_domain() -> None:
    assert parse("night") == ("night", {})
    assert parse("night:gamma=3,saturation=0") == ("night", {"gamma": 3.0, "saturation": 0.0})
    assert parse("time2") == ("time2", {})


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ("nigth", "There is no domain 'nigth'; there are: gray, negative"),
        ("night:strength=3", "has no parameter 'strength'; it has: saturation, gamma"),
        ("gray:gamma=3", "it has: none"),
        ("time2:gamma=3", "it has: none"),
        ("hue:turn=far", "turn of the domain hue is 'far'; expected a number"),
        ("hue:turn=nan", "expected a number"),
    ],
)
def test_an_unknown_domain_is_told(domain: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse(domain)


@pytest.mark.parametrize("domain", TRANSFORMS)
def test_a_domain_is_fixed_and_in_range(domain: str) -> None:
    before = IMAGE.clone()
    changed = transform(IMAGE, domain, 3, rounded=False)
    assert changed.shape == IMAGE.shape and changed.min() >= 0 and changed.max() <= 1
    assert torch.equal(IMAGE, before) and (changed - IMAGE).abs().mean() > 0.05
    assert torch.equal(transform(IMAGE, domain, 3, rounded=False), changed)
    other = transform(IMAGE, domain, 4, rounded=False)
    assert torch.equal(other, changed) == (domain != "blur_noise"), "only noise is an image's own"


def test_night_is_saturation_then_gamma_then_gains() -> None:
    luma = (torch.tensor([0.2989, 0.587, 0.114])[:, None, None] * IMAGE).sum(0, keepdim=True)
    expected = (0.3 * IMAGE + 0.7 * luma) ** 2.5 * torch.tensor([0.5, 0.6, 1.0])[:, None, None]
    torch.testing.assert_close(transform(IMAGE, "night", rounded=False), expected, rtol=0, atol=1e-3)


def test_a_shift_moves_image_and_labels_alike() -> None:
    """A bright square and its label, without rotation: both move by the very number of pixels."""
    image, label = torch.zeros(3, 48, 64), torch.zeros(48, 64, dtype=torch.int64)
    image[:, 20:28, 28:36], label[20:28, 28:36] = 1, 7
    directions = set()
    for seed in range(8):
        moved, labels = misaligned(image, label, seed, shift=8, rotation=0)
        centre = torch.stack([x.float().mean() for x in torch.nonzero(moved[0] > 0.5, as_tuple=True)])
        of_labels = torch.stack([x.float().mean() for x in torch.nonzero(labels, as_tuple=True)])
        offset = centre - torch.tensor([23.5, 31.5])
        assert offset.norm().item() == pytest.approx(8, abs=0.6)
        torch.testing.assert_close(centre, of_labels, rtol=0, atol=0.6)
        assert set(labels.flatten().tolist()) == {0, 7}
        directions.add(round(float(torch.atan2(offset[0], offset[1])), 1))
    assert len(directions) > 5


def test_a_rotation_is_bounded_and_keeps_the_aspect() -> None:
    image, label = torch.zeros(3, 48, 96), torch.zeros(48, 96, dtype=torch.int64)
    label[24, 8:88] = 1
    for seed in range(5):
        rows, columns = torch.nonzero(misaligned(image, label, seed, shift=0, rotation=3)[1], as_tuple=True)
        slope = (rows[columns > 80].float().mean() - rows[columns < 16].float().mean()) / 76
        assert abs(float(slope)) <= 0.0525 + 0.015  # tan 3 degrees, and the width of a pixel


def test_no_misalignment_is_none() -> None:
    label = torch.randint(9, (24, 32))
    moved, labels = misaligned(IMAGE, label, 5, shift=0, rotation=0)
    torch.testing.assert_close(moved, IMAGE, rtol=0, atol=1e-5)
    assert torch.equal(labels, label)
