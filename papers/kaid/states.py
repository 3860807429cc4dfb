"""Hidden states of the frozen encoder: computed as needed, or once for all runs.

The encoder never sees the adapters, so its hidden states of a text are the same in every variant and step.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from shared.support.files import write_atomic, write_json
from shared.support.progress import track

States = dict[int, Tensor]
"""Hidden states (B, L, d) by their index; 0 is the embedding output."""
BATCH = 64  # texts that are encoded at a time


class Encoder(nn.Module):
    """A BERT-like encoder with its tokenizer.

    Args:
        tokenizer, backbone: of `transformers`; the backbone returns all hidden states if it is asked to.
        longest: tokens of a text; the rest is cut off.
    """

    def __init__(self, tokenizer: Any, backbone: Any, longest: int) -> None:
        super().__init__()
        self.tokenizer, self.backbone, self.longest = tokenizer, backbone, longest

    @property
    def depth(self) -> int:
        """N, the number of layers and the index of the last hidden state."""
        return int(self.backbone.config.num_hidden_layers)

    @property
    def width(self) -> int:
        return int(self.backbone.config.hidden_size)

    @property
    def device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` and what else the backbone reads, (B, L) each."""
        found = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt")
        return {name: x.to(self.device) for name, x in found.items()}

    def forward(self, **tokens: Tensor) -> tuple[States, Tensor]:
        """All hidden states, and the mask (B, L) of valid tokens."""
        found = self.backbone(**tokens, output_hidden_states=True)
        return dict(enumerate(found.hidden_states)), tokens["attention_mask"]


class StateSource(Protocol):
    @property
    def separator(self) -> str:
        """Token between two sentences that are one sequence."""

    def __call__(self, texts: Sequence[str]) -> tuple[States, Tensor]:
        """Hidden states of texts by their index, and the mask (B, L) of valid tokens."""


class LiveStates:
    """Hidden states that the encoder computes at every call; with gradient if its weights have one."""

    def __init__(self, encoder: Encoder, wanted: Sequence[int]) -> None:
        self.encoder, self.wanted = encoder, tuple(wanted)

    @property
    def separator(self) -> str:
        return str(self.encoder.tokenizer.sep_token)

    def __call__(self, texts: Sequence[str]) -> tuple[States, Tensor]:
        states, mask = self.encoder(**self.encoder.tokens(texts))
        return {index: states[index] for index in self.wanted}, mask


class CachedStates:
    """Hidden states out of a file, in half precision; texts that are not in it are encoded.

    Args:
        path: what :func:`write_states` wrote.
        live: encodes other texts; also says which hidden states the file holds.
    """

    def __init__(self, path: Path, live: LiveStates) -> None:
        self.live = live
        content = json.loads(path.with_suffix(".json").read_text())
        self._row = {text: k for k, text in enumerate(content["texts"])}
        self._ends = np.array(content["ends"])
        self._states = np.load(path, mmap_mode="r")

    @property
    def separator(self) -> str:
        return self.live.separator

    def __call__(self, texts: Sequence[str]) -> tuple[States, Tensor]:
        if any(text not in self._row for text in texts):
            return self.live(texts)
        rows = [self._row[text] for text in texts]
        spans = [(int(self._ends[k - 1]) if k else 0, int(self._ends[k])) for k in rows]
        lengths = torch.tensor([end - start for start, end in spans])
        longest = int(lengths.max())
        padded = np.zeros((len(rows), longest, *self._states.shape[1:]), np.float16)
        for row, (start, end) in zip(padded, spans, strict=True):
            row[: end - start] = self._states[start:end]
        found = torch.from_numpy(padded).to(self.live.encoder.device).float()
        mask = (torch.arange(longest) < lengths[:, None]).long().to(found.device)
        return {index: found[:, :, k] for k, index in enumerate(self.live.wanted)}, mask


@torch.no_grad()
def write_states(path: Path, texts: Sequence[str], live: LiveStates) -> None:
    """Encode texts once: an array (tokens of all texts, hidden states, d) float16, and the texts beside it as JSON."""
    order = sorted(dict.fromkeys(texts), key=lambda text: (len(text), text))
    parts: list[np.ndarray] = []
    lengths: list[int] = []
    for start in track(range(0, len(order), BATCH), "encoding texts"):
        states, mask = live(order[start : start + BATCH])
        stacked = torch.stack([states[index] for index in live.wanted], 2)
        parts.append(stacked[mask.bool()].half().cpu().numpy())
        lengths += mask.sum(1).tolist()
    write_atomic(path, lambda file: np.save(file, np.concatenate(parts), allow_pickle=False))
    write_json(path.with_suffix(".json"), {"texts": order, "ends": np.cumsum(lengths).tolist()})
