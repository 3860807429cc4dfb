"""Relational knowledge as triples (head, relation, tail), and their tab-separated files."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from shared import UserError
from shared.support.files import write_atomic

HYPERNYM, SYNONYM = "hypernym", "synonym"
RELATIONS = (HYPERNYM, SYNONYM)


class Triple(NamedTuple):
    """``tail`` is a hypernym (or synonym) of ``head``; both are phrases."""

    head: str
    relation: str
    tail: str


class Related:
    """Which phrases a phrase is related to, in either direction of a synonym pair."""

    def __init__(self, triples: Iterable[Triple]) -> None:
        self._tails: dict[str, set[str]] = defaultdict(set)
        for head, relation, tail in triples:
            self._tails[head].add(tail)
            if relation == SYNONYM:
                self._tails[tail].add(head)

    def __getitem__(self, phrase: str) -> set[str]:
        return self._tails.get(phrase, set())


def read_triples(path: Path) -> list[Triple]:
    """Triples of a file with a line `head<tab>relation<tab>tail` each, in UTF-8.

    Raises:
        UserError: the file cannot be read, is empty, or a line is no triple; names the file and the line.
    """
    triples = []
    for number, fields in read_tsv(path):
        if len(fields) != 3 or not all(fields):
            raise UserError(f"{path}, line {number}: found {len(fields)} fields; expected head, relation and tail.")
        if fields[1] not in RELATIONS:
            raise UserError(f"{path}, line {number}: the relation is {fields[1]!r}; expected {' or '.join(RELATIONS)}.")
        triples.append(Triple(*fields))
    return triples


def write_triples(path: Path, triples: Sequence[Triple]) -> None:
    write_atomic(path, "".join("\t".join(triple) + "\n" for triple in triples).encode())


def read_tsv(path: Path) -> list[tuple[int, list[str]]]:
    """Number and fields of every line that is not empty. Raises UserError if there is none, or it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not text in UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise UserError(f"{path} cannot be read ({reason}); expected lines of text in UTF-8.") from None
    rows = [
        (number, [field.strip() for field in line.split("\t")]) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not rows:
        raise UserError(f"{path} is empty; expected tab-separated lines.")
    return rows
