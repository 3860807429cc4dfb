"""BertAdam: Adam without bias correction, whose weight decay is part of the scheduled step."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn


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
            parameters = [x for x in group["params"] if x.grad is not None]
            if parameters:
                _update(parameters, [self.state[x] for x in parameters], rate, group["decay"])
        return None


def _update(parameters: list[Tensor], states: list[dict[str, Any]], rate: float, decay: float) -> None:
    """All parameters at once: a call for each of them is a tenth of a step of a small network."""
    for parameter, state in zip(parameters, states, strict=True):
        if not state:
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    gradients = [x.grad for x in parameters if x.grad is not None]
    means, squares = ([state[name] for state in states] for name in ("mean", "square"))
    torch._foreach_mul_(means, 0.9)
    torch._foreach_add_(means, gradients, alpha=0.1)
    torch._foreach_mul_(squares, 0.999)
    torch._foreach_addcmul_(squares, gradients, gradients, 0.001)
    roots = torch._foreach_sqrt(squares)
    torch._foreach_add_(roots, 1e-6)
    updates = torch._foreach_div(means, roots)
    torch._foreach_add_(updates, parameters, alpha=decay)
    torch._foreach_add_(parameters, updates, alpha=-rate)
