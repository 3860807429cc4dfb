"""The embedded noun taxonomy and the rated snippets; the packs' SOURCE.md say where they come from."""

import lzma
from dataclasses import dataclass
from functools import cache, lru_cache

from shared.offline.packs import PACKS, read_pack

TAXONOMY_SHA256 = "580f09fe36f9900167c3fc438a3f32c8ac8ac80683148e2e526dbfcca8a32f4b"
SNIPPETS_SHA256 = "bebac5839b07a42662be7e09b3a15744e94aac7c43ad44c61977ce4154756665"


@dataclass(frozen=True)
class Synset:
    """A concept: its kind (animal, artifact, food, person, plant, substance), names, parents by number, and gloss."""

    kind: str
    lemmas: tuple[str, ...]
    parents: tuple[int, ...]
    """Hypernyms, those of instances (single persons, places) among them."""
    is_instance: bool
    gloss: str
    """Definition, without the examples."""


@dataclass(frozen=True)
class Snippet:
    source: str
    """amazon, film or news."""
    document: str
    """Review or article that it is part of; film snippets stand alone."""
    valence: float
    """Mean of twenty people's ratings, -4 to 4."""
    text: str


@lru_cache
def synsets() -> tuple[Synset, ...]:
    found = []
    for line in _lines("taxonomy", TAXONOMY_SHA256):
        kind, lemmas, parents, instance_of, gloss = line.split("\t")
        above = tuple(int(x) for field in (parents, instance_of) for x in field.split(",") if x)
        definition = gloss.partition('; "')[0]
        found.append(Synset(kind, tuple(lemmas.split("|")), above, bool(instance_of), definition))
    return tuple(found)


@lru_cache
def children() -> tuple[tuple[int, ...], ...]:
    """Numbers of the synsets directly below each synset."""
    below: list[list[int]] = [[] for _ in synsets()]
    for number, synset in enumerate(synsets()):
        for parent in synset.parents:
            below[parent].append(number)
    return tuple(tuple(x) for x in below)


@cache
def ancestors(number: int) -> frozenset[int]:
    """All synsets above, without the synset itself."""
    found: set[int] = set()
    waiting = list(synsets()[number].parents)
    while waiting:
        parent = waiting.pop()
        if parent not in found:
            found.add(parent)
            waiting.extend(synsets()[parent].parents)
    return frozenset(found)


def class_node(kind: str, lemma: str) -> int:
    """The synset of that kind with the lemma as its first name; of several the one with the most below it."""
    named = [n for n, x in enumerate(synsets()) if x.kind == kind and x.lemmas[0] == lemma]
    return max(named, key=lambda n: len(descendants(n)))


@cache
def descendants(number: int) -> frozenset[int]:
    """All synsets below, without the synset itself."""
    found: set[int] = set()
    waiting = list(children()[number])
    while waiting:
        child = waiting.pop()
        if child not in found:
            found.add(child)
            waiting.extend(children()[child])
    return frozenset(found)


@lru_cache
def snippets() -> tuple[Snippet, ...]:
    found = []
    for line in _lines("snippets", SNIPPETS_SHA256):
        source, number, valence, text = line.split("\t")
        found.append(Snippet(source, number.partition("_")[0], float(valence), text))
    return tuple(found)


def _lines(pack: str, sha256: str) -> list[str]:
    content = read_pack(PACKS / pack / f"{pack}.tsv.xz", sha256)
    return lzma.decompress(content).decode().rstrip("\n").split("\n")
