"""Images of any kind as RGB."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from shared import UserError
from shared.support.images import UNDECODABLE, decode_image, read_image
from tests.damage import damaged_avif, flipped, photo


def test_phone_photo_is_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 20, 20))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: left becomes top
    image.save(tmp_path / "phone.png", exif=exif)
    upright = read_image(tmp_path / "phone.png")
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 5)) == (255, 255, 255) and upright.getpixel((10, 35)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("RGBA", (200, 0, 0, 0), (255, 255, 255)),  # what is hidden stays hidden
        ("RGBA", (200, 0, 0, 255), (200, 0, 0)),
        ("LA", (10, 255), (10, 10, 10)),
        ("L", 90, (90, 90, 90)),
        ("1", 1, (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
        ("I;16", 128 * 256, (128, 128, 128)),
    ],
)
def test_modes(tmp_path: Path, mode: str, colour: int | tuple[int, ...], seen: tuple[int, ...]) -> None:
    Image.new(mode, (4, 4), colour).save(tmp_path / "image.png")
    assert read_image(tmp_path / "image.png").getpixel((1, 1)) == seen


def test_wide_integers(tmp_path: Path) -> None:
    """Pillow opens a 16-bit PGM as 32-bit integers; a TIFF may really have them."""
    Image.new("I", (4, 4), 128 * 256).save(tmp_path / "grey.pgm")
    assert read_image(tmp_path / "grey.pgm").getpixel((1, 1)) == (128, 128, 128)
    Image.new("I", (4, 4), 200).save(tmp_path / "eight.tif")
    assert read_image(tmp_path / "eight.tif").getpixel((1, 1)) == (200, 200, 200)
    for value in (2**20, -1):
        Image.new("I", (4, 4), value).save(tmp_path / "deep.tif")
        with pytest.raises(UserError, match="integers outside of 0 to 65535"):
            read_image(tmp_path / "deep.tif")


Field = tuple[int, int, int, bytes]
"""Tag, type, count and value of an EXIF field, as they are stored."""


def directory(fields: list[Field], base: int) -> bytes:
    """The fields as a directory of EXIF data that stands at byte ``base``."""
    fixed, data = struct.pack("<H", len(fields)), b""
    for tag, kind, count, value in fields:
        if len(value) > 4:
            data, value = data + value, struct.pack("<I", base + 2 + 12 * len(fields) + 4 + len(data))
        fixed += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return fixed + b"\0" * 4 + data


def phone_photo(fields: list[Field], pointer: int | None = None) -> bytes:
    """A JPEG of 40 x 20 pixels to be turned a quarter, with further fields beside the orientation or in a directory."""
    content = io.BytesIO()
    Image.new("RGB", (40, 20)).save(content, "JPEG")
    turn: Field = (ExifTags.Base.Orientation, 3, 1, struct.pack("<H", 6))
    if pointer is None:
        exif = directory([turn, *fields], 8)
    else:
        below = 8 + 2 + 12 * 2 + 4
        exif = directory([turn, (pointer, 4, 1, struct.pack("<I", below))], 8) + directory(fields, below)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + exif
    jpeg = content.getvalue()
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        pytest.param([], None, id="orientation alone"),
        pytest.param([(6, 10, 1, struct.pack("<ii", -2, 1))], ExifTags.IFD.GPSInfo, id="altitude below the sea"),
        pytest.param([(5, 2, 2, b"0\0")], ExifTags.IFD.GPSInfo, id="altitude reference as a text"),
        pytest.param([(0x011A, 7, 8, struct.pack("<II", 72, 1))], None, id="resolution as bytes"),
        pytest.param([(0x0100, 2, 3, b"40\0")], None, id="width as a text"),
    ],
)
def test_odd_metadata_do_no_harm(tmp_path: Path, fields: list[Field], pointer: int | None) -> None:
    """Pillow's own `exif_transpose` writes every field again, and fails with those of an unexpected type."""
    (tmp_path / "photo.jpg").write_bytes(phone_photo(fields, pointer))
    assert read_image(tmp_path / "photo.jpg").size == (20, 40)
    assert decode_image(tmp_path / "photo.jpg", turn=False).size == (40, 20)


@pytest.mark.parametrize("turn", [True, False])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
def test_an_image_that_is_cut_short_is_damaged(form: str, turn: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, form)
    with pytest.raises(UNDECODABLE):
        decode_image(io.BytesIO(content.getvalue()[: len(content.getvalue()) * 2 // 3]), turn)


@pytest.mark.parametrize("turn", [True, False])
def test_a_garbled_png_is_damaged(tmp_path: Path, turn: bool) -> None:
    """Pillow decodes a PNG when it is asked for its EXIF data, and gives what it has of it when asked again."""
    photo(tmp_path / "a.png")
    flipped(tmp_path / "a.png")
    with pytest.raises(UNDECODABLE):
        decode_image(tmp_path / "a.png", turn)


def test_a_damaged_avif_is_damaged_like_any_other(tmp_path: Path) -> None:
    """Pillow's plug-in raises RuntimeError for it."""
    (tmp_path / "x.jpg").write_bytes(damaged_avif())
    with pytest.raises(UserError, match=r"x\.jpg is damaged or cut short"):
        read_image(tmp_path / "x.jpg")
    with pytest.raises(UNDECODABLE):
        decode_image(tmp_path / "x.jpg")
