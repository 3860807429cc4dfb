"""Tiny examples of the paper's datasets in their published layouts."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from papers.wfh.datasets.detected import ARRAYS, convert
from tests.damage import write_json

FEATURES, REGIONS = 6, 3
OBJECTS, ATTRIBUTES = ("man,person", "dog", "traffic light"), ("red", "old")
COCO = {"train": [1, 2, 3, 8, 9], "restval": [4, 10, 11], "val": [5, 12], "test": [6, 7]}
FLICKR = {"train": [21, 22], "val": [23], "test": [24, 25]}


def arrays(number: int) -> dict[str, np.ndarray]:
    """Regions of one picture of 40 x 30 pixels."""
    rng = np.random.default_rng(number)
    corners = rng.uniform(0, 15, (REGIONS, 2))
    found: dict[str, Any] = {
        "objects_id": rng.integers(len(OBJECTS), size=REGIONS),
        "objects_conf": rng.uniform(0.3, 1, REGIONS),
        "attrs_id": rng.integers(len(ATTRIBUTES), size=REGIONS),
        "attrs_conf": rng.uniform(0.3, 1, REGIONS),
        "boxes": np.concatenate([corners, corners + rng.uniform(5, 15, (REGIONS, 2))], 1),
        "features": rng.uniform(0, 2, (REGIONS, FEATURES)),
    }
    return {name: np.asarray(x, ARRAYS[name]) for name, x in found.items()}


def write_tsv(path: Path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, name in enumerate(names):
        x = {key: base64.b64encode(array.tobytes()).decode() for key, array in arrays(number).items()}
        cells = [name, "30", "40", *(x[key] for key in ("objects_id", "objects_conf", "attrs_id", "attrs_conf"))]
        lines.append("\t".join([*cells, str(REGIONS), x["boxes"], x["features"]]))
    path.write_text("\n".join(lines) + "\n")


def coco_name(number: int, split: str) -> str:
    return f"COCO_{'train' if split == 'train' else 'val'}2014_{number:012d}"


def build_features(root: Path, names: list[str] | None = None, folder: str = "mscoco_imgfeat") -> None:
    """Region features of some pictures, by default those of the examples of COCO."""
    if names is None:
        names = [coco_name(number, split) for split, numbers in COCO.items() for number in numbers]
    table = root / folder / "all_obj36.tsv"
    write_tsv(table, names)
    convert(table)
    table.unlink()
    (root / "vocabs").mkdir(exist_ok=True)
    (root / "vocabs/objects_vocab.txt").write_text("\n".join(OBJECTS) + "\n")
    (root / "vocabs/attributes_vocab.txt").write_text("\n".join(ATTRIBUTES) + "\n")


def build_captions(root: Path) -> None:
    """Twelve images of COCO, five of Flickr30k, and running text."""
    rows: list[dict[str, Any]] = []
    for split, numbers in COCO.items():
        for number in numbers:
            sentences = [{"raw": f"A dog {k} by thing {number}."} for k in range(5)]
            rows.append({"filename": f"{coco_name(number, split)}.jpg", "split": split, "sentences": sentences})
    write_json(root / "karpathy/dataset_coco.json", {"images": rows})
    rows = []
    for split, numbers in FLICKR.items():
        for number in numbers:
            sentences = [{"raw": f"Someone {k} at place {number}."} for k in range(5)]
            rows.append({"filename": f"{number}.jpg", "split": split, "sentences": sentences})
    write_json(root / "karpathy/dataset_flickr30k.json", {"images": rows})
    (root / "text").mkdir()
    passages = ["The dog ran.\nIt was old.\nThe man called it."] + [f"A {k}.\nB {k}." for k in range(5)]
    (root / "text/books.txt").write_text("\n\n".join(passages) + "\n")


def build_vqa(root: Path) -> None:
    """Two images a split; "yes" is the answer of nine questions of training."""
    for split, images in (("train", (1, 2)), ("val", (5, 12))):
        questions, annotations = [], []
        for k in range(10 if split == "train" else 4):
            number = 100 * images[0] + k
            questions.append({"image_id": images[k % 2], "question": f"Is this thing {k}?", "question_id": number})
            given = ["two"] * 10 if k == 9 else ["Yes."] * 8 + ["no"] * 2
            answers = [{"answer": answer} for answer in given]
            annotations.append({"question_id": number, "answers": answers})
        write_json(root / f"vqa/v2_OpenEnded_mscoco_{split}2014_questions.json", {"questions": questions})
        write_json(root / f"vqa/v2_mscoco_{split}2014_annotations.json", {"annotations": annotations})


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")


def build_nlvr2(root: Path) -> None:
    """Two statements on one pair, and one on another, a split."""
    for split in ("train", "dev", "test1"):
        rows = [
            {"identifier": f"{split}-7-{pair}-{statement}", "sentence": f"both show thing {pair}", "label": label}
            for pair, statement, label in ((0, 0, "True"), (0, 1, "False"), (1, 0, "True"))
        ]
        write_lines(root / f"nlvr2/data/{split}.json", rows)


def build_snli_ve(root: Path) -> None:
    """Three hypotheses on one image and one on another, a split."""
    for split in ("train", "dev", "test"):
        labels = ("entailment", "neutral", "contradiction", "entailment")
        rows = [
            {"Flickr30K_ID": "21" if k < 3 else "22", "gold_label": label, "sentence2": f"someone {k}"}
            for k, label in enumerate(labels)
        ]
        write_lines(root / f"snli_ve/snli_ve_{split}.jsonl", rows)


def build_all(root: Path) -> None:
    for build in (build_features, build_captions, build_vqa, build_nlvr2, build_snli_ve):
        build(root)
    pairs = [f"{split}-7-{pair}-img{k}" for split in ("train", "dev", "test1") for pair in (0, 1) for k in (0, 1)]
    build_features(root, [*pairs, *(str(n) for numbers in FLICKR.values() for n in numbers)], "other_imgfeat")
