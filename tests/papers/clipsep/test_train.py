"""Queries of every variant; a training step that can learn: it overfits one batch, for every kind of model."""

from dataclasses import replace

import pytest
import torch
import tyro
from torch import Tensor

from papers.clipsep.build import build_model, build_spectrogram
from papers.clipsep.config import CPU, VARIANTS, Config
from papers.clipsep.losses import noise_invariant_loss, permutation_invariant_loss, separation_loss
from papers.clipsep.train import choose_queries, loss_of

STEPS = 80
IMAGE, TEXT, LABEL = torch.randn(4, 2, 5), torch.randn(8, 5), torch.tensor([[0, 3], [7, 1], [2, 2], [5, 6]])


@pytest.mark.parametrize(
    ("variant", "even", "odd"),
    [
        ("clipsep", IMAGE, IMAGE),
        ("clipsep-nit", IMAGE, IMAGE),
        ("clipsep-text", TEXT[LABEL], TEXT[LABEL]),
        ("clipsep-hybrid", IMAGE, TEXT[LABEL]),
        ("labelsep", LABEL, LABEL),
        ("bertsep", LABEL, LABEL),
    ],
)
def test_queries_of_training(variant: str, even: Tensor, odd: Tensor) -> None:
    config = replace(CPU, **VARIANTS[variant].changes)
    for step, expected in ((0, even), (1, odd), (6, even), (7, odd)):
        assert torch.equal(choose_queries(config, step, IMAGE, TEXT, LABEL), expected)


def test_an_undefined_mask_gives_an_undefined_loss() -> None:
    """A diverging run is then stopped by its log, which names the samples; PyTorch's cross-entropy would refuse it."""
    logits, whole, weight = torch.zeros(3, 2, 1, 4, 5), torch.ones(3, 2, 1, 4, 5), torch.ones(3, 1, 4, 5)
    logits[1, 0, 0, 2, 3] = torch.nan
    assert separation_loss(logits, whole, weight).isnan()
    assert permutation_invariant_loss(logits, whole, weight).isnan()
    assert noise_invariant_loss(0 * whole, logits, whole, weight)[0].isnan()


def test_noise_heads_are_two_or_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert [tyro.cli(Config, args=["--noise-heads", n]).noise_heads for n in "02"] == [0, 2]
    with pytest.raises(SystemExit):
        tyro.cli(Config, args=["--noise-heads", "1"])
    assert "--noise-heads" in capsys.readouterr().err


@pytest.mark.parametrize(
    "variant", ["clipsep", "clipsep-nit", "labelsep", "bertsep", "pit", "early-fusion", "middle-fusion"]
)
def test_overfits_one_batch(variant: str) -> None:
    torch.manual_seed(0)
    config = replace(CPU, width=8, **VARIANTS[variant].changes)
    time = torch.arange(config.segment) / config.rate
    pitches = torch.tensor([[200.0, 1000], [300, 1500], [450, 2200], [700, 3300]])  # one tone a source, four mixtures
    sources = 0.2 * torch.sin(2 * torch.pi * pitches[..., None] * time)  # (B, n, N)
    image, text, label = torch.randn(4, 2, 32), torch.randn(8, 32), torch.arange(8).view(4, 2)
    queries = choose_queries(config, 0, image, text, label)
    spectrogram, model = build_spectrogram(config), build_model(config, text, 32)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for step in range(STEPS):
        loss, _ = loss_of(config, step, model, spectrogram, sources, queries)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * max(losses)
