"""Adapters beside a frozen encoder, their fusion with its last layer, and the heads of the tasks.

The encoder never sees the adapters, so its hidden states H_0 (the embedding output) to H_N can be computed once:

    Z_m = Adapter_m(H_{a_m} + Z_{m-1}),   Z_0 = 0,   Adapter(X) = X + W_up TransformerEnc(W_down X + b_down) + b_up

The structure is that of K-Adapter (`fac-adapter.py`); which structure K-AID has could not be read.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertEncoder

AdapterMask = Literal["real", "official"]
FusionMode = Literal["concat", "add"]

COSINE_SCALE = 10.0  # of the logit with which a head of pairs begins
HIDDEN_DEVIATION = 2e-4  # of the projections' initial weights: an adapter begins as the identity, nearly


class Adapter(nn.Module):
    """One adapter: a post-norm transformer of small width on a residual branch (K-Adapter, `Adapter`).

    Args:
        width: d of the encoder.
        size: width of the inner transformer.
        heads, layers, feed_forward, dropout: of the inner transformer.
    """

    def __init__(
        self, width: int, size: int, *, heads: int, layers: int, feed_forward: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        inner = BertConfig(
            hidden_size=size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=feed_forward,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            layer_norm_eps=1e-5,
            attn_implementation="eager",  # type: ignore[call-arg]
        )
        self.down_project = nn.Linear(width, size)
        self.encoder = BertEncoder(inner)
        self.up_project = nn.Linear(size, width)
        self.encoder.apply(_bert_weights)
        for project in (self.down_project, self.up_project):
            nn.init.normal_(project.weight, std=HIDDEN_DEVIATION)
            nn.init.zeros_(project.bias)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, d) -> (B, L, d); `mask` (B, L) is 1 for tokens and 0 for padding, None attends to all."""
        added = None if mask is None else (1.0 - mask[:, None, None].to(x.dtype)) * torch.finfo(x.dtype).min
        inner = self.encoder(self.down_project(x), attention_mask=added)[0]
        return x + self.up_project(inner)


class AdapterStack(nn.Module):
    """The chain of adapters for one kind of knowledge.

    Args:
        width: d of the encoder.
        hidden_states: a_1 < ... < a_M, indices of the hidden states that are read; 0 is the embedding output.
        adapter_mask: "real" leaves padding out of the adapters' attention; "official" attends to it as K-Adapter does.
        skip: after every `skip`-th adapter an earlier output is added, as K-Adapter has it; 0: never.
        adapter: options of :class:`Adapter`.
    """

    def __init__(
        self,
        width: int,
        hidden_states: Sequence[int],
        *,
        adapter_mask: AdapterMask = "real",
        skip: int = 0,
        size: int,
        heads: int,
        layers: int,
        feed_forward: int,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.hidden_states, self.adapter_mask, self.skip = tuple(hidden_states), adapter_mask, skip
        self.adapter = nn.ModuleList(
            Adapter(width, size, heads=heads, layers=layers, feed_forward=feed_forward, dropout=dropout)
            for _ in hidden_states
        )

    def forward(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        """Z_M (B, L, d) of hidden states by index, each (B, L, d); `mask` (B, L)."""
        z: Tensor | None = None
        outputs: list[Tensor] = []
        for count, (index, adapter) in enumerate(zip(self.hidden_states, self.adapter, strict=True), 1):
            x = states[index] if z is None else states[index] + z
            z = adapter(x, mask if self.adapter_mask == "real" else None)
            outputs.append(z)
            # K-Adapter counts from 1 and indexes from 0: with skip 2 the second output is added to itself.
            if self.skip and count % self.skip == 0 and count // self.skip < len(outputs):
                z = z + outputs[count // self.skip]
        assert z is not None
        return z


class Fusion(nn.Module):
    """The encoder's last layer and the adapters' output as one feature (K-Adapter, `ETModel`); all of it is linear.

    With "concat" u_k = W_k [H_N ; Z^(k)], and W_t [u_1 ; u_2] of two stacks; with "add" H_N plus every Z^(k). The
    weights begin as averages, so that the feature of an untrained network is about H_N.

    Args:
        width: d of the encoder.
        stacks: names of the adapter stacks; none: the feature is H_N.
    """

    def __init__(self, width: int, stacks: Sequence[str], mode: FusionMode) -> None:
        super().__init__()
        self.mode, self.width = mode, width
        self.project = nn.ModuleDict({name: _average(2, width) for name in stacks} if mode == "concat" else {})
        self.join = _average(len(stacks), width) if mode == "concat" and len(stacks) > 1 else None

    def forward(self, last: Tensor, knowledge: Mapping[str, Tensor]) -> Tensor:
        """(..., d) of H_N (..., d) and each stack's Z_M (..., d)."""
        if not knowledge:
            return last
        if self.mode == "add":
            return last + torch.stack(list(knowledge.values())).sum(0)
        projected = [project(torch.cat([last, knowledge[name]], -1)) for name, project in self.project.items()]
        return projected[0] if self.join is None else self.join(torch.cat(projected, -1))


class KnowledgeModel(nn.Module):
    """Stacks of adapters beside the encoder, and their fusion with its last layer.

    Args:
        stacks: adapters by the kind of knowledge; none: the feature is the encoder's own.
        fusion: of all stacks.
        depth: N, index of the encoder's last hidden state.
        first: the feature of a sentence is that of position 0 instead of the mean.
    """

    def __init__(self, stacks: Mapping[str, AdapterStack], fusion: Fusion, depth: int, first: bool) -> None:
        super().__init__()
        self.stacks, self.fusion = nn.ModuleDict(stacks), fusion
        self.depth, self.first = depth, first
        self.width = fusion.width

    def tokens(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        """Fused features (B, L, d) of hidden states by index, each (B, L, d); `mask` (B, L)."""
        knowledge = {name: stack(states, mask) for name, stack in self.stacks.items()}
        return self.fusion(states[self.depth], knowledge)

    def forward(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        """Features (B, d) of sentences."""
        return pool(self.tokens(states, mask), mask, self.first)


class RelationHead(nn.Module):
    """Relation of two phrases from their vectors (K-Adapter's head); no activation anywhere.

    Args:
        width: d of the feature.
        relations: number of classes.
    """

    def __init__(self, width: int, relations: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dense, self.dropout = nn.Linear(2 * width, width), nn.Dropout(dropout)
        self.out_proj = nn.Linear(width, relations)

    def forward(self, head: Tensor, tail: Tensor) -> Tensor:
        """Logits (B, R) of the phrases' features (B, d)."""
        return self.out_proj(self.dropout(self.dense(torch.cat([head, tail], -1))))


class MaskedHead(nn.Module):
    """Word of a masked position, with the encoder's word embeddings as output weights, and a transform before them."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        words, width = embeddings.shape
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(words))
        self.embeddings: Tensor
        self.register_buffer("embeddings", embeddings.detach(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, words) of features (N, d)."""
        return F.linear(self.norm(F.gelu(self.dense(features))), self.embeddings, self.bias)


class ClassificationHead(nn.Module):
    """Classes from a feature: dense, dropout, linear as K-Adapter has it; or linear alone, for few labels.

    A linear head begins at zero; for the feature of a pair (:func:`pair_feature`) it begins as the scaled cosine.
    """

    def __init__(self, width: int, classes: int, *, dense: bool, of_pairs: bool = False, dropout: float = 0.1) -> None:
        super().__init__()
        self.dense = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout)) if dense else nn.Identity()
        self.out_proj = nn.Linear(width, classes)
        self.of_pairs = of_pairs
        if not dense:
            nn.init.zeros_(self.out_proj.weight)
            nn.init.zeros_(self.out_proj.bias)
            if of_pairs:
                with torch.no_grad():
                    self.out_proj.weight[:, : width // 2] = COSINE_SCALE / 2 * torch.tensor([[-1.0], [1.0]])

    def forward(self, feature: Tensor) -> Tensor:
        """Logits (B, C) of features (B, d)."""
        return self.out_proj(self.dense(feature))


def pool(tokens: Tensor, mask: Tensor, first: bool = False) -> Tensor:
    """(B, d): mean of the tokens (B, L, d) that `mask` (B, L) marks, or the token at position 0."""
    if first:
        return tokens[:, 0]
    weights = mask[..., None].to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1)


def pair_feature(a: Tensor, b: Tensor) -> Tensor:
    """(B, 2 d) of two sentences' features (B, d): |u - v| and u v of the normalised vectors u and v."""
    u, v = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    return torch.cat([u * v, (u - v).abs()], -1)


def _average(parts: int, width: int) -> nn.Linear:
    """Linear (parts * width -> width) that begins as the mean of its parts."""
    linear = nn.Linear(parts * width, width)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(width).repeat(1, parts) / parts)
        linear.bias.zero_()
    return linear


def _bert_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
