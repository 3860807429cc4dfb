"""Images of any kind as RGB."""

from pathlib import Path

import pytest
from PIL import Image

from shared import UserError
from shared.support.images import read_image


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
