"""Kaid's readers and command lines, whole and damaged: see tests/damage.py."""

from pathlib import Path

from papers.kaid.acquisition.__main__ import Options, main, mine
from papers.kaid.acquisition.triples import read_triples
from papers.kaid.datasets import files
from tests.damage import (
    ANY_FILE,
    PLAIN_TEXT,
    Command,
    Kinds,
    Reader,
    Row,
    damages,
    emptied,
    empty,
    file,
    gone,
    loop,
    not_utf8,
    replaced,
)

TRIPLES = "loafer\thypernym\tshoe\nloafer\tsynonym\tmoccasin\nflagon\thypernym\tbottle\n"
TASKS = {
    "category": {
        "train": "clothing\tdo you sell loafers ?\ncontainer\tdo you sell flagons ?\nclothing\ta moccasin\n",
        "test": "clothing\tthe moccasin\ncontainer\tthe bottle\n",
    },
    "same": {
        "train": "1\tloafer ?\tmoccasin ?\n0\tloafer ?\tflagon ?\n0\tbottle\tshoe\n",
        "test": "1\ta loafer\ta moccasin\n0\ta bottle\ta moccasin\n",
    },
}


def build_shop(root: Path) -> None:
    """One domain, `shop`, with a task of each kind and all that is optional."""
    (root / "shop").mkdir(parents=True, exist_ok=True)
    (root / "shop/triples.tsv").write_text(TRIPLES)
    (root / "shop/templates.txt").write_text("where is the {} ?\n{}\n")
    (root / "shop/queries.txt").write_text("the loafer ?\nthe flagon ?\n")
    (root / "shop/glosses.tsv").write_text("loafer\ta low shoe\nflagon\ta large bottle\n")
    for name, splits in TASKS.items():
        (root / "shop/tasks" / name).mkdir(parents=True)
        for split, content in splits.items():
            (root / f"shop/tasks/{name}/{split}.tsv").write_text(content)


def build_text(root: Path) -> None:
    (root / "text.txt").write_text("the leather boot\nthe boot\na boot of leather\nthe leather boot\n")
    (root / "clicks.tsv").write_text("the boot\t1\nthe leather boot\t1\n")


READERS = {
    "kaid domains": Reader(build_shop, files.read, files.check),
    "kaid triples": Reader(
        lambda root: (root / "triples.tsv").write_text(TRIPLES), lambda root: read_triples(root / "triples.tsv")
    ),
    "kaid text": Reader(build_text, lambda root: mine(Options(root / "text.txt", root / "found.tsv"))),
}

LINES: Kinds = {**ANY_FILE, "empty": (empty, "is empty"), "not UTF-8": (not_utf8, "not text in UTF-8")}
OF_TRIPLES: Kinds = {
    "a field less": (
        replaced("\thypernym\tshoe", "\tshoe"),
        "line 1: found 2 fields; expected head, relation and tail",
    ),
    "a field more": (replaced("\tshoe", "\tshoe\t1"), "line 1: found 4 fields"),
    "an empty field": (replaced("loafer\thypernym", "\thypernym"), "line 1: found 3 fields|line 1"),
    "another relation": (replaced("synonym", "antonym"), "line 2: the relation is 'antonym'"),
}
TRAIN, TEST, PAIRS = "shop/tasks/category/train.tsv", "shop/tasks/category/test.tsv", "shop/tasks/same/train.tsv"

TABLE: list[Row] = [
    *damages("kaid triples", "triples.tsv", LINES | OF_TRIPLES),
    *damages("kaid domains", TEST, LINES),
    *damages(
        "kaid domains",
        TEST,
        {
            "an unknown label": (
                replaced("container", "contained"),
                "line 2: the label 'contained' is not in train.tsv",
            ),
            "no sentence": (replaced("\tthe bottle", ""), "line 2: found 1 fields"),
            "two sentences": (replaced("\tthe bottle", "\tthe\tbottle"), "line 2: found 3 fields"),
        },
    ),
    *damages("kaid domains", TRAIN, {"one class": (lambda p: p.write_text("clothing\ta\n"), "'clothing' alone")}),
    *damages(
        "kaid domains", PAIRS, {"other labels": (replaced("1\t", "yes\t"), "has the labels 0 and 1|not in train")}
    ),
    *damages("kaid domains", "shop/glosses.tsv", {"no definition": (replaced("\ta low shoe", ""), "found 1 fields")}),
    *damages("kaid domains", "shop/templates.txt", {"no place": (replaced("the {}", "it"), "has not exactly one")}),
    *damages("kaid domains", "shop/queries.txt", {"not UTF-8": (not_utf8, "not text in UTF-8")}),
    *damages(
        "kaid domains",
        "shop/tasks",
        {
            "no task": (emptied, "holds no task"),
            "no tasks": (gone, "holds no task"),
            "a file": (file, "holds no task"),
            "a symlink loop": (loop, "holds no task"),
        },
    ),
    *damages("kaid text", "text.txt", LINES),
    *damages(
        "kaid text",
        "text.txt",
        {
            "no phrase": (lambda path: path.write_text("yes\nno\n"), "gave no triple: it has 0 phrases"),
            "one phrase": (lambda path: path.write_text("the boot\nthe boot\n"), "gave no triple: it has 1 phrases"),
            "blank": (lambda path: path.write_text(" \n\n"), "is empty"),
            "bytes": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not text in UTF-8"),
        },
    ),
]

COMMANDS = {
    "kaid acquire": Command(
        main,
        {"kaid text": "."},
        "--corpus ./text.txt --clicks ./clicks.tsv --out ./triples.tsv",
        files={"text.txt": PLAIN_TEXT, "clicks.tsv": PLAIN_TEXT},
        computed=("triples.tsv",),
    ),
}
