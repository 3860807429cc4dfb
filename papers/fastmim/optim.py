"""Layer decay of fine-tuning and the learning rate of both phases (source: official code); batches in parts."""

import math
from collections.abc import Iterator
from typing import Any

import torch

from shared import UserError
from shared.loading import Batches
from shared.run import Run

from .encoders.classifier import Classifier


def layer_decay_groups(classifier: Classifier, weight_decay: float, decay: float) -> list[dict[str, Any]]:
    """The optimizer groups of fine-tuning, each with the factor ``lr_scale`` for its learning rate.

    A parameter of layer k has ``decay ** (encoder.layers - k)``, the head and its norm 1. No weight decay for vectors
    and the encoder's ``no_weight_decay``. Frozen parameters are in no group.
    """
    encoder = classifier.encoder
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in classifier.named_parameters():
        if not parameter.requires_grad:
            continue
        inner = name.removeprefix("encoder.")
        layer = encoder.layers if inner == name else encoder.layer_id(inner)
        free = parameter.ndim <= 1 or inner in encoder.no_weight_decay
        group = groups.setdefault(
            (layer, free),
            {
                "params": [],
                "lr_scale": decay ** (encoder.layers - layer),
                "weight_decay": 0.0 if free else weight_decay,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def learning_rate(epoch: float, lr: float, min_lr: float, warmup: float, epochs: float) -> float:
    """Linear from 0 to ``lr`` in ``warmup`` epochs, then half a cosine to ``min_lr``; ``epoch`` may be a fraction.

    ``epochs`` counts all, warm-up included.
    """
    if epoch < warmup:
        return lr * epoch / warmup
    return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value * group.get("lr_scale", 1.0)


def micro_batches(batches: Batches, accumulate: int) -> Iterator[tuple[dict[str, Any], bool]]:
    """The parts of one batch, and whether a part is the last."""
    for k in range(accumulate):
        yield next(batches), k + 1 == accumulate


def accumulation(batch_size: int, micro_batch_size: int, run: Run) -> int:
    """Parts that a batch is taken in, the fewest whose share of one process does not exceed ``micro_batch_size``.

    Raises:
        UserError: if the batch does not split evenly over the processes.
    """
    processes = run.accelerator.num_processes
    if batch_size % processes:
        raise UserError(
            f"A batch of {batch_size} does not split over {processes} processes; use a number of processes that "
            "divides it, or change the batch size."
        )
    share = batch_size // processes
    return next(k for k in range(1, share + 1) if share % k == 0 and share // k <= micro_batch_size)
