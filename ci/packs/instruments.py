"""Rebuild the instruments, bit for bit, from the unpacked Debian packages `gcompris-qt-data` and
`fluidr3mono-gm-soundfont`.

python -m ci.packs.instruments --source DIR     (DIR holds usr/share of both)
"""

import csv
import hashlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tyro
from PIL import Image

from ci.packs.backgrounds import resource_files
from shared.offline.packs import PACKS

PACK = PACKS / "instruments"
ARCHIVE = "usr/share/gcompris-qt/rcc/instruments.rcc"
FONT = "usr/share/fluidr3mono-gm-soundfont/FluidR3Mono_GM.sf3"
RATE = 16_000  # Hz, of the solos
SOLOS = {"train": (12, 15.0), "validation": (1, 12.0), "test": (1, 18.0)}  # of each instrument: how many, seconds each

# No note is shared by two splits. Pitched instruments: each split has its own pitch classes, interleaved over the
# same register. Percussion: a sound font has few notes, so validation and test tune them differently (in semitones).
PITCH_CLASSES = {"train": {0, 2, 4, 7, 9}, "validation": {3, 5, 10}, "test": {1, 6, 8, 11}}
TUNING = {"train": 0.0, "validation": 0.7, "test": -0.7}
DETUNED = 0.3  # semitones up or down: instruments of training solos are not all at one pitch

Event = tuple[float, float, int, int]  # start (s), duration (s), MIDI key, velocity


@dataclass(frozen=True)
class Instrument:
    """A General MIDI instrument and how it is played here.

    `keys` are the lowest and the highest of the register that it is mostly heard in, or of percussion all that sound
    like it.
    """

    program: int
    keys: tuple[int, ...]
    beats: tuple[float, ...] = (0.25, 0.5, 0.5, 1.0, 1.0, 1.5)
    overlap: float = 0.9  # share of a note's time that it sounds; above 1 is legato
    chords: float = 0.0  # share of notes that are chords
    drums: bool = False


BOWED, STRUCK = (0.5, 1.0, 1.0, 1.5, 2.0), (0.25, 0.25, 0.5, 0.5, 1.0)
INSTRUMENTS = {
    "cello": Instrument(42, (36, 55), BOWED, overlap=1.1),
    "guitar": Instrument(24, (45, 64), overlap=1.5, chords=0.2),
    "harp": Instrument(46, (55, 84), overlap=2.0, chords=0.2),
    "horn": Instrument(60, (41, 60), BOWED, overlap=1.0),
    "maracas": Instrument(0, (70,), STRUCK, drums=True),
    "piano": Instrument(0, (48, 72), overlap=1.2, chords=0.2),
    "trumpet": Instrument(56, (60, 79)),
    "violin": Instrument(40, (67, 91), BOWED, overlap=1.1),
}


def melody(instrument: Instrument, split: str, seconds: float, rng: np.random.Generator) -> list[Event]:
    """A random walk over the keys of `split` in phrases of varying note length, loudness and short rests."""
    low, high = instrument.keys
    keys = [key for key in range(low, high + 1) if key % 12 in PITCH_CLASSES[split]]
    beat = 60 / rng.uniform(90, 140)
    position, time, events = int(rng.integers(len(keys))), 0.0, []
    while time < seconds:
        step = int(rng.choice([-3, -2, -1, -1, 1, 1, 2, 3]))
        position += step if 0 <= position + step < len(keys) else -step
        position = min(max(position, 0), len(keys) - 1)
        length = beat * float(rng.choice(instrument.beats))
        velocity = int(rng.integers(70, 120))
        voices = int(rng.integers(2, 4)) if rng.random() < instrument.chords else 1
        for voice in range(voices):  # every second key above: a spread chord
            key = keys[min(position + 2 * voice, len(keys) - 1)]
            events.append((time, length * instrument.overlap, key, velocity))
        time += length
        if rng.random() < 0.12:
            time += min(0.5 * beat, 0.3)
    return sorted(set(events))


def strokes(instrument: Instrument, seconds: float, rng: np.random.Generator) -> list[Event]:
    """A random rhythm on one piece of percussion, some of its strokes early or late."""
    beat = 60 / rng.uniform(80, 140)
    time, events = 0.0, []
    while time < seconds:
        length = beat * float(rng.choice(instrument.beats)) * rng.uniform(0.95, 1.05)
        events.append((time, length, int(rng.choice(instrument.keys)), int(rng.integers(60, 127))))
        time += length
    return events


class Renderer:
    """A sound font that plays one solo after the other."""

    def __init__(self, font: Path) -> None:
        import tinysoundfont  # only a rebuild needs it: see SOURCE.md

        self.synth: Any = tinysoundfont.Synth(samplerate=RATE)
        self.font = self.synth.sfload(str(font))

    def play(self, events: list[Event], seconds: float, instrument: Instrument, tuning: float) -> np.ndarray:
        """(N,) float32 mono at 16 kHz with a peak of 0.8 and faded ends."""
        bank = 128 if instrument.drums else 0
        self.synth.program_select(0, self.font, bank, instrument.program, instrument.drums)
        self.synth.set_tuning(0, tuning)
        total = int(seconds * RATE)
        # At equal times a note ends before the next begins, or a repeated key would be cut at once.
        changes = [(round(start * RATE), velocity, key) for start, _, key, velocity in events]
        changes += [(round((start + duration) * RATE), 0, key) for start, duration, key, _ in events]
        wave, now = np.zeros(total, np.float32), 0
        for at, velocity, key in [*sorted(changes), (total, 0, 0)]:
            at = min(at, total)
            if at > now:
                wave[now:at] = self._generate(at - now)
                now = at
            if velocity:
                self.synth.noteon(0, key, velocity)
            else:
                self.synth.noteoff(0, key)
        self.synth.sounds_off()
        self._generate(RATE)  # what still rings is no part of the next solo
        fade = np.linspace(0, 1, RATE // 100, dtype=np.float32)
        wave[: len(fade)] *= fade
        wave[-len(fade) :] *= fade[::-1]
        return 0.8 * wave / np.abs(wave).max()

    def _generate(self, samples: int) -> np.ndarray:
        return np.frombuffer(bytes(self.synth.generate(samples)), np.float32).reshape(-1, 2).mean(1)


def picture(svg: str) -> bytes:
    """A drawing as a cut-out without empty margins: WebP, shortest side at most 128, longest at most 256."""
    import resvg_py  # only a rebuild needs it: see SOURCE.md

    drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=600)))).convert("RGBA")
    drawn = drawn.crop(drawn.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox())
    scale = min(128 / min(drawn.size), 256 / max(drawn.size))
    size = (max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale)))
    encoded = io.BytesIO()
    drawn.resize(size, Image.Resampling.LANCZOS).save(encoded, "WEBP", quality=85, method=6, exact=True)
    return encoded.getvalue()


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x104C11DB7 if crc & 0x80000000 else 0)
        table.append(crc)
    return table


CRC = _crc_table()


def ogg_crc(page: bytes) -> int:
    """Checksum of an Ogg page (RFC 3533): CRC-32, polynomial 0x04C11DB7, not reflected."""
    crc = 0
    for byte in page:
        crc = (crc << 8) & 0xFFFFFFFF ^ CRC[(crc >> 24) ^ byte]
    return crc


def with_serial(ogg: bytes, serial: int) -> bytes:
    """Give the one stream in `ogg` a chosen serial number; libsndfile draws one at random for every file."""
    pages, at = [], 0
    while at < len(ogg):
        segments = ogg[at + 26]
        size = 27 + segments + sum(ogg[at + 27 : at + 27 + segments])
        page = bytearray(ogg[at : at + size])
        page[14:18] = struct.pack("<I", serial)
        page[22:26] = bytes(4)
        page[22:26] = struct.pack("<I", ogg_crc(bytes(page)))
        pages.append(bytes(page))
        at += size
    return b"".join(pages)


def vorbis(wave: np.ndarray, serial: int) -> bytes:
    """The same bytes for the same samples."""
    encoded = io.BytesIO()
    soundfile.write(encoded, wave, RATE, format="OGG", subtype="VORBIS")
    return with_serial(encoded.getvalue(), serial)


def build(source: Path, out: Path = PACK, only: tuple[str, ...] = tuple(INSTRUMENTS)) -> None:
    """Write images/, recordings/, solos/ and both tables under `out`; `only` some instruments, for a test."""
    files = {Path(path).name: content for path, content in resource_files((source / ARCHIVE).read_bytes())}
    renderer = Renderer(source / FONT)
    for folder in ("images", "recordings", "solos"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    pictured, played = [], []
    for number, (name, instrument) in enumerate(INSTRUMENTS.items()):
        if name not in only:
            continue
        image, recording = picture(files[f"{name}.svg"].decode()), files[f"{name}.ogg"]
        (out / "images" / f"{name}.webp").write_bytes(image)
        (out / "recordings" / f"{name}.ogg").write_bytes(recording)
        pictured.append((name, *(hashlib.sha256(content).hexdigest() for content in (image, recording))))
        for order, (split, (count, seconds)) in enumerate(SOLOS.items()):
            for solo in range(count):
                rng = np.random.default_rng([number, order, solo])
                detuned = rng.uniform(-DETUNED, DETUNED) if split == "train" else 0.0
                if instrument.drums:
                    events = strokes(instrument, seconds, rng)
                else:
                    events = melody(instrument, split, seconds, rng)
                tuning = TUNING[split] * instrument.drums
                wave = renderer.play(events, seconds, instrument, tuning + detuned)
                content = vorbis(wave, serial=100 * number + 10 * order + solo)
                file = f"{name}-{split}-{solo}.ogg"
                (out / "solos" / file).write_bytes(content)
                keys = sorted({key for start, _, key, _ in events if start < seconds})
                notes = " ".join(f"{key}{tuning:+.1f}" if tuning else str(key) for key in keys)
                played.append((name, split, file, seconds, notes, hashlib.sha256(content).hexdigest()))
    _write(out / "instruments.csv", ("name", "image_sha256", "recording_sha256"), pictured)
    _write(out / "solos.csv", ("instrument", "split", "file", "seconds", "notes", "sha256"), played)


def _write(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


if __name__ == "__main__":
    tyro.cli(build)
