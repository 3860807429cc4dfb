"""Readers, windows of long contexts, and the parts of the clients."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from ci.packs import federation
from papers.atc import data, texts
from papers.atc.config import PRESETS, Config
from papers.atc.datasets import embedded, files
from papers.atc.datasets.examples import Pair, Question, Text
from shared import UserError
from shared.offline.packs import PACKS
from tests.papers.atc.bad_input import BUILDS, CONTEXT

EXPECTED: dict[str, list[Any]] = {
    "imdb": [Text(f"A {name} film, number {k}.", label) for label, name in enumerate(("neg", "pos")) for k in range(2)],
    "agnews": [Text("Shares rise [SEP] Shares rose on Monday.", 2), Text("Vote [SEP] A vote was held, at last.", 0)],
    "squad": [Question("What hunts at night?", CONTEXT, ("owl",), 4), Question("What hunts at night?", CONTEXT, (), 0)],
    "newsqa": [Question("What hunts?", CONTEXT, ("owl",), 4)],
    "cnndm": [Pair("one [SEP] two", "one [SEP] two"), Pair("three", "three")],
    "msqg": [Pair("one [SEP] two", "one [SEP] two"), Pair("three", "three")],
}


@pytest.mark.parametrize("name", files.TASKS)
@pytest.mark.parametrize("part", data.PARTS)
def test_official_layouts(tmp_path: Path, name: str, part: str) -> None:
    BUILDS[name](tmp_path)
    found = list(files.read(name, tmp_path, part))
    assert sorted(map(str, found)) == sorted(map(str, EXPECTED[name]))


def test_a_folder_of_the_hubs_columns(tmp_path: Path) -> None:
    """Through datasets.load_dataset, from parquet."""
    folder = tmp_path / "agnews"
    folder.mkdir()
    for part in data.PARTS:
        datasets.Dataset.from_list([{"text": "Shares rose.", "label": 2}]).to_parquet(folder / f"{part}.parquet")
    assert list(files.read("agnews", tmp_path, "test")) == [Text("Shares rose.", 2)]
    datasets.Dataset.from_list([{"words": "Shares rose."}]).to_parquet(folder / "test.parquet")
    with pytest.raises(UserError, match="cannot be read as the data set agnews"):
        files.read("agnews", tmp_path, "test")


def test_what_is_not_on_the_hub_is_told() -> None:
    with pytest.raises(UserError, match="msqg is not on the hub"):
        files.read("msqg", None, "train")


# -- rows -------------------------------------------------------------------------------------------------------------


def test_windows_of_a_long_context(cache: Path, config: Config) -> None:
    """Every word is best in one window, and the marked positions are those of the answer."""
    tokenizer = data.tokenizer_of(config, cache)
    context = " ".join(f"the {word} was here ." for word in ("owl", "dog", "house", "garden", "water", "book") * 4)
    start = context.index("garden", 300)
    asked = Question("what was here?", context, ("garden",), start)
    small = replace(config, span_length=32, stride=8)
    rows = texts.rows_of([asked], small, tokenizer)
    assert len(rows) > 3 and all(len(row["ids"]) <= 32 for row in rows)
    begins = [a for row in rows for a in row["begins"] if a >= 0]
    offsets = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert sorted(begins) == [a for a, _ in offsets]
    answered = [row for row in rows if row["start"] > 0]
    assert answered and len(answered) < len(rows)
    for row in answered:
        pieces = tokenizer.convert_ids_to_tokens(row["ids"][row["start"] : row["end"] + 1])
        assert "".join(piece.removeprefix("##") for piece in pieces) == "garden"


def test_texts_of_the_assign_stage(cache: Path, config: Config) -> None:
    tokenizer = data.tokenizer_of(config, cache)
    rows = texts.rows_of([Text("A bird. A dog!", 0), Text("x " * 100, 1)], config, tokenizer)
    words = tokenizer.convert_ids_to_tokens(rows[0]["text"])
    assert words[0] == texts.BOS and words[-1] == texts.EOS and words.count(texts.EOQ) == 1
    assert len(rows[1]["text"]) == config.source_length and rows[1]["text"][-1] == tokenizer.eos_token_id
    assert len(rows[1]["ids"]) == config.text_length


# -- parts of the clients ---------------------------------------------------------------------------------------------


def test_no_item_is_in_two_parts(cache: Path, config: Config) -> None:
    """Nor do two clients of a data set share one; another seed gives another part."""
    config = replace(config, clients=("movies", "movies", "topics", "spans"))
    seen: dict[int, set[int]] = {}
    for client in (0, 1):
        for split, size in (("train", config.train_items), ("validation", config.test_items)):
            items = {row["example"] for row in data.shard(config, cache, 0, client, split).rows}
            assert len(items) == size and not items & set().union(*seen.values())
            seen[len(seen)] = items
    again = {row["example"] for row in data.shard(config, cache, 1, 0, "train").rows}
    assert again != seen[0]


def test_batches_are_padded_and_typed(cache: Path, config: Config) -> None:
    spans = data.shard(config, cache, 0, 2, "train")
    batch = data.collate(spans, [0, 1, 2], torch.device("cpu"))
    lengths = [len(row["ids"]) for row in spans.some([0, 1, 2])]
    assert batch["mask"].sum(1).tolist() == lengths and batch["ids"].shape[1] == max(lengths)
    context = [row["context"] for row in spans.some([0, 1, 2])]
    assert batch["types"].sum(1).tolist() == [n - c for n, c in zip(lengths, context, strict=True)]
    assert batch["start"].tolist() == [row["start"] for row in spans.some([0, 1, 2])]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clients": ("movies", "films", "topics", "spans")}, "names 'films'; expected movies, products"),
        ({"neighbours": (2, 2)}, "has 2 numbers for 4 clients"),
    ],
)
def test_settings_that_do_not_fit_are_told(cache: Path, config: Config, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        data.prepare(replace(config, **changes), cache)


def test_a_part_without_items_is_told(cache: Path, config: Config) -> None:
    with pytest.raises(UserError, match="has no validation items; lower train_items"):
        data.shard(replace(config, train_items=100_000), cache, 0, 0, "validation")


# -- the pack ---------------------------------------------------------------------------------------------------------


def test_the_pack_is_whole() -> None:
    for name, (kind, labels) in embedded.TASKS.items():
        train, test = (embedded.read(name, part) for part in data.PARTS)
        assert len(train) > 2_000 and len(test) > 500
        assert not {str(item) for item in train} & {str(item) for item in test} or kind == "classification"
        if kind == "classification":
            assert {item.label for item in train} == set(range(labels))  # type: ignore[union-attr]
        if kind == "span":
            for item in test:
                assert isinstance(item, Question)
                assert item.context[item.start :].startswith(item.answers[0])


def test_provenance() -> None:
    source = (PACKS / "federation" / "SOURCE.md").read_text()
    assert "python -m ci.packs.federation --wordnet" in source and source.count("MIT License") == 1
    assert len([word for word in source.split() if len(word.strip("`")) == 64]) == 2


def test_the_pack_is_built_from_wordnets_lines(tmp_path: Path) -> None:
    lines = [
        "  1 This software and database is being provided",
        '00000001 05 n 01 owl 0 001 @ 00000002 n 0000 | a bird that hunts at night; "an owl hooted today"  ',
        '00000003 18 n 01 baker 0 000 | someone who bakes bread; "the bakers rise before dawn every day"  ',
    ]
    for part in federation.PARTS:
        (tmp_path / f"data.{part}").write_text("\n".join(lines if part == "noun" else lines[:1]), encoding="latin-1")
    tasks = federation.wordnet_tasks(tmp_path)
    assert [(row["text"], row["label"]) for row in tasks["topics"]] == [
        ("a bird that hunts at night", 3),
        ("someone who bakes bread", 1),
    ]
    assert tasks["definitions"][0]["source"] == "owl : an owl hooted today"
    for row in tasks["spans"]:
        assert str(row["context"])[int(str(row["start"])) :].startswith(str(row["answer"]))
    assert [row["answer"] for row in tasks["spans"]] == ["owl", "bakers"]
    train, test = federation.split([{"group": g, "x": g} for g in "abcdefgh" * 2])
    assert {row["x"] for row in train} & {row["x"] for row in test} == set() and len(train) + len(test) == 16


def test_common_pieces_hold_every_mark_and_letter() -> None:
    class Whole:
        def __call__(self, strings: list[str], **_: Any) -> dict[str, Any]:
            return {"input_ids": [[ord(c) for c in text] for text in strings]}

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [chr(i) for i in ids]

        def get_vocab(self) -> dict[str, int]:
            return {chr(c): c for c in range(128)}

    found = texts.common_pieces(Whole(), ["!!!??", "!;"], 48)  # type: ignore[arg-type]
    assert found[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] and found[44:] == ["!", "?", ";"]
    assert len(set(found)) == len(found) and np.all([c in found for c in "az09"])


def test_presets_fit_their_federations() -> None:
    for preset in PRESETS.values():
        assert len(preset.neighbours) == len(preset.clients)
        assert all(2 <= k < len(preset.clients) for k in preset.neighbours)
