"""The embedded instruments: a picture, a recording of somebody who plays, and solos rendered from a sound font.

No note of a split's solos is played in another's. The recordings are from another source than the solos.
"""

from dataclasses import dataclass

import numpy as np

from shared.offline.packs import PACKS, read_picture, read_sound, read_table

FOLDER = PACKS / "instruments"
TABLES = {  # SHA-256 of each table, which holds those of the other files
    "instruments": "c236cbf641b8874f9cbd2acad0e3d072c166d2e22ef25b4b062179dc0868618c",
    "solos": "d57e07058ceac3d2e864ca22db37eaceb18a0228609a6772e7efe88af0f6c3af",
}
# Words that tell the instrument from other things of that name; the other instruments are asked for by their own.
LABELS = {"horn": "french horn"}


@dataclass(frozen=True)
class Instrument:
    """An instrument that is seen and heard."""

    name: str  # "violin"
    image_sha256: str
    recording_sha256: str

    @property
    def label(self) -> str:
        return LABELS.get(self.name, self.name)

    def image(self) -> np.ndarray:
        """(H, W, 4) uint8 RGBA, shortest side at most 128, read-only. Raises UserError if the file is damaged."""
        return read_picture(FOLDER / "images" / f"{self.name}.webp", self.image_sha256, "RGBA")

    def recording(self, rate: int) -> np.ndarray:
        """A recording of 4 to 12 s, (N,) float32 mono in [-1, 1] at `rate` Hz. Raises UserError if it is damaged."""
        return read_sound(FOLDER / "recordings" / f"{self.name}.ogg", self.recording_sha256, rate)


@dataclass(frozen=True)
class Solo:
    """A melody or a rhythm, rendered."""

    instrument: str  # name of the Instrument
    split: str  # "train" (twelve of 15 s), "validation" (12 s) or "test" (18 s)
    notes: tuple[str, ...]  # MIDI key and, of held-out percussion, the tuning in semitones: "60", "60+0.7"
    file: str
    sha256: str

    def sound(self, rate: int) -> np.ndarray:
        """(N,) float32 mono in [-1, 1] at `rate` Hz. Raises UserError if the file is missing or damaged."""
        return read_sound(FOLDER / "solos" / self.file, self.sha256, rate)


def load_instruments() -> list[Instrument]:
    """All instruments, by name. Raises UserError if the table is missing or damaged."""
    return [Instrument(**row) for row in read_table(FOLDER / "instruments.csv", TABLES["instruments"])]


def load_solos() -> list[Solo]:
    """All solos. Raises UserError if the table is missing or damaged."""
    kept = ("instrument", "split", "file", "sha256")
    rows = read_table(FOLDER / "solos.csv", TABLES["solos"])
    return [Solo(notes=tuple(row["notes"].split()), **{key: row[key] for key in kept}) for row in rows]
