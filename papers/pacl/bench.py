"""Comparisons of ``make bench``: the memory-lean pairwise compatibility and the equations taken literally."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .model import pairwise

JOINT = 512  # the joint space of ViT-B/16
CHUNK = 64
SIZES = ((64, 49), (64, 196), (256, 49), (256, 196), (1024, 49))
LARGEST = (1024, 196)  # the literal form would take four times the memory of the size before


def bench() -> Iterator[dict[str, Any]]:
    """Forward and backward of all images against all texts, dot weighting."""
    for batch, tokens in SIZES:
        patches, text = inputs(batch, tokens)
        torch.testing.assert_close(pairwise(patches, text, chunk=CHUNK), literal(patches, text), rtol=0, atol=1e-4)
        for chunk in (None, CHUNK) if batch > CHUNK else (None,):
            yield {
                "name": f"pairwise, B = M = {batch}, T = {tokens}" + (f", {chunk} texts at a time" if chunk else ""),
                "detail": f"D = {JOINT}, forward and backward; reference: v for every pair, (B, M, D)",
                "ours": step(partial(pairwise, chunk=chunk), patches, text),
                "reference": step(literal, patches, text),
                "memory": True,
            }
    batch, tokens = LARGEST
    yield {
        "name": f"pairwise, B = M = {batch}, T = {tokens}, {CHUNK} texts at a time",
        "detail": f"D = {JOINT}, forward and backward; the literal form was not run",
        "ours": step(partial(pairwise, chunk=CHUNK), *inputs(batch, tokens)),
        "memory": True,
    }


def inputs(batch: int, tokens: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return 0.3 * torch.randn(batch, tokens, JOINT, requires_grad=True), 0.3 * torch.randn(batch, JOINT)


def literal(patches: Tensor, text: Tensor) -> Tensor:
    """The equations as they stand: a pooled vector v for every image and text."""
    similarity = torch.einsum("btd,md->bmt", patches, text)
    pooled = torch.einsum("bmt,btd->bmd", similarity.softmax(-1), patches)
    return torch.einsum("bmd,md->bm", F.normalize(pooled, dim=-1), F.normalize(text, dim=-1))


def step(phi: Callable[[Tensor, Tensor], Tensor], patches: Tensor, text: Tensor) -> Callable[[], None]:
    """Forward and backward; the gradient is thrown away."""
    leaf = patches.detach().requires_grad_()

    def run() -> None:
        torch.autograd.grad(phi(leaf, text).square().sum(), leaf)

    return run
