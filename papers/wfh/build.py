"""The one place where a configuration and weights become networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import BertForPreTraining

from shared import UserError
from shared.offline.towers import SentenceEncoder
from shared.support.weights import load_weights

from .config import Config
from .data import class_names
from .hallucination.hallucinator import Hallucinator, random_visual_words, visual_words
from .model import Downstream, Pretraining, Size
from .pretraining import WeaklySupervised
from .sampling.text import Vocabulary


def size(config: Config, vocabulary: Vocabulary) -> Size:
    """The numbers of the Transformer."""
    return Size(
        len(vocabulary),
        config.features,
        config.width,
        config.layers,
        config.heads,
        4 * config.width,
        512 if config.bert == "bert-base-uncased" else max(config.length, config.passage_length),
        config.dropout,
        config.initializer_range,
    )


def pretraining(
    config: Config,
    vocabulary: Vocabulary,
    features: np.ndarray | None = None,
    seed: int = 0,
    weights: Mapping[str, Tensor] | None = None,
) -> WeaklySupervised:
    """The network of pre-training, freshly initialised or with the weights of a finished run.

    Args:
        features: (N, F) of the image-only corpus, for a new visual vocabulary.
        seed: of its clustering.
        weights: of a finished run; they hold its visual vocabulary.
    """
    objects, attributes = class_names(config)
    network = Pretraining(size(config, vocabulary), len(objects), len(attributes))
    if weights is None:
        _initialise(network, config, vocabulary)
    hallucinator = None
    if config.objective == "wfh":
        if weights is not None:
            visual, deviation = weights.get("hallucinator.visual"), weights["hallucinator.deviation"]
        else:
            assert features is not None
            make = random_visual_words if config.vocabulary == "random" else visual_words
            visual, deviation = (torch.from_numpy(x) for x in make(features, config.visual_words, seed))
        table = network.bert.embeddings.word_embeddings.weight.detach()
        hallucinator = Hallucinator(
            table, torch.from_numpy(vocabulary.content), None if config.vocabulary == "none" else visual, deviation,
            layers=config.hallucinator_layers, heads=config.heads, positions=size(config, vocabulary).positions,
            dropout=config.dropout, sampling=config.sampling, temperature=config.temperature,
        )  # fmt: skip
    model = WeaklySupervised(network, hallucinator, config)
    if weights is not None:
        model.load_state_dict(weights)
    return model


def downstream(
    config: Config,
    vocabulary: Vocabulary,
    answers: Sequence[str] | None,
    start: Path | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Downstream:
    """The network of a downstream task.

    Args:
        answers: names of what is told apart; None: retrieval, whose head begins with that of matching.
        start: weights of pre-training; None begins from the same initialisation as pre-training.
        weights: of a finished run of the task.
    """
    images = 2 if config.task == "nlvr2" else 1
    network = Downstream(size(config, vocabulary), None if answers is None else len(answers), images)
    if weights is not None:
        network.load_state_dict(weights)
    elif start is None:
        _initialise(network, config, vocabulary)
    else:
        given = {
            name.removeprefix("network.").replace("cls.seq_relationship.", "head."): x
            for name, x in load_weights(start).items()
        }
        own = network.state_dict()
        kept = {name: x for name, x in given.items() if name.startswith("bert.")}
        if answers is None:
            kept |= {name: x for name, x in given.items() if name.startswith("head.")}
        network.load_state_dict(own | kept)
    return network


def _initialise(network: Pretraining | Downstream, config: Config, vocabulary: Vocabulary) -> None:
    """Begin with published weights where the configuration says so."""
    if config.bert is None:
        if config.word_vectors:
            table = SentenceEncoder().bert.embeddings.word_embeddings.weight.detach()[vocabulary.pieces]
            found = config.initializer_range * principal_components(table, config.width)
            network.bert.embeddings.word_embeddings.weight.data.copy_(found)
        return
    own = network.state_dict()
    given = {name: x for name, x in _published(config.bert).items() if name in own}
    lacking = [name for name in own if name.startswith("bert.encoder.") and name not in given]
    wrong = [name for name, x in given.items() if x.shape != own[name].shape and "position" not in name]
    if lacking or wrong:
        raise UserError(
            f"--bert {config.bert} does not fit {len(lacking + wrong)} tensors such as {(lacking + wrong)[0]}; choose "
            "--width, --layers and --heads of that model, or --bert None."
        )
    positions = "bert.embeddings.position_embeddings.weight"
    given[positions] = given[positions][: len(own[positions])]
    network.load_state_dict(own | given)


def _published(name: str) -> dict[str, Tensor]:
    """State dict of a BERT, by the names of its pre-training network."""
    if name == "minilm":
        return {f"bert.{key}": x for key, x in SentenceEncoder().bert.state_dict().items()}
    try:
        found: dict[str, Tensor] = BertForPreTraining.from_pretrained(name).state_dict()
        return found
    except (OSError, ValueError) as error:
        raise UserError(f"--bert {name} cannot be loaded ({error}); expected a BERT of the hub, or minilm.") from error


def principal_components(table: Tensor, width: int) -> Tensor:
    """The rows of a table (V, D) along the ``width`` directions in which they vary most, with deviation 1.

    Where there are fewer directions than that, the rest is 0.
    """
    centred = table.double() - table.double().mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    found = torch.zeros(len(table), width, dtype=torch.float64)
    found[:, : min(width, len(directions))] = centred @ directions[:width].T
    return (found / found.std()).float()
