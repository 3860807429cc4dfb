"""ci/overview.py: where comparisons stand in the picture; that it is up to date is in test_structure.py."""

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from ci import overview
from ci.overview import Group, Point, standing
from shared.paper import Claim

ROOT = Path(__file__).parents[1]
GROUPS = overview.judged(ROOT)


def claim(**fields: object) -> Claim:
    return Claim("id", 1, "text", "source", "metric", "a", "b", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "interval", "expected"),
    [
        ({}, [1.0, 3.0], 2.0),
        ({}, [-3.0, 1.0], -0.5),
        ({"margin": 4.0}, [1.0, 3.0], -2.0),
        ({"margin": -1.0}, [-1.0, 1.0], 1.0),
        ({"direction": "lower", "margin": 4.0}, [-6.0, -2.0], 0.0),
        ({"direction": "lower"}, [-6.0, -2.0], 2.0),
        ({"direction": "similar", "margin": 4.0}, [1.0, 3.0], 2.0),
        ({"direction": "similar", "margin": 4.0}, [-6.0, -4.0], -1.0),
        ({"relation": "ratio"}, [1.0, math.e**2], 1.0),
        ({"relation": "ratio", "margin": math.e**3}, [1.0, math.e**2], -2.0),
        ({"relation": "ratio", "direction": "lower", "margin": math.e}, [math.e**-4, math.e**-2], 2.0),
        ({"relation": "ratio", "direction": "similar", "margin": math.e}, [1.0, math.e], 1.0),
        ({}, [2.0, 2.0], math.inf),
        ({"direction": "lower"}, [2.0, 2.0], -math.inf),
        ({}, [0.0, 0.0], 0.0),
    ],
)
def test_distance_is_counted_in_half_intervals_from_the_border(
    fields: dict[str, object], interval: list[float], expected: float
) -> None:
    assert standing(claim(**fields), interval) == pytest.approx(expected)
    assert standing(claim(**fields), None) is None


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.slug)
def test_a_verdict_is_where_its_interval_stands(group: Group) -> None:
    """One half-width or more from the border is a verdict; that holds for every relation and direction."""
    for point in group.points:
        assert point.standing is not None
        verdict = "supported" if point.standing > 1 else "contradicted" if point.standing < -1 else "inconclusive"
        assert point.verdict == verdict


def test_each_comparison_is_drawn_once_in_the_colour_of_its_verdict() -> None:
    points = [point for group in GROUPS for point in group.points]
    marks = drawn(overview.draw(GROUPS))
    assert len(marks) == len(points) > 200
    for verdict, colour in overview.COLOURS.items():
        assert [mark[0] for mark in marks].count(colour) == [point.verdict for point in points].count(verdict)


def test_points_beyond_the_axis_stand_at_its_end_without_an_interval() -> None:
    points = (
        Point(1, True, "supported", math.inf),
        Point(1, False, "contradicted", -50.0),
        Point(2, True, "supported", 3.0),
    )
    figure = overview.draw([Group("madeup", "2 of 2 supported", points)])
    assert [mark[1:] for mark in drawn(figure)] == [(">", 8.7), ("<", -4.3), ("o", 3.0)]
    places = [np.asarray(line.get_xdata()).tolist() for line in figure.axes[0].lines]
    assert [ends for ends in places if len(ends) == 2] == [[0, 0], [2.0, 4.0]]  # the border, and one interval
    labels = {text.get_text() for text in figure.axes[0].texts}
    assert {"madeup", "2 of 2 supported", "claim 1", "claim 2"} <= labels


def test_the_picture_is_drawn_again_if_it_shows_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group("madeup", "1 of 1 supported", (Point(1, True, "supported", 3.0),))
    monkeypatch.setattr(overview, "judged", lambda root: [group])
    (tmp_path / "papers").mkdir()
    picture = tmp_path / overview.PICTURE
    assert overview.shown(picture) is None
    assert overview.write(tmp_path) and overview.shown(picture) == overview.drawn_from([group])
    assert not overview.write(tmp_path)
    monkeypatch.setattr(overview, "judged", lambda root: [group, group])
    assert overview.write(tmp_path)


def test_the_committed_picture_is_small_and_as_wide_as_a_page() -> None:
    picture = ROOT / overview.PICTURE
    assert picture.stat().st_size < 100_000
    assert 900 <= Image.open(picture).width <= 1600


def drawn(figure: Figure) -> list[tuple[str, object, float]]:
    """Colour, marker and place of each point."""
    lines = [(line, np.asarray(line.get_xdata())) for axes in figure.axes for line in axes.lines]
    return [(to_hex(line.get_color()), line.get_marker(), float(x[0])) for line, x in lines if len(x) == 1]
