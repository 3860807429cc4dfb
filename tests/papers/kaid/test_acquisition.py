"""papers/kaid/acquisition: rules and filters on sentences whose triples are known."""

from pathlib import Path

import pytest

from papers.kaid.acquisition.__main__ import main
from papers.kaid.acquisition.acquire import acquire
from papers.kaid.acquisition.filters import Limits, filtered, without_cycles
from papers.kaid.acquisition.mining import aliases, compound_heads, definitions, mine_phrases, patterns, same_answer
from papers.kaid.acquisition.triples import HYPERNYM, SYNONYM, Related, Triple, read_triples

PHRASES = dict.fromkeys(("boot", "leather boot", "shoe", "loafer", "moccasin", "sandal", "dog sled", "sled"), 5)


def test_phrases_follow_a_determiner() -> None:
    found = mine_phrases(["I bought the leather boot with a zip", "loafer: a low leather boot", "boots rule"], 1)
    assert {"leather boot", "boot", "zip", "loafer", "low leather boot"} <= found.keys()
    assert found["leather boot"] == 2 and "bought" not in found and "rule" not in found


def test_rules() -> None:
    assert compound_heads(PHRASES) == [
        Triple("leather boot", HYPERNYM, "boot"),
        Triple("dog sled", HYPERNYM, "sled"),
    ]
    assert definitions(["loafer: any of several low shoes without laces"], PHRASES) == [
        Triple("loafer", HYPERNYM, "shoe")
    ]
    assert patterns(["we sell shoes such as loafers, sandals and moccasins"], PHRASES) == [
        Triple(x, HYPERNYM, "shoe") for x in ("loafer", "sandal", "moccasin")
    ]
    assert Triple("sandal", HYPERNYM, "shoe") in patterns(["loafers, sandals and other shoes"], PHRASES)
    assert aliases(["the loafer, also called a moccasin"], PHRASES | {"a moccasin": 5}) == [
        Triple("loafer", SYNONYM, "a moccasin")
    ]
    clicks = [("price of a loafer now", "17"), ("price of a moccasin now", "17"), ("price of a sled now", "3")]
    assert same_answer(clicks, PHRASES) == [Triple("loafer", SYNONYM, "moccasin")]


def test_filters_say_how_many_they_drop() -> None:
    triples = [
        Triple("loafer", HYPERNYM, "shoe"),
        Triple("loafer", HYPERNYM, "shoe"),
        Triple("boots", HYPERNYM, "boot"),
        Triple("shoe", HYPERNYM, "loafer"),
        Triple("loafer", HYPERNYM, "rare thing"),
        Triple("loafer", HYPERNYM, "sandal"),
    ]
    counts = PHRASES | {"boots": 5, "shoe": 9}
    kept, dropped = filtered(triples, counts, Limits(hypernyms=1))
    assert kept == [Triple("loafer", HYPERNYM, "shoe")]
    assert dropped == {"repeated": 1, "rare": 1, "long": 0, "same stem": 1, "cycles": 1, "too many hypernyms": 1}


def test_a_cycle_over_several_triples_is_cut() -> None:
    chain = [Triple("a", HYPERNYM, "b"), Triple("b", HYPERNYM, "c"), Triple("c", HYPERNYM, "a")]
    assert without_cycles(chain) == chain[:2]


def test_synonyms_are_related_both_ways() -> None:
    related = Related([Triple("a", SYNONYM, "b"), Triple("a", HYPERNYM, "c")])
    assert related["a"] == {"b", "c"} and related["b"] == {"a"} and related["c"] == set()


def test_the_command_mines_a_users_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["the leather boot is here", "a boot", "a leather boot", "the boot", "moccasin: a soft boot"]
    (tmp_path / "text.txt").write_text("\n".join(lines))
    assert main(["--corpus", str(tmp_path / "text.txt"), "--out", str(tmp_path / "triples.tsv")]) == 0
    found = read_triples(tmp_path / "triples.tsv")
    assert found == acquire(lines).triples
    assert {Triple("leather boot", HYPERNYM, "boot"), Triple("moccasin", HYPERNYM, "boot")} <= set(found)
    assert "no label" in capsys.readouterr().out
