"""Layer decay of fine-tuning, and the learning rate of both phases. Source: official code."""

import math
from typing import Any

from .classifier import Classifier


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
