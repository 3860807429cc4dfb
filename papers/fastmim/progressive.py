"""FastMIM-P: the resolution of pre-training, in stages. The other methods have one stage."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from shared import UserError
from shared.loading import Batches
from shared.run import Run

from .config import Config
from .data import Data, Unlabelled
from .masking import Noised
from .optim import accumulation


@dataclass(frozen=True)
class Stage:
    """Consecutive steps of pre-training at one resolution."""

    size: int
    batch_size: int
    start: int
    stop: int
    first_epoch: int
    steps_per_epoch: int

    def epoch(self, step: int) -> float:
        return self.first_epoch + (step - self.start) / self.steps_per_epoch


def stages(config: Config, images: int) -> list[Stage]:
    """The resolutions of pre-training in turn; one only, but for FastMIM-P.

    Raises:
        UserError: resolutions, epochs and batch sizes are not equally many, several for a method that has one, or there
            are fewer images than a batch has.
    """
    found: list[Stage] = []
    step, epoch = 0, 0
    batch_sizes = config.stage_batch_sizes or (config.batch_size,) * len(config.resolutions)
    if not len(config.resolutions) == len(config.epochs) == len(batch_sizes):
        raise UserError(
            f"resolutions {config.resolutions}, epochs {config.epochs} and stage_batch_sizes {batch_sizes} belong "
            "together, one of each a stage; give equally many."
        )
    if len(config.resolutions) > 1 and config.method != "fastmim":
        raise UserError(f"resolutions are {config.resolutions}, but {config.method} has one only.")
    for size, batch_size, epochs in zip(config.resolutions, batch_sizes, config.epochs, strict=True):
        if (per_epoch := images // batch_size) == 0:
            raise UserError(f"A batch of {batch_size} does not fit {images} images; change batch_size.")
        found.append(Stage(size, batch_size, step, step + epochs * per_epoch, epoch, per_epoch))
        step, epoch = found[-1].stop, epoch + epochs
    return found


class ResolutionSchedule:
    """The state of pre-training: its stage, the stage's batches and the network's resolution (part of the checkpoint).

    At the border of two stages positions, windows and bias tables are resized; the optimizer keeps the moments of every
    tensor whose shape is unchanged.
    """

    prepared: Any
    """The network as accelerate trains it, in DistributedDataParallel where there are several processes."""

    def __init__(
        self, config: Config, run: Run, data: Data, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self.config, self.run, self.data, self.model, self.optimizer = config, run, data, model, optimizer
        self.stages = stages(config, len(data.pretrain))
        self._go(0)

    @property
    def stage(self) -> Stage:
        return self.stages[self.number]

    def enter(self, step: int) -> None:
        """Move to the stage of ``step``."""
        number = next(k for k, stage in enumerate(self.stages) if step < stage.stop)
        if number != self.number:
            self._go(number)

    def _go(self, number: int) -> None:
        self.number = number
        if number:
            self.prepared = None  # the former replica, too, would expect gradients of the old shapes
            self.run.accelerator.free_memory()
            resize(self.model, self.optimizer, self.stage.size)
        self.prepared = self.run.accelerator.prepare_model(self.model)
        self.accumulate = accumulation(self.stage.batch_size, self.config.micro_batch_size, self.run)
        blocks = self.stage.size // self.config.block
        dataset = Noised(Unlabelled(self.data, self.stage.size), blocks**2)
        self.batches = Batches(
            dataset,
            self.stage.batch_size // self.accumulate,
            seed=self.run.seed + 1000 * number,  # another order in every stage
            accelerator=self.run.accelerator,
            workers=self.config.workers,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"stage": self.number, "batches": self.batches.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["stage"] != self.number:
            self._go(state["stage"])
        self.batches.load_state_dict(state["batches"])


def resize(model: nn.Module, optimizer: torch.optim.Optimizer, size: int) -> None:
    """Take the encoder to another resolution; the optimizer forgets its moments of every tensor that changed shape."""
    encoder: Any = model.encoder
    encoder.set_image_size(size)
    for parameter in model.parameters():
        moments = optimizer.state.get(parameter, {})
        if moments and moments["exp_avg"].shape != parameter.shape:
            del optimizer.state[parameter]
