"""Results files -> the tables of a paper's README and RESULTS.md, with the standard library alone."""

import json
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import UserError
from ..paper import Claim, Column, Reported, Variant, load

ORDER = ("supported", "inconclusive", "contradicted")  # from best to worst

# -- what came out ----------------------------------------------------------------------------------------------------


def badge(results: dict[str, Any] | None, claims: Sequence[Claim]) -> str:
    """For example ``headline: inconclusive; 2 of 5 supported, 1 contradicted``.

    Each claim counts once, by its worst comparison; controls do not count. The headline's are those that are marked.
    """
    if results is None:
        return "not run yet"
    judged = {c["id"]: ORDER.index(c["verdict"]) for c in results["claims"]}
    compared = [claim for claim in claims if not claim.control and claim.id in judged]
    if not compared:
        return "no claims tested"
    worst = {claim.number: 0 for claim in compared}
    for claim in compared:
        worst[claim.number] = max(worst[claim.number], judged[claim.id])
    headline = [judged[claim.id] for claim in compared if claim.headline]
    counts = f"{list(worst.values()).count(0)} of {len(worst)} supported"
    if contradicted := list(worst.values()).count(ORDER.index("contradicted")):
        counts += f", {contradicted} contradicted"
    return f"headline: {ORDER[max(headline)]}; {counts}" if headline else counts


def minutes(results: dict[str, Any]) -> float:
    """Minutes of the whole reproduction on two cores: half the sum of the seconds of all runs."""
    return sum(row["seconds"] for row in results["rows"]) / 120


# -- tables -----------------------------------------------------------------------------------------------------------


def results_table(results: dict[str, Any], variants: dict[str, Variant], columns: Sequence[Column]) -> list[list[str]]:
    """Header and one row a variant: mean ± standard deviation over seeds, in the order of ``variants``.

    A variant that only others start from has no metrics, and no row.
    """
    columns = _measured(columns, results)
    table = [["variant", "what it is", *(c.heading for c in columns), "seeds", "s per seed"]]
    for name, variant in variants.items():
        if rows := _rows(results, name):
            seconds = statistics.fmean(row["seconds"] for row in rows)
            cells = _cells(rows, columns)
            table.append([f"`{name}`", variant.description, *cells, str(len(rows)), f"{seconds:.0f}"])
    return table


def headline_table(
    results: dict[str, Any], variants: dict[str, Variant], columns: Sequence[Column], reported: Sequence[Reported]
) -> list[list[str]]:
    """Header and one row a headline variant, headline columns alone, and beside them what others reported."""
    columns = _measured([c for c in columns if c.headline], results)
    beside = [r for r in reported if r.headline]
    table = [["variant", *(c.heading for c in columns), *(["reported"] if beside else [])]]
    for name, variant in variants.items():
        if variant.headline and (rows := _rows(results, name)):
            found = [
                f"{r.value} ({r.setting}{'' if r.verified else '; unverified'})" for r in beside if r.variant == name
            ]
            row = [f"`{name}`: {variant.description}", *_cells(rows, columns)]
            table.append([*row, *(["; ".join(found)] if beside else [])])
    return table


def claims_table(results: dict[str, Any], claims: Sequence[Claim]) -> list[list[str]]:
    """Header and one row a comparison: what is compared, with means, the effect with its interval, the verdict."""
    compared = "comparison of a with b, means in brackets"
    table = [["#", "claim", "claimed in", compared, "effect [95 % interval]", "seeds as expected", "verdict"]]
    for claim, c in _judged(results, claims):
        side_a = _side(results["rows"], c["a"], c.get("minus_a"), c["metric"])
        side_b = _side(results["rows"], c["b"], c.get("minus_b"), c.get("metric_b", c["metric"]))
        comparison = f"{side_a} {'/' if claim.relation == 'ratio' else '−'} {side_b}, expected {_expected(claim)}"
        seeds = f"{c['met']} of {c['n']}"
        table.append([str(claim.number), claim.text, claim.source, comparison, _effect(c), seeds, _told(claim, c)])
    return table


def short_claims_table(results: dict[str, Any], claims: Sequence[Claim]) -> list[list[str]]:
    """Header and one row a comparison that is no control: claim, effect with interval, verdict."""
    return [
        ["#", "claim", "effect [95 % interval]", "expected", "verdict"],
        *(
            [str(claim.number), claim.text, _effect(c), _expected(claim), _told(claim, c)]
            for claim, c in _judged(results, claims)
            if not claim.control
        ),
    ]


def controls(results: dict[str, Any], claims: Sequence[Claim]) -> str:
    """One sentence on the controls: how many held, and which did not."""
    judged = [(claim, c) for claim, c in _judged(results, claims) if claim.control]
    failed = [f"{claim.text.rstrip('.')} ({c['verdict']})" for claim, c in judged if c["verdict"] != "supported"]
    held = f"{len(judged) - len(failed)} of {len(judged)} controls supported"
    return f"{held}{'; not: ' + '; '.join(failed) if failed else ''}." if judged else "No controls."


def reported_table(reported: Sequence[Reported]) -> list[list[str]]:
    """Header and one row a number that others reported, with its source."""
    table = [["variant", "setting", "reported", "source"]]
    for r in reported:
        table.append([f"`{r.variant}`", r.setting, r.value, r.source + ("" if r.verified else " (unverified)")])
    return table


def caption(results: dict[str, Any]) -> str:
    """One sentence that says how small the experiment is: data, seeds, hardware, versions."""
    data, env = results["data"], results["environment"]
    seeds = sorted({r["seed"] for r in results["rows"]})
    where = env["gpu"] or f"{env['cpu']}, one thread a run"
    return (
        f"Preset `{results['preset']}`: {data['name']}; {data['train']} training and {data['test']} test items; "
        f"{data['scale']}; mean ± standard deviation over {len(seeds)} seeds ({', '.join(map(str, seeds))}); "
        f"{where}; Python {env['python']}, torch {env['torch']}; code {env['code'][:12]}, data {data['sha256'][:12]}."
    )


def markdown(table: Sequence[Sequence[str]]) -> str:
    head, *body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    return "\n".join([head, "|" + " --- |" * len(table[0]), *body])


def measured(row: dict[str, Any]) -> dict[str, Any]:
    """The metrics that a run has to repeat: all but ratios of measured times."""
    return {name: x for name, x in row["metrics"].items() if not name.endswith("_ratio")}


def same_metrics(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two runs have the same metrics, ratios of measured times aside.

    Nine digits count: another processor may round the last ones differently.
    """
    ours, theirs = measured(row), measured(other)
    return ours.keys() == theirs.keys() and all(
        x == theirs[name]
        or (x is not None and theirs[name] is not None and math.isclose(x, theirs[name], rel_tol=1e-9))
        for name, x in ours.items()
    )


def by_seed(rows: Sequence[dict[str, Any]], variant: str, metric: str) -> dict[int, float]:
    """Values of a metric by seed, where there is one."""
    values = {r["seed"]: r["metrics"].get(metric) for r in rows if r["variant"] == variant}
    return {seed: value for seed, value in values.items() if value is not None}


def _rows(results: dict[str, Any], variant: str) -> list[dict[str, Any]]:
    return [row for row in results["rows"] if row["variant"] == variant and row["metrics"]]


def _measured(columns: Sequence[Column], results: dict[str, Any]) -> list[Column]:
    return [c for c in columns if any(row["metrics"].get(c.metric) is not None for row in results["rows"])]


def _cells(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> list[str]:
    return [_mean_sd([row["metrics"].get(c.metric) for row in rows], c.digits) for c in columns]


def _judged(results: dict[str, Any], claims: Sequence[Claim]) -> list[tuple[Claim, dict[str, Any]]]:
    judged = {c["id"]: c for c in results["claims"]}
    return [(claim, judged[claim.id]) for claim in claims if claim.id in judged]


def _expected(claim: Claim) -> str:
    least, most = (bound + 0.0 for bound in claim.expected)  # no -0
    sign = "×" if claim.relation == "ratio" else ""
    between = f"{sign}{least:.3g} to {sign}{most:.3g}" if claim.relation == "ratio" else f"within ±{most:g}"
    return {"higher": f"> {sign}{least:.4g}", "lower": f"< {sign}{most:.4g}", "similar": between}[claim.direction]


def _effect(c: dict[str, Any]) -> str:
    form = "×{:.2f}" if c.get("relation") == "ratio" else "{:+.2f}"
    effect = "n/a" if c["effect"] is None else form.format(c["effect"])
    return f"{effect} {'n/a' if c['interval'] is None else '[' + ', '.join(map(form.format, c['interval'])) + ']'}"


def _told(claim: Claim, c: dict[str, Any]) -> str:
    return f"{c['verdict']} (control)" if claim.control else f"**{c['verdict']}**"


def _side(rows: Sequence[dict[str, Any]], variant: str, minus: str | None, metric: str) -> str:
    """A side of a comparison: variant and metric, or a difference of two variants, with the mean over its seeds."""
    values = [list(by_seed(rows, name, metric).values()) for name in (variant, minus) if name]
    mean = f"{statistics.fmean(values[0]) - sum(map(statistics.fmean, values[1:])):.2f}" if all(values) else "n/a"
    name = f"(`{variant}` − `{minus}`)" if minus else f"`{variant}`"
    return f"{name} {metric} ({mean})"


def _mean_sd(values: Sequence[float | None], digits: int) -> str:
    numbers = [v for v in values if v is not None]
    mean = f"{statistics.fmean(numbers):.{digits}f}" if numbers else ""
    return mean + (f" ± {statistics.stdev(numbers):.{digits}f}" if numbers[1:] else "")


# -- pages ------------------------------------------------------------------------------------------------------------


def paper_pages(folder: Path, package: str) -> dict[Path, str]:
    """README.md of a paper with its generated blocks rebuilt from ``results/cpu.json``, and the whole of RESULTS.md."""
    claims, config = load(package, "claims"), load(package, "config")
    results = read_results(folder / "results" / "cpu.json")
    blocks = dict.fromkeys(("verdict", "results", "claims"), "Not run yet.")
    parts = [
        f"# Results: {claims.PAPER.title}",
        "Written by `make report` from `results/cpu.json`. The [README](README.md) has the main rows alone.",
    ]
    if results:
        seeds = len({row["seed"] for row in results["rows"]})
        blocks["verdict"] = (
            f"`make reproduce PAPER={folder.name}` takes about {minutes(results):.0f} minutes on two cores "
            f"({seeds} seeds). **{badge(results, claims.CLAIMS).capitalize()}.**\n\n{claims.PAPER.conclusion}"
        )
        headline = headline_table(results, config.VARIANTS, claims.COLUMNS, claims.REPORTED)
        blocks["results"] = f"{markdown(headline)}\n\n{caption(results)} All rows: [RESULTS.md](RESULTS.md)."
        short = markdown(short_claims_table(results, claims.CLAIMS))
        blocks["claims"] = (
            f"{short}\n\n{controls(results, claims.CLAIMS)} Each comparison in full: [RESULTS.md](RESULTS.md)."
        )
        parts += [
            "## All variants",
            markdown(results_table(results, config.VARIANTS, claims.COLUMNS)),
            caption(results),
            "## All comparisons",
            markdown(claims_table(results, claims.CLAIMS)),
        ]
    if claims.REPORTED:
        parts += ["## Reported by others", markdown(reported_table(claims.REPORTED))]
    path = folder / "README.md"
    text = path.read_text()
    for name, content in blocks.items():
        text = replace_block(text, name, content, path)
    return {path: text, folder / "RESULTS.md": "\n\n".join(parts) + "\n"}


def replace_block(text: str, name: str, content: str, source: Path) -> str:
    """Put ``content`` between ``<!-- name:begin -->`` and ``<!-- name:end -->``.

    Raises:
        UserError: if ``text`` has no such block; names ``source``.
    """
    begin, end = f"<!-- {name}:begin (written by make report) -->", f"<!-- {name}:end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        raise UserError(f"{source} has no block '{begin} ... {end}'; add it where the generated {name} should stand.")
    return pattern.sub(lambda _: f"{begin}\n{content}\n{end}", text)


def read_results(path: Path) -> dict[str, Any] | None:
    """A results file, or None if there is none yet.

    Raises:
        UserError: if the file is not what a run writes.
    """
    try:
        results = json.loads(path.read_text(), parse_constant=_refuse)
        if results["schema"] != 1:
            raise KeyError("schema")
        if not all("met" in claim for claim in results["claims"]):
            raise KeyError("met")  # of an earlier version of this code
        runs = [(row["variant"], row["seed"]) for row in results["rows"] if row["metrics"] is not None]
        if twice := [run for run in runs if runs.count(run) > 1]:
            raise ValueError(f"it has {twice[0][0]}, seed {twice[0][1]} twice")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not a results file of schema 1 ({error}); run `make reproduce` again.") from error
    return results


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number that a run writes")
