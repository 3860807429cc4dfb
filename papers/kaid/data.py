"""Domains with their tasks and knowledge, and the hidden states that all runs share.

One interface for the embedded domains (:mod:`.datasets.offline`) and a user's own files (:mod:`.datasets.files`).
"""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared import UserError
from shared.loading import cache_file
from shared.support.files import write_json

from . import build, states
from .acquisition import mining, triples
from .acquisition.triples import Triple
from .build import encoder, wanted_states
from .config import Config
from .datasets import facts, files, offline, tasks, wordnet
from .datasets.facts import infusion_texts
from .datasets.files import LAYOUT
from .datasets.tasks import Domain, Example, Task, texts_of
from .states import Encoder, LiveStates, write_states

__all__ = ["LAYOUT", "check", "domains", "prepare", "states_file", "task_outlines", "token_ids"]


def domains(config: Config, cache: Path) -> list[Domain]:
    """The domains; the same for every seed."""
    if config.data is not None:
        return files.read(Path(config.data))
    return [_domain(x) for x in json.loads(_domains_file(config, cache).read_text())]


def task_outlines(config: Config) -> dict[str, list[Task]]:
    """The tasks by domain, without examples where they are embedded ones.

    Raises:
        UserError: the user's data that a run was trained on is no longer there.
    """
    if config.data is None:
        return {name: tasks for name, tasks in offline.outlines().items() if name in config.embedded}
    return {domain.name: list(domain.tasks) for domain in files.read(Path(config.data))}


def states_file(config: Config, cache: Path) -> Path:
    """The frozen encoder's hidden states of all texts that the runs read."""
    seen = (config.encoder, config.adapter_layers, config.max_length, config.data)
    return cache_file(cache, "states.npy", states, facts, build, sys.modules[__name__], *_content(config), *seen)


def token_ids(source: Encoder) -> Callable[[str], list[int]]:
    """Ids of a phrase's tokens inside a sentence."""
    return lambda phrase: list(source.tokenizer(f" {phrase}", add_special_tokens=False)["input_ids"])


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Build the domains and encode their texts once for all runs (some minutes), or look at the user's data.

    Returns: ``{"name", "train", "test", "sha256", "scale"}`` for the results file.

    Raises:
        UserError: the user's data is not what LAYOUT says, or options do not fit it.
    """
    _check(config)
    if config.data is None and not (path := _domains_file(config, cache)).exists():
        write_json(path, [asdict(offline.build(name, _sizes(config))) for name in config.embedded])
    found = domains(config, cache)
    if config.cache_states and not (path := states_file(config, cache)).exists():
        source = encoder(config)
        tokens = token_ids(source)
        mask_token = source.tokenizer.mask_token if config.masked_weight else None
        texts = [text for domain in found for text in infusion_texts(domain, mask_token, tokens)]
        for domain in found:
            for task in domain.tasks:
                for examples in task.splits.values():
                    texts += texts_of(examples)
                    texts += texts_of(examples, facts=True)
        write_states(path, texts, LiveStates(source, wanted_states(config, source)))
    count = {
        split: sum(len(task.splits[split]) for domain in found for task in domain.tasks)
        for split in ("train", config.split)
    }
    described = [(domain.name, domain.triples, domain.tasks) for domain in found]
    return {
        "name": f"{sum(len(x.tasks) for x in found)} tasks of the domains {', '.join(x.name for x in found)}",
        "train": count["train"],
        "test": count[config.split],
        "sha256": hashlib.sha256(repr(described).encode()).hexdigest(),
        "scale": f"{config.encoder}, {sum(len(x.triples) for x in found)} triples, {config.steps} steps of infusion a "
        f"domain, {'/'.join(str(n) for n in config.shots)} labels a class",
    }


def check(root: Path) -> list[str]:
    """Lines on the data below ``root``, and on what is missing. Raises UserError if nothing of it is there."""
    return files.check(root)


def _check(config: Config) -> None:
    """Raises UserError for options that contradict each other, before anything is trained."""
    if len(config.shots) < 2 or sorted(set(config.shots)) != list(config.shots) or config.shots[0] < 1:
        raise UserError(f"--shots is {config.shots}; expected two or more rising numbers of labels.")
    if config.draws < 1:
        raise UserError(f"--draws is {config.draws}; expected 1 or more.")
    if config.adapter_size % config.adapter_heads:
        raise UserError(f"--adapter-size {config.adapter_size} does not split over {config.adapter_heads} heads.")
    if not config.adapter_layers or list(config.adapter_layers) != sorted(set(config.adapter_layers)):
        raise UserError(f"--adapter-layers is {config.adapter_layers}; expected one or more rising numbers.")
    if not set(config.relations) <= set(triples.RELATIONS) or not config.relations:
        raise UserError(f"--relations is {config.relations}; expected some of {', '.join(triples.RELATIONS)}.")
    if not config.embedded or not set(config.embedded) <= offline.RECIPES.keys():
        raise UserError(f"--embedded is {config.embedded}; expected some of {', '.join(offline.RECIPES)}.")
    if config.cache_states and config.tuning == "full":
        raise UserError("--tuning full trains the encoder, whose cached states would be stale; add --no-cache-states.")


def _content(config: Config) -> tuple[Any, ...]:
    """The sources on which the embedded domains depend."""
    sizes = (config.embedded, config.class_terms, config.pairs, config.snippets)
    return (offline, tasks, wordnet, mining, triples, *sizes)


def _domains_file(config: Config, cache: Path) -> Path:
    return cache_file(cache, "domains.json", *_content(config))


def _sizes(config: Config) -> offline.Sizes:
    return offline.Sizes(*config.class_terms, *config.pairs, config.snippets)


def _domain(content: dict[str, Any]) -> Domain:
    """A domain out of JSON, whose tuples became lists."""
    for task in content["tasks"]:
        splits = task["splits"].items()
        task["splits"] = {split: tuple(Example(**_tuples(x)) for x in examples) for split, examples in splits}
    content["tasks"] = [Task(**_tuples(task)) for task in content["tasks"]]
    for name in ("triples", "mined"):
        content[name] = [Triple(*x) for x in content[name]]
    return Domain(**_tuples(content))


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(x) if isinstance(x, list) else x for name, x in fields.items()}
