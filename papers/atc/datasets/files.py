"""Readers of the paper's six data sets in the layout of the official code."""

import csv
import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shared import UserError

from .examples import SEPARATOR, Example, Kind, Pair, Question, Text

LAYOUT = """\
imdb/{train,test}/{pos,neg}/*.txt     a review a file, its first line
agnews/{train,test}.csv               label 1-4, title, description
squad/{train,test}.json               as SQuAD 1.1 or 2.0
newsqa/{train,test}.jsonl.gz          as MRQA 2019: a header, then a context with its questions a line
cnndm/{train,test}.{src,tgt}          an article and its summary a line, sentences joined by <S_SEP>
msqg/{train,test}.{src,tgt}           a passage and a question a line
Any of the folders may hold a data set of the Hugging Face hub in its place: parquet or JSON lines of its columns."""


def lines(path: Path) -> list[str]:
    """Lines of a text file, plain or gzip. Raises UserError if it is missing, damaged, or not UTF-8."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = content.decode("utf-8")
    except PermissionError:
        raise
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or error}); get it again. Expected:\n{LAYOUT}"
        ) from None
    except (EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged or not text in UTF-8 ({error}); get it again.") from None
    except Exception as error:  # zlib's
        raise UserError(f"{path} is damaged ({error}); get it again.") from None
    found = text.split("\n")
    return found[:-1] if found[-1] == "" else found


def some(items: list[Example], path: Path) -> list[Example]:
    """The items of a file. Raises UserError if there are none."""
    if not items:
        raise UserError(f"{path} is empty or holds no items; get it again.")
    return items


def imdb(root: Path, part: str) -> Iterator[Example]:
    """Reviews in a fixed random order; the official code shuffles them, too."""
    found: list[Example] = []
    for label, name in enumerate(("neg", "pos")):
        folder = root / "imdb" / part / name
        if not folder.is_dir() or not (paths := sorted(folder.glob("*.txt"))):
            raise UserError(f"{folder} is missing or has no reviews (*.txt). Expected:\n{LAYOUT}")
        for path in paths:
            first = next(iter(lines(path)), "").strip()
            if not first:
                raise UserError(f"{path} is empty; expected a review in its first line.")
            found.append(Text(first, label))
    random.Random(0).shuffle(found)
    return iter(found)


def agnews(root: Path, part: str) -> Iterator[Example]:
    path = root / "agnews" / f"{part}.csv"
    found: list[Example] = []
    for number, row in enumerate(csv.reader(lines(path)), 1):
        if number == 1 and row and row[0] == "Class Index":
            continue
        if len(row) != 3 or row[0] not in ("1", "2", "3", "4"):
            raise UserError(f"{path}, line {number}: expected a label from 1 to 4, a title and a description.")
        found.append(Text(SEPARATOR.join(row[1:]), int(row[0]) - 1))
    return iter(some(found, path))


def squad(root: Path, part: str) -> Iterator[Example]:
    path = root / "squad" / f"{part}.json"
    found: list[Example] = []
    with fields_of(path):
        for article in json.loads("\n".join(lines(path)))["data"]:
            for paragraph in article["paragraphs"]:
                for item in paragraph["qas"]:
                    answers = [(answer["text"], answer["answer_start"]) for answer in item["answers"]]
                    found.append(question(item["question"], paragraph["context"], answers, path))
    return iter(some(found, path))


def newsqa(root: Path, part: str) -> Iterator[Example]:
    path = root / "newsqa" / f"{part}.jsonl.gz"
    found: list[Example] = []
    with fields_of(path):
        for line in lines(path)[1:]:
            paragraph = json.loads(line)
            for item in paragraph["qas"]:
                answers = [(answer["text"], answer["char_spans"][0][0]) for answer in item["detected_answers"]]
                found.append(question(item["question"], paragraph["context"], answers, path))
    return iter(some(found, path))


def question(asked: str, context: str, answers: list[tuple[str, int]], path: Path) -> Question:
    """A question. Raises UserError if an answer does not stand where the file says."""
    for text, start in answers[:1]:
        if not 0 <= start < len(context) or not text:
            raise UserError(f"{path}: the answer to {asked!r} is empty or outside its context.")
    return Question(asked, context, tuple(text for text, _ in answers), answers[0][1] if answers else 0)


class fields_of:
    """Says which file it is whose JSON lacks what is read from it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError | TypeError | LookupError | RecursionError):
            raise UserError(f"{self.path} is damaged or of another layout ({error}). Expected:\n{LAYOUT}") from None


def pairs(name: str) -> Callable[[Path, str], Iterator[Example]]:
    def read(root: Path, part: str) -> Iterator[Example]:
        path = root / name / f"{part}.src"
        sources, targets = lines(path), lines(path.with_suffix(".tgt"))
        if len(sources) != len(targets):
            raise UserError(
                f"{path} has {len(sources)} lines and {path.with_suffix('.tgt')} {len(targets)}; "
                "expected one target a source."
            )
        found: list[Example] = [
            Pair(*(text.replace("<S_SEP>", SEPARATOR.strip()) for text in pair))
            for pair in zip(sources, targets, strict=True)
        ]
        return iter(some(found, path))

    return read


TASKS: dict[str, tuple[Kind, int]] = {
    "imdb": ("classification", 2),
    "agnews": ("classification", 4),
    "squad": ("span", 2),
    "newsqa": ("span", 2),
    "cnndm": ("generation", 2),
    "msqg": ("generation", 2),
}
LABELS = {"imdb": ("negative", "positive"), "agnews": ("World", "Sports", "Business", "Sci/Tech")}
READERS: dict[str, Callable[[Path, str], Iterator[Example]]] = {
    "imdb": imdb,
    "agnews": agnews,
    "squad": squad,
    "newsqa": newsqa,
    "cnndm": pairs("cnndm"),
    "msqg": pairs("msqg"),
}

# -- data sets of the hub ---------------------------------------------------------------------------------------------

HUB = {  # name, configuration; test items come from the split that has labels
    "imdb": ("stanfordnlp/imdb", None, "test"),
    "agnews": ("fancyzhx/ag_news", None, "test"),
    "squad": ("rajpurkar/squad", None, "validation"),
    "newsqa": ("lucadiliello/newsqa", None, "validation"),
    "cnndm": ("abisee/cnn_dailymail", "3.0.0", "test"),
}
STORED = ("*.parquet", "*.jsonl")


def from_columns(name: str, row: dict[str, Any]) -> Example:
    """An item of a data set by the columns that it has on the hub."""
    match name:
        case "imdb" | "agnews":
            return Text(row["text"], row["label"])
        case "squad":
            answers = row["answers"]
            return Question(
                row["question"], row["context"], tuple(answers["text"]), (answers["answer_start"] or [0])[0]
            )
        case "newsqa":
            start = row["labels"][0]["start"][0] if row["labels"] else 0
            return Question(row["question"], row["context"], tuple(row["answers"]), start)
        case "cnndm":
            return Pair(row["article"], row["highlights"])
    return Pair(row["source"], row["target"])


def from_hub(name: str, part: str, root: Path | None = None) -> Iterator[Example]:
    """The items of a data set through ``datasets.load_dataset``: by its name on the hub, or from a folder of its files.

    Raises:
        UserError: if it cannot be loaded, or lacks a column.
    """
    import datasets

    if name not in HUB and root is None:
        raise UserError(f"{name} is not on the hub; give --data a folder that holds it. Expected:\n{LAYOUT}")
    hub, configuration, test = HUB.get(name, ("", None, "test"))
    split = part if part == "train" else test
    place = str(root / name) if root else hub
    try:
        if root:
            loaded = datasets.load_dataset(place, split=split)
        else:
            loaded = datasets.load_dataset(hub, configuration, split=split)
        return iter([from_columns(name, row) for row in loaded])
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"{place} cannot be read as the data set {name}, split {split} ({reason}). Expected:\n{LAYOUT}"
        ) from error


def read(name: str, root: Path | None, part: str) -> Iterator[Example]:
    """All items of a data set, from ``root`` or, without it, from the hub.

    Raises:
        UserError: if it is missing, damaged, or of another layout.
    """
    if root is None:
        return from_hub(name, part)
    if any(next((root / name).rglob(pattern), None) for pattern in STORED):
        return from_hub(name, part, root)
    return READERS[name](root, part)
