"""The compatibility against the equations taken literally, on both sides of the switch to Gram matrices."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from papers.pacl import model
from papers.pacl.model import diagonal, pairwise, sigmoid_diagonal, sigmoid_pairwise

SIZES = {"pooled": (3, 4, 16, 8), "gram": (3, 32, 6, 16)}  # images, texts, patches, width
MODES: dict[str, dict[str, Any]] = {
    "dot": {"weighting": "dot", "attn_scale": 1.0},
    "cos": {"weighting": "cos", "attn_scale": 1.0},
    "cos10": {"weighting": "cos", "attn_scale": 10.0},
}
both_sides = pytest.mark.parametrize("side", SIZES)
all_modes = pytest.mark.parametrize("mode", MODES)
both_types = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of two vectors; zero where one of them is exactly zero."""
    norms = a.norm() * b.norm()
    return a @ b / norms if norms > 0 else 0 * (a @ b).detach()


def literal(patches: Tensor, own: Tensor, text: Tensor, weighting: str, attn_scale: float) -> Tensor:
    """One image (T, D), its weights by the text ``own`` (D,), compared with another text (D,)."""
    similarity = patches @ own if weighting == "dot" else torch.stack([cosine(patch, own) for patch in patches])
    weights = (attn_scale * similarity).softmax(0)
    return cosine(patches.T @ weights, text)


def literal_pairwise(patches: Tensor, text: Tensor, weighting: str, attn_scale: float) -> Tensor:
    rows = [[literal(image, t, t, weighting, attn_scale) for t in text] for image in patches]
    return torch.stack([torch.stack(row) for row in rows])


def literal_diagonal(patches: Tensor, own: Tensor, text: Tensor, weighting: str, attn_scale: float) -> Tensor:
    rows = [[literal(image, o, t, weighting, attn_scale) for t in text] for image, o in zip(patches, own, strict=True)]
    return torch.stack([torch.stack(row) for row in rows])


def value_and_gradients(phi: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """phi, and the gradients of its inputs for a fixed gradient of phi."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    value = phi(*leaves)
    upstream = torch.linspace(-1, 2, value.numel(), dtype=value.dtype).reshape(value.shape)
    return [value.detach(), *torch.autograd.grad(value, leaves, upstream)]


def assert_equations(found: list[Tensor], expected: list[Tensor], rounding: float) -> None:
    """Each tensor up to ``rounding``, relative to the largest of its entries."""
    for name, x, y in zip(("value", "gradient of the patches", "gradient of the texts"), found, expected, strict=False):
        assert y.abs().max() > 0, name
        assert (x.double() - y).abs().max() <= rounding * y.abs().max(), name


def inputs(side: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    images, texts, count, width = SIZES[side]
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(images, count, width, dtype=torch.float64, generator=generator)
    text = torch.randn(texts, width, dtype=torch.float64, generator=generator)
    return patches.to(dtype), text.to(dtype)


def cancelling(side: str, left: float) -> tuple[Tensor, Tensor]:
    """Patches (float32) of which the first two images' cancel up to ``left`` of their norm; the first text is that."""
    patches, text = inputs(side, torch.float32)
    half = patches[:2, : patches.shape[1] // 2]
    patches[:2] = torch.cat([half, -half], dim=1) + left * patches[:2, :1]
    text[0] = patches[0].double().mean(0).float() / left
    return patches, text


@both_sides
def test_sizes_are_on_either_side(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.Size] = []
    monkeypatch.setattr(model, "_cosine_of_pairs", lambda pooled, unit: made.append(pooled.shape) or pooled.sum(-1))
    patches, text = inputs(side)
    pairwise(patches, text)
    assert made == ([(3, 4, 8)] if side == "pooled" else [])


@both_sides
@all_modes
@both_types
@pytest.mark.parametrize("chunk", [None, 3])
def test_pairwise_is_the_equations(side: str, mode: str, dtype: torch.dtype, chunk: int | None) -> None:
    patches, text = inputs(side, dtype)
    found = value_and_gradients(partial(pairwise, chunk=chunk, **MODES[mode]), patches, text)
    expected = value_and_gradients(partial(literal_pairwise, **MODES[mode]), patches.double(), text.double())
    assert_equations(found, expected, 1e-12 if dtype == torch.float64 else 2e-6)


@all_modes
@both_types
def test_diagonal_is_the_equations(mode: str, dtype: torch.dtype) -> None:
    patches, text = inputs("pooled", dtype)
    found = value_and_gradients(partial(diagonal, **MODES[mode]), patches, text[:3], text)
    expected = value_and_gradients(
        partial(literal_diagonal, **MODES[mode]), patches.double(), text[:3].double(), text.double()
    )
    assert_equations(found, expected, 1e-12 if dtype == torch.float64 else 2e-6)


@both_sides
@pytest.mark.parametrize("left", [0.1, 1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("chunk", [None, 3])
def test_patches_that_nearly_cancel(side: str, left: float, chunk: int | None) -> None:
    """|v|^2 of a Gram matrix in float32 would be all rounding below some 3e-4 of the patches' norm."""
    patches, text = cancelling(side, left)
    mode = {"weighting": "cos", "attn_scale": left / 10}  # nearly uniform weights
    found = value_and_gradients(partial(pairwise, chunk=chunk, **mode), patches, text)
    expected = value_and_gradients(partial(literal_pairwise, **mode), patches.double(), text.double())
    assert found[0].abs().max() <= 1 + 1e-5
    assert expected[0][0, 0] > 0.9
    assert_equations(found, expected, 3e-6 / left)  # the rounding of v itself, relative to its norm


@both_sides
@all_modes
@pytest.mark.parametrize("norm", [0.0, 1e-7, 1e-5])
def test_a_patch_near_zero_gets_no_amplified_rounding(side: str, mode: str, norm: float) -> None:
    """The gradient of a cosine grows with one over the patch's norm, and rounding with it."""
    patches, text = inputs(side, torch.float32)
    patches[0, 2] *= norm
    patches[1, :2] *= norm
    cases: list[tuple[Any, Any, tuple[Tensor, ...]]] = [
        (partial(pairwise, **MODES[mode]), partial(literal_pairwise, **MODES[mode]), (patches, text)),
        (
            partial(diagonal, **MODES[mode]),
            partial(literal_diagonal, **MODES[mode]),
            (patches, text[:3].contiguous(), text),
        ),
    ]
    for function, equations, given in cases:
        _, found, *_ = value_and_gradients(function, *given)
        _, expected, *_ = value_and_gradients(equations, *(x.double() for x in given))
        for image, count in ((0, slice(2, 3)), (1, slice(2))):
            largest = expected[image].abs().max()
            assert (found[image, count] - expected[image, count]).abs().max() < 1e-4 * largest, function


def test_sigmoid_pooling_of_a_patch_that_is_zero() -> None:
    patches, text = inputs("pooled", torch.float32)
    patches[0, 2] = 0
    for function in (lambda p, t: sigmoid_diagonal(p, t[:3], t), sigmoid_pairwise):
        _, found, _ = value_and_gradients(function, patches, text)
        _, expected, _ = value_and_gradients(function, patches.double(), text.double())
        assert (found[0, 2] - expected[0, 2]).abs().max() < 1e-5 * expected[0].abs().max()


def test_a_zero_image_is_compatible_with_nothing() -> None:
    for side in SIZES:
        patches, text = inputs(side, torch.float32)
        patches[1] = 0
        for mode in MODES.values():
            value, gradient, _ = value_and_gradients(partial(pairwise, **mode), patches, text)
            assert not value[1].any() and gradient.isfinite().all()
            assert F.cosine_similarity(value[0], pairwise(patches[:1], text, **mode)[0], dim=0) > 1 - 1e-6
