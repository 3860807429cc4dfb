import math
from collections.abc import Callable

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from shared import losses
from shared.losses import clip_loss, info_nce, nt_xent, sup_con, symmetric_info_nce

B, M, D = 7, 9, 5
Loss = Callable[[Tensor, Tensor, int | None], Tensor]


@pytest.fixture(params=[3, 512])
def rows_at_a_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also blocks of fewer rows than the tests' batches have."""
    monkeypatch.setattr(losses, "ROWS", request.param)


def masks(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    positives = torch.rand(rows, columns, generator=generator) < 0.3
    negatives = torch.rand(rows, columns, generator=generator) < 0.5
    positives[2] = False
    return positives, negatives


def masked(query: Tensor, key: Tensor, chunk: int | None) -> Tensor:
    positives, negatives = masks(len(query), len(key))
    return info_nce(query, key, temperature=0.3, positives=positives, negatives=negatives, chunk=chunk)


LOSSES: dict[str, Loss] = {
    "clip": lambda query, key, chunk: clip_loss(query, key[: len(query)], 3.0, chunk=chunk),
    "extra keys": lambda query, key, chunk: info_nce(query, key, temperature=0.2, chunk=chunk),
    "masked": masked,
    "nt_xent": lambda query, key, chunk: nt_xent(query, key[: len(query)], temperature=0.5, chunk=chunk),
    "sup_con": lambda query, key, chunk: sup_con(
        torch.stack([query, key[: len(query)]], 1), torch.arange(len(query)) % 3, temperature=0.4, chunk=chunk
    ),
}


def vectors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


def one_by_one(
    query: Tensor, key: Tensor, temperature: float, positives: list[list[int]], negatives: list[list[int]]
) -> float:
    """The definition, a query and a key at a time, in Python floats."""
    losses = []
    for q, positive, negative in zip(query.tolist(), positives, negatives, strict=True):
        cosine = [sum(a * b for a, b in zip(q, k, strict=True)) / math.hypot(*q) / math.hypot(*k) for k in key.tolist()]
        total = sum(math.exp(cosine[k] / temperature) for k in {*positive, *negative})
        if positive:
            losses.append(-sum(math.log(math.exp(cosine[k] / temperature) / total) for k in positive) / len(positive))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("rows", [1, 2, 9])
@pytest.mark.usefixtures("rows_at_a_time")
def test_clip_loss_is_open_clips(rows: int) -> None:
    image, text = vectors((rows, D), (rows, D))
    scale = torch.tensor(14.3, dtype=torch.float64)
    expected = open_clip.ClipLoss()(F.normalize(image, dim=1), F.normalize(text, dim=1), scale)
    assert clip_loss(image, text, scale).item() == pytest.approx(expected.item(), abs=1e-12)


def test_info_nce_by_hand() -> None:
    query = torch.tensor([[2.0, 0.0]])
    key = torch.tensor([[3.0, 0.0], [0.0, 0.5], [-1.0, 0.0]])  # cosines 1, 0, -1
    positives = torch.tensor([[True, True, False]])
    e = math.e
    assert info_nce(query, key, temperature=1.0).item() == pytest.approx(math.log(e + 1 + 1 / e) - 1)
    assert info_nce(query, key, temperature=0.5).item() == pytest.approx(math.log(e**2 + 1 + e**-2) - 2)
    several = info_nce(query, key, temperature=1.0, positives=positives)
    assert several.item() == pytest.approx(math.log(e + 1 + 1 / e) - 1 / 2)
    none = torch.zeros(1, 3, dtype=torch.bool)
    ignored = info_nce(query, key, temperature=1.0, positives=positives, negatives=none)
    assert ignored.item() == pytest.approx(math.log(e + 1) - 1 / 2)


def test_info_nce_by_definition() -> None:
    query, key = vectors((B, D), (M, D))
    positives, negatives = masks(B, M)
    lists = [[row.nonzero().flatten().tolist() for row in mask] for mask in (positives, negatives)]
    assert masked(query, key, None).item() == pytest.approx(one_by_one(query, key, 0.3, *lists), abs=1e-12)


def test_sup_con_by_definition() -> None:
    (features,) = vectors((4, 2, D))
    labels = [5, 1, 5, 2]
    flat = features.flatten(0, 1)
    owner = [labels[i // 2] for i in range(8)]
    positives = [[j for j in range(8) if owner[j] == owner[i] and j != i] for i in range(8)]
    negatives = [[j for j in range(8) if owner[j] != owner[i]] for i in range(8)]
    expected = one_by_one(flat, flat, 0.4, positives, negatives)
    assert sup_con(features, torch.tensor(labels), temperature=0.4).item() == pytest.approx(expected, abs=1e-12)


def test_nt_xent_by_definition() -> None:
    z1, z2 = vectors((3, D), (3, D))
    positives = [[(i + 3) % 6] for i in range(6)]
    negatives = [[j for j in range(6) if j % 3 != i % 3] for i in range(6)]
    both = torch.cat([z1, z2])
    expected = one_by_one(both, both, 0.5, positives, negatives)
    assert nt_xent(z1, z2, temperature=0.5).item() == pytest.approx(expected, abs=1e-12)


def test_anchors_without_positives_are_left_out() -> None:
    (features,) = vectors((5, D))
    labels = torch.tensor([4, 4, 4, 1, 2])
    flat_positives = [[1, 2], [0, 2], [0, 1], [], []]
    negatives = [[3, 4]] * 3 + [[0, 1, 2, 4], [0, 1, 2, 3]]
    expected = one_by_one(features, features, 0.1, flat_positives, negatives)
    assert sup_con(features, labels, temperature=0.1).item() == pytest.approx(expected, abs=1e-12)

    loss = sup_con(features, torch.arange(5), temperature=0.1)
    loss.backward()
    assert loss.item() == 0 and features.grad is not None and not features.grad.any()


@pytest.mark.usefixtures("rows_at_a_time")
@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_gradient(name: str, chunk: int | None) -> None:
    assert torch.autograd.gradcheck(lambda query, key: LOSSES[name](query, key, chunk), vectors((B, D), (M, D)))


@pytest.mark.parametrize("chunk", [None, 3])
def test_gradient_of_the_scale(chunk: int | None) -> None:
    image, text, log_scale = vectors((B, D), (B, D), ())
    assert torch.autograd.gradcheck(lambda s: clip_loss(image, text, s.exp(), chunk=chunk), log_scale)


@pytest.mark.usefixtures("rows_at_a_time")
@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("name", LOSSES)
def test_chunks_change_nothing(name: str, chunk: int) -> None:
    results = []
    for size in (None, chunk):
        query, key = vectors((B, D), (M, D), dtype=torch.float32)
        loss = LOSSES[name](query, key, size)
        results.append([loss, *torch.autograd.grad(loss, (query, key))])
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-6)


class LargestTensor(TorchDispatchMode):
    elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):  # type: ignore[no-untyped-def]
        output = function(*arguments, **(keywords or {}))
        for tensor in output if isinstance(output, tuple | list) else (output,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return output


@pytest.mark.parametrize("name", ["clip", "extra keys", "nt_xent", "sup_con"])
def test_chunks_never_hold_the_similarity_matrix(name: str) -> None:
    rows, columns, chunk = 60, 80, 10
    largest = {}
    for size in (None, chunk):
        query, key = vectors((rows, D), (columns, D))
        with LargestTensor() as seen:
            LOSSES[name](query, key, size).backward()
        largest[size] = seen.elements
    assert largest[None] >= rows * rows
    assert largest[chunk] <= chunk * 2 * columns


@pytest.mark.parametrize("name", ["clip", "nt_xent"])
def test_invariant_to_order_and_length(name: str) -> None:
    query, key = vectors((B, D), (B, D))
    order = torch.randperm(B, generator=torch.Generator().manual_seed(0))
    lengths = torch.rand(B, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    expected = LOSSES[name](query, key, None)
    torch.testing.assert_close(LOSSES[name](query[order], key[order], None), expected)
    torch.testing.assert_close(LOSSES[name](lengths * query, 7 * key, None), expected)
    torch.testing.assert_close(LOSSES[name](key, query, None), expected)
    assert not torch.isclose(LOSSES[name](query[order], key, None), expected)


def test_chunks_and_batches_without_a_row() -> None:
    query, key = vectors((B, D), (B, D))
    for loss in LOSSES.values():
        with pytest.raises(ValueError, match="chunk of at least 1 row, found 0"):
            loss(query, key, 0)
    assert info_nce(query[:0], key, temperature=1.0).item() == 0


def test_autocast_does_not_lower_the_precision() -> None:
    query, key = vectors((B, D), (B, D), dtype=torch.float32)
    for chunk in (None, 2):
        expected = torch.autograd.grad(clip_loss(query, key, 100.0, chunk=chunk), query)[0]
        with torch.autocast("cpu", torch.bfloat16):
            loss = clip_loss(query, key, 100.0, chunk=chunk)
        assert loss.dtype == torch.float32
        assert torch.equal(torch.autograd.grad(loss, query)[0], expected)
    assert clip_loss(query.bfloat16(), key.bfloat16(), 100.0).dtype == torch.float32


def test_small_temperatures_stay_finite() -> None:
    query, key = vectors((B, D), (M, D), dtype=torch.float32)
    loss = info_nce(query, key, temperature=1e-4)
    assert loss.isfinite() and torch.autograd.grad(loss, query)[0].isfinite().all()
    alone = torch.eye(B, M, dtype=torch.bool)  # a pair that is ignored has no part in it, however cold it is
    none = torch.zeros_like(alone)
    assert info_nce(query, key, temperature=1e-6, positives=alone, negatives=none) == 0


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda x: clip_loss(x(4, 3), x(5, 3), 1.0), r"\(4, 3\).*\(5, 3\)"),
        (lambda x: info_nce(x(4, 3), x(4, 2), temperature=1.0), r"\(4, 3\).*\(4, 2\)"),
        (lambda x: info_nce(x(4, 3), x(3, 3), temperature=1.0), "4 queries and 3 keys"),
        (lambda x: info_nce(x(2, 3), x(2, 3), temperature=1.0, positives=x(2, 2)), "float32"),
        (lambda x: info_nce(x(2, 3), x(2, 3), temperature=1.0, negatives=x(2, 4) > 0), r"\(2, 2\).*\(2, 4\)"),
        (lambda x: nt_xent(x(2, 3), x(3, 3), temperature=1.0), r"\(2, 3\).*\(3, 3\)"),
        (lambda x: sup_con(x(2, 3), torch.zeros(3), temperature=1.0), r"\(2, 1, 3\).*\(3,\)"),
        (lambda x: sup_con(x(1, 3), temperature=1.0), r"\(1, 1, 3\)"),
    ],
)
def test_wrong_shapes_are_named(call: Callable[[Callable[..., Tensor]], Tensor], found: str) -> None:
    with pytest.raises(ValueError, match=found):
        call(torch.rand)


def test_two_processes_are_one(two_processes: Callable[..., str]) -> None:
    assert "2 processes agree with 1" in two_processes("losses")


def test_symmetric_info_nce_of_cosines_is_clip_loss() -> None:
    image, text = torch.randn(2, 6, 4, dtype=torch.float64)
    scores = F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
    torch.testing.assert_close(symmetric_info_nce(scores, 7.0), clip_loss(image, text, 7.0))
    with pytest.raises(ValueError, match=r"expected scores \(B, 1 \* B\), found \(6, 5\)"):
        symmetric_info_nce(scores[:, :5], 7.0)
