"""The embedded files: read, and checked against the checksums that the code holds."""

import csv
import hashlib
import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from .. import UserError
from ..support.audio import read_audio, resample

PACKS = Path(__file__).parent / "packs"


def read_pack(path: Path, sha256: str) -> bytes:
    """Content of a file of a pack. Raises UserError if it is missing or has another checksum."""
    restore = "restore the embedded data from the repository (git checkout -- shared/offline/packs)"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {restore}.") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is damaged, its {len(content)} bytes lack the SHA-256 {sha256[:12]}...: {restore}.")
    return content


@lru_cache(maxsize=1024)
def read_picture(path: Path, sha256: str, mode: str) -> np.ndarray:
    pixels = np.array(Image.open(io.BytesIO(read_pack(path, sha256))).convert(mode))
    pixels.flags.writeable = False  # shared by all callers
    return pixels


def read_sound(path: Path, sha256: str, rate: int) -> np.ndarray:
    """(N,) float32 mono in [-1, 1] at `rate` Hz, of a sound file of a pack. Raises as `read_pack`."""
    read_pack(path, sha256)
    samples, recorded, _ = read_audio(path)
    mono = resample(samples.mean(0, keepdim=True), recorded, rate)[0]
    return mono.clamp(-1, 1).numpy()  # lossy coding and resampling both overshoot a little


@lru_cache
def read_table(path: Path, sha256: str) -> list[dict[str, str]]:
    """The rows of a pack's table, a comma-separated file with a header. Raises as `read_pack`."""
    return list(csv.DictReader(read_pack(path, sha256).decode().splitlines()))
