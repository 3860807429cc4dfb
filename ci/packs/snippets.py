"""Rebuild the rated snippets, bit for bit, from the source archive of `vaderSentiment`.

python -m ci.packs.snippets --source vaderSentiment-2.5.tar.gz
"""

import io
import lzma
import tarfile
from pathlib import Path

import tyro

from shared.offline.packs import PACKS

PACK = PACKS / "snippets"
ARCHIVE = "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"
FILES = {
    "amazon": "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt",
    "film": "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
    "news": "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt",
}


def member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        file = opened.extractfile(name)
        assert file is not None
        return file.read()


def build(source: Path, out: Path = PACK) -> None:
    """Write snippets.tsv.xz under `out`: source, id, mean valence (-4 to 4, 3 digits), text; a line a snippet."""
    inner = member(source.read_bytes(), ARCHIVE)
    rows = []
    for name, path in FILES.items():
        for line in member(inner, path).decode("utf-8", errors="replace").splitlines():
            number, valence, text = line.split("\t", 2)
            rows.append(f"{name}\t{number}\t{float(valence):.3f}\t{' '.join(text.split())}")
    content = ("\n".join(rows) + "\n").encode()
    (out / "snippets.tsv.xz").write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    tyro.cli(build)
