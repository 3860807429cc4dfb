"""Images of any kind as RGB."""

import struct
import warnings
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from .. import UserError

UNDECODABLE = (
    OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
"""Errors of Pillow and its plug-ins for an image that is damaged, cut short or none."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def as_rgb(image: Image.Image) -> Image.Image:
    """The image as RGB, transparency on white, 16 bits scaled to 8.

    Raises UserError for floating-point pixels and integers outside of 16 bits: their range is not known.
    """
    if image.mode == "F":  # Pillow clips to 0 to 255, and NaN becomes black
        raise UserError("It has floating-point pixels; convert it to 8 or 16 bits a channel first.")
    if image.mode.startswith("I"):  # Pillow clips 16 bits to 8 instead of scaling them
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() >= 2**16:
            raise UserError("It has integers outside of 0 to 65535; convert it to 8 or 16 bits a channel first.")
        eight = image.mode == "I" and pixels.max() < 2**8  # in 32 bits, as some programs write them
        image = Image.fromarray((pixels if eight else pixels >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; no other field is read, as many files have odd ones.

    Raises one of UNDECODABLE if the pixels are damaged.
    """
    image.load()  # PNGs are decoded for their EXIF data: damaged pixels would pass for damaged EXIF data
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation)
    except UNDECODABLE:  # EXIF data that cannot be read tell nothing
        turn = None
    return image.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else image


def decode_image(file: Path | IO[bytes], turn: bool = True) -> Image.Image:
    """An image file as RGB: every reader of a dataset uses this function.

    Args:
        turn: the image upright, as its EXIF orientation says. False where boxes or masks belong to the pixels as they
            are stored, and where a published recipe does not turn.

    Raises:
        one of UNDECODABLE: the file is damaged, cut short or no image.
        UserError: its pixels have a range that is not known, see :func:`as_rgb`.
    """
    with Image.open(file) as opened:
        return as_rgb(upright(opened) if turn else opened)


def read_image(path: Path, option: str = "--image") -> Image.Image:
    """The image as RGB, upright as its EXIF orientation says, transparency on white.

    Args:
        option: of the command line that named it, for the messages.

    Raises:
        UserError: no such file, not an image, cut short or damaged, of pixels whose range is not known, or too large
            to be one in earnest.
    """
    if not path.is_file():
        raise UserError(f"{option} {path} is {'a folder' if path.is_dir() else 'missing'}; expected an image file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return decode_image(path)
    except UserError as error:
        raise UserError(f"{option} {path} cannot be used. {error}") from None
    except UnidentifiedImageError as error:
        raise UserError(f"{option} {path} is not an image that can be read; expected a JPEG or PNG, say.") from error
    except PermissionError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{option} {path} is too large ({error}); make it smaller first.") from error
    except UNDECODABLE as error:
        raise UserError(
            f"{option} {path} is damaged or cut short ({error}); copy it again from where it came from."
        ) from error
