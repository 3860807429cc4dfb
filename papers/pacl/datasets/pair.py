"""One image-text pair: where it is, and how its image and text are read."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from shared import UserError
from shared.support.images import UNDECODABLE, decode_image


class DamagedSample(Exception):
    """Bytes that are no image, or no text in UTF-8, or a blank text; the message names the sample."""


@dataclass(frozen=True)
class Pair:
    """Place of a sample: the bytes of its image, and its texts or their bytes."""

    file: str
    name: str
    image: tuple[int, int] | bytes
    """Offset and length in the file, (0, -1) for a whole file; or the bytes themselves."""
    text: tuple[int, int] | tuple[str, ...]
    """Offset and length in the file; or the texts themselves, one or more."""

    def image_bytes(self) -> bytes:
        """The encoded image. Raises UserError if the file cannot be read."""
        return self.image if isinstance(self.image, bytes) else read_part(self.file, self.image)

    def open_image(self) -> None:
        """Read the header of the image, but not its pixels; raises :class:`DamagedSample`."""
        try:
            Image.open(io.BytesIO(self.image_bytes())).close()
        except UNDECODABLE as error:
            raise DamagedSample(
                f"The image of {self.name} cannot be decoded ({str(error).partition(' <')[0]})."
            ) from None

    def decode(self) -> Image.Image:
        """The image in RGB, upright; raises :class:`DamagedSample`."""
        content = self.image_bytes()
        try:
            return decode_image(io.BytesIO(content))
        except (UserError, *UNDECODABLE) as error:
            raise DamagedSample(
                f"The image of {self.name} cannot be decoded ({str(error).partition(' <')[0]})."
            ) from None

    def caption(self, rng: np.random.Generator) -> str:
        """The text, or one of several; raises :class:`DamagedSample` if it is blank, or not UTF-8."""
        if isinstance(self.text[0], str):
            text = str(self.text[int(rng.integers(len(self.text)))])
        else:
            try:
                text = read_part(self.file, (int(self.text[0]), int(self.text[1]))).decode("utf-8")
            except UnicodeDecodeError as error:
                raise DamagedSample(f"The text of {self.name} is not UTF-8 ({error.reason}).") from None
        if not text.strip():
            raise DamagedSample(f"The text of {self.name} is blank.")
        return text.strip()


def read_part(file: str, place: tuple[int, int]) -> bytes:
    """Bytes of a file from an offset on; a length of -1 reads to its end."""
    try:
        with open(file, "rb") as stream:
            stream.seek(place[0])
            return stream.read(place[1])
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}).") from None
