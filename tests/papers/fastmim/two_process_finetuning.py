"""Run by test_train.py under torchrun: what each of two processes mixes in fine-tuning, with and without a stop."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from papers.fastmim import train as train_module
from papers.fastmim.config import PRESETS
from papers.fastmim.data import Data
from shared.run import Interrupted, Run

CONFIG = replace(
    PRESETS["smoke"], method="none", widths=(16,), finetune_batch_size=8, mixup=0.8, cutmix=1.0, drop_path=0.3,
    save_every=100,
)  # fmt: skip
STEPS = 12
MIXED: list[Tensor] = []


class Recorded(train_module.Mixup):
    def __call__(self, images: Tensor, labels: Tensor) -> Any:
        images, targets = super().__call__(images, labels)
        MIXED.append(targets.max(1).values)  # the larger share of each label and of the one that it is mixed with
        return images, targets


class Watched(Run):
    """Its network can be seen, and its first process be asked to stop during step 8; after it all do."""

    def __init__(self, folder: Path, *, stops: bool = False) -> None:
        super().__init__(folder, folder, seed=3)
        self.stops = stops

    def steps(self, total: int, **options: Any) -> Iterator[int]:  # type: ignore[override]
        self.model = self.accelerator.unwrap_model(options["model"])  # a replica would keep the process group alive
        yield from super().steps(total, **options)

    def log(self, step: int, **values: Any) -> None:
        if self.stops and step == 8 and self.accelerator.is_main_process:
            os.kill(os.getpid(), signal.SIGTERM)
        super().log(step, **values)


def digits() -> Data:
    images = torch.randint(256, (32, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(32) % 10
    classes = [str(k) for k in range(10)]
    return Data("digits", images, images, labels, images, labels, {}, classes, (0.5,) * 3, (0.25,) * 3)


def main(folder: Path) -> None:
    train_module.Mixup = Recorded  # type: ignore[misc]
    whole = Watched(folder / "whole")
    train_module.finetune(CONFIG, whole, digits())
    try:
        train_module.finetune(CONFIG, Watched(folder / "stopped", stops=True), digits())
        raise AssertionError("SIGTERM did not stop the run")
    except Interrupted:
        assert len(MIXED) == STEPS + 9
    continued = Watched(folder / "stopped")
    train_module.finetune(CONFIG, continued, digits())
    assert continued.weights.read_bytes() == whole.weights.read_bytes()
    mixed = torch.stack(MIXED).view(2, STEPS, -1)
    assert torch.equal(mixed[0], mixed[1]), "a process went on with draws that are not its own"
    first, second = gather_object([mixed[0]])
    assert not torch.isclose(first, second).all(1).any(), "two processes mixed with the same share"
    first, second = gather_object([[x.detach() for x in whole.model.parameters()]])
    assert all(map(torch.equal, first, second)), "two processes ended with different weights"
    if whole.accelerator.is_main_process:
        print("each process mixes on its own")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
