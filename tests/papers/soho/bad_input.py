"""SOHO's readers and command line, whole and damaged: see tests/damage.py."""

import functools
from dataclasses import replace
from pathlib import Path

import torch
import torchvision

from papers.soho import build, config, data, predict
from papers.soho.datasets import captions, nlvr2, snli_ve, vqa
from papers.soho.datasets.images import read_pixels
from papers.soho.visual.trunk import build_trunk
from tests.damage import (
    ANYTHING,
    BINARY,
    JSON,
    NAN,
    PICKLED,
    RUN_CONFIG,
    RUN_WEIGHTS,
    Command,
    Kinds,
    Reader,
    Row,
    bomb,
    build_run,
    damages,
    edited,
    replaced,
    state,
)

from .examples import build_captions, build_nlvr2, build_snli_ve, build_vqa

PRETRAIN = config.PRESETS["smoke"]
VQA = replace(PRETRAIN, task="vqa")
MODEL = "checkpoint/model.safetensors"


def read_captions(root: Path) -> None:
    found = [*captions.pretraining(root), *captions.karpathy(root, "coco", ("val", "test"))]
    found += captions.karpathy(root, "flickr30k", ("train", "val", "test"))
    for x in found:
        read_pixels(x.file)


def read_vqa(root: Path) -> None:
    for split in ("train", "val"):
        for file in vqa.read(root, split)[0]:
            read_pixels(file)


def read_nlvr2(root: Path) -> None:
    for split in ("train", "dev", "test1"):
        for file in nlvr2.read(root, split)[0]:
            read_pixels(file)


def read_snli_ve(root: Path) -> None:
    for split in ("train", "dev", "test"):
        for file in snli_ve.read(root, split)[0]:
            read_pixels(file)


@functools.cache
def pretrained() -> bytes:
    return state(build.pretraining(PRETRAIN, data.vocabulary(PRETRAIN)))


@functools.cache
def answering() -> bytes:
    return state(build.downstream(VQA, data.vocabulary(VQA), data.classes(VQA)))


def write_resnet(root: Path) -> None:
    torch.save(resnet(), root / "resnet.pth")


@functools.cache
def resnet() -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torchvision.models.resnet18().state_dict()
    return found


READERS = {
    "soho captions": Reader(build_captions, read_captions, captions.check),
    "soho vqa": Reader(build_vqa, read_vqa, vqa.check),
    "soho nlvr2": Reader(build_nlvr2, read_nlvr2, nlvr2.check),
    "soho snli-ve": Reader(build_snli_ve, read_snli_ve, snli_ve.check),
    "soho --run": Reader(
        lambda root: build_run(root, "soho", PRETRAIN, model=pretrained()),
        lambda root: predict.pretrained_network(root),
    ),
    "soho answers --run": Reader(
        lambda root: build_run(root, "soho-vqa", VQA, model=answering()), lambda root: predict.questioned(root)
    ),
    "soho --trunk-weights": Reader(write_resnet, lambda root: build_trunk("resnet18", str(root / "resnet.pth"))),
}

LIST: Kinds = {"a list": (lambda path: path.write_text("[1, 2]"), "damaged or no such file")}
IMAGE: Kinds = ANYTHING | {"a bomb": (bomb, "damaged or not an image"), "NaN": (NAN, "floating-point pixels")}
KARPATHY = JSON | LIST | {
    "no images": (edited(lambda c: c["images"].clear()), "holds no image"),
    "no split": (edited(lambda c: c["images"][0].pop("split")), "has no 'split'"),
    "no captions": (edited(lambda c: c["images"][0]["sentences"].clear()), "holds no caption"),
    "a caption that is none": (edited(lambda c: c["images"][0]["sentences"][0].update(raw=3)), "expected a text"),
    "a path": (edited(lambda c: c["images"][0].update(filename="../x.jpg")), "expected the name of a file"),
}  # fmt: skip
LINES = {kind: x for kind, x in JSON.items() if kind != "nested too deep"}
NESTED: Kinds = {"nested too deep": (lambda path: path.write_text("[" * 200_000), "recursion")}

TABLE: list[Row] = [
    *damages("soho captions", "karpathy/dataset_coco.json", KARPATHY),
    *damages("soho captions", "coco/train2014/COCO_train2014_000000000001.jpg", IMAGE),
    *damages(
        "soho captions",
        "vg/region_descriptions.json",
        JSON | {"an unknown image": (edited(lambda c: c[0].update(id=99)), "has no 99")},
    ),
    *damages(
        "soho captions",
        "vg/image_data.json",
        JSON | {"no address": (edited(lambda c: c[0].update(url=None)), "expected a text")},
    ),
    *damages("soho vqa", "vqa/v2_OpenEnded_mscoco_train2014_questions.json", JSON | LIST),
    *damages(
        "soho vqa",
        "vqa/v2_OpenEnded_mscoco_train2014_questions.json",
        {
            "an unknown question": (edited(lambda c: c["questions"][0].update(question_id=7)), "has no 7"),
            "no questions": (edited(lambda c: c["questions"].clear()), "holds no question"),
            "no number": (
                edited(lambda c: c["questions"][0].update(image_id="7")),
                "expected a whole number",
            ),
        },
    ),
    *damages(
        "soho vqa",
        "vqa/v2_mscoco_val2014_annotations.json",
        JSON | {"no answers": (edited(lambda c: c["annotations"][0].pop("answers")), "has no 'answers'")},
    ),
    *damages("soho vqa", "coco/val2014/COCO_val2014_000000000051.jpg", IMAGE),
    *damages("soho nlvr2", "nlvr2/data/dev.json", LINES | NESTED),
    *damages(
        "soho nlvr2",
        "nlvr2/data/train.json",
        {
            "an unknown label": (replaced('"True"', '"perhaps"'), "expected the label True or False"),
            "no directory": (replaced('"directory"', '"folder"'), "has no 'directory'"),
            "a path": (replaced("train-7", "../train-7"), "expected the name of a file"),
            "no statements": (lambda path: path.write_text("\n"), "holds no statement"),
        },
    ),
    *damages("soho nlvr2", "nlvr2/images/dev/dev-7-0-img1.png", IMAGE),
    *damages("soho snli-ve", "snli_ve/snli_ve_test.jsonl", LINES | NESTED),
    *damages(
        "soho snli-ve",
        "snli_ve/snli_ve_train.jsonl",
        {
            "an unknown label": (replaced('"neutral"', '"-"'), "found the label '-'"),
            "no hypothesis": (replaced('"sentence2"', '"sentence"'), "has no 'sentence2'"),
            "an empty hypothesis": (replaced('"someone 0"', '" "'), "expected a text"),
            "a path": (replaced('"11"', '"../11"'), "expected the name of a file"),
        },
    ),
    *damages("soho snli-ve", "flickr30k/flickr30k-images/11.jpg", IMAGE),
    *damages("soho --run", "config.json", RUN_CONFIG),
    *damages("soho --run", MODEL, RUN_WEIGHTS),
    *damages("soho answers --run", "config.json", RUN_CONFIG),
    *damages("soho answers --run", MODEL, RUN_WEIGHTS),
    *damages("soho --trunk-weights", "resnet.pth", PICKLED),
    *damages(
        "soho --trunk-weights",
        "resnet.pth",
        {
            "of another network": (
                lambda path: torch.save({"x": torch.zeros(2)}, path),
                "no usable state dict of",
            ),
            "NaN": (
                lambda path: torch.save({k: x * float("nan") for k, x in resnet().items()}, path),
                "NaN or infinite",
            ),
        },
    ),
]

COMMANDS = {
    "soho": Command(
        predict.main,
        {"shared --image": ".", "soho --run": "run", "soho answers --run": "answers"},
        "--image ./a.png --questions where --captions owl pig --out ./codes.png --run ./run --answers-run ./answers",
        files=dict.fromkeys(("a.png", "run/config.json", f"run/{MODEL}", f"answers/{MODEL}"), BINARY),
        computed=("codes.png",),
    ),
}
