"""U-VisualBERT: one Transformer for words, tags of regions and regions; its heads; and networks of downstream tasks.

Modules have the names of the official code, so that its weights load as they are.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertEncoder, BertPooler

from .sampling.masking import IGNORED

EPSILON = 1e-12  # of BERT's layer normalisation


class Size(NamedTuple):
    """Numbers of the Transformer and of its inputs."""

    words: int
    features: int
    width: int
    layers: int
    heads: int
    inner: int
    positions: int
    dropout: float
    initializer_range: float = 0.02


class Inputs(NamedTuple):
    """Tokens of one batch; each group is there or not.

    Attributes:
        words: (B, L) int64, and ``words_mask`` (B, L) bool, true where there is a word.
        tags: (B, T) int64 word pieces of tags, with ``tags_mask`` (B, T) and the boxes of their regions (B, T, 4).
        features: (B, R, F) of regions, with ``regions_mask`` (B, R) and boxes (B, R, 4) in 0..1.
        hallucinated: (B, M, F) features without boxes, with ``hallucinated_mask`` (B, M).
    """

    words: Tensor | None = None
    words_mask: Tensor | None = None
    tags: Tensor | None = None
    tags_mask: Tensor | None = None
    tags_boxes: Tensor | None = None
    features: Tensor | None = None
    regions_mask: Tensor | None = None
    boxes: Tensor | None = None
    hallucinated: Tensor | None = None
    hallucinated_mask: Tensor | None = None


class HybridEmbedding(nn.Module):
    """Words with positions, tags and regions with boxes, hallucinations without; then dropout."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.width
        self.word_embeddings = nn.Embedding(size.words, width)
        self.position_embeddings = nn.Embedding(size.positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, EPSILON)
        self.visn_fc = nn.Linear(size.features, width)
        self.visn_layer_norm = nn.LayerNorm(width, EPSILON)
        self.box_fc = nn.Linear(4, width)
        self.box_layer_norm = nn.LayerNorm(width, EPSILON)
        self.tag_layer_norm = nn.LayerNorm(width, EPSILON)
        self.no_box = nn.Parameter(torch.zeros(width))
        """In place of the box of a hallucination."""
        self.dropout = nn.Dropout(size.dropout)

    def embed_words(self, words: Tensor) -> Tensor:
        """(B, L) to (B, L, D): word, position and segment 0."""
        position = self.position_embeddings.weight[: words.shape[1]]
        embedded = self.word_embeddings(words) + position + self.token_type_embeddings.weight[0]
        return self.LayerNorm(embedded)

    def embed_boxes(self, boxes: Tensor) -> Tensor:
        """(..., 4) to (..., D); tags and regions share it."""
        return self.box_layer_norm(self.box_fc(boxes))

    def embed_tags(self, tags: Tensor, boxes: Tensor) -> Tensor:
        """(B, T) with the boxes of their regions (B, T, 4): the word table, without position or segment."""
        return self.tag_layer_norm(self.word_embeddings(tags)) + self.embed_boxes(boxes)

    def embed_features(self, features: Tensor, boxes: Tensor | None) -> Tensor:
        """(B, R, F) to (B, R, D), with boxes (B, R, 4), or without."""
        where = self.no_box if boxes is None else self.embed_boxes(boxes)
        return self.visn_layer_norm(self.visn_fc(features)) + where

    def forward(self, x: Inputs) -> Tensor:
        """Tokens in the order words, tags, regions, hallucinations: (B, L + T + R + M, D)."""
        parts = []
        if x.words is not None:
            parts.append(self.embed_words(x.words))
        if x.tags is not None and x.tags_boxes is not None:
            parts.append(self.embed_tags(x.tags, x.tags_boxes))
        if x.features is not None:
            parts.append(self.embed_features(x.features, x.boxes))
        if x.hallucinated is not None:
            parts.append(self.embed_features(x.hallucinated, None))
        return self.dropout(torch.cat(parts, 1))


class Encoded(NamedTuple):
    """States of the last layer, (B, N, D) each where there is such a group, and the pooled first word (B, D)."""

    words: Tensor | None
    tags: Tensor | None
    regions: Tensor | None
    pooled: Tensor | None


class UVisualBERT(nn.Module):
    """Embeddings, Transformer and pooler."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        config = BertConfig(
            vocab_size=size.words,
            hidden_size=size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=size.inner,
            hidden_dropout_prob=size.dropout,
            attention_probs_dropout_prob=size.dropout,
            layer_norm_eps=EPSILON,
            attn_implementation="sdpa",  # type: ignore[call-arg]
        )
        self.embeddings = HybridEmbedding(size)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config)
        initialise(self, size.initializer_range)

    def forward(self, x: Inputs) -> Encoded:
        masks = [x.words_mask, x.tags_mask, x.regions_mask, x.hallucinated_mask]
        mask = torch.cat([m for m in masks if m is not None], 1)[:, None, None].bool()
        states = self.encoder(self.embeddings(x), mask.expand(-1, 1, mask.shape[-1], -1)).last_hidden_state
        lengths = [0 if m is None else m.shape[1] for m in masks]
        words, tags, regions, _ = states.split(lengths, 1)
        return Encoded(
            words if lengths[0] else None,
            tags if lengths[1] else None,
            regions if lengths[2] else None,
            self.pooler(words) if lengths[0] else None,
        )


class Transform(nn.Module):
    """Dense layer, GELU, layer normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(F.gelu(self.dense(x)))


class WordHead(nn.Module):
    """Scores of every word, for masked words and masked tags alike; the decoder is the table of words."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.transform = Transform(width)
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, states: Tensor, table: Tensor) -> Tensor:
        """(..., D) to (..., V)."""
        return F.linear(self.transform(states), table, self.bias)


class PretrainingHeads(nn.Module):
    """Heads of masked words and of matching."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.predictions = WordHead(words, width)
        self.seq_relationship = nn.Linear(width, 2)


class RegionHead(nn.Module):
    """A region's object, attribute and feature."""

    def __init__(self, width: int, objects: int, attributes: int, features: int) -> None:
        super().__init__()
        self.transform = Transform(width)
        self.decoder_dict = nn.ModuleDict(
            {
                name: nn.Linear(width, size)
                for name, size in (("obj", objects), ("attr", attributes), ("feat", features))
            }
        )

    def forward(self, states: Tensor) -> dict[str, Tensor]:
        """(B, R, D) to (B, R, objects), (B, R, attributes) and (B, R, F), by name."""
        transformed = self.transform(states)
        return {name: decoder(transformed) for name, decoder in self.decoder_dict.items()}


class Pretraining(nn.Module):
    """U-VisualBERT with the heads of its pre-training."""

    def __init__(self, size: Size, objects: int, attributes: int) -> None:
        super().__init__()
        self.bert = UVisualBERT(size)
        self.cls = PretrainingHeads(size.words, size.width)
        self.obj_predict_head = RegionHead(size.width, objects, attributes, size.features)
        initialise(self.cls, size.initializer_range)
        initialise(self.obj_predict_head, size.initializer_range)

    def forward(self, x: Inputs) -> Encoded:
        encoded: Encoded = self.bert(x)
        return encoded

    def predict_words(self, states: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (n, V) and labels (n,) of the masked words or tags alone: the others have no loss.

        Args:
            states: (B, L, D). labels: (B, L), `IGNORED` where nothing is predicted.
        """
        chosen = labels != IGNORED
        table = self.bert.embeddings.word_embeddings.weight
        return self.cls.predictions(states[chosen], table), labels[chosen]

    def match(self, pooled: Tensor | None) -> Tensor:
        """(B, D) to (B, 2); there has to be a text."""
        assert pooled is not None
        scores: Tensor = self.cls.seq_relationship(pooled)
        return scores


class Downstream(nn.Module):
    """U-VisualBERT with the head of a task: classes of a text about one image or two, or whether they match.

    Args:
        classes: number of classes; None: the 2-way matching of pre-training, for retrieval.
        images: images of a text.
    """

    def __init__(self, size: Size, classes: int | None, images: int = 1) -> None:
        super().__init__()
        self.bert = UVisualBERT(size)
        self.images = images
        width = images * size.width
        self.head: nn.Module
        if classes is None:
            self.head = nn.Linear(size.width, 2)
        else:
            self.head = nn.Sequential(
                nn.Linear(width, 2 * size.width),
                nn.GELU(),
                nn.LayerNorm(2 * size.width, EPSILON),
                nn.Linear(2 * size.width, classes),
            )
        initialise(self.head, size.initializer_range)

    def forward(self, x: Inputs) -> Tensor:
        """Scores (B, classes) of texts; rows of ``x`` for the images of a text follow one another."""
        pooled = self.bert(x).pooled
        scores: Tensor = self.head(pooled.unflatten(0, (-1, self.images)).flatten(1))
        return scores


def initialise(network: nn.Module, deviation: float) -> None:
    """Initial weights of all layers as in BERT: normal with this standard deviation, biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=deviation)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
