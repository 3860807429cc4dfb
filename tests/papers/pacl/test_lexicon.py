"""The embedded nouns: where they come from, what they say, and what happens to a damaged file."""

import lzma
from pathlib import Path

import pytest

from ci.packs.nouns import build
from papers.pacl.texts import lexicon
from shared import UserError

SENSE = "n 1 1 @ 1 0 {offset}"


def test_words() -> None:
    nouns = lexicon.load_lexicon()
    assert len(nouns.nouns) > 90_000 and len(nouns.sometimes) > 2_000 and len(nouns.plurals) > 1_000
    assert {"owl", "fire hydrant", "guitar"} <= nouns.nouns and {"duck", "green", "bear"} <= nouns.sometimes
    assert not {"the", "of", "mount everest"} & (nouns.nouns | nouns.sometimes)


@pytest.mark.parametrize(
    ("word", "lemma"),
    [
        ("owl", "owl"), ("owls", "owl"), ("foxes", "fox"), ("ponies", "pony"), ("geese", "goose"), ("women", "woman"),
        ("fire hydrants", "fire hydrant"), ("glass", "glass"), ("ducks", "duck"), ("quickly", None), ("xyzzy", None),
    ],
)  # fmt: skip
def test_singular(word: str, lemma: str | None) -> None:
    assert lexicon.load_lexicon().singular(word) == lemma


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_damaged_file_is_named(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "nouns.txt.xz"
    if damage == "truncated":
        copy.write_bytes(lexicon.FILE.read_bytes()[:1000])
    monkeypatch.setattr(lexicon, "FILE", copy)
    with pytest.raises(UserError, match=r"nouns\.txt\.xz .*restore the embedded data"):
        lexicon.load_lexicon.__wrapped__()


def test_provenance() -> None:
    source = (lexicon.FILE.parent / "SOURCE.md").read_text(encoding="utf-8")
    assert "python -m ci.packs.nouns --source" in source and "THIS SOFTWARE AND DATABASE" in source
    assert [word for word in source.split() if len(word.strip("`")) == 64], "no SHA-256 of the source"


def test_build_keeps_nouns_and_marks_the_doubtful(tmp_path: Path) -> None:
    """On a WordNet of a few lines."""
    folder = tmp_path / "usr/share/wordnet"
    folder.mkdir(parents=True)
    offsets = {
        "owl": "00000001",
        "green": "00000002",
        "paris": "00000003",
        "a_b_c_d_e": "00000004",
        "9_lives": "00000005",
    }
    (folder / "index.noun").write_text(
        "  1 licence\n" + "".join(f"{lemma} {SENSE.format(offset=offset)}\n" for lemma, offset in offsets.items())
    )
    (folder / "index.adj").write_text("green a 2 1 & 2 0 00000006 00000007\n")
    for part in ("verb", "adv"):
        (folder / f"index.{part}").write_text("  1 licence\n")
    (folder / "cntlist.rev").write_text("green%3:00:00:: 1 9\nowl%1:05:00:: 1 2\n")
    (folder / "data.noun").write_text(
        "  1 licence\n00000001 05 n 01 owl 0 001 @ 00000009 n 0000 | a bird\n"
        "00000003 15 n 01 Paris 0 001 @i 00000008 n 0000 | a city\n"
    )
    (folder / "noun.exc").write_text("owlz owl\nparises paris\n")
    build(tmp_path, tmp_path)
    assert lzma.decompress((tmp_path / "nouns.txt.xz").read_bytes()).decode() == "green?\nowl\nowlz\towl\n"
