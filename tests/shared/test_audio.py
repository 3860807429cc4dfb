"""Sounds whose length is estimated, unknown or false; sounds at another rate."""

import re
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch

from shared import UserError
from shared.support.audio import mean_is_silent, read_audio, resample

RATE = 16_000
NOISE = np.random.default_rng(0).uniform(-0.3, 0.3, 2 * RATE).astype(np.float32)
SILENCE = np.zeros(2 * RATE, np.float32)
FRAME = 576  # samples of a frame of MPEG-2 layer III


def mp3(path: Path, samples: np.ndarray) -> bytes:
    soundfile.write(path, samples, RATE)
    return path.read_bytes()


def frames_of(content: bytes) -> list[int]:
    """Where the frames of an MPEG-2 layer III stream at 16 kHz begin, and the end of the last one."""
    kbits = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
    starts = [content.index(b"\xff\xf3")]
    while len(header := content[starts[-1] : starts[-1] + 4]) == 4:
        starts.append(starts[-1] + 72_000 * kbits[header[2] >> 4] // RATE + (header[2] >> 1 & 1))
    return starts


def stream(path: Path, samples: np.ndarray) -> bytes:
    """An MP3 without its first frame, the one that states the length."""
    content = mp3(path, samples)
    return content[frames_of(content)[1] :]


@pytest.mark.parametrize(
    "samples",
    [NOISE, np.concatenate([NOISE, SILENCE]), np.concatenate([SILENCE, NOISE])],
    ids=["even", "loud then silent", "silent then loud"],
)
@pytest.mark.parametrize("tag", [b"", b"ID3\3\0\0\0\0\x27\x10" + bytes(5008)], ids=["bare", "with a picture"])
def test_a_stream_is_read_to_its_end(tmp_path: Path, samples: np.ndarray, tag: bytes) -> None:
    """libsndfile takes the bit rate of the first frame for that of all."""
    path = tmp_path / "stream.mp3"
    content = stream(path, samples)
    path.write_bytes(tag + content + b"TAG" + bytes(125))
    found = read_audio(path)[0][0].numpy()
    assert len(found) == FRAME * (len(frames_of(content)) - 1) >= len(samples)
    delay = int(
        np.argmax(np.correlate(found[: RATE // 2 + 2000], mp3_decoded(tmp_path, samples)[: RATE // 2], "valid"))
    )
    if samples[0]:  # the same sound as with the header, which also says how many samples of delay to drop
        np.testing.assert_allclose(found[delay : delay + RATE], mp3_decoded(tmp_path, samples)[:RATE], atol=1e-6)


def mp3_decoded(folder: Path, samples: np.ndarray) -> np.ndarray:
    mp3(folder / "whole.mp3", samples)
    found = read_audio(folder / "whole.mp3")[0][0].numpy()
    assert len(found) == len(samples)
    return found


@pytest.mark.parametrize("cut", [0, 2, 60])
def test_a_stream_that_was_cut_within_a_frame(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "stream.mp3"
    content = stream(path, NOISE)
    path.write_bytes(content[: frames_of(content)[20] + cut])
    assert read_audio(path)[0].shape[1] == FRAME * (20 + (cut > 4))


def test_streams_in_a_row_are_one(tmp_path: Path) -> None:
    path = tmp_path / "stream.mp3"
    once = stream(path, NOISE)
    path.write_bytes(once + once)
    assert read_audio(path)[0].shape[1] == 2 * FRAME * (len(frames_of(once)) - 1)


@pytest.mark.parametrize("form", ["mp3", "ogg"])
def test_recordings_in_a_row_are_refused(tmp_path: Path, form: str) -> None:
    """libsndfile reads the first alone."""
    path = tmp_path / f"two.{form}"
    soundfile.write(path, NOISE, RATE)
    assert read_audio(path)[0].shape[1] == len(NOISE)
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(UserError, match=re.escape(f"{path} holds several recordings") + ".*ffmpeg -i"):
        read_audio(path)


def test_an_mp3_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "whole.mp3"
    path.write_bytes(mp3(path, NOISE)[:5000])
    with pytest.raises(UserError, match=re.escape(f"{path} is cut short")):
        read_audio(path)


def unknown_length(path: Path) -> None:
    """A FLAC file whose number of samples is 0, as recorders and pipes leave it."""
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)


def test_flac_of_unknown_length(tmp_path: Path) -> None:
    path = tmp_path / "recorded.flac"
    soundfile.write(path, NOISE, RATE)
    known = read_audio(path)
    unknown_length(path)
    found = read_audio(path)
    assert torch.equal(found[0], known[0]) and found[1:] == known[1:] == (RATE, "PCM_16")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(UserError, match=re.escape(f"{path} is not audio that can be read")):
        read_audio(path)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_samples_are_those_of_one_read(tmp_path: Path, subtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.support.audio.BLOCK", 1000)
    path = tmp_path / "sound.wav"
    soundfile.write(path, np.stack([NOISE, -NOISE / 2], 1), RATE, subtype)
    samples, rate, encoding = read_audio(path)
    assert np.array_equal(samples.numpy().T, soundfile.read(path, dtype="float32")[0])
    assert (rate, encoding) == (RATE, subtype)


@pytest.mark.parametrize(
    ("left", "right", "silent"),
    [
        (NOISE, -NOISE, True),
        (NOISE, -NOISE + 2**-15, True),  # a step of 16 bits that rounding left
        (NOISE, -1.001 * NOISE, True),
        (NOISE, -0.9 * NOISE, False),
        (NOISE, SILENCE, False),
        (SILENCE, SILENCE, True),
        (2**-15 * np.sign(NOISE), 2**-15 * np.sign(NOISE), False),  # quiet, but sound
    ],
)
def test_channels_that_cancel(left: np.ndarray, right: np.ndarray, silent: bool) -> None:
    assert mean_is_silent(torch.from_numpy(np.stack([left, right]).astype(np.float32))) == silent


# another rate


def tone(frequency: float, rate: int, seconds: float = 1.0) -> torch.Tensor:
    """A sine of amplitude 1/2, (N,)."""
    return torch.sin(2 * torch.pi * frequency * torch.arange(round(seconds * rate), dtype=torch.float64) / rate) / 2


@pytest.mark.parametrize(
    ("rate", "new_rate"), [(44_100, 8_000), (8_000, 44_100), (16_000, 8_000), (11_025, 16_000), (48_000, 44_100)]
)
def test_a_sine_keeps_its_frequency_level_and_place(rate: int, new_rate: int) -> None:
    frequencies = (100.0, 1_000.0, 3_500.0)
    found = resample(torch.stack([tone(f, rate) for f in frequencies]), rate, new_rate)
    assert found.dtype == torch.float32 and found.shape == (3, new_rate)
    middle = slice(new_rate // 20, -new_rate // 20)  # a sine that begins and ends at once has all frequencies there
    for row, frequency in zip(found, frequencies, strict=True):
        assert (row - tone(frequency, new_rate))[middle].abs().max() < 1e-3, (
            frequency
        )  # 3,500 Hz lies where the filter begins to fall


@pytest.mark.parametrize("new_rate", [8_000, 16_000])
def test_what_lies_above_half_the_new_rate_is_removed(new_rate: int) -> None:
    rate = 44_100
    above = torch.stack([tone(share * new_rate, rate) for share in (0.505, 0.6, 0.99, 1.01, 1.3)])
    found = resample(above, rate, new_rate)[:, new_rate // 20 : -new_rate // 20]
    assert found.abs().max() < 1e-4 * above.abs().max(), "80 dB"


@pytest.mark.parametrize("samples", [1, 2, 5, 999, 1_000, 44_101])
@pytest.mark.parametrize(("rate", "other"), [(44_100, 8_000), (96_000, 8_000), (16_000, 15_999), (8_000, 11_025)])
def test_lengths_there_and_back(samples: int, rate: int, other: int) -> None:
    wave = torch.from_numpy(np.random.default_rng(0).uniform(-0.3, 0.3, (2, samples)).astype(np.float32))
    there = resample(wave, rate, other)
    assert there.shape == (2, -(-samples * other // rate)) and there.abs().sum(1).all()
    back = resample(there, other, rate)[:, :samples]
    assert back.shape == wave.shape and back.isfinite().all()


def test_what_both_rates_hold_comes_back() -> None:
    wave = tone(440, 8_000)[None]
    back = resample(resample(wave, 8_000, 44_100), 44_100, 8_000)
    assert back.shape == wave.shape and (back - wave)[:, 400:-400].abs().max() < 1e-4


def test_resampled_as_librosa_does_it() -> None:
    """But for the last sample: librosa sets it to zero where soxr rounds the length down."""
    wave = np.stack([NOISE, NOISE[::-1]])
    for rate, new_rate in ((44_100, 8_000), (16_000, 22_050)):
        expected = librosa.resample(wave, orig_sr=rate, target_sr=new_rate, res_type="soxr_hq")
        found = resample(torch.from_numpy(wave), rate, new_rate)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found[:, :-1], expected[:, :-1], atol=1e-6)


def test_at_the_same_rate_samples_stay() -> None:
    wave = torch.from_numpy(NOISE)[None]
    assert torch.equal(resample(wave, RATE, RATE), wave)
