"""Rebuild the solo recordings, bit for bit, from the sound font TimGM6mb.sf2 (in the wheel `pretty_midi`).

python -m ci.packs.instruments --source TimGM6mb.sf2
"""

import csv
import hashlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import tyro

from shared.offline.packs import PACKS

PACK = PACKS / "instruments"
COLUMNS = ("instrument", "stamp", "split", "file", "seconds", "notes", "sha256")
RATE = 16000  # Hz
SECONDS = {"train": 24.0, "validation": 8.0, "test": 10.0}

# No note is shared by two splits. Pitched instruments: each split has its own pitch classes, interleaved over the
# same register. Percussion: a sound font has few drums, so each split tunes them differently (in semitones).
PITCH_CLASSES = {"train": {0, 2, 4, 7, 9}, "validation": {3, 5, 10}, "test": {1, 6, 8, 11}}
TUNING = {"train": 0.0, "validation": 0.7, "test": -0.7}

Event = tuple[float, float, int, int]  # start (s), duration (s), MIDI key, velocity


@dataclass(frozen=True)
class Instrument:
    """A pitched General MIDI instrument and how it is played here."""

    stamp: str
    program: int
    low: int  # lowest and highest MIDI key
    high: int
    beats: tuple[float, ...] = (0.25, 0.5, 0.5, 1.0, 1.0, 1.5)
    overlap: float = 0.9  # share of a note's time that it sounds; above 1 is legato
    chords: float = 0.0  # share of notes that are chords


STRINGS = "hobbies/music/string/"
BOWED = (0.5, 1.0, 1.0, 1.5, 2.0)
PITCHED = {
    "trumpet": Instrument("hobbies/music/brass/trumpet", 56, 55, 82),
    "cello": Instrument(STRINGS + "cello", 42, 36, 67, beats=BOWED, overlap=1.1),
    "violin": Instrument(STRINGS + "violin", 40, 55, 88, beats=BOWED, overlap=1.1),
    "bassoon": Instrument("hobbies/music/wind/bassoon", 70, 34, 65),
    "classical guitar": Instrument(STRINGS + "guitar_classical", 24, 40, 74, overlap=1.5, chords=0.3),
    "electric guitar": Instrument(STRINGS + "guitar2", 29, 40, 76, chords=0.2),
    "electric bass guitar": Instrument(STRINGS + "guitar_electric_bass", 33, 28, 52),
}
DRUMS = {
    "crash cymbal": "hobbies/music/percussion/cymbal_crash",
    "floor tom drum": "hobbies/music/percussion/drum_tomtom_floor",
    "drum kit": "hobbies/music/percussion/drumkit",
}
# Drum kit: (preset, kick, snare, hi-hats, toms, crash and ride) of the standard and brush kits.
KITS = {
    "train": (0, 36, 38, (42, 46), (41, 45, 48), (49, 51)),
    "validation": (40, 36, 38, (42, 46), (41, 45, 48), (49, 51)),
    "test": (0, 35, 40, (44, 46), (43, 47, 50), (57, 59)),
}


def melody(instrument: Instrument, split: str, rng: np.random.Generator) -> list[Event]:
    """A random walk over the keys of `split` in phrases of varying note length, loudness and short rests."""
    keys = [key for key in range(instrument.low, instrument.high + 1) if key % 12 in PITCH_CLASSES[split]]
    beat = 60 / rng.uniform(90, 140)
    position, time, events = len(keys) // 2, 0.0, []
    while time < SECONDS[split]:
        step = int(rng.choice([-3, -2, -1, -1, 1, 1, 2, 3]))
        position += step if 0 <= position + step < len(keys) else -step
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


def strokes(keys: tuple[int, ...], lengths: tuple[float, ...], split: str, rng: np.random.Generator) -> list[Event]:
    """A random rhythm on one drum or cymbal; `lengths` in seconds."""
    time, events = 0.0, []
    while time < SECONDS[split]:
        length = float(rng.choice(lengths)) * rng.uniform(0.95, 1.05)
        events.append((time, length, int(rng.choice(keys)), int(rng.integers(60, 127))))
        time += length
    return events


def groove(split: str, rng: np.random.Generator) -> list[Event]:
    """Four-beat bars in eighths: hi-hat or ride, kick on 1 and 3, snare on 2 and 4, fills and crashes between."""
    _, kick, snare, hats, toms, (crash, ride) = KITS[split]
    eighth = 30 / rng.uniform(95, 130)
    events: list[Event] = []
    for step in range(int(SECONDS[split] / eighth) + 1):
        time, beat, bar = step * eighth, step % 8, step // 8
        struck = [ride if bar % 4 >= 2 else hats[int(rng.random() < 0.15)]]
        if beat in (0, 4) or rng.random() < 0.15:
            struck.append(kick)
        if beat in (2, 6):
            struck.append(snare)
        if bar % 2 and beat >= 6:
            struck.append(int(rng.choice(toms)))
        if bar % 4 == 0 and beat == 0:
            struck.append(crash)
        events += [(time, eighth, key, int(rng.integers(75, 120))) for key in struck]
    return events


def render(font: Path, events: list[Event], seconds: float, program: int, drums: bool, tuning: float) -> np.ndarray:
    """Play `events`; returns (N,) float32 mono at 16 kHz with a peak of 0.8 and faded ends."""
    import tinysoundfont  # only a rebuild needs it: see SOURCE.md

    synth = tinysoundfont.Synth(samplerate=RATE)
    synth.program_select(0, synth.sfload(str(font)), 128 if drums else 0, program, drums)
    synth.set_tuning(0, tuning)
    total = int(seconds * RATE)
    # At equal times a note ends before the next begins, or a repeated key would be cut at once.
    changes = [(round(start * RATE), velocity, key) for start, _, key, velocity in events]
    changes += [(round((start + duration) * RATE), 0, key) for start, duration, key, _ in events]
    wave, now = np.zeros(total, np.float32), 0
    for at, velocity, key in [*sorted(changes), (total, 0, 0)]:
        at = min(at, total)
        if at > now:
            wave[now:at] = np.frombuffer(bytes(synth.generate(at - now)), np.float32).reshape(-1, 2).mean(1)
            now = at
        if velocity:
            synth.noteon(0, key, velocity)
        else:
            synth.noteoff(0, key)
    fade = np.linspace(0, 1, RATE // 100, dtype=np.float32)
    wave[: len(fade)] *= fade
    wave[-len(fade) :] *= fade[::-1]
    return 0.8 * wave / np.abs(wave).max()


def ogg_crc(page: bytes) -> int:
    """Checksum of an Ogg page (RFC 3533): CRC-32, polynomial 0x04C11DB7, not reflected."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x104C11DB7 if crc & 0x80000000 else 0)
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


def build(source: Path, out: Path = PACK) -> None:
    """Write sounds/ and instruments.csv under `out`."""
    (out / "sounds").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, name in enumerate([*PITCHED, *DRUMS]):
        for order, split in enumerate(SECONDS):
            rng = np.random.default_rng([number, order])
            drums, tuning = name in DRUMS, TUNING[split] if name in DRUMS else 0.0
            if name in PITCHED:
                stamp, program = PITCHED[name].stamp, PITCHED[name].program
                events = melody(PITCHED[name], split, rng)
            else:
                stamp, program = DRUMS[name], KITS[split][0] if name == "drum kit" else 0
                if name == "crash cymbal":
                    events = strokes((49, 55, 57), (0.45, 0.6, 0.9), split, rng)
                elif name == "floor tom drum":
                    events = strokes((41, 43), (0.15, 0.3, 0.3, 0.6), split, rng)
                else:
                    events = groove(split, rng)
            wave = render(source, events, SECONDS[split], program, drums, tuning)
            encoded = io.BytesIO()
            soundfile.write(encoded, wave, RATE, format="OGG", subtype="VORBIS")
            content = with_serial(encoded.getvalue(), serial=number * len(SECONDS) + order)
            file = f"sounds/{name.replace(' ', '_')}-{split}.ogg"
            (out / file).write_bytes(content)
            kit = f"drums{program}" if drums else f"program{program}"
            keys = sorted({key for start, _, key, _ in events if start < SECONDS[split]})
            notes = " ".join(f"{kit}/{key}{tuning:+.1f}" if tuning else f"{kit}/{key}" for key in keys)
            rows.append((name, stamp, split, file, len(wave) / RATE, notes, hashlib.sha256(content).hexdigest()))
    with open(out / "instruments.csv", "w", newline="", encoding="utf-8") as file_:
        csv.writer(file_, lineterminator="\n").writerows([COLUMNS, *rows])


if __name__ == "__main__":
    tyro.cli(build)
