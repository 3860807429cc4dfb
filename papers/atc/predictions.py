"""Predictions of a trained client: answers to questions, written texts."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from . import metrics
from .config import Config
from .data import Shard, collate
from .model import HeteroModel

AT_ONCE = 64  # windows, or texts, of a batch


@torch.no_grad()
def answers(config: Config, network: HeteroModel, items: Shard, device: torch.device) -> dict[int, str]:
    """The answer to every question of some windows, by the question's number; "" where there is none."""
    windows: dict[int, list[metrics.Window]] = defaultdict(list)
    rows: dict[int, list[dict]] = defaultdict(list)
    for start in range(0, len(items), AT_ONCE):
        indices = range(start, min(start + AT_ONCE, len(items)))
        batch = collate(items, indices, device)
        states = network.encode(batch["ids"], batch["mask"], batch["types"])
        logits = torch.stack(network.spans(states), -1).double().cpu().numpy()
        for row, own in zip(items.some(indices), logits, strict=True):
            places = len(row["begins"])
            begins, context = np.zeros(len(own), bool), np.zeros(len(own), bool)
            context[row["context"] :][:places] = True
            begins[row["context"] :][:places] = np.array(row["begins"]) >= 0
            windows[row["example"]].append(metrics.Window(own[:, 0], own[:, 1], begins, context))
            rows[row["example"]].append(row)
    found = {}
    for number, own in windows.items():
        best = metrics.best_span(own, metrics.N_BEST, config.answer_length, config.null_threshold)
        found[number] = "" if best is None else words_of(rows[number][best[0]], best[1], best[2])
    return found


def words_of(row: dict, first: int, last: int) -> str:
    """The passage between two positions of a window."""
    return row["passage"][row["begins"][first - row["context"]] : row["ends"][last - row["context"]]]


@torch.no_grad()
def token_hits(network: HeteroModel, batch: dict[str, Tensor]) -> tuple[int, int]:
    """Word pieces of the targets that are the most probable ones, given those before; and all of them."""
    states = network.encode(batch["ids"], batch["mask"], batch["types"])
    predicted = network.generate_logits(batch["target"], states, batch["mask"]).argmax(-1)
    target = batch["target"][:, 1:]
    kept = target != 0
    return int(((predicted == target) & kept).sum()), int(kept.sum())


@torch.no_grad()
def generated(
    config: Config,
    network: HeteroModel,
    items: Shard,
    chosen: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
) -> list[str]:
    """Texts that a generation client writes for some items, by beam search without repeated 3-grams."""
    model: Any = network.model
    written: list[str] = []
    for start in range(0, len(chosen), AT_ONCE):
        batch = collate(items, chosen[start:][:AT_ONCE], device)
        ids = model.generate(
            inputs=batch["ids"],
            attention_mask=batch["mask"],
            decoder_start_token_id=tokenizer.bos_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            num_beams=config.beams,
            no_repeat_ngram_size=3,
            length_penalty=config.length_penalty,
            max_length=config.target_length,
            do_sample=False,
        )
        written += [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    return written
