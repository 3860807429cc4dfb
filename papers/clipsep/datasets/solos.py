"""The embedded solos: ten instruments that have a cut-out, rendered with notes of their own for each split."""

from dataclasses import dataclass

import numpy as np

from shared.offline.packs import PACKS, read_sound, read_table

FOLDER = PACKS / "instruments"
SHA256 = "3785b42d3590f806618c1bc95b505ca08322854d55fb3075a1b8e1cceb1c9b15"  # of the table


@dataclass(frozen=True)
class Solo:
    """A recording of one instrument. No note (sample, pitch) of a split is played in another."""

    instrument: str  # "electric bass guitar"
    stamp: str  # name of the Cutout that shows it
    split: str  # "train" (24 s), "validation" (8 s) or "test" (10 s)
    notes: tuple[str, ...]  # "program56/60": sound-font preset, MIDI key and, for drums, the tuning in semitones
    file: str
    sha256: str

    def sound(self, rate: int) -> np.ndarray:
        """(N,) float32 mono in [-1, 1] at `rate` Hz. Raises UserError if the file is missing or damaged."""
        return read_sound(FOLDER / self.file, self.sha256, rate)


def load_solos() -> list[Solo]:
    """All recordings. Raises UserError if the table is missing or damaged."""
    kept = ("instrument", "stamp", "split", "file", "sha256")
    rows = read_table(FOLDER / "instruments.csv", SHA256)
    return [Solo(notes=tuple(row["notes"].split()), **{key: row[key] for key in kept}) for row in rows]
