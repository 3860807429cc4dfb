"""``python -m ci.gallery``: one page a paper to look at, in `report/`, and an index of them.

Each page stands alone (figures and sounds are inside it), so it can be mailed: the results table, every verdict with
its interval drawn, the figures of `results/`, and the sounds a run left in `results/audio/<row>-<name>.wav`.
"""

import base64
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from shared import UserError
from shared.paper import Claim, load
from shared.reproduce.tables import badge, caption, claims_table, read_results, reported_table, results_table
from shared.support.files import write_atomic

from .report import papers

TEMPLATES = Path(__file__).parent
WIDTH, MARGIN = 320, 14  # of a drawn interval, in pixels


@dataclass(frozen=True)
class Drawing:
    """Where the parts of one interval lie, in pixels from the left."""

    zero: float
    mean: float
    low: float
    high: float
    expected: tuple[float, float]
    """Where the claim holds: from, to."""


def drawing(claim: Claim, effect: float, interval: list[float]) -> Drawing:
    """An axis of its own for every comparison, as their units differ: it shows 0, the margin and the interval."""
    shown = [0.0, effect, *interval, *(bound for bound in claim.expected if math.isfinite(bound))]
    first, last = min(shown), max(shown)
    scale = (WIDTH - 2 * MARGIN) / ((last - first) or 1.0)

    def x(value: float) -> float:
        return round(MARGIN + (value - first) * scale, 1)

    least, most = claim.expected
    expected = (x(least) if math.isfinite(least) else 0, x(most) if math.isfinite(most) else WIDTH)
    return Drawing(x(0), x(effect), x(interval[0]), x(interval[1]), expected)


def comparisons(results: dict[str, Any], claims: Any) -> Iterator[dict[str, Any]]:
    """Every comparison as the README's table has it, with the drawing of its interval if there is one."""
    judged = {found["id"]: found for found in results["claims"]}
    known = [claim for claim in claims.CLAIMS if claim.id in judged]
    for claim, row in zip(known, claims_table(results, claims.CLAIMS)[1:], strict=True):
        number, text, source, compared, effect, seeds, _ = map(plain, row)
        found = judged[claim.id]
        drawn = drawing(claim, found["effect"], found["interval"]) if found["interval"] else None
        yield {
            "number": number, "text": text, "source": source, "compared": compared, "effect": effect, "seeds": seeds,
            "verdict": found["verdict"], "control": claim.control, "drawing": drawn,
        }  # fmt: skip


def plain(cell: str) -> str:
    """A cell of a Markdown table as text."""
    return cell.replace("`", "").replace("**", "")


def embedded(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def figures(folder: Path, readme: str) -> list[dict[str, str]]:
    """The PNGs of `results/`, first those that the README shows, in its order and with its words."""
    described = {name: text for text, name in re.findall(r"!\[(.*?)\]\(results/([^)]+\.png)\)", readme)}
    others = sorted(path.name for path in (folder / "results").glob("*.png") if path.name not in described)
    described |= {name: name.removesuffix(".png").replace("_", " ") for name in others}
    return [
        {"name": name, "text": text, "source": embedded(folder / "results" / name, "image/png")}
        for name, text in described.items()
        if (folder / "results" / name).is_file()
    ]


def sounds(folder: Path, variants: Iterable[str]) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    """Names of the columns (what no variant made comes first), and for each row its title and the sounds by column."""
    audio = folder / "results" / "audio"
    rows: dict[int, dict[str, str]] = {}
    for path in sorted(audio.glob("*.wav")):
        row, _, name = path.stem.partition("-")
        rows.setdefault(int(row), {})[name] = embedded(path, "audio/wav")
    found = {name for row in rows.values() for name in row}
    names = [*sorted(found - set(variants)), *(name for name in variants if name in found)]
    titles = json.loads((audio / "rows.json").read_text()) if (audio / "rows.json").is_file() else []
    return names, [(titles[k] if k < len(titles) else f"example {k + 1}", rows[k]) for k in sorted(rows)]


def page(folder: Path) -> dict[str, Any]:
    """The values that the template shows for one paper."""
    slug = folder.name
    claims, config = load(f"papers.{slug}", "claims"), load(f"papers.{slug}", "config")
    results = read_results(folder / "results" / "cpu.json")
    readme = (folder / "README.md").read_text()
    names, rows = sounds(folder, config.VARIANTS)
    return {
        "slug": slug,
        "paper": claims.PAPER,
        "counts": badge(results, claims.CLAIMS),
        "table": [[plain(cell) for cell in row] for row in results_table(results, config.VARIANTS, claims.COLUMNS)]
        if results
        else [],
        "caption": plain(caption(results)) if results else "",
        "comparisons": list(comparisons(results, claims)) if results else [],
        "figures": figures(folder, readme),
        "sound_names": names,
        "sound_rows": rows,
        "has_sounds": "results/audio" in readme,
        "reported": [[plain(cell) for cell in row] for row in reported_table(claims.REPORTED)],
    }


def write(root: Path, target: Path) -> list[Path]:
    """Write a page for each paper of the checkout, and `index.html`; returns what was written."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("gallery.html.j2")
    pages = [page(folder) for folder in papers(root)]
    texts = {f"{shown['slug']}.html": template.render(page=shown, pages=pages, width=WIDTH) for shown in pages}
    texts["index.html"] = template.render(page=None, pages=pages, width=WIDTH)
    for name, text in texts.items():
        write_atomic(target / name, text.encode())
    return [target / name for name in texts]


def main() -> None:
    for path in write(Path.cwd(), Path("report")):
        print(f"wrote     {path}")


if __name__ == "__main__":
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
