"""Declarations of a paper folder, in its ``config.py`` and ``claims.py``: rows, columns, claims, reported numbers.

This module needs nothing but the standard library, so ``make list`` works before anything is installed.
"""

import importlib
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from . import UserError


@dataclass(frozen=True)
class Paper:
    """Who wrote what, where, and how it came out here.

    Attributes:
        summary: one line, for ``make list`` and the root table.
        conclusion: the verdict in three to five plain sentences, without numbers: what held, what failed, what this
            scale cannot answer, whether to build on it. The first stands alone in the root table.
        datasets: real datasets that its readers take, by the names of its pages; none: files of one's own alone.
        reconstruction: why the method is one, in a sentence: what could not be had, what it follows instead. Empty
            where official code decides.
    """

    title: str
    authors: str
    venue: str
    arxiv: str
    summary: str
    conclusion: str = "Not run yet."
    datasets: tuple[str, ...] = ()
    reconstruction: str = ""


@dataclass(frozen=True)
class Variant:
    """One row of the results table.

    Attributes:
        description: what it is.
        changes: fields of the preset's configuration that differ.
        presets: those in which it makes sense.
        start: a variant whose run with the same seed is trained first; ``run.start`` is then its folder.
        headline: shown in the README, not in RESULTS.md alone.
    """

    description: str
    changes: dict[str, Any] = field(default_factory=dict)
    presets: tuple[str, ...] = ("smoke", "cpu", "paper")
    start: str | None = None
    headline: bool = False


@dataclass(frozen=True)
class Column:
    """One metric of the results table, shown where a row has it.

    Attributes:
        metric: its name, which carries the unit.
        digits: those after the point.
        presets: those whose rows have it; a test holds the smoke preset to that.
        headline: shown in the README, not in RESULTS.md alone.
    """

    metric: str
    heading: str
    digits: int = 2
    presets: tuple[str, ...] = ("smoke", "cpu", "paper")
    headline: bool = False


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
        relation: a - b, or a / b. Ratios are averaged geometrically, and their interval is one of their logarithms.
        direction: ``higher`` or ``lower`` if the claim holds when a - b is above ``margin`` (below ``-margin``), or
            a / b above ``margin`` (below ``1 / margin``); ``similar`` if it holds between the two.
        margin: in the metric's unit, by default 0; of a ratio a factor, by default 1.
        control: a comparison that checks the claim's own test bed; it has a verdict but is not counted as a claim.
        minus_a, minus_b: variants to subtract from ``a`` and ``b`` seed by seed, for a difference (or ratio) of
            differences.
        headline: it belongs to the paper's main claim, whose verdict is told first.
        presets: those in which the comparison makes sense.
    """

    id: str
    number: int
    text: str
    source: str
    metric: str
    a: str
    b: str
    direction: Literal["higher", "lower", "similar"] = "higher"
    margin: float | None = None
    metric_b: str | None = None
    control: bool = False
    minus_a: str | None = None
    minus_b: str | None = None
    relation: Literal["difference", "ratio"] = "difference"
    headline: bool = False
    presets: tuple[str, ...] = ("smoke", "cpu", "paper")

    def tested(self, preset: str, ran: Collection[str]) -> bool:
        """Whether a run of these variants in a preset has all that is compared."""
        return preset in self.presets and self.variants <= set(ran)

    @property
    def variants(self) -> set[str]:
        """All that are compared."""
        return {name for name in (self.a, self.b, self.minus_a, self.minus_b) if name}

    @property
    def expected(self) -> tuple[float, float]:
        """Where the effect lies if the claim holds."""
        ratio = self.relation == "ratio"
        most = self.margin if self.margin is not None else 1.0 if ratio else 0.0
        least, lowest = (1 / most, 0.0) if ratio else (-most, -math.inf)
        return {"higher": (most, math.inf), "lower": (lowest, least), "similar": (least, most)}[self.direction]


@dataclass(frozen=True)
class Reported:
    """A number that others reported.

    Attributes:
        source: where; it is shown as unverified unless ``verified``.
        headline: shown in the README beside our number of the same variant.
    """

    variant: str
    setting: str
    value: str
    source: str
    verified: bool = False
    headline: bool = False


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
