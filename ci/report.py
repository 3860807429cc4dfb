"""``python -m ci.report``: rebuild every generated page and block of the READMEs; ``--list``: one line a paper.

It reads with the standard library alone: ``make list`` works before anything is installed.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

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
    """Header and one row a paper: link, what it is, what came out, minutes."""
    table = [["paper", "what it is", "what came out here (`cpu` preset)", "minutes on 2 cores"]]
    for folder in papers(root):
        paper, results, found = described(folder)
        link = f"[{paper.title}](papers/{folder.name}/README.md) (`{folder.name}`, {paper.venue})"
        verdict = f"**{found[0].upper()}{found[1:]}.** {paper.conclusion if results else ''}".rstrip()
        table.append([link, paper.summary, verdict, f"{minutes(results):.0f}" if results else ""])
    return table


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
        "README.md": ("papers", markdown(papers_table(root))),
        "ci/BENCH.md": ("bench", bench_table(bench)),
        "shared/README.md": ("retrieval", markdown(retrieval_table(retrieval))),
    }
    for name, (block, content) in blocks.items():
        texts[root / name] = replace_block((root / name).read_text(), block, content, root / name)
    return texts


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
            if changed or not arguments.quiet:
                print(f"{'rebuilt  ' if changed else 'unchanged'} {path.relative_to(root)}")
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
