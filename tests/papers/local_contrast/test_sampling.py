"""Batches of the three stages: partitions, views, augmentation, and that a position alone tells what is drawn."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from papers.local_contrast.config import CPU, PRESETS, VARIANTS
from papers.local_contrast.data import Slices
from papers.local_contrast.sampling import (
    AnySlices,
    LabelledSlices,
    PartitionedVolumes,
    augmentation_parameters,
    partition_bounds,
)
from papers.local_contrast.train import samples_a_step
from shared import UserError


def volume(slices: int, subject: str = "007") -> Slices:
    """Slice k is full of k, in image and label."""
    images = torch.arange(slices, dtype=torch.float32)[:, None, None].expand(-1, 4, 4)
    return Slices(subject, images, images.long())


def drawn(dataset: Any, seed: int = 0, index: int = 0) -> dict[str, Any]:
    return dataset.sample(index, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("slices", "bounds"), [(4, [0, 1, 2, 3, 4]), (19, [0, 4, 8, 12, 16]), (20, [0, 5, 10, 15, 20])]
)
def test_partitions_leave_the_last_slices_over(slices: int, bounds: list[int]) -> None:
    assert partition_bounds(slices, 4) == bounds


def test_a_volume_with_fewer_slices_than_partitions() -> None:
    with pytest.raises(UserError, match="A volume of 3 slices has no 4 partitions"):
        partition_bounds(3, 4)
    with pytest.raises(UserError, match="Subject 007 has 3 slices; expected 4 or more"):
        PartitionedVolumes([volume(20, "001"), volume(3)], 1, CPU)


def test_one_slice_of_each_partition_of_volumes_of_any_length() -> None:
    dataset = PartitionedVolumes([volume(17), volume(22), volume(4)], 2, CPU)
    seen: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for index in seen:
        for seed in range(200):
            sample = drawn(dataset, seed, index)
            chosen = sample["images"][:, 0, 0].long()
            step = len(dataset.volumes[index].images) // 4
            assert (chosen // step).tolist() == sample["partition"].tolist() == [0, 1, 2, 3]
            assert sample["box"].shape == (2, 4, 3) and sample["delta"].shape == sample["factor"].shape == (2, 4)
            seen[index] |= set(chosen.tolist())
    assert [len(found) for found in seen.values()] == [16, 20, 4], "all but those that are left over"


def test_any_slice_of_any_volume() -> None:
    dataset = AnySlices([volume(5), volume(3, "008")], 2, CPU)
    found = {drawn(dataset, seed)["name"] for seed in range(200)}
    assert len(found) == len(dataset) == 8


def test_views_stay_in_their_ranges_and_differ() -> None:
    dataset = AnySlices([volume(5)], 2, replace(CPU, brightness=0.3, contrast=0.2))
    samples = [drawn(dataset, seed) for seed in range(300)]
    box, delta, factor = (torch.stack([x[name] for x in samples]) for name in ("box", "delta", "factor"))
    assert box[..., :2].min() >= 10 / 192 and (box[..., :2] + box[..., 2:]).max() <= 170 / 192 + 1e-6
    assert delta.abs().max() <= 0.3 and delta.abs().max() > 0.28
    assert factor.min() >= 0.8 and factor.max() <= 1.2 and (delta[:, 0] != delta[:, 1]).all()


def test_a_slice_and_its_labels_belong_together() -> None:
    dataset = LabelledSlices([volume(5)], CPU)
    for seed in range(20):
        sample = drawn(dataset, seed)
        assert torch.equal(sample["images"].long(), sample["labels"]) and sample["name"].startswith("007 slice ")


def test_augmentation_draws_one_change_of_place() -> None:
    config = replace(CPU, rotations_of_45=True, elastic_sigma=5.0)
    rng = np.random.default_rng(0)
    samples = [augmentation_parameters(config, rng) for _ in range(4000)]
    kinds = np.array([[float(x["angle"] != 0), float(x["scale"] != 1), float(x["flip"])] for x in samples])
    assert kinds.sum(1).max() == 1, "never two at once"
    turned, scaled, flipped = kinds.mean(0)
    assert turned == pytest.approx(0.2 + 0.2 * 7 / 8, abs=0.03) and flipped == pytest.approx(0.1, abs=0.02)
    assert scaled == pytest.approx(0.2 * 0.9, abs=0.03), "0.95 to 1.05 in steps of a hundredth, 1.00 among them"
    deformed = np.array([float(x["displacement"].abs().sum() > 0) for x in samples])
    assert deformed.mean() == pytest.approx(config.elastic_share, abs=0.03)
    moved = torch.stack([x["displacement"] for x in samples])[deformed > 0]
    assert moved.std() == pytest.approx(5.0, abs=0.1)
    both = [(x["delta"] != 0) & (x["factor"] != 1) for x in samples]
    assert not any(both) and {float(x["angle"]) for x in samples} >= {45.0 * k for k in range(8)}


def test_without_turns_by_multiples_of_45() -> None:
    config, rng = replace(CPU, rotations_of_45=False), np.random.default_rng(0)
    angles = [float(augmentation_parameters(config, rng)["angle"]) for _ in range(500)]
    assert 14 < max(angles) <= 15 and -15 <= min(angles) < -14


DATASETS: dict[str, Callable[[], Any]] = {
    "partitions": lambda: PartitionedVolumes([volume(17)], 2, CPU),
    "any": lambda: AnySlices([volume(17)], 2, CPU),
    "labelled": lambda: LabelledSlices([volume(17)], CPU),
}


@pytest.mark.parametrize("name", DATASETS)
def test_a_generator_gives_one_sample(name: str) -> None:
    one, same, other = drawn(DATASETS[name](), 1), drawn(DATASETS[name](), 1), drawn(DATASETS[name](), 2)
    tensors = [key for key, x in one.items() if isinstance(x, torch.Tensor)]
    assert all(torch.equal(one[key], same[key]) for key in tensors)
    assert not all(torch.equal(one[key], other[key]) for key in tensors)


@pytest.mark.parametrize(
    ("preset", "samples"), [("paper", {"r": 12, "d-minus": 3, "d": 6}), ("cpu", {"r": 24, "d-minus": 4, "d": 6})]
)
def test_samples_a_step(preset: str, samples: dict[str, int]) -> None:
    """The paper's batches at its own scale; as many images for every strategy on a CPU."""
    for strategy, count in samples.items():
        config = replace(PRESETS[preset], **VARIANTS[f"encoder-{strategy}"].changes)
        assert samples_a_step(config) == count
        images = count * {"r": 2, "d-minus": 3 * 4, "d": 2 * 4}[strategy]
        assert images == {"paper": {"r": 24, "d-minus": 36, "d": 48}[strategy], "cpu": 48}[preset]
