"""Configuration and weights to networks: the one place where training, evaluation and prediction get theirs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertConfig, EncoderDecoderModel

from shared import UserError

from .config import Config
from .data import embeddings_file
from .model import HeteroModel, decoder_config, encoder_decoder, is_shared, load_named

HIDDEN, LAYERS, HEADS, FEED_FORWARD = 128, 2, 2, 512  # BERT-tiny


def build(config: Config, labels: int, seed: int, cache: Path) -> HeteroModel:
    """The network of a client before any training; all but ``classifier`` is the same for every client.

    Raises:
        UserError: if the BERT checkpoint cannot be loaded.
    """
    torch.manual_seed(seed)
    model = offline(config, cache) if config.checkpoint == "offline" else pretrained(config)
    return HeteroModel(model, labels, config.pooling)


def offline(config: Config, cache: Path) -> EncoderDecoderModel:
    """BERT-tiny's shape, random but for the word embeddings: MiniLM's, projected to its width."""
    words = load_file(embeddings_file(config, cache))["words"]
    shape = BertConfig(
        vocab_size=len(words),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FEED_FORWARD,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        max_position_embeddings=max(config.text_length, config.span_length, config.source_length, config.target_length),
    )
    model: Any = encoder_decoder(shape)
    with torch.no_grad():
        model.encoder.embeddings.word_embeddings.weight.copy_(words)
        model.decoder.bert.embeddings.word_embeddings.weight.copy_(words)
    return model


def pretrained(config: Config) -> EncoderDecoderModel:
    """Encoder and decoder, both begun from one BERT checkpoint; cross-attention is random."""
    try:
        shape = BertConfig.from_pretrained(config.checkpoint)
        model: Any = EncoderDecoderModel.from_encoder_decoder_pretrained(
            config.checkpoint, config.checkpoint, decoder_config=decoder_config(shape)
        )
        return model
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"--checkpoint {config.checkpoint} cannot be loaded ({reason}); expected a BERT model of the Hugging Face "
            "hub, a local folder that holds one, or offline."
        ) from error


class Networks:
    """Scratch networks, one for each number of labels: a client's work begins by loading its weights into one."""

    def __init__(self, config: Config, seed: int, cache: Path, device: torch.device) -> None:
        self.config, self.seed, self.cache, self.device = config, seed, cache, device
        self.made: dict[int, tuple[HeteroModel, dict[str, Tensor]]] = {}

    def _of(self, labels: int) -> tuple[HeteroModel, dict[str, Tensor]]:
        if labels not in self.made:
            network = build(self.config, labels, self.seed, self.cache).to(self.device)
            self.made[labels] = network, {name: x.detach().clone() for name, x in network.named_parameters()}
        return self.made[labels]

    def fresh(self, labels: int) -> HeteroModel:
        """The network as it was before any training; it stays valid until the next call."""
        network, initial = self._of(labels)
        load_named(network, initial)
        return network

    def initial(self, method: str) -> dict[str, Tensor]:
        """The weights of the common start that a method shares."""
        return {name: x.clone() for name, x in self._of(2)[1].items() if is_shared(name, method)}


def client_file(number: int) -> str:
    """Name of the file with a client's trained weights, in a run's checkpoint folder."""
    return f"client{number:02}.safetensors"


def trained(config: Config, weights: Mapping[str, Tensor], cache: Path) -> HeteroModel:
    """A client's network with its exported weights, ready to predict; the parts that it does not use are random."""
    network = build(config, len(weights["classifier.weight"]), 0, cache)
    load_named(network, dict(weights))
    return network.eval().requires_grad_(False)
