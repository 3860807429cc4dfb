"""BertAdam: Adam without bias correction, whose weight decay is part of the scheduled step."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import nn


def warmup_linear(progress: float, warmup: float) -> float:
    """Factor of the learning rate at a share of the training: it rises linearly, then falls linearly to 0."""
    return progress / warmup if progress < warmup else max((progress - 1) / (warmup - 1), 0.0)


class BertAdam(torch.optim.Optimizer):
    """The optimiser of BERT and U-VisualBERT; the first step has the learning rate 0.

    Args:
        lr: highest learning rate.
        warmup: share of ``total`` in which the rate rises.
        total: steps in all.
        decay: weight decay, of every parameter.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, *, warmup: float, total: int, decay: float = 0.01
    ) -> None:
        super().__init__(parameters, {"lr": lr, "warmup": warmup, "total": total, "decay": decay, "step": 0})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        for group in self.param_groups:
            rate = group["lr"] * warmup_linear(group["step"] / group["total"], group["warmup"])
            group["step"] += 1
            for parameter in group["params"]:
                if parameter.grad is not None:
                    _update(parameter, self.state[parameter], rate, group["decay"])
        return None


def _update(parameter: nn.Parameter, state: dict[str, Any], rate: float, decay: float) -> None:
    if not state:
        state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    assert parameter.grad is not None
    state["mean"].mul_(0.9).add_(parameter.grad, alpha=0.1)
    state["square"].mul_(0.999).addcmul_(parameter.grad, parameter.grad, value=0.001)
    update = state["mean"] / state["square"].sqrt().add_(1e-6)
    parameter.sub_(update.add_(parameter, alpha=decay), alpha=rate)
