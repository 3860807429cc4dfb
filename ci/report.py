"""``python -m ci.report``: rebuild every generated page, block and overview; ``--list``: one line a paper.

It reads with the standard library alone: ``make list`` works before anything is installed. Only the picture of all
claims needs a package (``ci/overview.py``).
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shared
from shared import UserError
from shared.paper import Paper, load
from shared.reproduce.tables import badge, markdown, minutes, paper_pages, read_results, replace_block
from shared.support.files import write_atomic


def papers(root: Path) -> list[Path]:
    """The paper folders of a checkout, by name."""
    return sorted(p.parent for p in (root / "papers").glob("*/claims.py"))


def described(folder: Path) -> tuple[Paper, dict[str, Any] | None, str]:
    """A paper, its results if there are any, and its badge."""
    claims = load(f"papers.{folder.name}", "claims")
    results = read_results(folder / "results" / "cpu.json")
    return claims.PAPER, results, badge(results, claims.CLAIMS)


def papers_table(root: Path) -> list[list[str]]:
    """Header and one row a paper: link, verdict, first sentence of the conclusion, minutes."""
    table = [["paper", "verdict here", "what came out, in a sentence", "minutes"]]
    for folder in papers(root):
        paper, results, found = described(folder)
        venue = paper.venue.partition(" (")[0]
        link = f"[{paper.title}](papers/{folder.name}/README.md) (`{folder.name}`, {venue})"
        first = re.split(r"(?<=[.!?]) ", paper.conclusion)[0] if results else ""
        table.append([link, f"**{found[0].upper()}{found[1:]}**", first, _minutes(results)])
    return table


def reconstructions(root: Path) -> str:
    """Which papers follow official code, and a list of those that could not, with the reason."""
    reasons = {f"`{folder.name}`": described(folder)[0].reconstruction for folder in papers(root)}
    followed = ", ".join(slug for slug, reason in reasons.items() if not reason) or "none"
    listed = [f"- {slug}: {reason}" for slug, reason in reasons.items() if reason]
    return "\n".join([f"Official code decides in {followed}. The reconstructions:", "", *(listed or ["- none"])])


def papers_page(root: Path) -> str:
    """The text of ``papers/README.md``: a row a paper with what it stands on, beside what all of them use."""
    table = [["paper", "parts of `shared`", "real datasets", "packages of its own", "minutes", "verdicts"]]
    used = {folder: shared_parts(folder) for folder in papers(root)}
    common = set.intersection(*used.values())
    for folder, parts in used.items():
        paper, results, found = described(folder)
        link = f"[`{folder.name}`]({folder.name}/README.md): {paper.summary}"
        datasets = ", ".join(paper.datasets) or "files of one's own"
        own = ", ".join(packages(folder))
        table.append([link, _code(parts - common), datasets, own, _minutes(results), found])
    return (
        "# The papers side by side\n\n"
        "Written by `make report` from the folders. Minutes are those of `make reproduce` on two cores; verdicts count "
        f"each claim once, by its weakest comparison. Every paper uses {_code(common)} of "
        "[`shared`](../shared/README.md), and the packages that come with it; the table has the rest.\n\n"
        f"{markdown(table)}\n"
    )


def shared_parts(folder: Path) -> set[str]:
    """Modules of ``shared`` that a paper's files import, such as ``losses`` or ``offline.cutouts``."""
    home = Path(shared.__file__).parent
    found = {name for path in folder.rglob("*.py") for name in _imported(path) if name.startswith("shared.")}
    parts = {name.removeprefix("shared.") for name in found}
    return {part for part in parts if home.joinpath(*part.split(".")).with_suffix(".py").is_file()}


def packages(folder: Path) -> list[str]:
    """Names in a paper's requirements.txt, without versions."""
    lines = (folder / "requirements.txt").read_text().splitlines()
    return [name for line in lines if (name := re.split(r"[^\w-]", line)[0])]


def _imported(path: Path) -> Iterator[str]:
    """Names that a file imports from elsewhere, modules and what they hold alike."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def _code(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _minutes(results: dict[str, Any] | None) -> str:
    return f"{minutes(results):.0f}" if results else ""


def bench_table(measured: dict[str, Any]) -> str:
    """The content of ``ci/bench.json`` as a table, and the machines below it."""
    table = [["what", "times faster", "times less memory", "ours", "measured"]]
    machines: dict[str, None] = {}
    for module, found in measured.items():
        name = module.removesuffix(".bench").removeprefix("papers.").removeprefix("ci.bench_")
        where = found["machine"]
        machines[f"{where['cpu']}, one thread, Python {where['python']}, torch {where['torch']}"] = None
        memory = {row["name"]: row for row in found["rows"] if row["unit"] == "MB"}
        for row in found["rows"]:
            if row["unit"] != "MB":
                both = [row, *([memory[row["name"]]] if row["name"] in memory else [])]
                ratios = ["" if side["ratio"] is None else f"{side['ratio']:.2f}" for side in both]
                ours = ", ".join(f"{side['ours']:.3g} {side['unit']}" for side in both)
                times = [ratios[0], ratios[1] if ratios[1:] else ""]
                table.append([f"{name}: {row['name']}", *times, ours, row["detail"]])
    return f"{markdown(table)}\n\n{'; '.join(machines)}."


def retrieval_table(measured: dict[str, Any]) -> list[list[str]]:
    """The measurements of ``python -m ci.retrieval``."""
    table = [["images and captions", "direction", "R@1 (%)", "R@5 (%)", "R@10 (%)", "median rank"]]
    for name, found in {"all": measured, "with sound": measured["sounding"]}.items():
        for direction, key in {"image to text": "i2t", "text to image": "t2i", "chance": "chance"}.items():
            ranks = [f"{found[key][f'r{k}_percent']:.1f}" for k in (1, 5, 10)]
            table.append([f"{found['n']} ({name})", direction, *ranks, str(found[key].get("median_rank", ""))])
    return table


def rebuilt(root: Path) -> dict[Path, str]:
    """The text of every generated page of the checkout, given the committed results."""
    texts: dict[Path, str] = {}
    for folder in papers(root):
        texts |= paper_pages(folder, f"papers.{folder.name}")
    bench = json.loads((root / "ci" / "bench.json").read_text())
    retrieval = json.loads((root / "ci" / "retrieval.json").read_text())
    blocks = {
        "README.md": {"papers": markdown(papers_table(root)), "reconstructions": reconstructions(root)},
        "ci/BENCH.md": {"bench": bench_table(bench)},
        "shared/README.md": {"retrieval": markdown(retrieval_table(retrieval))},
    }
    for name, contents in blocks.items():
        texts[root / name] = (root / name).read_text()
        for block, content in contents.items():
            texts[root / name] = replace_block(texts[root / name], block, content, root / name)
    return texts | {root / "papers" / "README.md": papers_page(root)}


def _tell(path: Path, changed: bool, quiet: bool) -> None:
    if changed or not quiet:
        print(f"{'rebuilt  ' if changed else 'unchanged'} {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild what is generated of every README from the results files.")
    parser.add_argument("--list", action="store_true", help="list the papers, one line each, instead")
    parser.add_argument("--quiet", action="store_true", help="name only what has changed")
    arguments = parser.parse_args()
    root = Path.cwd()
    try:
        if arguments.list:
            for folder in papers(root):
                paper, results, found = described(folder)
                print(f"{folder.name:16} {paper.summary} [{found}]")
                if results:
                    print(f"{'':16} {paper.conclusion}")
            return
        for path, text in rebuilt(root).items():
            changed = not path.exists() or path.read_text() != text
            if changed:
                write_atomic(path, text.encode())
            _tell(path.relative_to(root), changed, arguments.quiet)
        from . import overview  # here, since it needs matplotlib

        _tell(overview.PICTURE, overview.write(root), arguments.quiet)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
