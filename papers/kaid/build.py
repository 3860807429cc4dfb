"""The one place where a configuration and weights become models."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from shared import UserError
from shared.offline.towers import SentenceEncoder
from shared.support.weights import load_weights

from .config import Config
from .datasets.tasks import Task
from .model import AdapterStack, ClassificationHead, Fusion, KnowledgeModel
from .states import CachedStates, Encoder, LiveStates, StateSource

MINILM = "minilm"


def encoder(config: Config) -> Encoder:
    """The pre-trained encoder with its tokenizer, in evaluation mode.

    Raises:
        UserError: there is no such encoder, or the adapters read hidden states that it does not have.
    """
    if config.encoder == MINILM:
        sentences = SentenceEncoder()
        found = Encoder(sentences.tokenizer, sentences.bert, config.max_length)
    else:
        found = Encoder(*_from_hub(config.encoder), config.max_length)
    if (deepest := max(config.adapter_layers, default=0)) > found.depth:
        raise UserError(
            f"--adapter-layers names hidden state {deepest}, and {config.encoder} has {found.depth} layers; expected 0 "
            f"to {found.depth}."
        )
    return found.eval()


def _from_hub(name: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name), AutoModel.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--encoder {name} cannot be loaded ({str(error).splitlines()[0]}); expected a BERT-like encoder "
            'of the hub by its name, a folder of one, or "minilm".'
        ) from error


def stack_names(config: Config) -> tuple[str, ...]:
    """Kinds of knowledge that have adapters of their own."""
    if config.method != "adapters":
        return ()
    return config.relations if config.stacks == "per-relation" else ("relations",)


def knowledge_model(config: Config, source: Encoder, stacks: tuple[str, ...] | None = None) -> KnowledgeModel:
    """New adapters and fusion for an encoder; without adapters, the encoder's own features."""
    names = stack_names(config) if stacks is None else stacks
    adapters = {
        name: AdapterStack(
            source.width,
            config.adapter_layers,
            adapter_mask=config.adapter_mask,
            skip=config.adapter_skip,
            size=config.adapter_size,
            heads=config.adapter_heads,
            layers=config.adapter_inner_layers,
            feed_forward=config.adapter_feed_forward,
            dropout=config.adapter_dropout,
        )
        for name in names
    }
    fusion = Fusion(source.width, names, config.fusion)
    return KnowledgeModel(adapters, fusion, source.depth, config.pooling == "first")


def load_knowledge(config: Config, source: Encoder, weights: Path | None) -> KnowledgeModel:
    """Infused adapters, frozen, from a run's weights; without weights, the encoder's own features."""
    if weights is None:
        return knowledge_model(config, source, ()).eval()
    stored = load_weights(weights)
    names = dict.fromkeys(name.split(".")[1] for name in stored if name.startswith("stacks."))
    model = knowledge_model(config, source, tuple(names))
    model.load_state_dict(stored)
    return model.requires_grad_(False).eval()


def student_encoder(config: Config, source: Encoder) -> Encoder:
    """A copy of some of the encoder's layers; only they are trained, not the embeddings.

    Raises:
        UserError: the encoder has no such layers.
    """
    if not config.student_layers or max(config.student_layers) > source.depth or min(config.student_layers) < 1:
        raise UserError(f"--student-layers is {config.student_layers}; expected some of 1 to {source.depth}.")
    backbone = copy.deepcopy(source.backbone)
    try:
        backbone.encoder.layer = nn.ModuleList(backbone.encoder.layer[k - 1] for k in config.student_layers)
    except AttributeError:
        raise UserError(f"{config.encoder} has no encoder.layer; students are made of BERT-like encoders.") from None
    backbone.config.num_hidden_layers = len(config.student_layers)
    backbone.requires_grad_(False).encoder.requires_grad_(True)
    return Encoder(source.tokenizer, backbone, source.longest)


def load_student(
    config: Config, source: Encoder, tasks: Sequence[Task], weights: Path
) -> tuple[Encoder, dict[str, ClassificationHead]]:
    """A domain's trained student, frozen, and its heads by task. Raises one of `UNREADABLE` if they do not fit."""
    stored = load_weights(weights)
    student = student_encoder(config, source)
    missing = student.load_state_dict(
        {k.removeprefix("encoder."): x for k, x in stored.items() if k.startswith("encoder.")}, strict=False
    )
    if missing.unexpected_keys or any(".encoder.layer." in key for key in missing.missing_keys):
        raise ValueError("its layers are not those of the configuration")
    heads = {}
    for task in tasks:
        prefix = f"heads.{task.name}."
        if own := {k.removeprefix(prefix): x for k, x in stored.items() if k.startswith(prefix)}:
            heads[task.name] = head(config, task, source.width)
            heads[task.name].load_state_dict(own)
    return student.requires_grad_(False).eval(), {k: x.requires_grad_(False).eval() for k, x in heads.items()}


def state_source(config: Config, source: Encoder, cached: Path) -> StateSource:
    """The frozen encoder's hidden states, out of a file where the configuration has one."""
    live = LiveStates(source, wanted_states(config, source))
    return CachedStates(cached, live) if config.cache_states else live


def wanted_states(config: Config, source: Encoder) -> tuple[int, ...]:
    return tuple(sorted({*config.adapter_layers, source.depth}))


def head(config: Config, task: Task, width: int) -> ClassificationHead:
    """A new head for a task; pairs of separate sentences have two vectors."""
    pairs = task.is_matching and config.matching == "bi"
    return ClassificationHead(2 * width if pairs else width, len(task.classes), dense=config.dense_head, of_pairs=pairs)


def head_name(task: Task, shots: int, draw: int) -> str:
    """Name of a fitted head in a run's weights."""
    return f"{task.name}/{shots}/{draw}"


def stored_head(
    config: Config, task: Task, width: int, stored: Mapping[str, Tensor], shots: int, draw: int = 0
) -> ClassificationHead:
    """A fitted head, frozen, out of a run's weights."""
    found = head(config, task, width)
    prefix = f"{head_name(task, shots, draw)}."
    found.load_state_dict({name.removeprefix(prefix): x for name, x in stored.items() if name.startswith(prefix)})
    return found.requires_grad_(False).eval()


def domain_file(domain: str) -> str:
    """Name of the file with a domain's infused adapters."""
    return f"{domain}.safetensors"


def task_file(task: Task) -> str:
    """Name of the file with an encoder and head that were tuned to a task."""
    return f"{task.name}.safetensors"
