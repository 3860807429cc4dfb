"""The embedded noun lexicon: which English words are nouns, by WordNet 3.0."""

import lzma
from dataclasses import dataclass
from functools import cache

from shared.offline.packs import PACKS, read_pack

FILE = PACKS / "nouns" / "nouns.txt.xz"
SHA256 = "9ce0c0ac3f891bd699f8314b3650a66d78fc34dc3971ecaed05dcf85cf0ab5a0"


@dataclass(frozen=True)
class Lexicon:
    """Lower-case lemmas of up to four words, separated by spaces; names of single persons and places are left out."""

    nouns: frozenset[str]
    """Lemmas that are nouns at least as often as anything else: owl, fire hydrant."""
    sometimes: frozenset[str]
    """Lemmas that more often are verbs, adjectives or adverbs: duck, green."""
    plurals: dict[str, str]
    """Irregular ones, with their singulars: geese, goose."""

    def singular(self, word: str) -> str | None:
        """The lemma of a noun in either number, or None if it is no noun."""
        for lemma in (word, self.plurals.get(word), *regular_singulars(word)):
            if lemma is not None and (lemma in self.nouns or lemma in self.sometimes):
                return lemma
        return None


def regular_singulars(word: str) -> list[str]:
    """Words that a regular plural may come from: foxes -> foxe, fox; ponies -> pony; women -> woman."""
    if word.endswith("men"):
        return [f"{word[:-3]}man"]
    if not word.endswith("s") or word.endswith("ss"):
        return []
    found = [word[:-1]]
    if word.endswith("es"):
        found.append(word[:-2])
    if word.endswith("ies"):
        found.append(f"{word[:-3]}y")
    return found


@cache
def load_lexicon() -> Lexicon:
    """Read the pack. Raises UserError if its file is missing or damaged."""
    lines = lzma.decompress(read_pack(FILE, SHA256)).decode().splitlines()
    single = [line for line in lines if "\t" not in line]
    return Lexicon(
        frozenset(line for line in single if not line.endswith("?")),
        frozenset(line[:-1] for line in single if line.endswith("?")),
        dict(line.split("\t", 1) for line in lines if "\t" in line),
    )
