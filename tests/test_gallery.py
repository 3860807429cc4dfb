"""ci/gallery.py: pages that say what the results files say."""

import html
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ci import gallery
from ci.report import papers
from shared import paper
from shared.reproduce import tables

ROOT = Path(__file__).parents[1]
PAPERS = [folder.name for folder in papers(ROOT)]
VOID = {"meta", "img", "br", "link", "line", "rect", "circle"}


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(path: Path) -> str:
    """The text of a page that is well formed."""
    parser = Balanced()
    parser.feed(path.read_text())
    assert parser.open == []
    return " ".join(" ".join(parser.text).split())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("report")
    assert gallery.write(ROOT, target) == [target / f"{name}.html" for name in [*PAPERS, "index"]]
    return target


@pytest.mark.parametrize("slug", PAPERS)
def test_a_page_says_what_the_results_say(written: Path, slug: str) -> None:
    text = read(written / f"{slug}.html")
    claims, config = (paper.load(f"papers.{slug}", name) for name in ("claims", "config"))
    results = tables.read_results(ROOT / "papers" / slug / "results" / "cpu.json")
    if results is None:
        pytest.skip("not run yet")
    for table in (
        tables.results_table(results, config.VARIANTS, claims.COLUMNS),
        tables.claims_table(results, claims.CLAIMS),
        tables.reported_table(claims.REPORTED),
    ):
        cells = [gallery.plain(cell) for row in table[1:] for cell in row]
        assert [cell for cell in cells if cell.removesuffix(" (control)") not in text] == []
    page = (written / f"{slug}.html").read_text()
    figures = list((ROOT / "papers" / slug / "results").glob("*.png"))
    assert page.count('<img src="data:image/png;base64,') == len(figures) > 0
    assert page.count("<svg") == sum(found["interval"] is not None for found in results["claims"])


def test_the_index_leads_to_every_page(written: Path) -> None:
    page, text = (written / "index.html").read_text(), read(written / "index.html")
    for slug in PAPERS:
        claims = paper.load(f"papers.{slug}", "claims")
        results = tables.read_results(ROOT / "papers" / slug / "results" / "cpu.json")
        assert f'href="{slug}.html"' in page and claims.PAPER.title in text
        assert tables.badge(results, claims.CLAIMS) in text


@pytest.mark.parametrize(
    ("direction", "margin", "expected"),
    [("higher", 1.0, (160, gallery.WIDTH)), ("lower", 1.0, (0, 14)), ("similar", 3.0, (14, 306))],
)
def test_intervals_are_drawn_to_scale(direction: str, margin: float, expected: tuple[float, float]) -> None:
    claim = paper.Claim("id", 1, "text", "source", "metric", "a", "b", direction, margin)  # type: ignore[arg-type]
    drawn = gallery.drawing(claim, 1.5, [1.0, 2.0])
    assert drawn.expected == pytest.approx(expected, abs=0.1)
    assert drawn.zero < drawn.low < drawn.mean < drawn.high <= gallery.WIDTH - gallery.MARGIN
    assert drawn.mean - drawn.low == pytest.approx(drawn.high - drawn.mean, abs=0.11)


def test_sounds_are_inside_and_nothing_is_taken_for_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "papers" / "clipsep"
    shutil.copytree(ROOT / "papers" / "clipsep", folder, ignore=shutil.ignore_patterns("*.png", "audio", "cpu.json"))
    audio = folder / "results" / "audio"
    audio.mkdir(parents=True)
    for name in ("mixture", "clipsep", "target"):
        soundfile.write(audio / f"0-{name}.wav", np.zeros(80, np.float32), 8000)
    (audio / "rows.json").write_text('["<script>alert(1)</script>"]')
    assert gallery.sounds(folder, ["clipsep"])[0] == ["mixture", "target", "clipsep"]
    gallery.write(tmp_path, tmp_path / "report")
    page = (tmp_path / "report" / "clipsep.html").read_text()
    assert page.count('src="data:audio/wav;base64,') == 3
    assert "<script>" not in page and html.escape("<script>alert(1)</script>") in page
    assert "not run yet" in read(tmp_path / "report" / "clipsep.html")
    assert "not run yet" in read(tmp_path / "report" / "index.html")
