"""Comparisons of ``make bench``: a caption beside its hallucinations in one pass, and in a pass for each loss."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .build import pretraining
from .config import PRESETS
from .model import Inputs
from .pretraining import WeaklySupervised
from .sampling.masking import IGNORED
from .sampling.text import Vocabulary

LENGTH, BATCH = 20, 32


def bench() -> Iterator[dict[str, Any]]:
    yield caption_step(width=64, name="words of composed scenes")
    yield caption_step(width=128, name="words of BERT")


def caption_step(width: int, name: str) -> dict[str, Any]:
    """Forward and backward pass of masked words and matching beside hallucinations.

    Ours: one pass for both, and scores of the masked words alone. Reference: a pass for masked words, one for matches
    and one for mismatches, each on the masked caption, and scores of every word.
    """
    torch.manual_seed(0)
    known = Vocabulary() if name == "words of BERT" else Vocabulary(["crow castle pig near the a of"])
    config = replace(PRESETS["cpu"], width=width, word_vectors=False, dropout=0.0, sampling="soft")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, config.features)).astype(np.float32)
    model = pretraining(config, known, features).train()
    content = np.flatnonzero(known.content)
    words = torch.from_numpy(rng.choice(content, (BATCH, LENGTH)))
    masked = torch.from_numpy(rng.random((BATCH, LENGTH)) < config.mask_rate)
    batch = {
        "words": words,
        "words_mask": torch.ones_like(words, dtype=torch.bool),
        "masked_words": torch.where(masked, known.mask, words),
        "word_labels": torch.where(masked, words, IGNORED),
        "group": torch.arange(BATCH),
    }

    def ours() -> Tensor:
        model.zero_grad()
        loss = torch.stack(list(model.hallucination_losses(batch).values())).sum()
        loss.backward()
        return loss.detach()

    def reference() -> Tensor:
        model.zero_grad()
        loss = separate_losses(model, batch)
        loss.backward()
        return loss.detach()

    torch.testing.assert_close(ours(), reference())
    return {
        "name": f"caption beside hallucinations, {name}",
        "detail": f"{BATCH} captions of {LENGTH} words, width {width}; reference: a pass a loss, all words scored",
        "ours": ours,
        "reference": reference,
        "per": BATCH,
        "unit": "caption",
    }


def separate_losses(model: WeaklySupervised, batch: dict[str, Tensor]) -> Tensor:
    assert model.hallucinator is not None
    with torch.no_grad():
        seen, mask, _ = model.hallucinator(batch["words"], batch["words_mask"])
    network = model.network
    passes = [
        network(
            Inputs(
                batch["masked_words"],
                batch["words_mask"],
                hallucinated=seen.roll(shift, 0),
                hallucinated_mask=mask.roll(shift, 0),
            )
        )
        for shift in (0, 0, 1)
    ]
    scores = network.cls.predictions(passes[0].words, network.bert.embeddings.word_embeddings.weight)
    words = F.cross_entropy(scores.flatten(0, 1), batch["word_labels"].flatten(), ignore_index=IGNORED)
    ones = torch.ones(BATCH, dtype=torch.int64)
    match = F.cross_entropy(network.match(passes[1].pooled), ones)
    return words + (match + F.cross_entropy(network.match(passes[2].pooled), 0 * ones)) / 2
