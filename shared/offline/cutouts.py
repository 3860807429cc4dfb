"""The embedded cut-outs (captioned photographs of objects, some with their sound) and background photographs.

`load_cutouts` gives captioned photographic cut-outs, some with the sound their object makes; `load_backgrounds`
photographs of places and animals; `render_cutout` pastes one onto the other. The files and their licences are under
`packs/`.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from .packs import PACKS, read_picture, read_sound, read_table

TABLES = {  # SHA-256 of each pack's table, which holds those of its other files
    "backgrounds": "82fc6a6febe0658b990b3cbdd4d7054ae3fdac0eb9d296361a2f6a87b986de8e",
    "stamps": "26a00d9edd703d659f9019a5024aa2e1d1aadc149d8e0af49007db6bea30fca6",
}


@dataclass(frozen=True)
class Cutout:
    """A photographed object cut out of its background."""

    name: str  # "animals/birds/owl"
    caption: str  # "An owl."
    label: str  # "owl"; reads well in "a photo of a {label}"
    category: tuple[str, ...]  # ("animals", "birds")
    kind: str  # "animal": what it is in one word; empty where no word would be true
    kinds: str  # "animals"
    image_sha256: str
    sound_sha256: str  # empty if the object is silent

    @property
    def has_sound(self) -> bool:
        return bool(self.sound_sha256)

    def image(self) -> np.ndarray:
        """(H, W, 4) uint8 RGBA, shortest side at most 128, read-only.

        Raises UserError if the file is missing or damaged.
        """
        return read_picture(PACKS / "stamps" / "images" / f"{self.name}.webp", self.image_sha256, "RGBA")

    def sound(self, rate: int) -> np.ndarray:
        """The sound it makes, (N,) float32 mono in [-1, 1] at `rate` Hz, some 0.2 to 8 seconds long.

        Raises ValueError if it has none, UserError if the file is missing or damaged.
        """
        if not self.has_sound:
            raise ValueError(f"{self.name} has no sound; load_cutouts(sounding=True) lists those that have")
        return read_sound(PACKS / "stamps" / "sounds" / f"{self.name}.ogg", self.sound_sha256, rate)


@dataclass(frozen=True)
class Background:
    """A photograph to put objects on."""

    name: str  # "tajMahal"
    kind: str  # "monument" or "animal"
    sha256: str

    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, shortest side 128, read-only. Raises UserError if the file is missing or damaged."""
        return read_picture(PACKS / "backgrounds" / "images" / f"{self.name}.webp", self.sha256, "RGB")


def load_cutouts(sounding: bool = False) -> list[Cutout]:
    """All stamps sorted by name, or only those with a sound. Raises UserError if the table is missing or damaged."""
    kept = ("name", "caption", "label", "kind", "kinds", "image_sha256", "sound_sha256")
    rows = read_table(PACKS / "stamps" / "stamps.csv", TABLES["stamps"])
    stamps = [Cutout(category=tuple(row["category"].split("/")), **{key: row[key] for key in kept}) for row in rows]
    return [stamp for stamp in stamps if stamp.has_sound or not sounding]


def load_backgrounds(kind: str | None = None) -> list[Background]:
    """All background photographs sorted by name, or those of one kind ("monument", "animal")."""
    rows = read_table(PACKS / "backgrounds" / "backgrounds.csv", TABLES["backgrounds"])
    return [Background(row["name"], row["kind"], row["sha256"]) for row in rows if kind in (None, row["kind"])]


def render_cutout(
    stamp: Cutout,
    size: int,
    rng: np.random.Generator,
    background: Background | tuple[int, int, int],
    scale: tuple[float, float] = (0.4, 0.7),
) -> np.ndarray:
    """One object at a random place and size, mirrored or not, on a photograph or a plain colour.

    Args:
        scale: range of the object's size, the square root of its box's area as a share of `size`.

    Returns:
        (size, size, 3) uint8, as a frame of a video of that object would be.
    """
    canvas = background_canvas(background, size, rng)
    cutout = resized_cutout(stamp, size, rng, scale)
    x, y = random_position(cutout, size, rng)
    paste(canvas, cutout, x, y)
    return canvas


def background_canvas(background: Background | tuple[int, int, int], size: int, rng: np.random.Generator) -> np.ndarray:
    """A plain colour, or a random square of a photograph at least 0.6 of its shortest side: (size, size, 3) uint8."""
    if not isinstance(background, Background):
        return np.full((size, size, 3), background, np.uint8)
    photo = background.image()
    side = int(min(photo.shape[:2]) * rng.uniform(0.6, 1))
    y, x = (int(rng.integers(length - side + 1)) for length in photo.shape[:2])
    square = Image.fromarray(photo[y : y + side, x : x + side])
    return np.array(square.resize((size, size), Image.Resampling.BICUBIC))


def resized_cutout(stamp: Cutout, size: int, rng: np.random.Generator, scale: tuple[float, float]) -> np.ndarray:
    """The cut-out at a random size that fits into `size`, mirrored half of the time: (h, w, 4) uint8."""
    rgba = stamp.image()
    height, width = rgba.shape[:2]
    factor = min(size * rng.uniform(*scale) / (height * width) ** 0.5, 0.95 * size / max(height, width))
    target = (max(1, round(width * factor)), max(1, round(height * factor)))
    cutout = np.asarray(Image.fromarray(rgba).resize(target, Image.Resampling.BICUBIC))
    return cutout[:, ::-1] if rng.random() < 0.5 else cutout


def random_position(cutout: np.ndarray, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """A random (x, y) of the upper left corner that keeps the cut-out inside the picture."""
    height, width = cutout.shape[:2]
    return int(rng.integers(size - width + 1)), int(rng.integers(size - height + 1))


def paste(canvas: np.ndarray, cutout: np.ndarray, x: int, y: int) -> None:
    """Blend an RGBA cut-out into an RGB canvas in place."""
    region = canvas[y : y + cutout.shape[0], x : x + cutout.shape[1]]
    alpha = cutout[..., 3:].astype(np.float32) / 255
    region[:] = np.rint(alpha * cutout[..., :3] + (1 - alpha) * region)
