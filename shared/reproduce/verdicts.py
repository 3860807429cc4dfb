"""Claims and the rows of a results file -> verdicts."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, Literal

from scipy.stats import t

from ..paper import Claim
from .tables import by_seed

Verdict = Literal["supported", "contradicted", "inconclusive"]
CONFIDENCE = 0.95


def judge(claim: Claim, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compare two variants over the seeds they share.

    Args:
        claim: what to compare.
        rows: ``{"variant", "seed", "metrics", ...}`` of a results file.

    Returns:
        ``{"id", "metric", "a", "b", "n", "met", "effect", "interval", "verdict"}``: ``effect`` is the mean of the n
        per-seed differences a - b, ``met`` the number of those that are as claimed, and ``interval`` the mean's 95 %
        Student-t interval. Of a ratio they are the geometric mean of a / b and its interval on the log scale. With
        fewer than two seeds, or a ratio that is not positive in each, the interval is None and the verdict
        ``inconclusive``.
    """
    metric_b = claim.metric_b or claim.metric
    sides_a = [by_seed(rows, v, claim.metric) for v in (claim.a, claim.minus_a) if v]
    sides_b = [by_seed(rows, v, metric_b) for v in (claim.b, claim.minus_b) if v]
    seeds = sorted(set.intersection(*(set(side) for side in sides_a + sides_b)))
    pairs = [(_less(sides_a, seed), _less(sides_b, seed)) for seed in seeds]
    effect, interval = None, None
    if claim.relation == "ratio":
        effects = [a / b for a, b in pairs if a > 0 and b > 0]
        if effects and len(effects) == len(pairs):
            logarithms = [math.log(x) for x in effects]
            effect, interval = math.exp(statistics.fmean(logarithms)), paired_interval(logarithms)
            interval = interval and [math.exp(x) for x in interval]
    else:
        effects = [a - b for a, b in pairs]
        effect, interval = statistics.fmean(effects) if effects else None, paired_interval(effects)
    return {
        "id": claim.id,
        "metric": claim.metric,
        **({"metric_b": metric_b} if metric_b != claim.metric else {}),
        "a": claim.a,
        "b": claim.b,
        **({"minus_a": claim.minus_a} if claim.minus_a else {}),
        **({"minus_b": claim.minus_b} if claim.minus_b else {}),
        **({"relation": claim.relation} if claim.relation != "difference" else {}),
        "n": len(pairs),
        "met": sum(_holds(claim, x, x) for x in effects),
        "effect": effect,
        "interval": interval,
        "verdict": _verdict(claim, interval),
    }


def paired_interval(differences: Sequence[float]) -> list[float] | None:
    """The 95 % Student-t interval of the mean of paired differences, or None for fewer than two."""
    if len(differences) < 2:
        return None
    mean = statistics.fmean(differences)
    half = (
        t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1) * statistics.stdev(differences) / math.sqrt(len(differences))
    )
    return [mean - float(half), mean + float(half)]


def _less(sides: Sequence[dict[int, float]], seed: int) -> float:
    """The first side's value, less the second's if there is one."""
    first, *second = (side[seed] for side in sides)
    return first - sum(second)


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
