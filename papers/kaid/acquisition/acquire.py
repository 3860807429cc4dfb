"""From unlabelled text, and a query log if there is one, to triples: mine, apply the rules, filter, count."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from .filters import Limits, filtered
from .mining import aliases, compound_heads, definitions, mine_phrases, patterns, same_answer
from .triples import Triple


@dataclass(frozen=True)
class Acquired:
    """Triples, and what they cost.

    Attributes:
        by_rule: triples that each rule found, before the filters.
        dropped: triples that each filter dropped.
        seconds: CPU time.
    """

    triples: list[Triple]
    phrases: int
    by_rule: dict[str, list[Triple]]
    dropped: dict[str, int]
    seconds: float


def acquire(
    lines: Sequence[str],
    clicks: Sequence[tuple[str, str]] = (),
    limits: Limits | None = None,
    similarity: Callable[[Sequence[Triple]], Tensor] | None = None,
) -> Acquired:
    """Triples of a text, a line a sentence.

    Args:
        clicks: queries and the answers that they led to.
        similarity: of the filter that drops dissimilar pairs, see :func:`.filters.filtered`.
    """
    limits = limits or Limits()
    began = time.process_time()
    queries = [query for query, _ in clicks]
    phrases = mine_phrases([*lines, *(f"the {query}" for query in queries)], limits.least)
    by_rule = {
        "compound": compound_heads(phrases),
        "definition": definitions(lines, phrases),
        "pattern": patterns(lines, phrases),
        "alias": aliases(lines, phrases),
        "click": same_answer(clicks, phrases),
    }
    triples, dropped = filtered([x for found in by_rule.values() for x in found], phrases, limits, similarity)
    return Acquired(triples, len(phrases), by_rule, dropped, time.process_time() - began)
