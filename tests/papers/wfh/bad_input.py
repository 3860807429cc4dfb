"""WFH's readers and command line, whole and damaged: see tests/damage.py."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from papers.wfh import build, config, data, predict
from papers.wfh.datasets import captions, detect, detected, nlvr2, passages, regions, snli_ve, vqa
from papers.wfh.hallucination.gallery import SHOWN, SIZE
from tests.damage import (
    ANY_FILE,
    ANYTHING,
    BINARY,
    JSON,
    PICKLED,
    RUN_CONFIG,
    RUN_WEIGHTS,
    WEIGHTS,
    Command,
    Damage,
    Kinds,
    Reader,
    Row,
    build_run,
    damages,
    edited,
    empty,
    not_utf8,
    replaced,
)

from .examples import build_captions, build_features, build_nlvr2, build_snli_ve, build_vqa, write_tsv

PRETRAIN = config.PRESETS["smoke"]
RETRIEVAL = replace(PRETRAIN, task="retrieval")
MODEL, GALLERY = "checkpoint/model.safetensors", "checkpoint/gallery.safetensors"
H5, TABLE_OF = "mscoco_imgfeat/all_obj36.h5", "x_imgfeat/x.tsv"


def read_features(root: Path) -> None:
    names = list(detected.index(root))
    images = detected.open_images(root, names, most=36)
    for number in range(len(images)):
        images[number]


def read_captions(root: Path) -> None:
    for which in captions.SETS:
        captions.karpathy(root, which, ("train", "val", "test"))
    passages.read_file(root / "text/books.txt")


def read_splits(read: Callable[[Path, str], Any], *splits: str) -> Callable[[Path], None]:
    def read_all(root: Path) -> None:
        for split in splits:
            read(root, split)

    return read_all


@functools.cache
def pretrained() -> tuple[bytes, bytes]:
    """Weights and gallery of a network that was not trained."""
    from safetensors.torch import save

    features = np.random.default_rng(0).normal(size=(40, regions.WIDTH)).astype(np.float32)
    model = build.pretraining(PRETRAIN, data.vocabulary(PRETRAIN), features)
    count = PRETRAIN.visual_words
    gallery = {
        "objects": torch.arange(count) - 1,
        "pictures": torch.full((count, SHOWN, SIZE, SIZE, 3), 90, dtype=torch.uint8),
        "mean": torch.zeros(regions.WIDTH),
        "deviation": torch.ones(regions.WIDTH),
    }
    return save({name: x.contiguous() for name, x in model.state_dict().items()}), save(gallery)


@functools.cache
def ranking() -> bytes:
    from tests.damage import state

    return state(build.downstream(RETRIEVAL, data.vocabulary(RETRIEVAL), None))


def build_words_run(root: Path) -> None:
    model, gallery = pretrained()
    build_run(root, "wfh", PRETRAIN, model=model, gallery=gallery)


def in_h5(name: str, change: Callable[[np.ndarray], None]) -> Damage:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as stored:
            values = stored[name][:]
            change(values)
            stored[name][:] = values

    return damage


def without(name: str) -> Damage:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as stored:
            del stored[name]

    return damage


READERS = {
    "wfh features": Reader(build_features, read_features, detected.check),
    "wfh tsv": Reader(
        lambda root: write_tsv(root / TABLE_OF, ["a", "b", "c"]), lambda root: list(detected.read_tsv(root / TABLE_OF))
    ),
    "wfh captions": Reader(build_captions, read_captions, lambda root: [*captions.check(root), *passages.check(root)]),
    "wfh vqa": Reader(build_vqa, read_splits(vqa.read, "train", "validation", "test"), vqa.check),
    "wfh nlvr2": Reader(build_nlvr2, read_splits(nlvr2.read, "train", "dev", "test1"), nlvr2.check),
    "wfh snli-ve": Reader(build_snli_ve, read_splits(snli_ve.read, "train", "dev", "test"), snli_ve.check),
    "wfh --weights": Reader(
        lambda root: torch.save(detector(), root / "detector.pth"),
        lambda root: detect.detector(str(root / "detector.pth")),
    ),
    "wfh words --run": Reader(build_words_run, lambda root: predict.trained_words(root)),
    "wfh --run": Reader(
        lambda root: build_run(root, "wfh-retrieval", RETRIEVAL, model=ranking()),
        lambda root: predict.trained_ranking(root),
    ),
}


@functools.cache
def detector() -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = detect.detector("none").state_dict()
    return found


LIST: Kinds = {"a list": (lambda path: path.write_text("[1, 2]"), "damaged or no such file")}
KARPATHY = JSON | LIST | {
    "no images": (edited(lambda c: c["images"].clear()), "holds no image"),
    "no split": (edited(lambda c: c["images"][0].pop("split")), "has no 'split'"),
    "no captions": (edited(lambda c: c["images"][0]["sentences"].clear()), "holds no caption"),
    "a caption that is none": (edited(lambda c: c["images"][0]["sentences"][0].update(raw=3)), "expected a text"),
}  # fmt: skip
LINES = {kind: x for kind, x in JSON.items() if kind != "nested too deep"}
NESTED: Kinds = {"nested too deep": (lambda path: path.write_text("[" * 200_000), "recursion")}
VOCABULARY: Kinds = ANY_FILE | {"empty": (empty, "is empty"), "not UTF-8": (not_utf8, "utf-8")}
LATER_WEIGHTS = {kind: x for kind, x in WEIGHTS.items() if kind not in ("missing", "a folder", "a symlink loop")}

TABLE: list[Row] = [
    *damages("wfh features", H5, {kind: x for kind, x in ANYTHING.items() if kind != "missing"}),
    *damages(
        "wfh features",
        H5,
        {
            "without boxes": (without("boxes"), "cannot be used .*boxes"),
            "NaN": (in_h5("features", lambda x: x[0, 0].fill(np.nan)), "row 0 is NaN or infinite"),
            "an unknown object": (in_h5("objects_id", lambda x: x[0].fill(9)), "class 9 of row 0; expected 0 to 2"),
            "a negative attribute": (in_h5("attrs_id", lambda x: x[0].fill(-1)), "expected 0 to 1"),
        },
    ),
    *damages("wfh features", "mscoco_imgfeat/all_obj36.json", JSON | LIST),
    *damages(
        "wfh features",
        "mscoco_imgfeat/all_obj36.json",
        {
            "no size": (edited(lambda c: c[0].pop("img_w")), "has no 'img_w'"),
            "no pixels": (edited(lambda c: c[0].update(img_h=0)), "a picture of 40 x 0 pixels"),
            "more pictures than rows": (edited(lambda c: c.append(c[0] | {"img_id": "z"})), "cannot be used", H5),
            "no pictures": (edited(lambda c: c.clear()), "holds no picture"),
        },
    ),
    *damages("wfh features", "vocabs/objects_vocab.txt", VOCABULARY),
    *damages("wfh features", "vocabs/attributes_vocab.txt", VOCABULARY),
    *damages("wfh tsv", TABLE_OF, ANYTHING),
    *damages(
        "wfh tsv",
        TABLE_OF,
        {
            "another number of boxes": (replaced("\t3\t", "\t2\t"), "damaged or no TSV file .*line 1"),
            "no number": (replaced("\t3\t", "\tx\t"), "damaged or no TSV file"),
            "a column too few": (replaced("\t30\t", "\t"), "damaged or no TSV file"),
            "not base64": (replaced("A", "!"), "damaged or no TSV file"),
        },
    ),
    *damages("wfh captions", "karpathy/dataset_coco.json", KARPATHY),
    *damages("wfh captions", "karpathy/dataset_flickr30k.json", KARPATHY),
    *damages(
        "wfh captions",
        "text/books.txt",
        {
            "a folder": ANY_FILE["a folder"],
            "no permission": ANY_FILE["no permission"],
            "empty": (empty, "holds no passage of 2 sentences"),
            "not UTF-8": (not_utf8, "is not UTF-8"),
            "passages of one sentence": (lambda path: path.write_text("a\n\nb\n"), "holds no passage of 2 sentences"),
        },
    ),
    *damages("wfh vqa", "vqa/v2_OpenEnded_mscoco_train2014_questions.json", JSON | LIST),
    *damages(
        "wfh vqa",
        "vqa/v2_OpenEnded_mscoco_train2014_questions.json",
        {
            "an unknown question": (edited(lambda c: c["questions"][0].update(question_id=7)), "has no 7"),
            "no questions": (edited(lambda c: c["questions"].clear()), "holds no question"),
            "no number": (edited(lambda c: c["questions"][0].update(image_id="7")), "expected a whole number"),
        },
    ),
    *damages(
        "wfh vqa",
        "vqa/v2_mscoco_val2014_annotations.json",
        JSON | {"no answers": (edited(lambda c: c["annotations"][0].pop("answers")), "has no 'answers'")},
    ),
    *damages("wfh nlvr2", "nlvr2/data/dev.json", LINES | NESTED),
    *damages(
        "wfh nlvr2",
        "nlvr2/data/train.json",
        {
            "an unknown label": (replaced('"True"', '"perhaps"'), "expected the label True or False"),
            "no statements": (lambda path: path.write_text("\n"), "holds no statement"),
        },
    ),
    *damages("wfh snli-ve", "snli_ve/snli_ve_test.jsonl", LINES | NESTED),
    *damages(
        "wfh snli-ve",
        "snli_ve/snli_ve_train.jsonl",
        {
            "an unknown label": (replaced('"neutral"', '"-"'), "found the label '-'"),
            "no hypothesis": (replaced('"sentence2"', '"sentence"'), "has no 'sentence2'"),
            "an empty hypothesis": (replaced('"someone 0"', '" "'), "expected a text"),
        },
    ),
    *damages("wfh --weights", "detector.pth", PICKLED),
    *damages(
        "wfh --weights",
        "detector.pth",
        {
            "of another network": (lambda path: torch.save({"x": torch.zeros(2)}, path), "cannot be used"),
        },
    ),
    *damages("wfh words --run", "config.json", RUN_CONFIG),
    *damages("wfh words --run", MODEL, RUN_WEIGHTS),
    *damages("wfh words --run", GALLERY, LATER_WEIGHTS),
    *damages("wfh --run", "config.json", RUN_CONFIG),
    *damages("wfh --run", MODEL, RUN_WEIGHTS),
]

COMMANDS = {
    "wfh": Command(
        predict.main,
        {"shared --image": ".", "wfh --run": "run", "wfh words --run": "words"},
        "--images ./a.png --captions crow pig --out ./words.png --run ./run --words-run ./words",
        files=dict.fromkeys(("a.png", "run/config.json", f"run/{MODEL}", f"words/{MODEL}", f"words/{GALLERY}"), BINARY),
        computed=("words.png",),
    ),
}
