"""One architecture for every client: a BERT encoder, a BERT decoder with cross-attention, and heads."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertLMHeadModel, BertModel, EncoderDecoderModel


class MLMHead(nn.Module):
    """Word pieces of masked positions; its output matrix is tied to nothing. (B, S, H) -> (B, S, V)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = nn.ModuleDict(
            {
                "dense": nn.Linear(config.hidden_size, config.hidden_size),
                "LayerNorm": nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps),
            }
        )
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, states: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.transform["dense"](states))
        return self.decoder(self.transform["LayerNorm"](hidden))


class ContrastHead(nn.Module):
    """Projection of the decoder's states for the contrastive loss. (..., H) -> (..., H)."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(hidden, hidden)
        self.out_prj = nn.Linear(hidden, hidden)

    def forward(self, states: Tensor) -> Tensor:
        return self.out_prj(self.dropout(self.dense(self.dropout(states)).tanh()))


class HeteroModel(nn.Module):
    """Encoder, decoder and heads for classification, spans, generation, masked words and contrast.

    Args:
        model: encoder (BERT with its pooler) and decoder (causal BERT with cross-attention, output matrix tied).
        labels: outputs of ``classifier``; 2 of a span client: first and last position.
        pooling: states that the pooler sees: that of position 0, or their mean over the text.
    """

    def __init__(self, model: EncoderDecoderModel, labels: int, pooling: Literal["first", "mean"] = "first") -> None:
        super().__init__()
        self.model: Any = model  # as which its parts have the types that transformers does not tell
        config: Any = self.model.encoder.config
        self.pooling = pooling
        self.lm_head = MLMHead(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.contrast_head = ContrastHead(config.hidden_size, config.hidden_dropout_prob)
        # The last to draw its weights, so that the others begin alike for every number of labels.
        self.classifier = nn.Linear(config.hidden_size, labels)

    def encode(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
        """States (B, S, H) of word pieces ``ids`` (B, S); ``mask`` is 1 in the text, ``types`` 1 in a context."""
        return self.model.encoder(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    def classify(self, states: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, C) of texts."""
        if self.pooling == "mean":
            weights = mask[..., None].to(states)
            states = ((states * weights).sum(1) / weights.sum(1))[:, None]
        return self.classifier(self.dropout(self.model.encoder.pooler(states)))

    def spans(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, S) of an answer's first and of its last position."""
        start, end = self.classifier(states).unbind(-1)
        return start, end

    def generate_logits(self, targets: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, T - 1, V) of the word pieces after the first, each given those before it.

        The target's padding is not masked: it stands after everything that counts.
        """
        decoded = self.model.decoder(
            input_ids=targets, encoder_hidden_states=states, encoder_attention_mask=mask, use_cache=False
        )
        return decoded.logits[:, :-1]

    def project(self, tokens: Tensor, features: Tensor) -> Tensor:
        """z (B, H): the decoder over synthetic tokens (B, L), given synthetic states (B, L, H), projected, averaged."""
        decoded = self.model.decoder.bert(input_ids=tokens, encoder_hidden_states=features, use_cache=False)
        return self.contrast_head(decoded.last_hidden_state).mean(1)


def encoder_decoder(config: BertConfig) -> EncoderDecoderModel:
    """Encoder and decoder of one shape, freshly initialised."""
    encoder = BertModel(config)
    decoder = BertLMHeadModel(decoder_config(config))
    return EncoderDecoderModel(encoder=encoder, decoder=decoder)


def decoder_config(config: BertConfig) -> BertConfig:
    """The shape of an encoder's decoder: causal, with cross-attention."""
    return BertConfig(**config.to_dict() | {"is_decoder": True, "add_cross_attention": True})


PRIVATE_MODULES = ("classifier", "model.encoder.pooler", "model.decoder", "contrast_head", "lm_head")


def is_shared(name: str, method: str) -> bool:
    """Whether a parameter travels: in the Assign stage all but the heads of a client's own task, later the encoder.

    The official code shares parts of lm_head after the Assign stage, too, where nothing trains them.
    """
    if method == "isolated":
        return False
    if method == "assign":
        return not name.startswith(("classifier.", "contrast_head."))
    private = tuple(f"{module}." for module in PRIVATE_MODULES)
    return not name.startswith(private) and not (method == "fedbn" and "LayerNorm" in name)


@torch.no_grad()
def load_named(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy weights into the parameters of the same names; the others stay. Raises ValueError if a shape differs."""
    own = dict(network.named_parameters())
    for name, x in weights.items():
        if own[name].shape != x.shape:  # copy_ would repeat a tensor of one row
            raise ValueError(f"{name} has the shape {tuple(x.shape)}, expected {tuple(own[name].shape)}")
        own[name].copy_(x)
