"""Metrics of the tasks: exact match and F1 of answers by SQuAD's rules, the best span, ROUGE-L and BLEU."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

N_BEST = 20  # starts and ends that are considered


def normalised(text: str) -> list[str]:
    """Words in lower case, without punctuation and articles."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def exact_match(prediction: str, answers: Sequence[str]) -> int:
    """1 if the prediction is one of the answers; without answers, if it is empty."""
    return max(int(normalised(prediction) == normalised(answer)) for answer in real(answers))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over words, for the answer that fits best."""
    return max(overlap(normalised(prediction), normalised(answer)) for answer in real(answers))


def real(answers: Sequence[str]) -> list[str]:
    """Answers that have words; the empty answer if none has."""
    return [answer for answer in answers if normalised(answer)] or [""]


def overlap(predicted: list[str], answer: list[str]) -> float:
    if not predicted or not answer:
        return float(predicted == answer)
    common = (Counter(predicted) & Counter(answer)).total()
    return 2 * common / (len(predicted) + len(answer))


@dataclass(frozen=True)
class Window:
    """Logits (S,) of a window's positions, and which of them an answer may begin at."""

    start: np.ndarray
    end: np.ndarray
    begins: np.ndarray
    """(S,) bool: in the context, and not shown better by another window."""
    context: np.ndarray | None = None
    """(S,) bool: in the context, where an answer may end; default: as ``begins``."""


def best_span(
    windows: Sequence[Window], n_best: int, longest: int, null_threshold: float | None
) -> tuple[int, int, int] | None:
    """Window, first and last position of the best answer; None for "no answer".

    Args:
        n_best: starts, and ends, of the largest logits that are considered.
        longest: positions of an answer at most.
        null_threshold: "no answer" wins if position 0 scores more than this above the best span; None: never.
    """
    best: tuple[float, tuple[int, int, int]] | None = None
    for number, window in enumerate(windows):
        may_end = window.begins if window.context is None else window.context
        if null_threshold is None:  # nothing competes with the context
            starts, ends = (
                np.where(may, x, -np.inf) for may, x in ((window.begins, window.start), (may_end, window.end))
            )
        else:
            starts, ends = window.start, window.end
        for i in np.argsort(-starts, kind="stable")[:n_best]:
            for j in np.argsort(-ends, kind="stable")[:n_best]:
                if window.begins[i] and may_end[j] and i <= j < i + longest:
                    score = float(window.start[i] + window.end[j])
                    if best is None or score > best[0]:
                        best = score, (number, int(i), int(j))
    null = min(float(window.start[0] + window.end[0]) for window in windows)
    if best is None or (null_threshold is not None and null - best[0] > null_threshold):
        return None
    return best[1]


def rouge_l(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Mean ROUGE-L F of texts, from 0 to 1."""
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    scores = [
        scorer.score(reference, text)["rougeL"].fmeasure
        for text, reference in zip(predictions, references, strict=True)
    ]
    return float(np.mean(scores))


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4 over words at white space, from 0 to 1; the closest reference sets the length."""
    most = max(map(len, references))
    by_place = [[row[k] if k < len(row) else None for row in references] for k in range(most)]
    score = sacrebleu.BLEU(tokenize="none", smooth_method="none", force=True).corpus_score(list(predictions), by_place)  # type: ignore[arg-type]
    return score.score / 100
