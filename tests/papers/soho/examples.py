"""Tiny examples of the paper's datasets in their published layouts."""

import json
from pathlib import Path
from typing import Any

from tests.damage import photo, write_json

TALL, WIDE = (24, 40), (40, 24)  # width and height
COCO = {"train": [1, 2, 3], "restval": [4], "val": [5], "test": [6, 7]}


def build_captions(root: Path) -> None:
    """Seven images of COCO, two of Visual Genome of which one is COCO's test image, four of Flickr30k."""
    rows: list[dict[str, Any]] = []
    for split, numbers in COCO.items():
        folder = "train2014" if split == "train" else "val2014"
        for number in numbers:
            name = f"COCO_{folder}_{number:012d}.jpg"
            photo(root / "coco" / folder / name, TALL if number % 2 else WIDE)
            sentences = [{"raw": f"a photo of thing {k} of {number}"} for k in range(5)]
            rows.append(
                {"filepath": folder, "filename": name, "split": split, "cocoid": number, "sentences": sentences}
            )
    write_json(root / "karpathy/dataset_coco.json", {"images": rows})
    build_flickr(root)
    rows = []
    for number, split in ((11, "train"), (12, "train"), (13, "val"), (14, "test")):
        sentences = [{"raw": f"someone {k} at place {number}"} for k in range(5)]
        rows.append({"filename": f"{number}.jpg", "split": split, "sentences": sentences})
    write_json(root / "karpathy/dataset_flickr30k.json", {"images": rows})
    url = "https://cs.stanford.edu/people/rak248/{}/{}.jpg"
    described = [
        {"image_id": 21, "url": url.format("VG_100K", 21), "coco_id": None},
        {"image_id": 22, "url": url.format("VG_100K_2", 22), "coco_id": 6},
    ]
    write_json(root / "vg/image_data.json", described)
    regions = [{"id": k, "regions": [{"phrase": "a red thing"}, {"phrase": "the sky"}]} for k in (21, 22)]
    write_json(root / "vg/region_descriptions.json", regions)
    photo(root / "vg/VG_100K/21.jpg", WIDE)
    photo(root / "vg/VG_100K_2/22.jpg", WIDE)


def build_flickr(root: Path) -> None:
    for number in (11, 12, 13, 14):
        photo(root / f"flickr30k/flickr30k-images/{number}.jpg", WIDE)


def build_vqa(root: Path) -> None:
    """Two images and five questions a split; "yes" is the answer of nine questions of training."""
    for split, first in (("train", 1), ("val", 51)):
        questions, annotations = [], []
        for k in range(10 if split == "train" else 4):
            image, number = first + k % 2, 100 * first + k
            photo(root / f"coco/{split}2014/COCO_{split}2014_{image:012d}.jpg", WIDE)
            questions.append({"image_id": image, "question": f"is this thing {k}?", "question_id": number})
            given = ["two"] * 10 if k == 9 else ["Yes."] * 8 + ["no"] * 2
            answers = [{"answer": answer} for answer in given]
            annotations.append({"question_id": number, "answer_type": "yes/no", "answers": answers})
        write_json(root / f"vqa/v2_OpenEnded_mscoco_{split}2014_questions.json", {"questions": questions})
        write_json(root / f"vqa/v2_mscoco_{split}2014_annotations.json", {"annotations": annotations})


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")


def build_nlvr2(root: Path) -> None:
    """Two statements on one pair, and one on another, a split."""
    for split in ("train", "dev", "test1"):
        rows = []
        for pair, statement, label in ((0, 0, "True"), (0, 1, "False"), (1, 0, "True")):
            identifier = f"{split}-7-{pair}-{statement}"
            rows.append(
                {"identifier": identifier, "sentence": f"both show thing {pair}", "label": label, "directory": 3}
            )
            for side in (0, 1):
                folder = f"train/3/{split}" if split == "train" else f"{split}/{split}"
                photo(root / f"nlvr2/images/{folder}-7-{pair}-img{side}.png", WIDE)
        write_lines(root / f"nlvr2/data/{split}.json", rows)


def build_snli_ve(root: Path) -> None:
    """Three hypotheses on one image and one on another, a split."""
    build_flickr(root)
    for split in ("train", "dev", "test"):
        labels = ("entailment", "neutral", "contradiction", "entailment")
        rows = [
            {
                "Flickr30K_ID": "11" if k < 3 else "12",
                "gold_label": label,
                "sentence2": f"someone {k}",
                "pairID": f"{k}#0",
            }
            for k, label in enumerate(labels)
        ]
        write_lines(root / f"snli_ve/snli_ve_{split}.jsonl", rows)


def build_all(root: Path) -> None:
    for build in (build_captions, build_vqa, build_nlvr2, build_snli_ve):
        build(root)
