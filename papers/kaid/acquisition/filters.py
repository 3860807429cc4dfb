"""Filters of mined triples, each of which says how many it drops."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from .mining import LONGEST
from .triples import HYPERNYM, Triple


@dataclass(frozen=True)
class Limits:
    least: int = 2
    """Occurrences of both phrases in the text."""
    hypernyms: int = 3
    """Hypernyms of a phrase that are kept."""
    similar_share: float = 1.0
    """Share of the pairs that is kept, those with the most similar embeddings; 1: all."""


def filtered(
    triples: Sequence[Triple],
    counts: Mapping[str, int],
    limits: Limits,
    similarity: Callable[[Sequence[Triple]], Tensor] | None = None,
) -> tuple[list[Triple], dict[str, int]]:
    """The triples that every filter keeps, and how many each filter drops, in their order.

    Args:
        counts: occurrences of phrases.
        similarity: cosines (N,) of the embeddings of head and tail; needed for `similar_share` below 1.
    """
    kept = list(dict.fromkeys(triples))
    dropped = {"repeated": len(triples) - len(kept)}
    steps: dict[str, Callable[[list[Triple]], list[Triple]]] = {
        "rare": lambda x: [t for t in x if min(counts.get(t.head, 0), counts.get(t.tail, 0)) >= limits.least],
        "long": lambda x: [t for t in x if max(len(t.head.split()), len(t.tail.split())) <= LONGEST],
        "same stem": lambda x: [t for t in x if stem(t.head) != stem(t.tail)],
        "cycles": without_cycles,
        "too many hypernyms": lambda x: _at_most(x, counts, limits.hypernyms),
    }
    if similarity is not None and limits.similar_share < 1:
        steps["dissimilar"] = lambda x: _most_similar(x, similarity(x), limits.similar_share)
    for name, step in steps.items():
        before = len(kept)
        kept = step(kept)
        dropped[name] = before - len(kept)
    return kept, dropped


def stem(phrase: str) -> str:
    """Letters of a phrase without the endings of its words."""
    return "".join(re.sub(r"(?:ing|ers?|ed|es|s|or|e)$", "", word) for word in re.findall(r"\w+", phrase.lower()))


def without_cycles(triples: list[Triple]) -> list[Triple]:
    """Hypernym triples one after the other, without those whose tail is below their head already."""
    above: dict[str, set[str]] = defaultdict(set)

    def reaches(start: str, goal: str) -> bool:
        waiting, seen = [start], {start}
        while waiting:
            phrase = waiting.pop()
            if phrase == goal:
                return True
            new = above[phrase] - seen
            seen |= new
            waiting.extend(new)
        return False

    kept = []
    for triple in triples:
        if triple.relation == HYPERNYM:
            if reaches(triple.tail, triple.head):
                continue
            above[triple.head].add(triple.tail)
        kept.append(triple)
    return kept


def _at_most(triples: list[Triple], counts: Mapping[str, int], most: int) -> list[Triple]:
    """The hypernyms of each phrase that occur most often."""
    by_head: dict[str, list[Triple]] = defaultdict(list)
    for triple in triples:
        if triple.relation == HYPERNYM:
            by_head[triple.head].append(triple)
    surplus = {
        triple
        for own in by_head.values()
        for triple in sorted(own, key=lambda t: (-counts.get(t.tail, 0), t.tail))[most:]
    }
    return [triple for triple in triples if triple not in surplus]


def _most_similar(triples: list[Triple], cosines: Tensor, share: float) -> list[Triple]:
    chosen = set(cosines.argsort(descending=True)[: round(share * len(triples))].tolist())
    return [triple for k, triple in enumerate(triples) if k in chosen]
