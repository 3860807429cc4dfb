"""How many mined hypernyms are right: a sample of pairs that the taxonomy knows, checked by it."""

from collections import defaultdict
from functools import lru_cache

import numpy as np

from ..datasets.wordnet import ancestors, synsets
from .acquire import Acquired
from .triples import HYPERNYM, Triple

SAMPLE = 400  # pairs of each rule


def precision_percents(found: Acquired, seed: int) -> dict[str, float]:
    """Share of right pairs in a sample of each rule's, of all of them, and of the same pairs with shuffled tails.

    A pair counts if the taxonomy has both phrases; it is right if the tail names something above the head, or the same.
    """
    rng = np.random.default_rng((seed, 5))
    kept = set(found.triples)
    percents: dict[str, float] = {}
    every: list[Triple] = []
    for rule, triples in found.by_rule.items():
        known = sorted(
            {x for x in triples if x in kept and x.relation == HYPERNYM and x.head in named() and x.tail in named()}
        )
        if known:
            sample = [known[k] for k in rng.permutation(len(known))[:SAMPLE]]
            percents[f"{rule}_precision_percent"] = _precision(sample)
            every += known
    every = sorted(set(every))
    sample = [every[k] for k in rng.permutation(len(every))[:SAMPLE]]
    tails = [sample[k].tail for k in rng.permutation(len(sample))]
    shuffled = [triple._replace(tail=tail) for triple, tail in zip(sample, tails, strict=True)]
    return {
        **percents,
        "precision_percent": _precision(sample),
        "shuffled_precision_percent": _precision(shuffled),
    }


def _precision(sample: list[Triple]) -> float:
    return 100 * float(np.mean([is_right(triple) for triple in sample]))


def is_right(triple: Triple) -> bool:
    """Whether the tail names something above a meaning of the head, or that meaning itself."""
    return any(
        triple.tail == lemma.lower()
        for number in named()[triple.head]
        for above in (number, *ancestors(number))
        for lemma in synsets()[above].lemmas
    )


@lru_cache
def named() -> dict[str, list[int]]:
    """Numbers of the synsets that have a name, in lower case."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, synset in enumerate(synsets()):
        for lemma in synset.lemmas:
            found[lemma.lower()].append(number)
    return dict(found)
