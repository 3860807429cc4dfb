"""VQA 2.0 in its published files, with the answers that occur often as classes."""

import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from shared.support import annotations

from .captions import usable
from .texts import Text

LAYOUT = """\
  vqa/                        v2_OpenEnded_mscoco_{train,val}2014_questions.json,
                              v2_mscoco_{train,val}2014_annotations.json (images: coco/train2014, coco/val2014)"""
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


def read(root: Path, split: str) -> tuple[list[Path], list[Text]]:
    """Image files and questions of "train" or "val"; an answer's score is a third for each human, at most 1.

    Raises:
        UserError: if a file is missing or damaged, or a question has no annotation.
    """

    def parse_answers(content: Any) -> dict[int, tuple[dict[str, float], str]]:
        found = {}
        for row in content["annotations"]:
            counts = Counter(normalised(annotations.text(answer["answer"])) for answer in row["answers"])
            scores = {answer: min(1.0, count / HUMANS) for answer, count in counts.items()}
            found[annotations.number(row["question_id"])] = (scores, annotations.text(row["answer_type"]))
        return found

    answers = annotations.read(root / "vqa" / f"v2_mscoco_{split}2014_annotations.json", parse_answers)
    images: dict[int, int] = {}

    def parse_questions(content: Any) -> list[Text]:
        found = []
        for row in content["questions"]:
            image = images.setdefault(annotations.number(row["image_id"]), len(images))
            scores, kind = answers[annotations.number(row["question_id"])]
            found.append(Text((image,), annotations.text(row["question"]), scores, kind))
        return annotations.some(found, "question")

    texts = annotations.read(root / "vqa" / f"v2_OpenEnded_mscoco_{split}2014_questions.json", parse_questions)
    folder = root / "coco" / f"{split}2014"
    return [folder / f"COCO_{split}2014_{image:012d}.jpg" for image in images], texts


def answers(texts: list[Text], least: int = LEAST) -> tuple[str, ...]:
    """The answers that are best for at least so many questions, by frequency and then by name."""
    counts = Counter(max(sorted(text.scores), key=lambda x: text.scores[x]) for text in texts if text.scores)
    frequent = [(-count, answer) for answer, count in counts.items() if count >= least]
    return tuple(answer for _, answer in sorted(frequent))


def check(root: Path) -> list[str]:
    """Lines on the splits, if the folder is there."""
    splits = ("train", "val") if (root / "vqa").is_dir() else ()
    return [line for split in splits for line in usable(f"VQA 2.0, {split}", partial(images, root, split))]


def images(root: Path, split: str) -> list[Path]:
    """The files of the images of a split."""
    return read(root, split)[0]
