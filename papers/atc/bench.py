"""Comparisons of ``make bench``: synthetic items by a running sum, the update rules, and a client's round."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig

from .federation.server import mix, mixing, primary_weights, synthetic_features
from .losses import contrastive_loss, label_smoothed_loss
from .model import HeteroModel, encoder_decoder

CLIENTS, ITEMS, LENGTH, HIDDEN = 18, 256, 128, 128  # of the paper's federation, with fewer and shorter items
BATCH, WORDS = 32, 30_522


def bench() -> Iterator[dict[str, Any]]:
    """Steps of server and client at the paper's width; both sides give the same."""
    torch.manual_seed(0)
    states = torch.randn(CLIENTS, ITEMS, LENGTH, HIDDEN)
    weights = primary_weights(torch.randint(CLIENTS, (ITEMS,)), CLIENTS, 0.5)
    torch.testing.assert_close(synthetic_features(zip(states, weights, strict=True)), stacked(states, weights))
    yield {
        "name": f"synthetic features, {CLIENTS} clients",
        "detail": f"{ITEMS} items of {LENGTH} positions; reference: all clients' weighted states at once",
        "ours": lambda: synthetic_features(zip(states, weights, strict=True)),
        "reference": lambda: stacked(states, weights),
        "memory": True,
    }
    updates = [{"a": torch.randn(WORDS, HIDDEN), "b": torch.randn(HIDDEN, HIDDEN)} for _ in range(CLIENTS)]
    A = mixing(torch.rand(CLIENTS, CLIENTS) < 0.5, [1.0] * CLIENTS)
    for ours, reference in zip(mix(updates, updates, A), loop_mix(updates, updates, A), strict=True):
        torch.testing.assert_close(ours, reference)
    yield {
        "name": f"mixing of updates, {CLIENTS} clients",
        "detail": "4 million weights each; reference: a loop over pairs of clients",
        "ours": lambda: mix(updates, updates, A),
        "reference": lambda: loop_mix(updates, updates, A),
    }
    z = torch.randn(BATCH, HIDDEN)
    cached = torch.randn(CLIENTS - 1, BATCH, HIDDEN)
    torch.testing.assert_close(
        contrastive_loss(z, cached[:7], cached[7:], 1.0), loop_contrast(z, cached[:7], cached[7:])
    )
    yield {
        "name": f"contrastive loss, batch {BATCH}",
        "detail": "7 positives, 10 negatives, forward and backward; reference: a loop over items",
        "ours": gradient(lambda x: contrastive_loss(x, cached[:7], cached[7:], 1.0), z),
        "reference": gradient(lambda x: loop_contrast(x, cached[:7], cached[7:]), z),
    }
    network, ids = tiny_bert(), torch.randint(WORDS, (BATCH, LENGTH))
    yield {
        "name": f"a step of a generation client, batch {BATCH}",
        "detail": f"BERT-tiny, {LENGTH} source and {LENGTH} target positions; nothing to compare with",
        "ours": lambda: generation_step(network, ids),
        "memory": True,
    }


def stacked(states: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum over an array of all clients' states."""
    return (states * weights[:, :, None, None]).sum(0)


def loop_mix(copies: list[dict[str, Tensor]], updates: list[dict[str, Tensor]], A: Tensor) -> list[dict[str, Tensor]]:
    mixed = [{name: x.clone() for name, x in copy.items()} for copy in copies]
    for i, result in enumerate(mixed):
        for j, update in enumerate(updates):
            for name, x in update.items():
                result[name] += float(A[i, j]) * x
    return mixed


def loop_contrast(z: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    terms = []
    for k, own in enumerate(z):
        positive = torch.cosine_similarity(own, positives[:, k].mean(0), dim=0).exp()
        others = sum(torch.cosine_similarity(own, x, dim=0).exp() for x in negatives[:, k])
        terms.append(-(positive / (positive + others)).log())
    return torch.stack(terms).mean()


def gradient(loss: Callable[[Tensor], Tensor], z: Tensor) -> Callable[[], None]:
    leaf = z.detach().requires_grad_()

    def run() -> None:
        torch.autograd.grad(loss(leaf), leaf)

    return run


def tiny_bert() -> HeteroModel:
    shape = BertConfig(
        vocab_size=WORDS, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512
    )
    return HeteroModel(encoder_decoder(shape), labels=2)


def generation_step(network: HeteroModel, ids: Tensor) -> None:
    mask = torch.ones_like(ids)
    logits = network.generate_logits(ids, network.encode(ids, mask), mask)
    label_smoothed_loss(logits.flatten(0, 1), ids[:, 1:].flatten(), 0.1, 0).backward()
    network.zero_grad()
