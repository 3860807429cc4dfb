"""VQA 2.0 in its published files, with the answers that occur often as classes."""

import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from shared.support import annotations

from . import checks
from .texts import Text

LAYOUT = """\
  vqa/                        v2_OpenEnded_mscoco_{train,val}2014_questions.json,
                              v2_mscoco_{train,val}2014_annotations.json"""
LEAST = 9  # times that an answer has to occur in training: 3,129 of them
HUMANS = 3  # who give an answer that is right in full
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {"none": "0"} | {word: str(k) for k, word in enumerate(_WORDS)}
PUNCTUATION = re.compile(r"[;/\[\]\"{}()=+\\_\-><@`,?!]")


def normalised(answer: str) -> str:
    """An answer as the official evaluation compares it: no articles or punctuation, numbers as digits."""
    spaced = PUNCTUATION.sub(" ", answer.lower())
    spaced = re.sub(r"(?<!\d)\.|\.(?!\d)", "", spaced)
    words = [NUMBERS.get(word, word) for word in spaced.split() if word not in ("a", "an", "the")]
    return " ".join(words)


def read(root: Path, split: str) -> list[Text[str]]:
    """Questions of "train", "validation" or "test"; an answer's score is a third for each human, at most 1.

    The answers of the published test set are not public: "validation" are the images of the published validation set
    with even numbers, "test" are the others.

    Raises:
        UserError: if a file is missing or damaged, or a question has no annotation.
    """
    published = "train" if split == "train" else "val"
    wanted = {"train": (0, 1), "validation": (0,), "test": (1,)}[split]

    def parse_answers(content: Any) -> dict[int, dict[str, float]]:
        found = {}
        for row in content["annotations"]:
            counts = Counter(normalised(annotations.text(answer["answer"])) for answer in row["answers"])
            found[annotations.number(row["question_id"])] = {x: min(1.0, count / HUMANS) for x, count in counts.items()}
        return found

    scores = annotations.read(root / "vqa" / f"v2_mscoco_{published}2014_annotations.json", parse_answers)

    def parse_questions(content: Any) -> list[Text[str]]:
        found = []
        for row in content["questions"]:
            image, given = annotations.number(row["image_id"]), scores[annotations.number(row["question_id"])]
            if image % 2 in wanted:
                found.append(Text((f"COCO_{published}2014_{image:012d}",), annotations.text(row["question"]), given))
        return annotations.some(found, "question")

    return annotations.read(root / "vqa" / f"v2_OpenEnded_mscoco_{published}2014_questions.json", parse_questions)


def answers(texts: list[Text[str]], least: int = LEAST) -> tuple[str, ...]:
    """The answers that are best for at least so many questions, by frequency and then by name."""
    counts = Counter(max(sorted(text.scores), key=lambda x: text.scores[x]) for text in texts if text.scores)
    frequent = [(-count, answer) for answer, count in counts.items() if count >= least]
    return tuple(answer for _, answer in sorted(frequent))


def check(root: Path) -> list[str]:
    """Lines on the splits, if the folder is there."""
    splits = ("train", "validation", "test") if (root / "vqa").is_dir() else ()
    return checks.counted("VQA 2.0", splits, partial(read, root), "texts")
