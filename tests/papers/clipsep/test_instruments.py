"""The embedded instruments: complete, apart between splits, audible, named when damaged, rebuilt bit for bit."""

import itertools
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ci.packs.instruments import ARCHIVE, FONT, SOLOS, build
from papers.clipsep.datasets import instruments
from papers.clipsep.datasets.instruments import FOLDER, load_instruments, load_solos
from shared import UserError

BUILT_WITH = {"tinysoundfont": "0.3.7", "resvg_py": "0.5.0", "soundfile": "0.14.0", "pillow": "13.0.0"}
SOURCE = Path("/")  # where Debian's packages are, if they are installed


def names(folder: str) -> set[str]:
    return {path.name for path in (FOLDER / folder).iterdir()}


def test_tables_list_exactly_the_files() -> None:
    found = [instrument.name for instrument in load_instruments()]
    assert len(found) == len(set(found)) >= 8
    assert names("images") == {f"{name}.webp" for name in found}
    assert names("recordings") == {f"{name}.ogg" for name in found}
    assert names("solos") == {solo.file for solo in load_solos()}
    for name in found:
        splits = [solo.split for solo in load_solos() if solo.instrument == name]
        assert splits == [split for split, (count, _) in SOLOS.items() for _ in range(count)]


def test_solos_share_no_note_between_splits() -> None:
    for name in {solo.instrument for solo in load_solos()}:
        notes: dict[str, set[str]] = {split: set() for split in SOLOS}
        for solo in load_solos():
            if solo.instrument == name:
                notes[solo.split] |= set(solo.notes)
        for one, other in itertools.combinations(notes.values(), 2):
            assert one and other and not one & other, name


def test_solos_sound_throughout() -> None:
    for solo in load_solos():
        wave, rate = soundfile.read(FOLDER / "solos" / solo.file)
        assert rate == 16000 and wave.ndim == 1 and 0.5 < np.abs(wave).max() < 1, solo.file
        assert len(wave) / rate == SOLOS[solo.split][1]
        quiet = np.sqrt((wave.reshape(-1, 160) ** 2).mean(1)) < 0.001  # windows of 10 ms
        longest = max((len(list(run)) for is_quiet, run in itertools.groupby(quiet) if is_quiet), default=0)
        assert longest * 0.01 <= 1.5, solo.file


def test_pictures_are_cut_out_and_recordings_last() -> None:
    for instrument in load_instruments():
        image = instrument.image()
        assert image.dtype == np.uint8 and image.shape[2] == 4, instrument.name
        assert min(image.shape[:2]) <= 128 and max(image.shape[:2]) <= 256, instrument.name
        assert image[..., 3].max() > 200 and image[..., 3].min() < 50, f"{instrument.name} is not a cut-out"
        sound = instrument.recording(8000)
        assert 4 < len(sound) / 8000 < 13 and np.sqrt(np.mean(sound**2)) > 1e-3, instrument.name


def test_damage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    solo, instrument = load_solos()[0], load_instruments()[0]
    monkeypatch.setattr(instruments, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=rf"{solo.file} cannot be read .*git checkout"):
        solo.sound(16000)
    with pytest.raises(UserError, match=rf"{instrument.name}\.webp cannot be read"):
        instrument.image()
    with pytest.raises(UserError, match=rf"{instrument.name}\.ogg cannot be read"):
        instrument.recording(16000)
    for table, load in (("instruments.csv", load_instruments), ("solos.csv", load_solos)):
        with pytest.raises(UserError, match=rf"{table} cannot be read"):
            load()
        (tmp_path / table).write_bytes((FOLDER / table).read_bytes()[:-10])
        with pytest.raises(UserError, match=rf"{table} is damaged"):
            load()


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@pytest.mark.skipif(
    any(installed(package) != wanted for package, wanted in BUILT_WITH.items())
    or not (SOURCE / ARCHIVE).exists()
    or not (SOURCE / FONT).exists(),
    reason=f"needs {BUILT_WITH}, and Debian's gcompris-qt-data and fluidr3mono-gm-soundfont",
)
def test_rebuilds_bit_for_bit(tmp_path: Path) -> None:
    build(SOURCE, tmp_path, only=("maracas", "violin"))
    rebuilt = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".csv"]
    assert len(rebuilt) == 2 * (2 + sum(count for count, _ in SOLOS.values()))
    for path in rebuilt:
        assert path.read_bytes() == (FOLDER / path.relative_to(tmp_path)).read_bytes(), path.name
