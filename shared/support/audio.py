"""Sound files of any kind as samples, read to their end, and samples at another rate."""

import re
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import UserError

BLOCK = 1 << 18  # frames that are read at a time
UNKNOWN = 1 << 40  # frames; a year of sound, which no file states
STREAMED = 0x7FFF_0000  # bytes; recorders that write to a pipe announce at least so many
ROUNDING = 2.0**-16  # half a step of 16 bits
# The first frame of an MP3, if it states the length: silence, with a mark in place of sound.
_LENGTH_IN_MP3 = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb].{4}\0{7,32}(?:Xing|Info)", re.DOTALL)
# A page that begins a stream, after one that ended a stream.
_NEXT_IN_OGG = re.compile(rb"OggS\0[\4-\7].*OggS\0[\2\3\6\7]", re.DOTALL)


def read_audio(path: Path) -> tuple[Tensor, int, str]:
    """Samples (C, N) float32, rate in Hz, and encoding ("PCM_16", ...) of a whole sound file.

    A length that libsndfile only estimates (MP3 streams), or does not know (FLAC from a pipe), is not trusted.

    Raises:
        UserError: no such file, not audio, cut short, several recordings in one file, without samples, or with
            samples that are not numbers.
    """
    if not path.is_file():
        raise UserError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; expected an audio file.")
    try:
        path.open("rb").close()  # libsndfile says "System error" of a file that may not be read
        with _open(path) as file:
            rate, encoding, frames = file.samplerate, file.subtype, file.frames
            blocks: list[np.ndarray] = []
            while not blocks or len(blocks[-1]) == BLOCK:
                blocks.append(file.read(BLOCK, dtype="float32", always_2d=True))
            log = file.extra_info
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); make it readable.") from error
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{path} is not audio that can be read ({error.error_string.strip('. ')}); expected a whole WAV, FLAC, OGG "
            f"or MP3 file. {_convert(path)}"
        ) from error
    count = sum(map(len, blocks))
    # libsndfile reads what is left of a WAV or AIFF file that was cut short, and mentions it only in its log.
    cut = re.search(r"(?:data|SSND) : (\d+) \(should be (\d+)\)", log)
    if count < frames < UNKNOWN or (cut and int(cut[2]) < int(cut[1]) < STREAMED):
        raise UserError(f"{path} is cut short: its header announces more than the file holds. Copy or export it again.")
    if not count:
        raise UserError(f"{path} has no samples; expected a recording with sound in it.")
    samples = torch.from_numpy(np.concatenate(blocks)).T
    if bad := int((~samples.isfinite()).sum()):
        raise UserError(f"{path} has {bad} samples that are NaN or infinite; export it again, or set them to zero.")
    return samples, rate, encoding


def resample(samples: Tensor, rate: int, new_rate: int) -> Tensor:
    """Samples (C, N) at ``rate`` Hz -> (C, ceil(N * new_rate / rate)) at ``new_rate`` Hz, float32, on the CPU.

    With soxr's quality HQ, the default of librosa; what lies above half the lower rate is removed. Peaks may grow a
    little: of samples in [-1, 1] some may come to lie outside.
    """
    samples = samples.to("cpu", torch.float32)
    if rate == new_rate:
        return samples
    length = -(-samples.shape[1] * new_rate // rate)
    padded = F.pad(samples, (0, -(-rate // new_rate)))  # soxr rounds the length: the last sample could be missing
    found = soxr.resample(padded.T.numpy(), rate, new_rate, "HQ")
    return torch.from_numpy(found[:length].T.copy())


def mean_is_silent(samples: Tensor) -> bool:
    """Whether the mean of the channels (C, N) is silent up to rounding: all are, or they cancel each other."""
    mean, loudest = samples.mean(0).abs().max(), samples.abs().max()
    return bool(mean <= max(ROUNDING, float(loudest) / 1000))  # 60 dB: lossy encodings leave more than rounding


class _ToItsEnd(soundfile.SoundFile):
    """Reads block after block; soundfile trusts the announced length and seeks at each block, which garbles MP3."""

    def seekable(self) -> bool:
        return False


class _Endless:
    """The bytes of a file that seems to go on for terabytes: no estimate of its length ends too early."""

    def __init__(self, content: bytes) -> None:
        self.content, self.position, self.end = content, 0, len(content) + 4 * UNKNOWN

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, self.end)[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def read(self, count: int) -> bytes:
        found = self.content[self.position : self.position + count]
        # A last frame that was cut off is filled up, as is the tag that is looked for at the end; a header is 4 bytes.
        if count > 4 and (found or self.position > len(self.content)):
            found = found.ljust(min(count, self.end - self.position), b"\0")
        self.position += len(found)
        return found

    def readinto(self, buffer: memoryview) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


def _open(path: Path) -> soundfile.SoundFile:
    file = _ToItsEnd(path)
    mpeg = file.subtype.startswith("MPEG")
    if mpeg or file.format == "OGG":
        content = path.read_bytes()
        stated = len(_LENGTH_IN_MP3.findall(content)) if mpeg else 1
        if stated > 1 or (not mpeg and _NEXT_IN_OGG.search(content)):
            raise UserError(f"{path} holds several recordings, of which only the first can be read. {_convert(path)}")
        if not stated:
            return _ToItsEnd(_Endless(content))
    return file


def _convert(path: Path) -> str:
    return f"Other files can be converted: ffmpeg -i '{path.name}' '{path.stem}.wav'"
