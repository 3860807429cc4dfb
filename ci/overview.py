"""The picture of all claims, ``papers/claims.png``: every comparison of every paper on one axis.

Comparisons have different units, and most have no margin. So their common unit is the half-width of their own 95 %
interval: a comparison stands as far from the border of what is claimed as its effect does, in half-widths.
"""

import ast
import hashlib
import io
import math
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from shared.paper import Claim, load
from shared.reproduce.tables import ORDER, badge, read_results
from shared.support.code import code_of
from shared.support.files import write_atomic

from .report import papers

PICTURE = Path("papers") / "claims.png"
COLOURS = dict(zip(ORDER, ("#1b6ca8", "#949494", "#d1495b"), strict=True))
FIRST, LAST = -5.0, 9.0  # of the axis; what lies beyond stands at its end
ABOVE, BELOW = 2.4, 1.2  # rows that the name of a paper takes, and between papers
WIDTH, ROW = 9.6, 0.078  # of the picture and of a row, in inches
DPI = 140
DRAWN_FROM = "Drawn from"  # key of the PNG's text


@dataclass(frozen=True)
class Point:
    """A comparison that is no control: its claim, and where it stands."""

    claim: int
    headline: bool
    verdict: str
    standing: float | None


@dataclass(frozen=True)
class Group:
    """The comparisons of a paper, in the order of its table."""

    slug: str
    badge: str
    points: tuple[Point, ...]

    @property
    def rows(self) -> float:
        return ABOVE + len(self.points) + BELOW


def standing(claim: Claim, interval: list[float] | None) -> float | None:
    """How far an effect lies from the border of what is claimed, in half-widths of its interval.

    Positive where the effect is as claimed, so that above 1 the comparison is supported, and below -1 contradicted.
    Of a range (``similar``) the nearer border counts; ratios are measured on the log scale. None without an interval,
    infinite if all seeds agree to the last digit.
    """
    if interval is None:
        return None
    low, high, first, last = [*interval, *claim.expected]
    if claim.relation == "ratio":
        low, high, first, last = (math.log(x) if x > 0 else -math.inf for x in (low, high, first, last))
    effect, half = (low + high) / 2, (high - low) / 2
    distance = min(effect - first, last - effect)
    return distance / half if half else math.copysign(math.inf, distance) if distance else 0.0


def judged(root: Path) -> list[Group]:
    """The comparisons of all papers of a checkout that have results."""
    groups = []
    for folder in papers(root):
        claims = load(f"papers.{folder.name}", "claims").CLAIMS
        results = read_results(folder / "results" / "cpu.json")
        found = {c["id"]: c for c in results["claims"]} if results else {}
        points = tuple(
            Point(claim.number, claim.headline, c["verdict"], standing(claim, c["interval"]))
            for claim in claims
            if not claim.control and (c := found.get(claim.id))
        )
        if points:
            groups.append(Group(folder.name, badge(results, claims), points))
    return groups


def draw(groups: list[Group]) -> Figure:
    """Intervals in two columns of about equal height, paper by paper."""
    ends = list(accumulate(group.rows for group in groups))
    left = sum(end - group.rows / 2 <= ends[-1] / 2 for group, end in zip(groups, ends, strict=True))
    columns = groups[:left], groups[left:]
    rows = max(sum(group.rows for group in column) for column in columns)
    figure = Figure(figsize=(WIDTH, ROW * rows + 1.1), layout="constrained")
    for axes, column in zip(figure.subplots(1, 2), columns, strict=True):
        _draw_column(axes, column, rows)
    keys = [Line2D([], [], color=colour, marker="o", markersize=4.5, label=x) for x, colour in COLOURS.items()]
    markers = {"of the headline claim": ("o", 4.5), "of another claim": ("o", 2.5), "beyond the axis": (">", 4.5)}
    for label, (marker, size) in markers.items():
        keys.append(Line2D([], [], color="black", marker=marker, markersize=size, linewidth=0, label=label))
    figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), frameon=False, fontsize=9)
    return figure


def _draw_column(axes: Axes, groups: list[Group], rows: float) -> None:
    axes.set(xlim=(FIRST, LAST), ylim=(rows, -1), yticks=[], xticks=range(-4, 9, 2))
    axes.spines[["left", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, top=True, labeltop=True)
    axes.set_xlabel("distance from the border of the claim, in half-widths of the interval", fontsize=8)
    for ha, x, words in (("right", -8, "← not as claimed"), ("left", 8, "as claimed →")):
        axes.annotate(
            words, (0, 1), (x, 20), xycoords=("data", "axes fraction"), textcoords="offset points", ha=ha, fontsize=9
        )
    top = 0.0
    for group in groups:
        axes.text(FIRST, top + 1.3, group.slug, fontsize=9.5, weight="bold", va="center")
        axes.text(LAST, top + 1.3, group.badge, fontsize=8, va="center", ha="right")
        y = top + ABOVE
        axes.plot([0, 0], [y - 0.5, y + len(group.points) - 0.5], color="black", linewidth=0.8, zorder=1)
        for k, (number, points) in enumerate(groupby(group.points, key=lambda point: point.claim)):
            size = len(list(points))
            axes.axhspan(y - 0.5, y + size - 0.5, color="#f0f0f0" if k % 2 == 0 else "white", zorder=0, linewidth=0)
            axes.text(FIRST - 0.1, y + (size - 1) / 2, f"claim {number}", fontsize=6.5, va="center", ha="right")
            y += size
        for k, point in enumerate(group.points):
            _draw_point(axes, point, top + ABOVE + k)
        top += group.rows


def _draw_point(axes: Axes, point: Point, y: float) -> None:
    if point.standing is None:
        return
    colour, size = COLOURS[point.verdict], 4.5 if point.headline else 2.5
    x = min(max(point.standing, FIRST + 0.7), LAST - 0.3)
    marker = "o" if x == point.standing else ">" if x < point.standing else "<"
    if marker == "o":
        axes.plot([x - 1, x + 1], [y, y], color=colour, linewidth=1, zorder=2)
    axes.plot([x], [y], marker=marker, markersize=size, color=colour, markeredgewidth=0, zorder=3)


def write(root: Path) -> bool:
    """Draw the picture of a checkout unless it shows the committed results already; returns whether it was drawn."""
    path, groups = root / PICTURE, judged(root)
    source = drawn_from(groups)
    if shown(path) == source:
        return False
    drawn, said = io.BytesIO(), PngInfo()
    draw(groups).savefig(drawn, format="png", dpi=DPI)
    said.add_text(DRAWN_FROM, source)
    few = Image.open(drawn).convert("RGB").quantize(32)  # colours: half the size
    write_atomic(path, lambda file: few.save(file, format="PNG", optimize=True, pnginfo=said))
    return True


def drawn_from(groups: list[Group]) -> str:
    """Hash of what a picture shows and of the code that draws it."""
    code = ast.dump(code_of(Path(__file__).read_text()))
    return hashlib.sha256(f"{groups}{code}".encode()).hexdigest()


def shown(path: Path) -> str | None:
    """The hash that a picture was drawn from, or None if there is no picture."""
    if not path.exists():
        return None
    with Image.open(path) as picture:
        return picture.info.get(DRAWN_FROM)
