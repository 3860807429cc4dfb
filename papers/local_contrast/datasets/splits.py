"""Which subjects serve for what: the lists of the official code (`experiment_init`), and those of MNI-Synth.

Each JSON file of lists/ holds one data set: `pretraining`, `test`, and by the number of labelled volumes
(`1`, `2`, `8`, `all`) sets of `labelled` subjects, each with its `validation` subjects. `released` holds the lists that
were mended, as the authors released them; `mended` says what was wrong.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "lists"


@dataclass(frozen=True)
class Split:
    """The subjects of one run."""

    pretraining: list[str]
    labelled: list[str]
    validation: list[str]
    test: list[str]


def split(dataset: str, labelled: int, seed: int, released: bool = False) -> Split:
    """The lists for a number of labelled volumes (0: all); a seed takes one of the sets in turn."""
    content = json.loads(text(dataset))
    lists = content | (content["released"] if released else {})
    sets = lists["sets"][str(labelled or "all")]
    chosen = sets[seed % len(sets)]
    return Split(lists["pretraining"], chosen["labelled"], chosen["validation"], lists["test"])


def synthetic_split(subjects: tuple[int, int, int], labelled: int, seed: int) -> Split:
    """The lists of MNI-Synth: every seed has an order of the pool of its own, and a set is where that order begins.

    Args:
        subjects: numbers in the pool, for validation, for the test.
    """
    names = [f"{k:03}" for k in range(sum(subjects))]
    pool, validation = names[: subjects[0]], names[subjects[0] : subjects[0] + subjects[1]]
    order = np.random.default_rng((seed, 1)).permutation(len(pool))
    chosen = sorted(order[: labelled or len(pool)].tolist())
    return Split(pool, [pool[k] for k in chosen], validation, names[subjects[0] + subjects[1] :])


def subjects(dataset: str) -> list[str]:
    """Every subject of a data set's lists, sorted."""
    content = json.loads(text(dataset))
    found = {*content["pretraining"], *content["test"]}
    for lists in (content, content["released"]):
        found |= set(lists.get("pretraining", ()))
        for sets in lists.get("sets", {}).values():
            found |= {name for chosen in sets for name in (*chosen["labelled"], *chosen["validation"])}
    return sorted(found)


def text(dataset: str) -> str:
    """A data set's file of lists."""
    return (FOLDER / f"{dataset}.json").read_text()
