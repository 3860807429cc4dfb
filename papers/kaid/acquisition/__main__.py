"""Acquire triples out of one's own text: ``python -m papers.kaid.acquisition --corpus text.txt --out triples.tsv``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from shared import UserError
from shared.offline.towers import SentenceEncoder, in_batches
from shared.support.command_line import can_write, command

from .acquire import acquire
from .filters import Limits
from .triples import Triple, read_tsv, write_triples


@dataclass(frozen=True)
class Options:
    """Mine hypernyms and synonyms out of unlabelled text, and tell what each rule found and each filter dropped."""

    corpus: Path
    """Text in UTF-8, a sentence a line; "term: definition" is a line of a dictionary."""
    out: Path
    """File to write: head, relation and tail, a line a triple."""
    clicks: Path | None = None
    """Query log with lines `query <tab> answer`: queries that led to one answer may hold synonyms."""
    least: int = 2
    """Occurrences in the text of a phrase that is kept."""
    hypernyms: int = 3
    """Hypernyms of a phrase at most."""
    similar_share: float = 1.0
    """Share of the pairs that is kept, the most similar ones by MiniLM's embeddings."""
    debug: bool = False
    """Show the traceback of an error."""


def mine(options: Options) -> None:
    """Write the triples; print counts and CPU seconds."""
    if options.least < 1 or options.hypernyms < 1 or not 0 < options.similar_share <= 1:
        raise UserError("--least and --hypernyms are 1 or more, --similar-share is above 0 and at most 1.")
    can_write(options.out)
    lines = ["\t".join(fields) for _, fields in read_tsv(options.corpus)]
    limits = Limits(options.least, options.hypernyms, options.similar_share)
    found = acquire(lines, _clicks(options.clicks) if options.clicks else (), limits, similarity)
    if not found.triples:
        raise UserError(f"{options.corpus} gave no triple: it has {found.phrases} phrases; lower --least or add text.")
    write_triples(options.out, found.triples)
    print(f"{len(found.triples):,} triples of {found.phrases:,} phrases, {found.seconds:.1f} CPU seconds, no label.")
    print("found:   " + ", ".join(f"{rule} {len(triples):,}" for rule, triples in found.by_rule.items()))
    print("dropped: " + ", ".join(f"{name} {count:,}" for name, count in found.dropped.items()))
    print(f"Wrote {options.out}.")


def similarity(triples: Sequence[Triple]) -> Tensor:
    """Cosines (N,) of MiniLM's embeddings of head and tail."""
    encode = SentenceEncoder()
    head, tail = (in_batches(encode, [triple[k] for triple in triples]) for k in (0, 2))
    return F.cosine_similarity(head, tail)


def _clicks(path: Path) -> list[tuple[str, str]]:
    rows = read_tsv(path)
    for number, fields in rows:
        if len(fields) != 2 or not all(fields):
            raise UserError(f"{path}, line {number}: found {len(fields)} fields; expected query and answer.")
    return [(fields[0], fields[1]) for _, fields in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, mine, f"python -m {__package__}", arguments)


if __name__ == "__main__":
    sys.exit(main())
