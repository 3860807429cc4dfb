"""shared/loading.py: a batch depends on its position alone."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration

from shared import UserError
from shared.loading import Batches, pad_collate
from shared.support.command_line import explain, run_and_explain

SIZE, BATCH = 22, 4  # 5 batches an epoch, 2 samples dropped


class Drawn:
    """Samples that say who they are and what they drew."""

    def __len__(self) -> int:
        return SIZE

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return {"index": index, "drawn": rng.integers(2**40), "crop": torch.from_numpy(rng.random((2, 3)))}


class Spoilt(Drawn):
    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        raise UserError("dog.wav is truncated; delete it and run again.")


def accelerator() -> Accelerator:
    """As a Run makes it."""
    return Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(split_batches=True))


def batches(seed: int = 0, workers: int = 0) -> Batches:
    return Batches(Drawn(), BATCH, seed=seed, accelerator=accelerator(), workers=workers)


def take(stream: Batches, count: int) -> list[dict[str, list[Any]]]:
    return [{key: x.tolist() for key, x in next(stream).items()} for _ in range(count)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("position", [0, 1, 4, 5, 6, 12])
def test_same_batches_whatever_workers_and_interruptions(workers: int, position: int) -> None:
    expected = take(batches(), 17)  # three epochs and two batches
    stopped = batches(workers=workers)
    assert take(stopped, position) == expected[:position]
    state = stopped.state_dict()
    take(stopped, 2)
    for continued in (batches(workers=workers), stopped):  # in a new process, and rewound in the same
        continued.load_state_dict(state)
        assert take(continued, 17 - position) == expected[position:]
        assert continued.state_dict() == {"samples": 17 * BATCH}


def test_batches_of_another_size_continue_after_as_many_samples() -> None:
    state = {"samples": 3 * BATCH}
    halves = Batches(Drawn(), BATCH // 2, seed=0, accelerator=accelerator())
    halves.load_state_dict(state)
    (fourth,) = take(batches(), 4)[3:]
    assert [index for half in take(halves, 2) for index in half["index"]] == fourth["index"]


class Grouped(Drawn):
    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return {"group": os.getpgrp(), "process": os.getpid()}


def test_workers_outlive_what_asks_the_whole_launch_to_stop() -> None:
    """A signal to the process group of a run, as launchers send it, would kill them before its checkpoint."""
    batch = next(Batches(Grouped(), BATCH, seed=0, accelerator=accelerator(), workers=1))
    assert batch["group"].tolist() == batch["process"].tolist() and os.getpgrp() not in batch["group"]


def test_every_sample_once_an_epoch_but_for_the_dropped() -> None:
    stream = batches()
    orders = []
    for _ in range(3):
        order = [index for batch in take(stream, SIZE // BATCH) for index in batch["index"]]
        assert len(set(order)) == len(order) == SIZE // BATCH * BATCH and set(order) < set(range(SIZE))
        orders.append(order)
    assert len({tuple(order) for order in orders}) == 3
    assert set().union(*orders) == set(range(SIZE)), "the dropped samples are others each epoch"


def test_every_draw_is_new_and_seeds_differ() -> None:
    drawn = [x for batch in take(batches(), 10) for x in batch["drawn"]]
    assert len(set(drawn)) == len(drawn)
    assert not set(drawn) & {x for batch in take(batches(seed=1), 10) for x in batch["drawn"]}
    assert take(batches(seed=1), 5) != take(batches(seed=2), 5)


@pytest.mark.parametrize("workers", [0, 2])
def test_leaves_the_global_generators_alone(workers: int) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.randint(2**30)
    np.random.seed(0)
    take(batches(workers=workers), 7)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.randint(2**30) == before[1]


@pytest.mark.parametrize("size", [0, -1, SIZE + 1])
def test_a_batch_size_that_does_not_fit_is_named(size: int) -> None:
    with pytest.raises(UserError, match=f"{size} does not fit a dataset of {SIZE} samples"):
        Batches(Drawn(), size, seed=0, accelerator=accelerator())


def test_a_whole_dataset_may_be_one_batch() -> None:
    stream = Batches(Drawn(), SIZE, seed=0, accelerator=accelerator())
    assert all(sorted(batch["index"]) == list(range(SIZE)) for batch in take(stream, 3))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_sample_is_told_in_its_own_words(workers: int) -> None:
    stream = Batches(Spoilt(), BATCH, seed=0, accelerator=accelerator(), workers=workers)
    with pytest.raises(UserError) as error:
        next(stream)
    assert explain(error.value) == "dog.wav is truncated; delete it and run again."


class Missing(Drawn):
    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return {"x": torch.from_numpy(np.fromfile("/nowhere/7.bin"))}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_missing_file_is_told_in_one_sentence(workers: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker's error comes as a traceback in a text."""
    stream = Batches(Missing(), BATCH, seed=0, accelerator=accelerator(), workers=workers)
    assert run_and_explain(lambda: next(stream), debug=False) == 1
    expected = "error: /nowhere/7.bin: No such file or directory; mend that and run the same command again.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_of_the_datasets_library(workers: int) -> None:
    """Its samples are always the same; their order, epochs and resumption are those of any dataset."""
    rows = {"index": list(range(SIZE)), "x": [[k, -k] for k in range(SIZE)]}
    dataset = datasets.Dataset.from_dict(rows).with_format("torch")
    expected = [batch["index"] for batch in take(batches(), 12)]
    stream = Batches(dataset, BATCH, seed=0, accelerator=accelerator(), workers=workers)
    found = take(stream, 7)
    continued = Batches(dataset, BATCH, seed=0, accelerator=accelerator(), workers=workers)
    continued.load_state_dict(stream.state_dict())
    found += take(continued, 5)
    assert [batch["index"] for batch in found] == expected
    assert all(batch["x"] == [[k, -k] for k in batch["index"]] for batch in found)


# -- two processes ----------------------------------------------------------------------------------------------------


def test_two_processes_share_the_batch_of_one(tmp_path: Path, two_processes: Callable[..., str]) -> None:
    two_processes("batches", tmp_path)
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    for workers, start in (("0", 0), ("2", 0), ("0", 7)):
        halves = [rank[f"{workers} workers from {start}"] for rank in ranks]
        whole = take(batches(), 12)[start:]
        assert all(len(half["index"]) == BATCH // 2 for rank in halves for half in rank)
        assert [{key: a[key] + b[key] for key in a} for a, b in zip(*halves, strict=True)] == whole
    assert all("split_batches" in rank["whole batches"] for rank in ranks)
    assert all(rank["error"].startswith("A batch of 3 does not split over 2 processes; ") for rank in ranks)


# -- padding ----------------------------------------------------------------------------------------------------------


def test_pad_collate() -> None:
    samples = [
        {"tokens": torch.tensor([1, 2, 3]), "boxes": torch.ones(1, 4), "label": torch.tensor(7)},
        {"tokens": torch.tensor([4]), "boxes": torch.ones(2, 4), "label": torch.tensor(8)},
    ]
    batch = pad_collate(samples, value=-1)
    assert batch["tokens"].tolist() == [[1, 2, 3], [4, -1, -1]] and batch["tokens"].dtype == torch.int64
    assert batch["tokens_length"].tolist() == [3, 1] and batch["boxes_length"].tolist() == [1, 2]
    assert batch["boxes"].shape == (2, 2, 4)
    assert batch["boxes"][0, 1].tolist() == [-1] * 4
    assert batch["label"].tolist() == [7, 8] and "label_length" not in batch
    assert pad_collate(samples)["tokens"][1].tolist() == [4, 0, 0]


def test_pad_collate_of_empty_and_of_mismatched() -> None:
    batch = pad_collate([{"boxes": torch.ones(0, 4)}, {"boxes": torch.ones(2, 4)}])
    assert batch["boxes"].shape == (2, 2, 4) and batch["boxes_length"].tolist() == [0, 2]
    assert batch["boxes"][0].abs().sum() == 0
    with pytest.raises(RuntimeError, match="size"):
        pad_collate([{"boxes": torch.ones(1, 4)}, {"boxes": torch.ones(2, 3)}])


class Ragged(Drawn):
    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return {"index": torch.tensor(index), "x": torch.from_numpy(rng.random(index % 3 + 1))}


@pytest.mark.parametrize("collate", [pad_collate, lambda samples: pad_collate(samples, value=-1)])
def test_batches_collate_as_told(collate: Callable[[list[Any]], Any]) -> None:
    stream = Batches(Ragged(), BATCH, seed=0, accelerator=accelerator(), collate=collate)
    batch = next(stream)
    assert batch["x_length"].tolist() == [i % 3 + 1 for i in batch["index"].tolist()]
    assert batch["x"].shape == (BATCH, int(batch["x_length"].max()))
