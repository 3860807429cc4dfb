"""shared/reproduce/verdicts.py and tables.py: verdicts computed by hand, tables and blocks of a made-up paper."""

import io
import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from scipy import stats

from shared import UserError
from shared.paper import Claim, Column, Paper, Reported, Variant
from shared.reproduce import command, tables
from shared.reproduce.tables import replace_block
from shared.reproduce.verdicts import judge

A = [5.0, 6.0, 7.0, 5.5, 6.5]
B = [4.0, 4.5, 6.5, 5.0, 5.0]  # differences 1.0, 1.5, 0.5, 0.5, 1.5: mean 1.0, standard deviation 0.5
HALF = 2.7764451052 * 0.5 / math.sqrt(5)  # the 97.5 % point of Student's t with 4 degrees of freedom: 0.6208


def rows(**variants: list[Any]) -> list[dict[str, Any]]:
    return [
        {"variant": name, "seed": seed, "metrics": {"sdr_db": value}, "seconds": 10.0 + seed, "peak_memory_mb": 100.0}
        for name, values in variants.items()
        for seed, value in enumerate(values)
    ]


def claim(direction: Any = "higher", margin: float | None = None, **changes: Any) -> Claim:
    return Claim("it-works", 1, "It works.", "abstract", "sdr_db", "a", "b", direction, margin, **changes)


# -- verdicts ---------------------------------------------------------------------------------------------------------


def test_effect_and_interval_by_hand_and_by_scipy() -> None:
    judged = judge(claim(), rows(a=A, b=B))
    assert judged["effect"] == pytest.approx(1.0)
    assert judged["interval"] == pytest.approx([1 - HALF, 1 + HALF])
    paired = stats.ttest_rel(A, B).confidence_interval(0.95)
    assert judged["interval"] == pytest.approx([paired.low, paired.high])
    assert {key: judged[key] for key in ("id", "metric", "a", "b", "n", "verdict")} == {
        "id": "it-works", "metric": "sdr_db", "a": "a", "b": "b", "n": 5, "verdict": "supported",
    }  # fmt: skip
    assert "metric_b" not in judged


@pytest.mark.parametrize(
    ("preset", "ran", "tested"),
    [
        ("cpu", ("a", "b", "c"), True),
        ("cpu", ("a",), False),
        ("paper", ("a", "b"), False),
        ("smoke", {"b": 1, "a": 2}, True),
    ],
)
def test_a_claim_is_tested_in_its_presets_by_what_it_compares(preset: str, ran: Any, tested: bool) -> None:
    assert claim(presets=("smoke", "cpu")).tested(preset, ran) is tested


def test_a_difference_of_differences_is_paired_by_seed() -> None:
    four = rows(a=A, b=B, c=[1.0, 2, 3, 4, 5], d=[1.0, 1, 1, 1, 1])
    judged = judge(claim(minus_a="c", minus_b="d"), four)  # (a - c) - (b - d) = 1.0 1.5 0.5 0.5 1.5 less 0 1 2 3 4
    assert judged["effect"] == pytest.approx(1.0 - 2.0)
    assert (judged["minus_a"], judged["minus_b"], judged["n"]) == ("c", "d", 5)
    table = tables.claims_table({"claims": [judged], "rows": four}, [claim(minus_a="c", minus_b="d")])
    assert "(`a` − `c`) sdr_db (3.00) − (`b` − `d`) sdr_db (4.00), expected" in table[1][3]
    assert claim(minus_a="c", minus_b="d").variants == {"a", "b", "c", "d"}
    assert judge(claim(minus_a="gone"), four)["n"] == 0


@pytest.mark.parametrize(
    ("direction", "margin", "verdict"),  # the interval is [0.379, 1.621]
    [
        ("higher", 0.0, "supported"),
        ("higher", 0.37, "supported"),
        ("higher", 0.39, "inconclusive"),
        ("higher", 1.61, "inconclusive"),
        ("higher", 1.63, "contradicted"),
        ("higher", -1.0, "supported"),
        ("lower", 0.0, "contradicted"),
        ("lower", 1.0, "contradicted"),
        ("lower", -0.37, "contradicted"),
        ("lower", -0.39, "inconclusive"),
        ("lower", -1.61, "inconclusive"),
        ("lower", -1.63, "supported"),
        ("similar", 1.63, "supported"),
        ("similar", 1.61, "inconclusive"),
        ("similar", 0.39, "inconclusive"),
        ("similar", 0.37, "contradicted"),
    ],
)
def test_verdict_by_direction_and_margin(direction: str, margin: float, verdict: str) -> None:
    assert judge(claim(direction, margin), rows(a=A, b=B))["verdict"] == verdict
    mirrored = {"higher": "lower", "lower": "higher", "similar": "similar"}[direction]
    assert judge(claim(mirrored, margin), rows(a=B, b=A))["verdict"] == verdict


@pytest.mark.parametrize(
    ("direction", "margin", "met"),
    [("higher", 0.0, 3), ("higher", 2.0, 1), ("lower", 0.0, 1), ("lower", 1.0, 0), ("similar", 1.0, 4)],
)
def test_seeds_as_claimed(direction: str, margin: float, met: int) -> None:
    found = judge(claim(direction, margin), rows(a=[1.0, 3.0, 0.0, 0.5, -0.5], b=[0.0] * 5))
    assert (found["met"], found["n"]) == (met, 5)


def test_equal_values_have_an_interval_of_no_width() -> None:
    same = rows(a=A, b=A)
    assert judge(claim(), same)["interval"] == [0, 0]
    assert judge(claim("similar", 0.0), same)["verdict"] == "supported"
    assert judge(claim("higher"), same)["verdict"] == judge(claim("lower"), same)["verdict"] == "inconclusive"


def test_pairs_are_paired_by_seed_not_by_order() -> None:
    shuffled = rows(a=A, b=B)[::-1]
    assert judge(claim(), shuffled) == judge(claim(), rows(a=A, b=B))


def test_two_metrics_of_one_variant() -> None:
    found = [
        {"variant": "a", "seed": s, "metrics": {"sdr_db": x, "sdr_image_db": x + 2 + s / 10}} for s, x in enumerate(A)
    ]
    same = Claim("near", 1, "Close.", "abstract", "sdr_db", "a", "a", "similar", 1.0, metric_b="sdr_image_db")
    judged = judge(same, found)
    assert judged["metric_b"] == "sdr_image_db" and judged["effect"] == pytest.approx(-2.2)
    assert judged["verdict"] == "contradicted"


@pytest.mark.parametrize(("a", "b", "n"), [(A, [], 0), ([], [], 0), (A, B[:1], 1), (A[:1], B, 1)])
def test_fewer_than_two_common_seeds_are_inconclusive(a: list[float], b: list[float], n: int) -> None:
    for direction in ("higher", "lower", "similar"):
        judged = judge(claim(direction, 100.0), rows(a=a, b=b))
        assert judged["n"] == n and judged["interval"] is None and judged["verdict"] == "inconclusive"
        assert judged["effect"] == (a[0] - b[0] if n else None)


def test_two_common_seeds_have_an_interval() -> None:
    judged = judge(claim(), rows(a=A[:2], b=B))
    half = 12.7062047364 * abs((A[0] - B[0]) - (A[1] - B[1])) / 2  # the 97.5 % point with one degree of freedom
    assert judged["n"] == 2 and judged["interval"][1] - judged["effect"] == pytest.approx(half)


def test_only_common_seeds_count() -> None:
    assert judge(claim(), rows(a=[*A, 1000.0], b=B)) == judge(claim(), rows(a=A, b=B))


def test_a_seed_without_a_value_is_left_out() -> None:
    found = rows(a=[*A, None], b=[*B, 3.0])
    assert judge(claim(), found) == judge(claim(), rows(a=A, b=B))
    del found[5]["metrics"]["sdr_db"]
    assert judge(claim(), found) == judge(claim(), rows(a=A, b=B))


# -- tables of a made-up paper ----------------------------------------------------------------------------------------

VARIANTS = {
    "floor": Variant("nothing at all"),
    "a": Variant("the method", headline=True),
    "b": Variant("the baseline | with a bar"),
    "unrun": Variant("not in the results"),
}
COLUMNS = (Column("sdr_db", "SDR (dB)", 1, headline=True), Column("extra_db", "extra"))
CLAIMS = (
    claim(headline=True),
    Claim("close", 2, "It is close.", "Section 5, unverified", "sdr_db", "a", "floor", "similar", 0.5),
    Claim("bed", 2, "The test bed works.", "ours", "sdr_db", "floor", "a", "lower", 0.25, control=True),
    Claim("unjudged", 3, "Nobody looked.", "abstract", "sdr_db", "a", "unrun"),
)
REPORTED = (
    Reported("a", "MUSIC+", "9.71 ± 1.21", "Table 1", verified=True, headline=True),
    Reported("b", "MUSIC+", "4.49", "a talk"),
)


def results() -> dict[str, Any]:
    found = rows(floor=[0.0] * 5, a=A, b=B)
    for row in found:
        if row["variant"] == "b":
            row["metrics"]["extra_db"] = None if row["seed"] else 2.0
    return {
        "schema": 1,
        "paper": "madeup",
        "preset": "cpu",
        "environment": {
            "cpu": "Abacus", "gpu": None, "cores": 2, "python": "3.11.7", "torch": "2.14.1", "code": "c0de" * 16,
        },
        "data": {"name": "beads", "train": 12, "test": 3, "sha256": "da7a" * 16, "scale": "1 s at 8 kHz"},
        "rows": found,
        "claims": [judge(c, found) for c in CLAIMS[:3]],
    }  # fmt: skip


def test_results_table() -> None:
    assert tables.results_table(results(), VARIANTS, COLUMNS) == [
        ["variant", "what it is", "SDR (dB)", "extra", "seeds", "s per seed"],
        ["`floor`", "nothing at all", "0.0 ± 0.0", "", "5", "12"],
        ["`a`", "the method", "6.0 ± 0.8", "", "5", "12"],
        ["`b`", "the baseline | with a bar", "5.0 ± 0.9", "2.00", "5", "12"],
    ]


@pytest.mark.parametrize(("width", "parts"), [(200, 1), (30, 2), (18, 4)])
def test_a_narrow_terminal_gets_the_table_in_parts(monkeypatch: pytest.MonkeyPatch, width: int, parts: int) -> None:
    drawn = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    monkeypatch.setattr(command, "console", drawn)
    command.print_tables(results(), VARIANTS, SimpleNamespace(COLUMNS=COLUMNS, CLAIMS=()))
    lines = drawn.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert sum(line.split()[:1] == ["variant"] for line in lines) == parts
    assert max(map(len, lines)) <= width
    assert sum("6.0±0.8" in line for line in lines) == 1 and sum("floor" in line for line in lines) == parts


def test_claims_table() -> None:
    head, *body = tables.claims_table(results(), CLAIMS)
    assert head == [
        "#",
        "claim",
        "claimed in",
        "comparison of a with b, means in brackets",
        "effect [95 % interval]",
        "seeds as expected",
        "verdict",
    ]
    assert [row[:4] for row in body] == [
        ["1", "It works.", "abstract", "`a` sdr_db (6.00) − `b` sdr_db (5.00), expected > 0"],
        [
            "2",
            "It is close.",
            "Section 5, unverified",
            "`a` sdr_db (6.00) − `floor` sdr_db (0.00), expected within ±0.5",
        ],
        ["2", "The test bed works.", "ours", "`floor` sdr_db (0.00) − `a` sdr_db (6.00), expected < -0.25"],
    ]
    assert [row[4:] for row in body] == [
        ["+1.00 [+0.38, +1.62]", "5 of 5", "**supported**"],
        ["+6.00 [+5.02, +6.98]", "0 of 5", "**contradicted**"],
        ["-6.00 [-6.98, -5.02]", "5 of 5", "supported (control)"],
    ]


def test_claims_table_without_an_interval() -> None:
    found = results()
    found["claims"] = [judge(claim(), rows(a=A, b=B[:1])), judge(CLAIMS[1], [])]
    assert [row[4:] for row in tables.claims_table(found, CLAIMS)[1:]] == [
        ["+1.00 n/a", "1 of 1", "**inconclusive**"],
        ["n/a n/a", "0 of 0", "**inconclusive**"],
    ]
    nothing = tables.claims_table({"claims": [judge(claim(), [])], "rows": []}, [claim()])
    assert nothing[1][3] == "`a` sdr_db (n/a) − `b` sdr_db (n/a), expected > 0"


def test_reported_numbers_carry_their_source() -> None:
    assert tables.reported_table(REPORTED)[1:] == [
        ["`a`", "MUSIC+", "9.71 ± 1.21", "Table 1"],
        ["`b`", "MUSIC+", "4.49", "a talk (unverified)"],
    ]


def test_caption_says_how_small_it_is() -> None:
    assert tables.caption(results()) == (
        "Preset `cpu`: beads; 12 training and 3 test items; 1 s at 8 kHz; mean ± standard deviation over 5 seeds "
        "(0, 1, 2, 3, 4); Abacus, one thread a run; Python 3.11.7, torch 2.14.1; code c0dec0dec0de, data da7ada7ada7a."
    )
    found = results()
    found["environment"]["gpu"] = "8 x H100"
    assert "; 8 x H100; " in tables.caption(found) and "Abacus" not in tables.caption(found)


def test_markdown_keeps_its_columns() -> None:
    assert tables.markdown([["a", "b"], ["1 | 2", "3"]]) == "| a | b |\n| --- | --- |\n| 1 \\| 2 | 3 |"


# -- blocks -----------------------------------------------------------------------------------------------------------

README = """# Made up
<!-- verdict:begin (written by make report) -->
<!-- verdict:end -->
<!-- results:begin (written by make report) -->
stale
<!-- results:end -->
between
<!-- claims:begin (written by make report) -->
<!-- claims:end -->
the end
"""


def test_replace_block_replaces_that_block_alone(tmp_path: Path) -> None:
    text = replace_block(README, "results", r"new \1 \g<0>", tmp_path / "README.md")
    assert text == README.replace("stale", r"new \1 \g<0>")
    assert replace_block(text, "results", "stale", tmp_path / "README.md") == README


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- claims:begin (written by make report) -->",
        "<!-- claims:end -->",
        README.replace("claims:end", "claim:end"),
    ],
)
def test_a_missing_block_is_named_with_its_file(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}/README.md has no block '<!-- claims:begin"):
        replace_block(text, "claims", "new", tmp_path / "README.md")


@pytest.fixture
def madeup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with results, of a paper whose modules exist in memory alone."""
    claims, config = ModuleType("madeup.claims"), ModuleType("madeup.config")
    paper = Paper("Made up", "Nobody", "nowhere 2020", "0000.00000", "beads, counted", "It came out.")
    vars(claims).update(CLAIMS=CLAIMS, COLUMNS=COLUMNS, REPORTED=REPORTED, PAPER=paper)
    vars(config).update(VARIANTS=VARIANTS)
    for module in (ModuleType("madeup"), claims, config):
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(sys.modules, f"papers.{module.__name__}", module)
    folder = tmp_path / "papers" / "madeup"
    (folder / "results").mkdir(parents=True)
    (folder / "claims.py").touch()
    (folder / "results" / "cpu.json").write_text(json.dumps(results()))
    return folder


def test_pages_of_a_paper(madeup: Path) -> None:
    (madeup / "README.md").write_text(README)
    readme, page = tables.paper_pages(madeup, "madeup").values()
    assert "stale" not in readme and readme.startswith("# Made up\n") and readme.endswith("the end\n")
    assert "`make reproduce PAPER=madeup` takes about 2 minutes on two cores (5 seeds)." in readme
    assert "**Headline: supported; 1 of 2 supported, 1 contradicted.**\n\nIt came out.\n" in readme
    assert "| variant | SDR (dB) | reported |" in readme and "| extra |" not in readme
    assert "| `a`: the method | 6.0 ± 0.8 | 9.71 ± 1.21 (MUSIC+) |" in readme and "`b`" not in readme
    assert "| 1 | It works. | +1.00 [+0.38, +1.62] | > 0 | **supported** |" in readme
    assert "The test bed works." not in readme and "1 of 1 controls supported." in readme
    found = results()
    assert f"\n{tables.markdown(tables.results_table(found, VARIANTS, COLUMNS))}\n\n{tables.caption(found)}\n" in page
    assert "| `b` | the baseline \\| with a bar | 5.0 ± 0.9 | 2.00 | 5 | 12 |" in page
    row = "| 1 | It works. | abstract | `a` sdr_db (6.00) − `b` sdr_db (5.00), expected > 0 | +1.00 [+0.38, +1.62]"
    assert f"{row} | 5 of 5 |" in page
    assert "| `b` | MUSIC+ | 4.49 | a talk (unverified) |" in page
    (madeup / "README.md").write_text(readme)
    assert list(tables.paper_pages(madeup, "madeup").values()) == [readme, page]


def test_pages_before_the_first_run(madeup: Path) -> None:
    (madeup / "results" / "cpu.json").unlink()
    (madeup / "README.md").write_text(README)
    readme, page = tables.paper_pages(madeup, "madeup").values()
    assert readme.count("Not run yet.") == 3 and "It came out." not in readme and "a talk (unverified)" in page


def test_controls_that_failed_are_named() -> None:
    found = results()
    assert tables.controls(found, CLAIMS) == "1 of 1 controls supported."
    found["claims"][2]["verdict"] = "inconclusive"
    assert tables.controls(found, CLAIMS) == "0 of 1 controls supported; not: The test bed works (inconclusive)."


# -- ratios -----------------------------------------------------------------------------------------------------------


def test_a_ratio_is_a_geometric_mean_with_an_interval_of_logarithms() -> None:
    tenfold = claim(relation="ratio", margin=1.1)
    judged = judge(tenfold, rows(a=A, b=B))
    logarithms = [math.log(a / b) for a, b in zip(A, B, strict=True)]
    interval = stats.ttest_1samp(logarithms, 0).confidence_interval(0.95)
    assert judged["effect"] == pytest.approx(math.exp(sum(logarithms) / 5)) and judged["relation"] == "ratio"
    assert judged["interval"] == pytest.approx([math.exp(interval.low), math.exp(interval.high)])
    table = tables.claims_table({"claims": [judged], "rows": rows(a=A, b=B)}, [tenfold])
    assert table[1][3] == "`a` sdr_db (6.00) / `b` sdr_db (5.00), expected > ×1.1"
    assert table[1][4].startswith("×1.21 [×1.0")


@pytest.mark.parametrize(
    ("direction", "margin", "verdict", "met"),  # ratios 10 and 12.5, the interval is about [2.7, 46]
    [
        ("higher", None, "supported", 2),
        ("higher", 2.0, "supported", 2),
        ("higher", 11.0, "inconclusive", 1),
        ("higher", 50.0, "contradicted", 0),
        ("lower", None, "contradicted", 0),
        ("lower", 0.02, "supported", 2),
        ("similar", 2.0, "contradicted", 0),
        ("similar", 50.0, "supported", 2),
    ],
)
def test_margins_of_ratios_are_factors(direction: str, margin: float | None, verdict: str, met: int) -> None:
    ratio = claim(direction, margin, relation="ratio")
    judged = judge(ratio, rows(a=[10.0, 25.0], b=[1.0, 2.0]))
    assert (judged["verdict"], judged["met"]) == (verdict, met)
    if direction != "similar":  # b / a is as far on the other side
        mirrored = claim({"higher": "lower", "lower": "higher"}[direction], margin, relation="ratio")
        assert judge(mirrored, rows(a=[1.0, 2.0], b=[10.0, 25.0]))["verdict"] == verdict


def test_a_ratio_that_is_not_positive_in_every_seed_is_inconclusive() -> None:
    gap = claim("higher", 0.9, relation="ratio", minus_a="floor", minus_b="floor")
    whole = judge(gap, rows(a=[2.0, 3.0, 2.0], b=[2.0, 3.0, 2.5], floor=[1.0, 1.0, 1.0]))
    assert whole["effect"] == pytest.approx((2 / 3) ** (1 / 3)) and whole["met"] == 2
    broken = judge(gap, rows(a=[2.0, 0.5], b=[2.0, 3.0], floor=[1.0, 1.0]))
    assert (broken["effect"], broken["interval"], broken["verdict"]) == (None, None, "inconclusive")
    assert (broken["met"], broken["n"]) == (1, 2)


# -- results files ----------------------------------------------------------------------------------------------------


def test_results_are_read_back(madeup: Path, tmp_path: Path) -> None:
    assert tables.read_results(madeup / "results" / "cpu.json") == results()
    assert tables.read_results(tmp_path / "none.json") is None
