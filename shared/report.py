"""Results files and claims -> verdicts, and the tables of a README.

This module needs nothing but the standard library until a verdict is computed, so ``make list`` works before anything
is installed.
"""

import importlib
import json
import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from . import UserError

Verdict = Literal["supported", "contradicted", "inconclusive"]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Paper:
    """Who wrote what, where."""

    title: str
    authors: str
    venue: str
    arxiv: str
    summary: str  # one line, for `make list` and the root table


@dataclass(frozen=True)
class Variant:
    """One row of the results table: what it is, how it differs from the preset, in which presets it makes sense."""

    description: str
    changes: dict[str, Any] = field(default_factory=dict)
    presets: tuple[str, ...] = ("smoke", "cpu", "paper")


@dataclass(frozen=True)
class Column:
    """One metric of the results table, shown where a row has it. ``digits`` after the point; names carry their unit.

    ``presets``: those whose rows have it; a test holds the smoke preset to that.
    """

    metric: str
    heading: str
    digits: int = 2
    presets: tuple[str, ...] = ("smoke", "cpu", "paper")


@dataclass(frozen=True)
class Claim:
    """One comparison behind a sentence of the paper: ``a`` against ``b``, paired over seeds.

    Attributes:
        id: short name; comparisons of one claim share its number.
        number: the claim's number in the README.
        text: what is claimed, in our words.
        source: where: the abstract, or another place, with "unverified" where it could not be checked.
        a, b: variants.
        metric: of ``a``, and of ``b`` unless ``metric_b`` is given.
        direction: ``higher`` or ``lower`` if the claim holds when a - b is above ``margin`` (below ``-margin``);
            ``similar`` if it holds when a - b lies within ``margin`` of zero.
        margin: in the metric's unit.
        control: a comparison that checks the claim's own test bed; it has a verdict but is not counted as a claim.
        minus_a, minus_b: variants to subtract from ``a`` and ``b`` seed by seed, for a difference of differences.
    """

    id: str
    number: int
    text: str
    source: str
    metric: str
    a: str
    b: str
    direction: Literal["higher", "lower", "similar"] = "higher"
    margin: float = 0.0
    metric_b: str | None = None
    control: bool = False
    minus_a: str | None = None
    minus_b: str | None = None

    @property
    def variants(self) -> set[str]:
        """All that are compared."""
        return {name for name in (self.a, self.b, self.minus_a, self.minus_b) if name}

    @property
    def expected(self) -> tuple[float, float]:
        """Where a - b lies if the claim holds."""
        ranges = {
            "higher": (self.margin, math.inf),
            "lower": (-math.inf, -self.margin),
            "similar": (-self.margin, self.margin),
        }
        return ranges[self.direction]


@dataclass(frozen=True)
class Reported:
    """A number that others reported. ``source`` says where; it is shown as unverified unless ``verified``."""

    variant: str
    setting: str
    value: str
    source: str
    verified: bool = False


# -- verdicts ---------------------------------------------------------------------------------------------------------


def judge(claim: Claim, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compare two variants over the seeds they share.

    Args:
        claim: what to compare.
        rows: ``{"variant", "seed", "metrics", ...}`` of a results file.

    Returns:
        ``{"id", "metric", "a", "b", "n", "met", "effect", "interval", "verdict"}``: ``effect`` is the mean of the n
        per-seed differences a - b, ``met`` the number of those that are as claimed, and ``interval`` the mean's 95 %
        Student-t interval (None with fewer than two seeds, and then the verdict is ``inconclusive``).
    """
    metric_b = claim.metric_b or claim.metric
    sides_a = [_by_seed(rows, v, claim.metric) for v in (claim.a, claim.minus_a) if v]
    sides_b = [_by_seed(rows, v, metric_b) for v in (claim.b, claim.minus_b) if v]
    differences = [
        _less(sides_a, seed) - _less(sides_b, seed)
        for seed in sorted(set.intersection(*(set(side) for side in sides_a + sides_b)))
    ]
    interval = paired_interval(differences)
    return {
        "id": claim.id,
        "metric": claim.metric,
        **({"metric_b": metric_b} if metric_b != claim.metric else {}),
        "a": claim.a,
        "b": claim.b,
        **({"minus_a": claim.minus_a} if claim.minus_a else {}),
        **({"minus_b": claim.minus_b} if claim.minus_b else {}),
        "n": len(differences),
        "met": sum(_holds(claim, difference, difference) for difference in differences),
        "effect": statistics.fmean(differences) if differences else None,
        "interval": interval,
        "verdict": _verdict(claim, interval),
    }


def _by_seed(rows: Sequence[dict[str, Any]], variant: str, metric: str) -> dict[int, float]:
    """Values of a metric by seed, where there is one."""
    values = {r["seed"]: r["metrics"].get(metric) for r in rows if r["variant"] == variant}
    return {seed: value for seed, value in values.items() if value is not None}


def _less(sides: Sequence[dict[int, float]], seed: int) -> float:
    """The first side's value, less the second's if there is one."""
    first, *second = (side[seed] for side in sides)
    return first - sum(second)


def paired_interval(differences: Sequence[float]) -> list[float] | None:
    """The 95 % Student-t interval of the mean of paired differences, or None for fewer than two."""
    from scipy.stats import t

    if len(differences) < 2:
        return None
    mean = statistics.fmean(differences)
    half = (
        t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1) * statistics.stdev(differences) / math.sqrt(len(differences))
    )
    return [mean - float(half), mean + float(half)]


def _holds(claim: Claim, low: float, high: float) -> bool:
    first, last = claim.expected
    return first <= low and high <= last if claim.direction == "similar" else first < low and high < last


def _verdict(claim: Claim, interval: list[float] | None) -> Verdict:
    if interval is None:
        return "inconclusive"
    if _holds(claim, *interval):
        return "supported"
    (low, high), (first, last) = interval, claim.expected
    return "contradicted" if high < first or low > last else "inconclusive"


# -- blocks of a paper's README ---------------------------------------------------------------------------------------


def results_table(results: dict[str, Any], variants: dict[str, Any], columns: Sequence[Column]) -> list[list[str]]:
    """Header and one row a variant: mean ± standard deviation over seeds, in the order of ``variants``."""
    columns = [c for c in columns if any(r["metrics"].get(c.metric) is not None for r in results["rows"])]
    table = [["variant", "what it is", *(c.heading for c in columns), "seeds", "s per seed"]]
    for name, variant in variants.items():
        rows = [r for r in results["rows"] if r["variant"] == name]
        if rows:
            cells = [_mean_sd([r["metrics"].get(c.metric) for r in rows], c.digits) for c in columns]
            seconds = statistics.fmean(r["seconds"] for r in rows)
            table.append([f"`{name}`", variant.description, *cells, str(len(rows)), f"{seconds:.0f}"])
    return table


def claims_table(results: dict[str, Any], claims: Sequence[Claim]) -> list[list[str]]:
    """Header and one row a comparison: what is compared, with means, the effect with its interval, the verdict."""
    compared, effect = "comparison (a − b), means in brackets", "effect [95 % interval]"
    table = [["#", "claim", "claimed in", compared, effect, "seeds as expected", "verdict"]]
    judged = {c["id"]: c for c in results["claims"]}
    for claim in claims:
        if claim.id not in judged:
            continue
        c = judged[claim.id]
        side_a = _side(results["rows"], c["a"], c.get("minus_a"), c["metric"])
        side_b = _side(results["rows"], c["b"], c.get("minus_b"), c.get("metric_b", c["metric"]))
        least, most = (bound + 0.0 for bound in claim.expected)  # no -0
        where = {"higher": f"> {least:g}", "lower": f"< {most:g}", "similar": f"within ±{claim.margin:g}"}
        comparison = f"{side_a} − {side_b}, expected {where[claim.direction]}"
        interval = "n/a" if c["interval"] is None else "[{:+.2f}, {:+.2f}]".format(*c["interval"])
        effect = "n/a" if c["effect"] is None else f"{c['effect']:+.2f}"
        verdict = f"{c['verdict']} (control)" if claim.control else f"**{c['verdict']}**"
        seeds = f"{c['met']} of {c['n']}"
        table.append([str(claim.number), claim.text, claim.source, comparison, f"{effect} {interval}", seeds, verdict])
    return table


def _side(rows: Sequence[dict[str, Any]], variant: str, minus: str | None, metric: str) -> str:
    """A side of a comparison: variant and metric, or a difference of two variants, with the mean over its seeds."""
    values = [list(_by_seed(rows, name, metric).values()) for name in (variant, minus) if name]
    mean = f"{statistics.fmean(values[0]) - sum(map(statistics.fmean, values[1:])):.2f}" if all(values) else "n/a"
    name = f"(`{variant}` − `{minus}`)" if minus else f"`{variant}`"
    return f"{name} {metric} ({mean})"


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


def paper_readme(folder: Path, package: str, text: str) -> str:
    """The README of a paper with its generated blocks rebuilt from ``results/cpu.json``."""
    claims, config = load(package, "claims"), load(package, "config")
    path = folder / "results" / "cpu.json"
    results = read_results(path)
    blocks = {
        "results": "Not run yet.",
        "claims": "Not run yet.",
        "reported": markdown(reported_table(claims.REPORTED)) if claims.REPORTED else "None.",
    }
    if results:
        blocks["results"] = (
            markdown(results_table(results, config.VARIANTS, claims.COLUMNS)) + f"\n\n{caption(results)}"
        )
        blocks["claims"] = markdown(claims_table(results, claims.CLAIMS))
    for name, content in blocks.items():
        text = replace_block(text, name, content, folder / "README.md")
    return text


# -- files ------------------------------------------------------------------------------------------------------------


def load(package: str, module: str) -> Any:
    """Import one module of a paper, e.g. ``load("papers.clipsep", "claims")``. Raises UserError if there is none."""
    name = f"{package}.{module}"
    try:
        return importlib.import_module(name)
    except (ModuleNotFoundError, TypeError) as error:
        missing = getattr(error, "name", None)  # a TypeError has none: of a leading dot, or of the paper's own code
        if not (f"{name}.".startswith(f"{missing}.") if missing else name.startswith(".")):
            raise
        raise UserError(f"There is no {name}; expected the package of a paper, such as papers.clipsep.") from None


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


def _mean_sd(values: Sequence[float | None], digits: int) -> str:
    numbers = [v for v in values if v is not None]
    mean = f"{statistics.fmean(numbers):.{digits}f}" if numbers else ""
    return mean + (f" ± {statistics.stdev(numbers):.{digits}f}" if numbers[1:] else "")
