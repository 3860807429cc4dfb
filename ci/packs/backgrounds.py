"""Rebuild the background pack, bit for bit, from an unpacked `gcompris-qt-data` package.

python -m ci.packs.backgrounds --source DIR     (DIR holds usr/share/gcompris-qt/rcc)
"""

import csv
import hashlib
import io
import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import tyro
from PIL import Image

from shared.offline.packs import PACKS

PACK = PACKS / "backgrounds"
COLUMNS = ("name", "kind", "sha256", "licence", "author", "source")
ARCHIVES = {"explore_monuments": "monument", "explore_farm_animals": "animal", "explore_world_animals": "animal"}
FOLDER, COMPRESSED = 2, 1  # flags of a node in a Qt resource file


def resource_files(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Walk a Qt binary resource file (version 3): yields (path, content).

    The header points at a table of 22-byte nodes (name offset, flags, then first child or locale and data offset),
    a table of UTF-16 names, and the data, each entry preceded by its length; all numbers are big-endian.
    """
    magic, version, nodes, data, names = struct.unpack_from(">4sIIII", archive)
    if (magic, version) != (b"qres", 3):
        raise ValueError(f"expected a Qt resource file of version 3, found {magic!r} version {version}")

    def walk(node: int, parents: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        at = nodes + 22 * node
        name_at, flags = struct.unpack_from(">IH", archive, at)
        (length,) = struct.unpack_from(">H", archive, names + name_at)
        # A name is its length, a hash of four bytes, then the characters; the root (node 0) has none.
        name = archive[names + name_at + 6 :][: 2 * length].decode("utf-16-be") if node else ""
        if flags & FOLDER:
            count, first = struct.unpack_from(">II", archive, at + 6)
            for child in range(first, first + count):
                yield from walk(child, (*parents, name))
        else:
            (offset,) = struct.unpack_from(">I", archive, at + 10)
            (size,) = struct.unpack_from(">I", archive, data + offset)
            content = archive[data + offset + 4 :][:size]
            yield "/".join((*parents, name)), zlib.decompress(content[4:]) if flags & COMPRESSED else content

    return walk(0, ())


def credits(readme: str) -> dict[str, tuple[str, str, str]]:
    """Licence, author and source address of each photograph named in an archive's README."""
    found = {}
    for block in re.split(r"\n\s*\n", readme):
        fields = dict(re.findall(r"^(Copyright|License|Source): (.*)$", block, re.MULTILINE))
        for file in re.findall(r"^(\S+)\.webp$", block, re.MULTILINE):
            # The README of the monuments misspells one file.
            stem = file.rpartition("/")[2].replace("audaPalatina", "aulaPalatina")
            licence = fields["License"].lower() if "Public" in fields["License"] else fields["License"]
            found[stem] = (licence.replace("CC-BY-SA 4.0", "CC-BY-SA-4.0"), fields["Copyright"], fields["Source"])
    return found


def build(source: Path, out: Path = PACK) -> None:
    """Write images/ and backgrounds.csv under `out`."""
    shutil.rmtree(out / "images", ignore_errors=True)
    (out / "images").mkdir(parents=True)
    rows = []
    for archive, kind in ARCHIVES.items():
        files = dict(resource_files((source / f"usr/share/gcompris-qt/rcc/{archive}.rcc").read_bytes()))
        readme = next(content for path, content in files.items() if path.endswith("/README")).decode()
        credit = credits(readme)
        for path, content in files.items():
            if not path.endswith(".webp"):
                continue
            name = Path(path).stem
            image = Image.open(io.BytesIO(content)).convert("RGB")
            scale = 128 / min(image.size)
            encoded = io.BytesIO()
            image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS).save(
                encoded, "WEBP", quality=85, method=6
            )
            (out / "images" / f"{name}.webp").write_bytes(encoded.getvalue())
            rows.append((name, kind, hashlib.sha256(encoded.getvalue()).hexdigest(), *credit[name]))
    with open(out / "backgrounds.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *sorted(rows)])


if __name__ == "__main__":
    tyro.cli(build)
