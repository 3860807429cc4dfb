"""Rebuild the noun lexicon, bit for bit, from an unpacked `wordnet-base` package.

python -m ci.packs.nouns --source DIR     (DIR holds usr/share/wordnet)
"""

import lzma
from collections import Counter
from pathlib import Path

import tyro

from shared.offline.packs import PACKS

PACK = PACKS / "nouns"
PARTS = {"noun": "1", "verb": "2", "adj": "3", "adv": "4"}  # of speech, with their number in a sense key
SATELLITE = "5"  # the number of an adjective that belongs to another
LONGEST = 4  # words of a noun


def senses(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Synset offsets of every lemma for every part of speech that it has."""
    found: dict[str, dict[str, list[str]]] = {}
    for part in PARTS:
        for line in (folder / f"index.{part}").read_text(encoding="latin-1").splitlines():
            if not line.startswith("  "):  # the licence
                fields = line.split()
                found.setdefault(fields[0], {})[part] = fields[-int(fields[2]) :]
    return found


def tag_counts(folder: Path) -> Counter[tuple[str, str]]:
    """How often a lemma was tagged as a part of speech in WordNet's annotated texts."""
    numbers = {number: part for part, number in PARTS.items()} | {SATELLITE: "adj"}
    counts: Counter[tuple[str, str]] = Counter()
    for line in (folder / "cntlist.rev").read_text(encoding="latin-1").splitlines():
        key, _, count = line.split()
        lemma, _, rest = key.partition("%")
        counts[lemma, numbers[rest[0]]] += int(count)
    return counts


def instances(folder: Path) -> set[str]:
    """Offsets of the synsets of single persons, places and events, which no photograph's caption has as a class."""
    found = set()
    for line in (folder / "data.noun").read_text(encoding="latin-1").splitlines():
        if not line.startswith("  ") and " @i " in line.partition("|")[0]:
            found.add(line[:8])
    return found


def build(source: Path, out: Path = PACK) -> None:
    """Write nouns.txt.xz under `out`: a line a noun, and `plural<tab>singular` for irregular plurals.

    A question mark follows a noun that more often is another part of speech.
    """
    folder = source / "usr/share/wordnet"
    counts, single = tag_counts(folder), instances(folder)
    nouns: dict[str, bool] = {}  # whether it is a noun more often than anything else
    for lemma, parts in senses(folder).items():
        if "noun" not in parts or set(parts["noun"]) <= single or len(lemma.split("_")) > LONGEST:
            continue
        if not lemma[0].isalpha():
            continue
        # Most lemmas were seldom tagged or never: each of its senses counts as one more occurrence.
        seen = {part: counts[lemma, part] + len(synsets) for part, synsets in parts.items()}
        nouns[lemma.replace("_", " ")] = seen["noun"] == max(seen.values())
    plurals = set()
    for line in (folder / "noun.exc").read_text(encoding="latin-1").splitlines():
        plural, singular, *_ = line.replace("_", " ", 2).split() if line.count(" ") == 1 else ("", "")
        if singular in nouns and plural != singular:
            plurals.add(f"{plural}\t{singular}")
    marked = [noun if mostly else f"{noun}?" for noun, mostly in sorted(nouns.items())]
    text = "\n".join([*marked, *sorted(plurals)]) + "\n"
    (out / "nouns.txt.xz").write_bytes(lzma.compress(text.encode("latin-1"), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    tyro.cli(build)
