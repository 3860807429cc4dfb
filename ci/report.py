"""``python -m ci.report``: rebuild every generated block of every README; ``--list``: one line a paper.

Like `shared.report` it reads with the standard library alone: ``make list`` works before anything is installed.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shared import UserError
from shared.report import Claim, Paper, Verdict, load, markdown, paper_readme, read_results, replace_block


def papers(root: Path) -> list[Path]:
    """The paper folders of a checkout, by name."""
    return sorted(p.parent for p in (root / "papers").glob("*/claims.py"))


def verdict_counts(results: dict[str, Any] | None, claims: Iterable[Claim]) -> str:
    """For example ``3 supported, 1 inconclusive``: each claim once, by its worst comparison; controls do not count."""
    if results is None:
        return "not run yet"
    judged = {c["id"]: c["verdict"] for c in results["claims"]}
    order: tuple[Verdict, ...] = ("supported", "inconclusive", "contradicted")
    worst: dict[int, int] = {}
    for claim in claims:
        if not claim.control and claim.id in judged:
            worst[claim.number] = max(worst.get(claim.number, 0), order.index(judged[claim.id]))
    counts = {v: list(worst.values()).count(i) for i, v in enumerate(order)}
    return ", ".join(f"{n} {v}" for v, n in counts.items() if n) or "no claims tested"


def counted(folder: Path) -> tuple[Paper, str]:
    """A paper and its verdict counts."""
    claims = load(f"papers.{folder.name}", "claims")
    return claims.PAPER, verdict_counts(read_results(folder / "results" / "cpu.json"), claims.CLAIMS)


def papers_table(root: Path) -> list[list[str]]:
    """Header and one row a paper: link, what it is, verdict counts."""
    table = [["paper", "what it is", "claims, as measured here (`cpu` preset)"]]
    for folder in papers(root):
        paper, counts = counted(folder)
        link = f"[{paper.title}](papers/{folder.name}/README.md) (`{folder.name}`, {paper.venue})"
        table.append([link, paper.summary, counts])
    return table


def times_table(root: Path) -> list[list[str]]:
    """Header and one row a paper: how long its reproduction took."""
    table = [["paper", "runs", "minutes on 2 cores", "processor"]]
    for folder in papers(root):
        if results := read_results(folder / "results" / "cpu.json"):
            minutes, rows = sum(row["seconds"] for row in results["rows"]) / 120, len(results["rows"])
            table.append([f"`{folder.name}`", str(rows), f"{minutes:.0f}", results["environment"]["cpu"]])
    return table


def bench_table(measured: dict[str, Any]) -> str:
    """What ``ci/bench.json`` holds, as a table, and the machines below it."""
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
    """What ``python -m ci.retrieval`` measured."""
    table = [["images and captions", "direction", "R@1 (%)", "R@5 (%)", "R@10 (%)", "median rank"]]
    for name, found in {"all": measured, "with sound": measured["sounding"]}.items():
        for direction, key in {"image to text": "i2t", "text to image": "t2i", "chance": "chance"}.items():
            ranks = [f"{found[key][f'r{k}_percent']:.1f}" for k in (1, 5, 10)]
            table.append([f"{found['n']} ({name})", direction, *ranks, str(found[key].get("median_rank", ""))])
    return table


def rebuilt(root: Path) -> dict[Path, str]:
    """What every README of the checkout should say, given the committed results."""
    texts = {}
    for folder in papers(root):
        path = folder / "README.md"
        texts[path] = paper_readme(folder, f"papers.{folder.name}", path.read_text())
    bench = json.loads((root / "ci" / "bench.json").read_text())
    retrieval = json.loads((root / "shared" / "results" / "retrieval.json").read_text())
    blocks = {
        "README.md": {
            "papers": markdown(papers_table(root)),
            "times": markdown(times_table(root)),
            "bench": bench_table(bench),
        },
        "shared/README.md": {"retrieval": markdown(retrieval_table(retrieval))},
    }
    for name, contents in blocks.items():
        path = root / name
        texts[path] = path.read_text()
        for block, content in contents.items():
            texts[path] = replace_block(texts[path], block, content, path)
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the generated blocks of every README from the results files.")
    parser.add_argument("--list", action="store_true", help="list the papers, one line each, instead")
    parser.add_argument("--quiet", action="store_true", help="name only what has changed")
    arguments = parser.parse_args()
    root = Path.cwd()
    try:
        if arguments.list:
            for folder in papers(root):
                paper, counts = counted(folder)
                print(f"{folder.name:16} {paper.summary} [{counts}]")
            return
        for path, text in rebuilt(root).items():
            changed = path.read_text() != text
            if changed:
                from shared.experiment import write_atomic  # which needs torch

                write_atomic(path, text.encode())
            if changed or not arguments.quiet:
                print(f"{'rebuilt  ' if changed else 'unchanged'} {path.relative_to(root)}")
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
