"""Batches of a dataset through accelerate: sharded over processes, seeded, prefetched, resumable to the sample."""

import ast
import hashlib
import inspect
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from . import UserError
from .support.code import code_of


def cache_file(cache: Path, name: str, *depends_on: object) -> Path:
    """Where prepared data is kept; the name changes with what the content depends on: modules (their code), values.

    A module that makes the data itself gives ``sys.modules[__name__]``, too.
    """
    content = repr([ast.dump(code_of(inspect.getsource(x))) if inspect.ismodule(x) else x for x in depends_on])
    stem, _, suffix = name.rpartition(".")
    return cache / f"{stem}-{hashlib.sha256(content.encode()).hexdigest()[:12]}.{suffix}"


@runtime_checkable
class SampledDataset(Protocol):
    """A dataset that makes each sample with a generator of its own (crops, gains, partners, augmentation)."""

    def __len__(self) -> int: ...

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]: ...


class ListedDataset(Protocol):
    """A dataset whose samples are always the same, such as a ``datasets.Dataset`` with the format "torch"."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class Batches:
    """An endless iterator over shuffled batches that knows its position.

    Sample number p of the stream is made with a generator seeded by (seed, p), and the order of epoch e by (seed, e):
    a batch depends on its position alone, not on the number of workers, of processes, or on an interruption.

    Args:
        dataset: see :class:`SampledDataset` and :class:`ListedDataset`.
        batch_size: samples of the whole batch; each of P processes gets ``batch_size / P`` consecutive samples of it.
        seed: of the stream.
        accelerator: shards the batches and moves them to the device.
        workers: processes that make samples ahead; 0 makes them in this process.
        collate: makes a batch of a list of samples; default: torch's.

    Raises:
        ValueError: if the accelerator would give every process a whole batch (it needs ``split_batches``).
        UserError: if the dataset holds less than one batch (the last, partial batch of an epoch is dropped), or the
            batch does not split evenly over the processes.
    """

    def __init__(
        self,
        dataset: SampledDataset | ListedDataset,
        batch_size: int,
        *,
        seed: int,
        accelerator: Accelerator,
        workers: int = 0,
        collate: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        if not 0 < batch_size <= len(dataset):
            raise UserError(
                f"A batch of {batch_size} does not fit a dataset of {len(dataset)} samples; change batch_size."
            )
        if accelerator.num_processes > 1 and not accelerator.split_batches:
            raise ValueError("expected an Accelerator with split_batches=True")
        if batch_size % accelerator.num_processes:
            raise UserError(
                f"A batch of {batch_size} does not split over {accelerator.num_processes} processes; use a number of "
                "processes that divides it, or change batch_size."
            )
        self._positions = _Positions(len(dataset), batch_size, seed)
        loader: DataLoader = DataLoader(
            _Samples(dataset, seed),
            batch_sampler=self._positions,
            num_workers=workers,
            prefetch_factor=1 if workers else None,  # batches a worker: those of millions of images are large
            worker_init_fn=_apart,
            persistent_workers=workers > 0,
            pin_memory=accelerator.device.type == "cuda",
            collate_fn=collate,
            generator=torch.Generator().manual_seed(seed),  # keeps the loader off the global generator
        )
        self._loader = accelerator.prepare_data_loader(loader)
        self._iterator: Iterator[Any] | None = None
        self._taken = 0

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._loader)
        batch = next(self._iterator)
        self._taken += 1
        return batch

    def state_dict(self) -> dict[str, int]:
        """Number of samples taken so far (those fetched ahead do not count)."""
        return {"samples": self._taken * self._positions.batch_size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after ``state["samples"]`` samples; after the first epoch only about, in batches of another size."""
        self._taken = self._positions.start = state["samples"] // self._positions.batch_size
        self._iterator = None


def pad_collate(samples: Sequence[dict[str, torch.Tensor]], value: float = 0) -> dict[str, torch.Tensor]:
    """Stack samples whose tensors differ in their first dimension, padded at the end to the longest.

    Returns:
        every key as (B, N_max, ...), and ``<key>_length`` (B,) for each key that has a first dimension.
    """
    batch: dict[str, torch.Tensor] = {}
    for key in samples[0]:
        tensors = [sample[key] for sample in samples]
        if tensors[0].ndim == 0:
            batch[key] = torch.stack(tensors)
        else:
            batch[key] = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)
            batch[f"{key}_length"] = torch.tensor([len(x) for x in tensors])
    return batch


def _apart(worker: int) -> None:
    """A process group of its own: what asks a whole launch to stop would kill the workers before the checkpoint."""
    os.setpgrp()


class _Positions:
    """Batch sampler without end: lists of (position in the stream, index in the dataset)."""

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.drop_last = True
        self.start = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch, order_of = self.size // self.batch_size, -1
        for batch in itertools.count(self.start):
            epoch, k = divmod(batch, per_epoch)
            if epoch != order_of:
                order, order_of = np.random.default_rng((self.seed, epoch)).permutation(self.size), epoch
            indices = order[k * self.batch_size :][: self.batch_size]
            yield list(enumerate(indices.tolist(), batch * self.batch_size))


class _Samples(Dataset):
    def __init__(self, dataset: SampledDataset | ListedDataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        position, index = key
        if isinstance(self.dataset, SampledDataset):
            return self.dataset.sample(index, np.random.default_rng((self.seed, position)))
        return self.dataset[index]
