"""The one place where a configuration and weights become networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from shared import UserError
from shared.offline.towers import SentenceEncoder
from shared.support.weights import load_weights

from .config import Config
from .model import SOHO, Downstream, Pretraining
from .visual.dictionary import VisualDictionary
from .visual.embedding import RegionEmbedding, VisualEmbedding
from .visual.trunk import CHANNELS, build_trunk
from .wordpiece import Vocabulary


def pretraining(config: Config, vocabulary: Vocabulary, weights: Mapping[str, Tensor] | None = None) -> Pretraining:
    """The network of pre-training, freshly initialised or with weights of a finished run."""
    network = Pretraining(_soho(config, vocabulary, weights is None), config.width, config.mask_codes, config.grouped)
    if weights is not None:
        network.load_state_dict(weights)
    return network


def downstream(
    config: Config,
    vocabulary: Vocabulary,
    classes: Sequence[str],
    start: Path | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Downstream:
    """The network of a downstream task.

    Args:
        classes: names of what is told apart.
        start: weights of pre-training; None begins from scratch. The head of retrieval begins with that of matching.
        weights: of a finished run of the task.
    """
    soho = _soho(config, vocabulary, start is None and weights is None)
    matching = config.task == "retrieval"
    network = Downstream(soho, config.width, len(classes), 2 if config.task == "nlvr2" else 1, matching)
    if weights is not None:
        network.load_state_dict(weights)
    elif start is not None:
        given = {name.replace("match.", "head."): x for name, x in load_weights(start).items()}
        own = network.state_dict()
        network.load_state_dict(
            own | {name: x for name, x in given.items() if name in own and (matching or "head" not in name)}
        )
    return network


def _soho(config: Config, vocabulary: Vocabulary, pretrained: bool) -> SOHO:
    """The network below the heads; ``pretrained`` gives CNN and Transformer the weights that others trained."""
    trunk = build_trunk(config.trunk, config.trunk_weights if pretrained else None, config.trunk_trained)
    channels, width = CHANNELS[config.trunk], config.width
    visual: VisualEmbedding | RegionEmbedding
    if config.regions:
        visual = RegionEmbedding(channels, width)
    else:
        tuned = config.task != "pretrain"
        looked_up = config.dictionary and (config.keep_dictionary or not tuned)
        codes = (
            VisualDictionary(code_count(config), width, config.rule, config.decay, frozen=tuned) if looked_up else None
        )
        visual = VisualEmbedding(channels, width, codes, config.mixture)
        if looked_up and (tuned or not config.mask_codes):
            visual.mask_token.requires_grad_(False)  # nothing is masked
    return SOHO(trunk.to(memory_format=torch.channels_last), visual, _bert(config, vocabulary, pretrained))


def code_count(config: Config) -> int:
    """K."""
    return round(config.code_factor * config.codes)


def _bert(config: Config, vocabulary: Vocabulary, pretrained: bool) -> BertModel:
    shape = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=4 * config.width,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        max_position_embeddings=512 if config.bert else config.length,
        initializer_range=config.width**-0.5,  # BERT's 0.02 is too little for few channels: no image gets through
    )
    bert = BertModel(shape, add_pooling_layer=False)
    if pretrained and config.bert:
        _begin_with(bert, _published(config.bert), config.bert)
    elif pretrained and config.word_vectors:
        table = SentenceEncoder().bert.embeddings.word_embeddings.weight.detach()[vocabulary.pieces]
        bert.embeddings.word_embeddings.weight.data.copy_(principal_components(table, config.width))
    return bert


def _published(name: str) -> BertModel:
    if name == "minilm":
        return SentenceEncoder().bert
    try:
        return BertModel.from_pretrained(name, add_pooling_layer=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--bert {name} cannot be loaded ({error}); expected a BERT of the hub, or minilm.") from error


def _begin_with(bert: BertModel, published: BertModel, name: str) -> None:
    """Take over embeddings and the first layers."""
    own, given = bert.state_dict(), published.state_dict()
    if missing := [key for key, x in own.items() if key not in given or given[key].shape != x.shape]:
        raise UserError(
            f"--bert {name} does not fit {len(missing)} tensors such as {missing[0]}; "
            "choose --width, --layers and --heads of that model, or --bert None."
        )
    bert.load_state_dict({key: given[key] for key in own})


def principal_components(table: Tensor, width: int) -> Tensor:
    """The rows of a table (V, D) along the ``width`` directions in which they vary most, of length 1 on average.

    Where there are fewer directions than that, the rest is 0.
    """
    centred = table.double() - table.double().mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    found = torch.zeros(len(table), width, dtype=torch.float64)
    found[:, : min(width, len(directions))] = centred @ directions[:width].T
    return (found / found.std() / width**0.5).float()
