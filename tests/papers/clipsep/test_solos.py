"""The embedded instrument solos: complete, apart between splits, audible, named when damaged, rebuilt bit for bit."""

import importlib.util
import itertools
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ci.packs.instruments import build
from papers.clipsep.datasets import solos
from papers.clipsep.datasets.solos import FOLDER, load_solos
from shared import UserError
from shared.offline.cutouts import load_cutouts

BUILT_WITH = {"pretty_midi": "0.2.11.post0", "tinysoundfont": "0.3.7", "soundfile": "0.14.0"}


def test_table_lists_exactly_the_files() -> None:
    assert len(load_solos()) == 30 and len({solo.instrument for solo in load_solos()}) == 10
    assert {path.name for path in (FOLDER / "sounds").iterdir()} == {Path(solo.file).name for solo in load_solos()}
    validation = next(solo for solo in load_solos() if solo.split == "validation")
    assert len(validation.sound(8000)) == 64000


def test_solos_share_no_note_between_splits() -> None:
    for instrument in {solo.instrument for solo in load_solos()}:
        notes = {solo.split: set(solo.notes) for solo in load_solos() if solo.instrument == instrument}
        assert set(notes) == {"train", "validation", "test"}
        for one, other in itertools.combinations(notes.values(), 2):
            assert one and other and not one & other, instrument


def test_solos_sound_throughout() -> None:
    shown = {stamp.name for stamp in load_cutouts()}
    for solo in load_solos():
        assert solo.stamp in shown
        wave, rate = soundfile.read(FOLDER / solo.file)
        assert rate == 16000 and wave.ndim == 1 and 0.5 < np.abs(wave).max() < 1, solo.file
        assert len(wave) / rate == {"train": 24, "validation": 8, "test": 10}[solo.split]
        quiet = np.sqrt((wave.reshape(-1, 160) ** 2).mean(1)) < 0.002  # windows of 10 ms
        longest = max((len(list(run)) for is_quiet, run in itertools.groupby(quiet) if is_quiet), default=0)
        assert longest * 0.01 <= 0.5, solo.file


def test_damage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, table = load_solos()[0], tmp_path / "instruments.csv"
    monkeypatch.setattr(solos, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=rf"{Path(first.file).name} cannot be read .*git checkout"):
        first.sound(16000)
    with pytest.raises(UserError, match=r"instruments\.csv cannot be read"):
        load_solos()
    table.write_bytes((FOLDER / "instruments.csv").read_bytes()[:-10])
    with pytest.raises(UserError, match=r"instruments\.csv is damaged"):
        load_solos()


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@pytest.mark.skipif(
    any(installed(package) != wanted for package, wanted in BUILT_WITH.items()), reason=f"needs {BUILT_WITH}"
)
def test_rebuilds_bit_for_bit(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("pretty_midi")
    assert spec and spec.origin
    build(Path(spec.origin).parent / "TimGM6mb.sf2", tmp_path)
    for solo in load_solos():
        assert (tmp_path / solo.file).read_bytes() == (FOLDER / solo.file).read_bytes(), solo.file
    rebuilt, kept = (folder / "instruments.csv" for folder in (tmp_path, FOLDER))
    assert rebuilt.read_bytes() == kept.read_bytes()
