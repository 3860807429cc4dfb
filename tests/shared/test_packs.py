"""The embedded data: complete, undamaged, free of duplicates, and rebuilt bit for bit."""

import csv
import io
import itertools
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ci.packs.backgrounds import credits, resource_files
from ci.packs.instruments import with_serial
from shared import UserError
from shared.offline import cutouts, packs
from shared.offline.cutouts import load_backgrounds, load_cutouts
from shared.offline.packs import PACKS


def table(pack: str) -> list[dict[str, str]]:
    with open(PACKS / pack / f"{pack}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(pack: str, folder: str) -> set[str]:
    root = PACKS / pack / folder
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_counts() -> None:
    assert len(load_cutouts()) == 270
    assert len(load_cutouts(sounding=True)) == 70
    assert (len(load_backgrounds("monument")), len(load_backgrounds("animal"))) == (49, 24)


def test_tables_list_exactly_the_files() -> None:
    assert files("stamps", "images") == {f"{stamp.name}.webp" for stamp in load_cutouts()}
    assert files("stamps", "sounds") == {f"{stamp.name}.ogg" for stamp in load_cutouts(sounding=True)}
    assert files("backgrounds", "images") == {f"{background.name}.webp" for background in load_backgrounds()}


def test_packs_are_small() -> None:
    assert sum(path.stat().st_size for path in PACKS.rglob("*") if path.is_file()) < 25e6


@pytest.mark.parametrize("pack", ["stamps", "backgrounds", "instruments"])
def test_provenance(pack: str) -> None:
    source = (PACKS / pack / "SOURCE.md").read_text(encoding="utf-8")
    assert f"python -m ci.packs.{pack} --source" in source
    assert len([word for word in source.split() if len(word.strip("`")) == 64]) >= 1, "no SHA-256 of the source"
    for row in table(pack):
        assert row.get("licence", "GPL-2.0") and None not in row.values()


def test_stamp_images() -> None:
    for stamp in load_cutouts():
        image = stamp.image()
        assert image.dtype == np.uint8 and image.shape[2] == 4, stamp.name
        assert min(image.shape[:2]) <= 128 and max(image.shape[:2]) <= 256, stamp.name
        assert max(image.shape[:2]) >= 32, stamp.name
        assert image[..., 3].max() > 200 and image[..., 3].min() < 50, f"{stamp.name} is not a cut-out"


def test_stamp_labels() -> None:
    labels = [stamp.label for stamp in load_cutouts()]
    assert len(set(labels)) == len(labels)
    for label in labels:
        assert label.isascii() and label == label.lower().strip() and len(label) < 30, label
        assert not label.startswith(("a ", "an ", "the ")) and not label.endswith("."), label
    assert len({stamp.caption for stamp in load_cutouts()}) == len(labels)


def test_background_images() -> None:
    for background in load_backgrounds():
        image = background.image()
        assert image.shape[2] == 3 and min(image.shape[:2]) == 128, background.name


def test_stamp_sounds_are_audible_and_all_different() -> None:
    spectra = {}
    for stamp in load_cutouts(sounding=True):
        sound = stamp.sound(4000)
        assert 0.15 < len(sound) / 4000 < 10 and np.sqrt(np.mean(sound**2)) > 1e-3, stamp.name
        spectra[stamp.name] = np.fft.rfft(sound / np.linalg.norm(sound), 2**16)
    for (one, a), (other, b) in itertools.combinations(spectra.items(), 2):
        assert np.abs(np.fft.irfft(a * b.conj())).max() < 0.6, f"{one} and {other} share a recording"


@pytest.fixture
def copied_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tables and the files of the owl and of one background, to be damaged."""
    for file in ("stamps/stamps.csv", "stamps/images/animals/birds/owl.webp", "stamps/sounds/animals/birds/owl.ogg",
                 "backgrounds/backgrounds.csv"):  # fmt: skip
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKS / file, tmp_path / file)
    monkeypatch.setattr(cutouts, "PACKS", tmp_path)
    packs.read_table.cache_clear()
    return tmp_path


def owl() -> cutouts.Cutout:
    return next(stamp for stamp in load_cutouts() if stamp.name == "animals/birds/owl")


def test_missing_file_is_named(copied_packs: Path) -> None:
    (copied_packs / "stamps/images/animals/birds/owl.webp").unlink()
    with pytest.raises(UserError, match=r"birds/owl\.webp cannot be read .*git checkout"):
        owl().image()


@pytest.mark.parametrize("file", ["images/animals/birds/owl.webp", "sounds/animals/birds/owl.ogg"])
def test_truncated_file_is_named(copied_packs: Path, file: str) -> None:
    path = copied_packs / "stamps" / file
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{path.name} is damaged"):
        owl().image() if path.suffix == ".webp" else owl().sound(8000)


@pytest.mark.parametrize("pack, load", [("stamps", load_cutouts), ("backgrounds", load_backgrounds)])
def test_truncated_table_is_named(copied_packs: Path, pack: str, load: Callable[[], list]) -> None:
    path = copied_packs / pack / f"{pack}.csv"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    with pytest.raises(UserError, match=rf"{pack}\.csv is damaged"):
        load()
    path.unlink()
    with pytest.raises(UserError, match=rf"{pack}\.csv cannot be read"):
        load()


def test_resource_files() -> None:
    packed = struct.pack(">I", 5) + zlib.compress(b"hello")
    names = b"".join(struct.pack(">HI", len(n), 0) + n.encode("utf-16-be") for n in ("dir", "a.txt", "b.txt"))
    data = struct.pack(">I", 3) + b"raw" + struct.pack(">I", len(packed)) + packed
    # Nodes: name offset, flags, then (children, first child) or (locale, data offset), then a time stamp.
    nodes = [(0, 2, 1, 1), (0, 2, 2, 2), (6 + 6, 0, 0, 0), (12 + 16, 1, 0, 7)]
    tree = b"".join(struct.pack(">IHIIQ", *node, 0) for node in nodes)
    header = struct.pack(">4sIIIII", b"qres", 3, 24, 24 + len(tree), 24 + len(tree) + len(data), 0)
    assert list(resource_files(header + tree + data + names)) == [("/dir/a.txt", b"raw"), ("/dir/b.txt", b"hello")]
    with pytest.raises(ValueError, match="version 3"):
        list(resource_files(b"RIFF" + bytes(40)))


def test_credits() -> None:
    readme = "Copyright: Ann\nLicense: Public Domain\nSource: https://x.org/a\nFiles:\nindia/a.webp\n\n"
    assert credits(readme) == {"a": ("public domain", "Ann", "https://x.org/a")}


def test_ogg_serial_makes_writes_equal() -> None:
    tone = 0.3 * np.sin(np.arange(32000) * 0.1)
    written = []
    for _ in range(2):
        buffer = io.BytesIO()
        soundfile.write(buffer, tone, 16000, format="OGG", subtype="VORBIS")
        written.append(buffer.getvalue())
    first, second = (with_serial(ogg, 7) for ogg in written)
    assert first == second
    decoded, _ = soundfile.read(io.BytesIO(first))
    np.testing.assert_array_equal(decoded, soundfile.read(io.BytesIO(written[0]))[0])
