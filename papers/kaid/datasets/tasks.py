"""Tasks of classification and matching, and the knowledge of a domain, whether offline or a user's own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..acquisition.triples import Triple

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Example:
    """A sentence, or two, with a label."""

    label: int
    text: str
    other: str | None = None
    """Second sentence of a matching task."""
    group: int | None = None
    """Examples of one concept have the same number; knowledge of it is given or withheld together."""
    terms: tuple[str, ...] = ()
    """Phrases that name the concepts."""
    facts: tuple[str, ...] = ()
    """Hypernyms of the term of each sentence, which the variant `text` appends to it."""
    is_name: bool = False
    """The term is the name of a single person."""


@dataclass(frozen=True)
class Task:
    """A classification task, or a matching task whose class 1 says that two sentences mean the same."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, tuple[Example, ...]]
    is_control: bool = False
    """Knowledge of the domain's terms should not matter for it."""
    is_matching: bool = False


@dataclass(frozen=True)
class Domain:
    """Tasks that share knowledge."""

    name: str
    tasks: tuple[Task, ...]
    triples: tuple[Triple, ...]
    templates: tuple[str, ...]
    """Sentences with {} for a term, in which infusion sees it; no task has the same."""
    mined: tuple[Triple, ...] = ()
    """Triples that rules found in text."""
    queries: tuple[str, ...] = ()
    """Unlabelled sentences for distillation."""
    glosses: dict[str, str] = field(default_factory=dict)
    """Definition of a term: entity knowledge."""
    glosses_without_genus: dict[str, str] = field(default_factory=dict)
    """The same without any name of what is above the term."""


def withheld_groups(task: Task, seed: int) -> set[int]:
    """Half of the concepts of evaluation examples, drawn by the seed: no knowledge of theirs is used anywhere."""
    chosen: set[int] = set()
    for number, split in enumerate(("validation", "test")):
        groups = sorted({x.group for x in task.splits[split] if x.group is not None})
        order = np.random.default_rng((seed, number, 7)).permutation(len(groups))
        chosen |= {groups[k] for k in order[: len(groups) // 2]}
    return chosen


def known_triples(domain: Domain, seed: int) -> list[Triple]:
    """The domain's triples without those of withheld concepts."""
    withheld: set[str] = set()
    for task in domain.tasks:
        groups = withheld_groups(task, seed)
        for split in ("validation", "test"):
            withheld |= {term for x in task.splits[split] if x.group in groups for term in x.terms}
    return [triple for triple in domain.triples if triple.head not in withheld and triple.tail not in withheld]


def few_shot(task: Task, shots: int, seed: int, draw: int) -> list[Example]:
    """`shots` training examples of each class, or all of a class that has fewer."""
    rng = np.random.default_rng((seed, draw, shots))
    chosen: list[Example] = []
    for label in range(len(task.classes)):
        of_class = [x for x in task.splits["train"] if x.label == label]
        chosen += [of_class[k] for k in rng.permutation(len(of_class))[:shots]]
    return chosen


def texts_of(examples: Sequence[Example], facts: bool = False, separator: str | None = None) -> list[str]:
    """First sentences, then the second ones of pairs; with a separator, each pair as one text.

    Args:
        facts: append to each sentence the hypernyms of its term.
    """
    first = [_with_facts(x.text, x.facts[:1], facts) for x in examples]
    second = [_with_facts(x.other, x.facts[1:], facts) for x in examples if x.other is not None]
    if separator is not None and second:
        return [f"{a} {separator} {b}" for a, b in zip(first, second, strict=True)]
    return first + second


def _with_facts(text: str, facts: Sequence[str], wanted: bool) -> str:
    return f"{text} ({facts[0]})" if wanted and facts and facts[0] else text
