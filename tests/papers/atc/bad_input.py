"""What atc reads and is asked for, whole and damaged: see tests/damage.py."""

import functools
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from transformers import BertConfig, BertModel, BertTokenizer, logging

from papers.atc import config, data, predict
from papers.atc.build import client_file, trained
from papers.atc.datasets import files
from papers.atc.model import HeteroModel, encoder_decoder
from shared.support.weights import load_weights, open_trained_run
from tests.damage import (
    ANY_FILE,
    BINARY,
    PLAIN_TEXT,
    RUN_CONFIG,
    RUN_WEIGHTS,
    Command,
    Damage,
    Kinds,
    Reader,
    Row,
    damages,
    edited,
    emptied,
    empty,
    gone,
    half,
    loop,
    no_run,
    not_utf8,
    text,
    write_json,
)

CONTEXT = "The owl is a bird. It hunts at night."


def build_imdb(root: Path) -> None:
    for part in ("train", "test"):
        for name in ("pos", "neg"):
            for k in range(2):
                path = root / "imdb" / part / name / f"{k}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"A {name} film, number {k}.\n", encoding="utf-8")


def build_agnews(root: Path) -> None:
    for part in ("train", "test"):
        path = root / "agnews" / f"{part}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('"3","Shares rise","Shares rose on Monday."\n"1","Vote","A vote was held, at last."\n')


def build_squad(root: Path) -> None:
    item = {"question": "What hunts at night?", "answers": [{"text": "owl", "answer_start": 4}], "id": "1"}
    content = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": [item, item | {"answers": []}]}]}]}
    for part in ("train", "test"):
        write_json(root / "squad" / f"{part}.json", content)


def build_newsqa(root: Path) -> None:
    item = {"question": "What hunts?", "detected_answers": [{"text": "owl", "char_spans": [[4, 6]]}]}
    lines = [{"header": {"dataset": "NewsQA"}}, {"context": CONTEXT, "qas": [item]}]
    for part in ("train", "test"):
        path = root / "newsqa" / f"{part}.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))


def build_pairs(root: Path, name: str) -> None:
    for part in ("train", "test"):
        for suffix in ("src", "tgt"):
            path = root / name / f"{part}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("one <S_SEP> two\nthree\n")


BUILDS = {
    "imdb": build_imdb,
    "agnews": build_agnews,
    "squad": build_squad,
    "newsqa": build_newsqa,
    "cnndm": functools.partial(build_pairs, name="cnndm"),
    "msqg": functools.partial(build_pairs, name="msqg"),
}


def reader(name: str) -> Reader:
    def read(root: Path) -> list[Any]:
        return [example for part in data.PARTS for example in files.read(name, root, part)]

    return Reader(BUILDS[name], read, data.check, alike="atc cnndm" if name == "msqg" else "")


# The offline model would need MiniLM: a tiny BERT checkpoint in a folder stands for it.
TINY = BertConfig(
    vocab_size=40,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=8,
    max_position_embeddings=64,
)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]", "[unused2]", "a", "owl", "bird"]


def build_checkpoint(folder: Path) -> None:
    """A BERT checkpoint in a local folder, with its tokenizer."""
    torch.manual_seed(0)
    logging.disable_progress_bar()
    BertModel(TINY).save_pretrained(folder)
    BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(folder)


def build_trained(root: Path) -> None:
    build_checkpoint(root / "bert")
    settings = replace(config.PRESETS["smoke"], checkpoint=str(root / "bert"), clients=("movies",), neighbours=(1,))
    write_json(root / "config.json", {"variant": "atc", "config": vars(settings)})
    torch.manual_seed(0)
    network = HeteroModel(encoder_decoder(TINY), labels=2)
    kept = {
        n: x.detach().contiguous() for n, x in network.named_parameters() if n.startswith(("model.encoder", "class"))
    }
    (root / "checkpoint").mkdir()
    (root / "checkpoint" / client_file(0)).write_bytes(save(kept))


def read_trained(root: Path) -> object:
    with open_trained_run(root, "atc", config.Config, client_file(0)) as (_, found, weights):
        return trained(found, load_weights(weights), root / "cache")


def build_input(root: Path) -> None:
    (root / "texts.txt").write_text("a bird\nan owl\n", encoding="utf-8")


def written(content: str, encoding: str = "utf-8") -> Damage:
    return lambda path: path.write_text(content, encoding=encoding)


def zipped(content: str, encoding: str = "utf-8") -> Damage:
    return lambda path: path.write_bytes(gzip.compress(content.encode(encoding)))


def a_file(path: Path) -> None:
    gone(path)
    path.write_text("a file")


SAID = "cannot be read|[Pp]ermission"
FILE: Kinds = {kind: (row[0], f"{row[1]}|{SAID}") for kind, row in ANY_FILE.items()}
REVIEW: Kinds = {kind: FILE[kind] for kind in ("a symlink loop", "no permission")} | {
    "empty": (empty, "is empty; expected a review"),
    "a blank line": (written(" \nA film.\n"), "is empty; expected a review"),
    "not UTF-8": (not_utf8, "UTF-8"),
    "UTF-16": (written("A film.", "utf-16"), "UTF-8"),
}
REVIEWS: Kinds = {
    "missing folder": (gone, "missing or has no reviews"),
    "empty folder": (emptied, "missing or has no reviews"),
    "a file for a folder": (a_file, "missing or has no reviews"),
    "a loop for a folder": (loop, "missing or has no reviews"),
}
NEWS: Kinds = FILE | {
    "empty": (empty, "is empty or holds no items"),
    "not UTF-8": (not_utf8, "UTF-8"),
    "text": (text, "line 1: expected a label"),
    "another label": (written('"7","a","b"\n'), "line 1: expected a label from 1 to 4"),
    "too few columns": (written('"1","a"\n'), "line 1: expected a label"),
    "label in words": (written('"Sports","a","b"\n'), "line 1: expected a label"),
}
LAYOUT = "damaged or of another layout"
ANSWER = {"text": "owl", "answer_start": 400}
BAD_QUESTIONS: Kinds = FILE | {
    "truncated": (half, LAYOUT),
    "empty": (empty, LAYOUT),
    "text": (text, LAYOUT),
    "not UTF-8": (not_utf8, "UTF-8"),
    "another layout": (edited(lambda c: c.pop("data")), LAYOUT),
    "no questions": (edited(lambda c: c.update(data=[])), "holds no items"),
    "an answer elsewhere": (
        edited(lambda c: c["data"][0]["paragraphs"][0]["qas"][0].update(answers=[ANSWER])),
        "is empty or outside its context",
    ),
}
FAR = {"context": CONTEXT, "qas": [{"question": "Who?", "detected_answers": [{"text": "x", "char_spans": [[99, 99]]}]}]}
NEWS_QUESTIONS: Kinds = FILE | {
    "truncated": (half, "damaged"),
    "empty": (empty, "damaged|holds no items"),
    "text": (text, "damaged|cannot be read"),
    "not UTF-8": (zipped("{}\nä\n", "latin-1"), "UTF-8"),
    "another layout": (zipped('{}\n{"qas": 1}\n'), LAYOUT),
    "a header alone": (zipped("{}\n"), "holds no items"),
    "an answer elsewhere": (zipped("{}\n" + json.dumps(FAR)), "is empty or outside its context"),
}
LINES: Kinds = FILE | {
    "empty": (empty, "expected one target a source"),
    "not UTF-8": (not_utf8, "UTF-8"),
    "UTF-16": (written("one\ntwo\n", "utf-16"), "UTF-8"),
    "a line less": (written("one\n"), "has 1 lines and .* 2; expected one target a source"),
    "a line more": (written("one\n" * 3), "has 3 lines and .* 2; expected one target a source"),
    "latin-1": (written("é\né\n", "latin-1"), "UTF-8"),
}
INPUT: Kinds = ANY_FILE | {
    "empty": (empty, "is empty; expected a text"),
    "blank lines": (written("\n \n\n"), "is empty; expected a text"),
    "tabs": (written("\t\n"), "is empty; expected a text"),
    "not UTF-8": (not_utf8, "UTF-8"),
    "UTF-16": (written("a bird", "utf-16"), "UTF-8"),
    "latin-1": (written("é\n", "latin-1"), "UTF-8"),
}

READERS = {
    **{f"atc {name}": reader(name) for name in BUILDS},
    "atc --input": Reader(build_input, lambda root: predict.given_texts(predict.Options(input=root / "texts.txt"))),
    "atc --run": Reader(build_trained, read_trained),
}
WEIGHTS_FILE = f"checkpoint/{client_file(0)}"
TABLE: list[Row] = [
    *damages("atc imdb", "imdb/train/pos/1.txt", REVIEW),
    *damages("atc imdb", "imdb/test/neg", REVIEWS),
    *damages("atc agnews", "agnews/test.csv", NEWS),
    *damages("atc squad", "squad/train.json", BAD_QUESTIONS),
    *damages("atc newsqa", "newsqa/train.jsonl.gz", NEWS_QUESTIONS),
    *damages("atc cnndm", "cnndm/train.src", LINES),
    *damages("atc --input", "texts.txt", INPUT),
    *damages("atc --run", "config.json", {kind: RUN_CONFIG[kind] for kind in ("truncated", "of another version")}),
    *damages("atc --run", WEIGHTS_FILE, {kind: RUN_WEIGHTS[kind] for kind in ("truncated", "of other shapes", "NaN")}),
    *damages("atc --run", WEIGHTS_FILE, {"missing": no_run("client00")["missing"]}),
]
COMMANDS = {
    "atc": Command(
        predict.main,
        {"atc --input": ".", "atc --run": "run"},
        "--input ./texts.txt --out ./found/labels.txt --run ./run --client 0",
        files={"texts.txt": PLAIN_TEXT} | dict.fromkeys(("run/config.json", f"run/{WEIGHTS_FILE}"), BINARY),
        computed=("found/labels.txt",),
    ),
}
