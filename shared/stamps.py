"""The embedded image-text-audio data and a scene composer: everything the offline experiments look at and listen to.

`load_stamps` gives captioned photographic cut-outs, some with the sound their object makes; `load_backgrounds`
photographs of places and animals. `render_stamp` and `compose_scene` paste cut-outs onto photographs with exact masks,
boxes, relations, captions and questions.
The files and their licences are under `packs/`.

    python -m shared.stamps --sheet stamps.png              all stamps with their labels
    python -m shared.stamps --sheet scenes.png --scenes 12  composed scenes
"""

import csv
import hashlib
import io
import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import tyro
from PIL import Image, ImageDraw
from scipy.signal import resample_poly

from . import UserError

PACKS = Path(__file__).parent / "packs"
TABLES = {  # SHA-256 of each pack's table, which holds those of its other files
    "backgrounds": "82fc6a6febe0658b990b3cbdd4d7054ae3fdac0eb9d296361a2f6a87b986de8e",
    "stamps": "26a00d9edd703d659f9019a5024aa2e1d1aadc149d8e0af49007db6bea30fca6",
}


@dataclass(frozen=True)
class Stamp:
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
        return _image(PACKS / "stamps" / "images" / f"{self.name}.webp", self.image_sha256, "RGBA")

    def sound(self, rate: int) -> np.ndarray:
        """The sound it makes, (N,) float32 mono in [-1, 1] at `rate` Hz, some 0.2 to 8 seconds long.

        Raises ValueError if it has none, UserError if the file is missing or damaged.
        """
        if not self.has_sound:
            raise ValueError(f"{self.name} has no sound; load_stamps(sounding=True) lists those that have")
        return read_sound(PACKS / "stamps" / "sounds" / f"{self.name}.ogg", self.sound_sha256, rate)


@dataclass(frozen=True)
class Background:
    """A photograph to put objects on."""

    name: str  # "tajMahal"
    kind: str  # "monument" or "animal"
    sha256: str

    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, shortest side 128, read-only. Raises UserError if the file is missing or damaged."""
        return _image(PACKS / "backgrounds" / "images" / f"{self.name}.webp", self.sha256, "RGB")


def load_stamps(sounding: bool = False) -> list[Stamp]:
    """All stamps sorted by name, or only those with a sound. Raises UserError if the table is missing or damaged."""
    kept = ("name", "caption", "label", "kind", "kinds", "image_sha256", "sound_sha256")
    rows = read_table(PACKS / "stamps" / "stamps.csv", TABLES["stamps"])
    stamps = [Stamp(category=tuple(row["category"].split("/")), **{key: row[key] for key in kept}) for row in rows]
    return [stamp for stamp in stamps if stamp.has_sound or not sounding]


def load_backgrounds(kind: str | None = None) -> list[Background]:
    """All background photographs sorted by name, or those of one kind ("monument", "animal")."""
    rows = read_table(PACKS / "backgrounds" / "backgrounds.csv", TABLES["backgrounds"])
    return [Background(row["name"], row["kind"], row["sha256"]) for row in rows if kind in (None, row["kind"])]


def render_stamp(
    stamp: Stamp,
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
    canvas = _canvas(background, size, rng)
    cutout = _resized(stamp, size, rng, scale)
    x, y = _position(cutout, size, rng)
    _paste(canvas, cutout, x, y)
    return canvas


@dataclass(frozen=True)
class Scene:
    """Objects on a background with everything there is to know about them; n objects in z-order, the last in front."""

    image: np.ndarray  # (size, size, 3) uint8
    class_map: np.ndarray  # (size, size) int16: 0 background, k the stamp at index k - 1 of those given
    instance_map: np.ndarray  # (size, size) int16: 0 background, i + 1 object i
    boxes: np.ndarray  # (n, 4) float32 xyxy in pixels, around the visible part; x2 and y2 are exclusive
    full_boxes: np.ndarray  # (n, 4) float32, the same around the whole object, hidden parts included
    classes: list[int]  # index of each object's stamp among those given
    tags: list[str]  # label of each object
    captions: list[str]  # different wordings; each names every object
    relations: list[tuple[int, str, int]]  # (i, "left of" | "right of" | "above" | "below" | "in front of", j)
    questions: list[tuple[str, str]]  # (question, answer)
    background: str


def compose_scene(
    seed: int | np.random.Generator,
    size: int = 128,
    stamps: Sequence[Stamp] | None = None,
    backgrounds: Sequence[Background] | None = None,
    objects: tuple[int, int] = (1, 4),
    scale: tuple[float, float] = (0.25, 0.45),
    min_visible: float = 0.5,
) -> Scene:
    """Place a few different stamps on a photograph; the same seed and arguments give the same scene.

    Args:
        stamps: what may appear, by default every stamp; `class_map` and `classes` refer to this list.
        backgrounds: photographs to choose from, by default the monuments (the animals would answer questions wrongly).
        objects: least and most number of objects; one that finds no place is left out, but never the first.
        scale: range of an object's size, the square root of its box's area as a share of `size`.
        min_visible: share of each object's pixels that later objects leave uncovered; one pixel at least.

    Raises ValueError if there is nothing to place, or nothing that has a pixel at this size.
    """
    rng = np.random.default_rng(seed)
    stamps = load_stamps() if stamps is None else stamps
    if objects[0] < 1 or not stamps:
        raise ValueError(f"expected one object at least and stamps to choose from, found {objects} and {len(stamps)}")
    backgrounds = load_backgrounds("monument") if backgrounds is None else backgrounds
    background = backgrounds[int(rng.integers(len(backgrounds)))]
    canvas = _canvas(background, size, rng)
    count = min(int(rng.integers(objects[0], objects[1] + 1)), len(stamps))
    classes: list[int] = []
    silhouettes = np.zeros((0, size, size), bool)  # whole objects, hidden parts included
    owner = np.zeros((size, size), np.int16)
    for index in rng.choice(len(stamps), count, replace=False):
        cutout = _resized(stamps[index], size, rng, scale)
        for _ in range(10):
            x, y = _position(cutout, size, rng)
            silhouette = np.zeros((size, size), bool)
            silhouette[y : y + cutout.shape[0], x : x + cutout.shape[1]] = cutout[..., 3] > 127
            covered = np.where(silhouette, len(classes) + 1, owner)
            visible = np.bincount(covered.ravel(), minlength=len(classes) + 2)[1:]
            whole = np.concatenate([silhouettes, silhouette[None]])
            if np.all(visible >= np.maximum(1, min_visible * whole.sum((1, 2)))):
                _paste(canvas, cutout, x, y)
                owner, silhouettes = covered.astype(np.int16), whole
                classes.append(int(index))
                break

    if not classes:
        raise ValueError(f"no object has a pixel in a scene of {size} pixels")
    tags = [stamps[index].label for index in classes]
    boxes = np.stack([_extent(owner == i + 1) for i in range(len(classes))])
    relations = spatial_relations(boxes, size)
    relations += [
        (i, "in front of", j) for j in range(len(tags)) for i in range(j + 1, len(tags))
        if np.any(silhouettes[j] & (owner == i + 1))
    ]  # fmt: skip
    return Scene(
        image=canvas,
        class_map=np.array([0, *(index + 1 for index in classes)], np.int16)[owner],
        instance_map=owner,
        boxes=boxes,
        full_boxes=np.stack([_extent(silhouette) for silhouette in silhouettes]),
        classes=classes,
        tags=tags,
        captions=_captions(tags, relations, rng),
        relations=relations,
        questions=_questions([stamps[index] for index in classes], stamps, relations, rng),
        background=background.name,
    )


def spatial_relations(boxes: np.ndarray, size: int) -> list[tuple[int, str, int]]:
    """How the centres of (n, 4) xyxy boxes lie to each other along the axis on which they are further apart.

    Pairs whose centres are nearer than a tenth of `size` on that axis have no relation.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    found = []
    for i, j in itertools.permutations(range(len(boxes)), 2):
        dx, dy = centres[j] - centres[i]
        if max(abs(dx), abs(dy)) >= size / 10:
            horizontal, vertical = ("left of" if dx > 0 else "right of"), ("above" if dy > 0 else "below")
            found.append((i, horizontal if abs(dx) > abs(dy) else vertical, j))
    return found


def with_article(label: str) -> str:
    """ "owl" -> "an owl"."""
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def _captions(tags: list[str], relations: list[tuple[int, str, int]], rng: np.random.Generator) -> list[str]:
    """A list, a sentence, a description and, with a relation, one that states it; the order of objects varies."""

    def listed() -> str:
        names = [with_article(tags[i]) for i in rng.permutation(len(tags))]
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

    captions = [f"a photo of {listed()}.", f"There is {listed()} in this picture.", f"This image shows {listed()}."]
    if relations:
        i, relation, j = relations[rng.integers(len(relations))]
        fact = f"{with_article(tags[i])} {relation} {with_article(tags[j])}"
        others = [with_article(tag) for k, tag in enumerate(tags) if k not in (i, j)]
        captions.append(f"{fact}{', with ' + ' and '.join(others) if others else ''}.")
    return captions


def _questions(
    shown: list[Stamp], stamps: Sequence[Stamp], relations: list[tuple[int, str, int]], rng: np.random.Generator
) -> list[tuple[str, str]]:
    """Existence (one yes, one no), counts, kind, and what stands in each relation that has a single answer."""
    present = shown[rng.integers(len(shown))]
    questions = [
        (f"Is there {with_article(present.label)}?", "yes"),
        ("How many objects are there?", str(len(shown))),
    ]
    said = {word for stamp in shown for word in (stamp.label, stamp.kind, *stamp.label.split())}
    absent = [stamp.label for stamp in stamps if stamp.label not in said]  # no orange beside a mandarin orange
    if absent:
        questions.append((f"Is there {with_article(absent[rng.integers(len(absent))])}?", "no"))
    for kind, kinds in sorted({(stamp.kind, stamp.kinds) for stamp in shown if stamp.kind}):
        questions.append((f"How many {kinds} are there?", str(sum(stamp.kind == kind for stamp in shown))))
    questions += [(f"What is the {stamp.label}?", with_article(stamp.kind)) for stamp in shown if stamp.kind]
    answers: dict[tuple[str, int], list[int]] = {}
    for i, relation, j in relations:
        answers.setdefault((relation, j), []).append(i)
    for (relation, j), subjects in answers.items():
        if len(subjects) == 1:
            questions.append((f"What is {relation} the {shown[j].label}?", shown[subjects[0]].label))
    return questions


def _canvas(background: Background | tuple[int, int, int], size: int, rng: np.random.Generator) -> np.ndarray:
    """A plain colour, or a random square of a photograph at least 0.6 of its shortest side: (size, size, 3) uint8."""
    if not isinstance(background, Background):
        return np.full((size, size, 3), background, np.uint8)
    photo = background.image()
    side = int(min(photo.shape[:2]) * rng.uniform(0.6, 1))
    y, x = (int(rng.integers(length - side + 1)) for length in photo.shape[:2])
    square = Image.fromarray(photo[y : y + side, x : x + side])
    return np.array(square.resize((size, size), Image.Resampling.BICUBIC))


def _resized(stamp: Stamp, size: int, rng: np.random.Generator, scale: tuple[float, float]) -> np.ndarray:
    """The cut-out at a random size that fits into `size`, mirrored half of the time: (h, w, 4) uint8."""
    rgba = stamp.image()
    height, width = rgba.shape[:2]
    factor = min(size * rng.uniform(*scale) / (height * width) ** 0.5, 0.95 * size / max(height, width))
    target = (max(1, round(width * factor)), max(1, round(height * factor)))
    cutout = np.asarray(Image.fromarray(rgba).resize(target, Image.Resampling.BICUBIC))
    return cutout[:, ::-1] if rng.random() < 0.5 else cutout


def _position(cutout: np.ndarray, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """A random (x, y) of the upper left corner that keeps the cut-out inside the picture."""
    height, width = cutout.shape[:2]
    return int(rng.integers(size - width + 1)), int(rng.integers(size - height + 1))


def _paste(canvas: np.ndarray, cutout: np.ndarray, x: int, y: int) -> None:
    """Blend an RGBA cut-out into an RGB canvas in place."""
    region = canvas[y : y + cutout.shape[0], x : x + cutout.shape[1]]
    alpha = cutout[..., 3:].astype(np.float32) / 255
    region[:] = np.rint(alpha * cutout[..., :3] + (1 - alpha) * region)


def _extent(mask: np.ndarray) -> np.ndarray:
    """(4,) float32 xyxy of the set pixels of a mask, x2 and y2 exclusive."""
    return np.array(Image.fromarray(mask).getbbox(), np.float32)


def read_pack(path: Path, sha256: str) -> bytes:
    """Content of a file of a pack. Raises UserError if it is missing or has another checksum."""
    restore = "restore the embedded data from the repository (git checkout -- shared/packs)"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {restore}.") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is damaged, its {len(content)} bytes lack the SHA-256 {sha256[:12]}...: {restore}.")
    return content


@lru_cache(maxsize=1024)
def _image(path: Path, sha256: str, mode: str) -> np.ndarray:
    pixels = np.array(Image.open(io.BytesIO(read_pack(path, sha256))).convert(mode))
    pixels.flags.writeable = False  # shared by all callers
    return pixels


def read_sound(path: Path, sha256: str, rate: int) -> np.ndarray:
    """(N,) float32 mono in [-1, 1] at `rate` Hz, of a sound file of a pack. Raises as `read_pack`."""
    samples, recorded = soundfile.read(io.BytesIO(read_pack(path, sha256)), dtype="float32", always_2d=True)
    # Lossy coding and resampling both overshoot a little.
    common = math.gcd(rate, recorded)
    return np.clip(resample_poly(samples.mean(1), rate // common, recorded // common), -1, 1)


@lru_cache
def read_table(path: Path, sha256: str) -> list[dict[str, str]]:
    """The rows of a pack's table, a comma-separated file with a header. Raises as `read_pack`."""
    return list(csv.DictReader(read_pack(path, sha256).decode().splitlines()))


def draw_sheet(sheet: Path, scenes: int = 0, seed: int = 0) -> None:
    """Draw all stamps with their labels (sounding ones in red), or composed scenes, as one picture.

    Args:
        sheet: picture to write.
        scenes: number of scenes to compose; 0 draws the stamps.
        seed: seed of the first scene.
    """
    stamps = load_stamps()
    total, columns, (width, height) = (scenes, 4, (280, 230)) if scenes else (len(stamps), 18, (104, 116))
    page = Image.new("RGB", (columns * width, -(-total // columns) * height), "white")
    draw = ImageDraw.Draw(page)
    colours = np.array([[0, 0, 0], [230, 80, 60], [70, 160, 230], [90, 200, 90], [240, 200, 60]], np.uint8)
    for k in range(total):
        x, y = k % columns * width, k // columns * height
        if scenes:
            scene = compose_scene(seed + k, stamps=stamps)
            page.paste(Image.fromarray(scene.image), (x + 4, y + 4))
            page.paste(Image.fromarray(colours[scene.instance_map]), (x + 136, y + 4))
            lines = [scene.captions[-1], *(f"{question} {answer}" for question, answer in scene.questions[-4:])]
            draw.text((x + 4, y + 136), "\n".join(line[:46] for line in lines), fill="black")
        else:
            cutout = Image.fromarray(stamps[k].image())
            cutout.thumbnail((100, 96))
            page.paste(cutout, (x + 2, y + 2), cutout)
            draw.text((x + 2, y + 100), stamps[k].label[:17], fill="red" if stamps[k].has_sound else "black")
    page.save(sheet)


if __name__ == "__main__":
    from .cli import told

    sys.exit(told(lambda: tyro.cli(draw_sheet), debug=False))
