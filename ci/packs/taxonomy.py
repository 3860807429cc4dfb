"""Rebuild the noun taxonomy, bit for bit, from an unpacked `wordnet-base` package.

python -m ci.packs.taxonomy --source DIR     (DIR holds usr/share/wordnet)
"""

import lzma
from pathlib import Path

import tyro

from shared.offline.packs import PACKS

PACK = PACKS / "taxonomy"
KINDS = {"05": "animal", "06": "artifact", "13": "food", "18": "person", "20": "plant", "27": "substance"}
"""Lexicographer files that are kept, by their numbers."""
HYPERNYM, INSTANCE = "@", "@i"


def build(source: Path, out: Path = PACK) -> None:
    """Write taxonomy.tsv.xz under `out`: kind, lemmas, hypernyms, instance hypernyms, gloss; a line a synset.

    Lemmas are joined by "|". Hypernyms are numbers of lines, from 0, joined by commas, as far as their kind is kept.
    """
    text = (source / "usr/share/wordnet/data.noun").read_text(encoding="latin-1")
    lines = [line for line in text.splitlines() if not line.startswith("  ")]  # the licence
    kept = [line for line in lines if line.split(" ", 2)[1] in KINDS]
    number = {line[:8]: k for k, line in enumerate(kept)}
    rows = []
    for line in kept:
        data, _, gloss = line.partition(" | ")
        fields = data.split()
        words = int(fields[3], 16)
        lemmas = [word.replace("_", " ") for word in fields[4 : 4 + 2 * words : 2]]
        pointers = fields[5 + 2 * words :]
        above = {
            kind: [
                str(number[offset])
                for symbol, offset in zip(pointers[::4], pointers[1::4], strict=False)
                if symbol == kind and offset in number
            ]
            for kind in (HYPERNYM, INSTANCE)
        }
        rows.append(
            "\t".join(
                [
                    KINDS[fields[1]],
                    "|".join(lemmas),
                    ",".join(above[HYPERNYM]),
                    ",".join(above[INSTANCE]),
                    gloss.strip(),
                ]
            )
        )
    content = ("\n".join(rows) + "\n").encode()
    (out / "taxonomy.tsv.xz").write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    tyro.cli(build)
