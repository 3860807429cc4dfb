"""Random holes: strokes, boxes and their mixtures, as LaMa and CoModGAN draw them.

The order of the random draws is that of the published generators, so that one seed gives one mask there and here.
Masks are (H, W) bool, True where pixels are missing.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Rng = np.random.RandomState


@dataclass(frozen=True)
class Strokes:
    """LaMa's irregular masks: chains of thick straight strokes.

    Attributes:
        max_angle: bound of the drawn angle (radians, exclusive).
        max_len, max_width: bounds of length and width beyond 10 and 5 pixels.
        min_times, max_times: chains; the published code draws one more than ``max_times`` at most.
    """

    max_angle: int = 4
    max_len: int = 60
    max_width: int = 20
    min_times: int = 0
    max_times: int = 10

    def __call__(self, size: int, rng: Rng) -> np.ndarray:
        picture = Image.new("1", (size, size))
        draw = ImageDraw.Draw(picture)
        for chain in range(rng.randint(self.min_times, self.max_times + 2)):
            x, y = rng.randint(size), rng.randint(size)
            for _ in range(1 + rng.randint(5)):
                angle = 0.01 + rng.randint(self.max_angle)
                if chain % 2 == 0:
                    angle = 2 * 3.1415926 - angle
                length, width = 10 + rng.randint(self.max_len), 5 + rng.randint(self.max_width)
                to_x = int(np.clip(int(x + length * math.sin(angle)), 0, size))
                to_y = int(np.clip(int(y + length * math.cos(angle)), 0, size))
                _round_line(draw, [(x, y), (to_x, to_y)], width)
                x, y = to_x, to_y
        return np.array(picture)


@dataclass(frozen=True)
class Boxes:
    """LaMa's rectangles.

    Attributes:
        margin: least distance to the border.
        min_size, max_size: side; the upper bound is exclusive in the draw, as is ``size - 2 margin``.
        min_times, max_times: number of rectangles, both inclusive.
    """

    margin: int = 10
    min_size: int = 30
    max_size: int = 100
    min_times: int = 0
    max_times: int = 3

    def __call__(self, size: int, rng: Rng) -> np.ndarray:
        mask = np.zeros((size, size), bool)
        most = min(self.max_size + 1, size - 2 * self.margin)
        for _ in range(rng.randint(self.min_times, self.max_times + 1)):
            width, height = rng.randint(self.min_size, most), rng.randint(self.min_size, most)
            x = rng.randint(self.margin, size - self.margin - width + 1)
            y = rng.randint(self.margin, size - self.margin - height + 1)
            mask[y : y + height, x : x + width] = True
        return mask


@dataclass(frozen=True)
class Mixed:
    """Strokes or boxes, the kind drawn first.

    Attributes:
        probabilities: of strokes and of boxes.
    """

    strokes: Strokes
    boxes: Boxes
    probabilities: tuple[float, float]

    def __call__(self, size: int, rng: Rng) -> np.ndarray:
        chosen = rng.choice(2, p=np.array(self.probabilities) / sum(self.probabilities))
        return (self.strokes, self.boxes)[chosen](size, rng)


def _round_line(draw: ImageDraw.ImageDraw, points: list[tuple[int, int]], width: int) -> None:
    """A line with round ends that reaches (width + 1) // 2 pixels to either side, as OpenCV draws it."""
    radius = (width + 1) // 2
    draw.line(points, fill=1, width=2 * radius + 1)
    for x, y in points:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)


def comod_mask(size: int, rng: Rng, hole_range: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """CoModGAN's random mask: up to 9 small and 4 large rectangles and 19 brush strokes; drawn again out of range.

    Strokes are 12 to 48 pixels wide at any size, so that small images lose nearly everything:
    :func:`comod_mask_at` draws at 512.

    Args:
        hole_range: share of missing pixels, both bounds exclusive.
    """
    share = min(sum(hole_range), 1.0)
    while True:
        mask = np.zeros((size, size), bool)
        for tries, largest in ((int(10 * share), size // 2), (int(5 * share), size)):
            for _ in range(rng.randint(tries)):
                _fill_box(mask, largest, rng)
        mask |= _brush(size, int(20 * share), rng)
        if hole_range[0] < mask.mean() < hole_range[1]:
            return mask


def _fill_box(mask: np.ndarray, largest: int, rng: Rng) -> None:
    """A rectangle that may lie half outside."""
    size = len(mask)
    width, height = rng.randint(largest), rng.randint(largest)
    half_width, half_height = width // 2, height // 2
    x = rng.randint(-half_width, size - width + half_width)
    y = rng.randint(-half_height, size - height + half_height)
    mask[max(y, 0) : min(y + height, size), max(x, 0) : min(x + width, size)] = True


def _brush(size: int, tries: int, rng: Rng) -> np.ndarray:
    """Zigzag strokes, mirrored as a whole in either direction or not."""
    radius = math.sqrt(2 * size * size) / 8
    mean, spread = 2 * math.pi / 5, 2 * math.pi / 15
    picture = Image.new("1", (size, size))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(tries)):
        turns = rng.randint(4, 18)
        least = mean - rng.uniform(0, spread)
        most = mean + rng.uniform(0, spread)
        angles = [
            2 * math.pi - rng.uniform(least, most) if i % 2 == 0 else rng.uniform(least, most) for i in range(turns)
        ]
        points = [(int(rng.randint(0, size)), int(rng.randint(0, size)))]
        for angle in angles:
            length = np.clip(rng.normal(radius, radius // 2), 0, 2 * radius)
            x = np.clip(points[-1][0] + length * math.cos(angle), 0, size)
            y = np.clip(points[-1][1] + length * math.sin(angle), 0, size)
            points.append((int(x), int(y)))
        width = int(rng.uniform(12, 48))
        draw.line(points, fill=1, width=width)
        for x, y in points:
            draw.ellipse((x - width // 2, y - width // 2, x + width // 2, y + width // 2), fill=1)
        rng.random_sample(2)  # the published code draws two mirrorings of a stroke here, and drops their results
    mask = np.array(picture)
    if rng.random_sample() > 0.5:
        mask = mask[::-1]
    if rng.random_sample() > 0.5:
        mask = mask[:, ::-1]
    return mask


def comod_mask_at(size: int, rng: Rng, hole_range: tuple[float, float] = (0.0, 1.0), drawn: int = 512) -> np.ndarray:
    """CoModGAN's mask with the statistics of 512 pixels at any smaller size: drawn there, every k-th pixel taken."""
    mask = comod_mask(max(size, drawn), rng, hole_range)
    step = len(mask) // size
    return mask[step // 2 :: step, step // 2 :: step]


THICK = Mixed(Strokes(4, 200, 100, 1, 5), Boxes(10, 30, 150, 1, 3), (1.0, 0.3))
"""LaMa's "thick" evaluation masks at 256 pixels."""
TRAIN = Mixed(Strokes(4, 200, 100, 1, 5), Boxes(10, 30, 150, 1, 4), (1.0, 1.0))
"""LaMa's training masks at 256 pixels."""


def at_any_size(kind: Mixed | Strokes | Boxes, size: int, rng: Rng, drawn: int = 256) -> np.ndarray:
    """A mask that is defined at 256 pixels, at a size that divides it or that it divides."""
    mask = kind(drawn, rng)
    if size > drawn:
        return np.kron(mask, np.ones((size // drawn,) * 2, bool))
    step = drawn // size
    return mask[step // 2 :: step, step // 2 :: step]
