"""Rebuild the texts of six small tasks, bit for bit, from an unpacked `wordnet-base` and vaderSentiment's sdist.

python -m ci.packs.federation --wordnet DIR --sentiment DIR

DIR of the first holds usr/share/wordnet. That of the second is the content of `additional_resources/*.tar.gz`
of the sdist: it holds amazonReviewSnippets_GroundTruth.txt and others.
"""

import html
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet
import tyro

from shared.offline.packs import PACKS

PACK = PACKS / "federation"
PARTS = ("noun", "verb", "adj", "adv")  # of speech
SENTIMENT = {"movies": "movieReviewSnippets", "products": "amazonReviewSnippets", "tweets": "tweets"}
CLEAR = 0.5  # smallest distance of a mean rating from neutral, on a scale from -4 to 4
TOPICS = {  # lexicographer files, with their numbers in WordNet's data files
    "artifact": "06", "person": "18", "plant": "20", "animal": "05",
    "act": "04", "communication": "10", "state": "26", "location": "15",
}  # fmt: skip
LARGEST = 7_000  # items of a task
TESTED = 0.2  # share of the items that are for tests
WORDS = 3, 14  # of a gloss
SENTENCE = 4, 20  # words of an example


@dataclass(frozen=True)
class Synset:
    """A WordNet entry: words with one meaning, their gloss, and sentences that use one of them."""

    id: str
    topic: str
    words: tuple[str, ...]
    gloss: str
    examples: tuple[str, ...]


def synsets(folder: Path) -> Iterator[Synset]:
    for part in PARTS:
        for line in (folder / f"data.{part}").read_text(encoding="latin-1").splitlines():
            if line.startswith("  "):  # the licence
                continue
            fields, _, text = line.partition(" | ")
            offset, topic, _, count, *rest = fields.split()
            words = tuple(re.sub(r"\(.*\)", "", word) for word in rest[: 2 * int(count, 16) : 2])
            gloss = re.split(r';\s*"', text, maxsplit=1)[0].strip().strip(";")
            examples = tuple(x.strip() for x in re.findall(r'"([^"]+)"', text))
            yield Synset(f"{part}{offset}", topic, words, gloss, examples)


def fits(text: str, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= len(text.split()) <= bounds[1] and text.isascii()


def inflected(word: str, sentence: str) -> tuple[int, str] | None:
    """Where a form of a word stands in a sentence, and the form; None if there is none."""
    stem = word.lower()[: max(3, len(word) - 2)]
    for found in re.finditer(r"[A-Za-z]+", sentence):
        form = found.group().lower()
        if form.startswith(stem) and len(form) <= len(word) + 4:
            return found.start(), found.group()
    return None


def sentiment(folder: Path, task: str) -> list[dict[str, object]]:
    """Sentences with a clear mean rating: 1 for positive, 0 for negative. ``group`` names the review or sentence."""
    rows: list[dict[str, object]] = []
    for line in (folder / f"{SENTIMENT[task]}_GroundTruth.txt").read_text(encoding="utf-8").splitlines():
        number, rating, text = line.split("\t", 2)
        text = " ".join(html.unescape(text).split())
        if abs(float(rating)) > CLEAR and len(text.split()) >= 3:
            rows.append({"group": number.partition("_")[0], "text": text, "label": int(float(rating) > 0)})
    return rows


def wordnet_tasks(folder: Path) -> dict[str, list[dict[str, object]]]:
    """Topics of nouns by gloss; the word of a sentence that a gloss defines; the gloss of a word in a sentence."""
    tasks: dict[str, list[dict[str, object]]] = defaultdict(list)
    numbers = {number: label for label, number in enumerate(TOPICS.values())}
    sentences: list[str] = []
    for synset in synsets(folder):
        if not fits(synset.gloss, WORDS):
            continue
        if synset.id.startswith("noun") and synset.topic in numbers:
            tasks["topics"].append({"group": synset.id, "text": synset.gloss, "label": numbers[synset.topic]})
        for example in synset.examples:
            found = [(word, place) for word in synset.words if "_" not in word and (place := inflected(word, example))]
            if found and fits(example, SENTENCE):
                word, (start, answer) = found[0]
                tasks["spans"].append(
                    {
                        "group": synset.id,
                        "question": synset.gloss,
                        "sentence": example,
                        "answer": answer,
                        "start": start,
                    }
                )
                tasks["definitions"].append(
                    {"group": synset.id, "source": f"{word} : {example}", "target": synset.gloss}
                )
                sentences.append(example)
                break
    rng = random.Random(0)
    for item in tasks["spans"]:  # another sentence stands before or after that with the answer
        other = rng.choice(sentences).rstrip(".") + ". "
        own = str(item.pop("sentence")).rstrip(".") + ". "
        before = rng.random() < 0.5
        item["context"] = (other + own if before else own + other).strip()
        item["start"] = int(str(item["start"])) + (len(other) if before else 0)
    return tasks


def split(rows: list[dict[str, object]]) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Training and test items in random order, at most LARGEST; all items of a group are on one side.

    A synset is on the same side in every task.
    """
    rng = random.Random(1)
    tested = {g for g in sorted({str(row["group"]) for row in rows}) if random.Random(g).random() < TESTED}
    rows = rng.sample(rows, min(len(rows), LARGEST))
    parts: tuple[list[dict[str, object]], list[dict[str, object]]] = ([], [])
    for row in rows:
        kept = {name: x for name, x in row.items() if name != "group"}
        parts[str(row["group"]) in tested].append(kept)
    return parts


def build(wordnet: Path, sentiment_folder: Path, out: Path = PACK) -> None:
    """Write ``<task>_train.parquet`` and ``<task>_test.parquet`` under ``out``."""
    tasks = {name: sentiment(sentiment_folder, name) for name in SENTIMENT}
    tasks |= wordnet_tasks(wordnet / "usr/share/wordnet")
    for name, rows in tasks.items():
        for part, items in zip(("train", "test"), split(rows), strict=True):
            table = pyarrow.Table.from_pylist(items)
            pyarrow.parquet.write_table(table, out / f"{name}_{part}.parquet", compression="zstd", compression_level=19)
            print(name, part, len(items), items[:2])


def main(wordnet: Path, sentiment: Path) -> None:
    """Rebuild the pack.

    Args:
        wordnet: the unpacked package wordnet-base.
        sentiment: the unpacked archive in additional_resources of vaderSentiment's sdist.
    """
    build(wordnet, sentiment)


if __name__ == "__main__":
    tyro.cli(main)
