"""What FastMIM reads and is asked for, whole and damaged: see tests/damage.py."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.fastmim import build, config, predict
from papers.fastmim.datasets import ade20k, coco, imagenet
from tests.damage import (
    ANYTHING,
    BINARY,
    IMAGENET,
    JSON,
    LAST_OF_A_CLASS,
    NAN,
    PICKLED,
    RUN_CONFIG,
    RUN_WEIGHTS,
    WEIGHTS,
    Command,
    Damage,
    Reader,
    Row,
    bomb,
    build_imagenet,
    build_run,
    damages,
    edited,
    emptied,
    empty,
    file,
    flipped,
    golden,
    gone,
    half,
    labels,
    locked,
    loop,
    no_run,
    photo,
    pickled,
    picture,
    state,
    text,
    write_json,
)


@functools.cache
def weights_of_smoke() -> dict[str, bytes]:
    smoke = config.PRESETS["smoke"]
    return {
        "model": state(build.build_classifier(smoke, 10)),
        "pretrained": state(build.build_pretraining(smoke)),
    }


def build_trained(root: Path) -> None:
    build_run(root, "fastmim", config.PRESETS["smoke"], **weights_of_smoke())


def read_trained(root: Path) -> None:
    build.trained_classifier(root)
    build.trained_network(root)


SMALL_VIT = {"image_size": 64, "widths": (48,), "depths": (2,), "heads": (2,)}


def official() -> dict[str, Tensor]:
    encoder = golden("fastmim/vit_hog_forward.npz", "w/")
    width = encoder["pos_embed"].shape[-1]
    head = {"head.weight": torch.zeros(7, width), "head.bias": torch.zeros(7)}
    return encoder | head | {"fc_norm.weight": torch.ones(width), "fc_norm.bias": torch.zeros(width)}


def build_official(root: Path) -> None:
    torch.save({"model": official()}, root / "best.pth")


def without(start: str) -> Damage:
    return pickled({"model": {name: x for name, x in official().items() if not name.startswith(start)}})


@contextlib.contextmanager
def small_paper_preset() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(build.PRESETS, "paper", replace(config.PRESETS["paper"], **SMALL_VIT))
        yield


def read_official(root: Path) -> None:
    with small_paper_preset():
        build.official_classifier(root / "best.pth")


def predict_with_official(arguments: list[str]) -> int:
    with small_paper_preset():
        return predict.main(arguments)


def read_imagenet(root: Path) -> None:
    for photos, _ in imagenet.read(root)[:2]:
        for index in range(len(photos)):
            _ = photos[index]


INSTANCES = "annotations/instances_train2017.json"


def build_coco(root: Path) -> None:
    for number in (1, 2):
        photo(root / f"train2017/{number}.jpg")
    listed = [{"id": k, "file_name": f"{k}.jpg", "height": 20, "width": 24} for k in (1, 2)]
    box = {"bbox": [2, 3, 10, 8], "segmentation": [[2, 3, 12, 3, 12, 11, 2, 11]], "area": 80, "iscrowd": 0}
    annotations = [{"id": k, "image_id": k, "category_id": 3} | box for k in (1, 2)]
    categories = [{"id": 3, "name": "owl"}]
    write_json(root / INSTANCES, {"images": listed, "annotations": annotations, "categories": categories})


def outline(content: Any, segmentation: Any) -> None:
    content["annotations"][0]["segmentation"] = segmentation


def read_coco(root: Path) -> None:
    instances = coco.Instances(root, "train")
    for image_id in instances.ids:
        instances.image(image_id)
        instances.target(image_id)


def build_ade(root: Path) -> None:
    for number in (1, 2):
        photo(root / f"images/training/A_{number}.jpg")
        labels(root / f"annotations/training/A_{number}.png", np.arange(480).reshape(20, 24) % 151)


def read_ade(root: Path) -> None:
    scenes = ade20k.Scenes(root, "training")
    for index in range(len(scenes)):
        _ = scenes[index]


READERS = {
    "fastmim imagenet": Reader(build_imagenet, read_imagenet, imagenet.check),
    "fastmim coco": Reader(build_coco, read_coco),
    "fastmim ade20k": Reader(build_ade, read_ade),
    "fastmim --run": Reader(build_trained, read_trained),
    "fastmim --checkpoint": Reader(build_official, read_official),
}

TABLE: list[Row] = [
    *damages(
        "fastmim imagenet",
        IMAGENET,
        ANYTHING
        | LAST_OF_A_CLASS
        | {
            "truncated": (half, "cannot be read: .*[Tt]runcated.*; replace it"),
            "empty": (empty, "is empty; replace it"),
            "text": (text, "is not an image; replace it"),
            "NaN": (NAN, "floating-point"),
        },
    ),
    *damages("fastmim imagenet", IMAGENET, {"a bomb": (bomb, "cannot be read")}),
    *damages(
        "fastmim imagenet",
        "train/n01440764",
        {
            "empty folder": (emptied, "Found no valid file for the classes", "n01440764"),
            "a class missing": (gone, "only in val, not in train: ", "n01440764"),
            "a file": (file, "only in val, not in train: ", "n01440764"),
            "a symlink loop": (loop, "only in val, not in train: n01440764|n01440764"),
            "a class twice": (lambda p: (p.parent / "twice").symlink_to(p.name), "are one folder", "twice"),
            "a loop inside": (lambda p: (p / "round").symlink_to("."), "are one folder", "round"),
        },
    ),
    *damages(
        "fastmim imagenet",
        "train",
        {
            "empty folder": (emptied, "does not hold class folders"),
            "missing": (gone, "missing"),
            "a file": (file, "not a folder"),
            "a symlink loop": (loop, "missing|symbolic links"),
            "no permission": (locked, "[Pp]ermission"),
        },
    ),
    *damages("fastmim coco", "train2017/1.jpg", ANYTHING),
    *damages("fastmim coco", "train2017/1.jpg", {"wrong shape": (picture(), "has 8 x 9 pixels, but .* says 24 x 20")}),
    *damages("fastmim coco", "train2017", {"a file": (file, "not a folder"), "empty folder": (emptied, "is missing")}),
    *damages("fastmim coco", "train2017", {"missing": (gone, "not a folder")}),
    *damages("fastmim coco", INSTANCES, JSON),
    *damages(
        "fastmim coco",
        INSTANCES,
        {
            "a list": (lambda path: path.write_text("[]"), "no file of COCO instances"),
            "no images": (edited(lambda c: c.update(images=[], annotations=[])), "lists no images"),
            "no objects": (edited(lambda c: c.update(annotations=[])), "lists no objects"),
            "no categories": (edited(lambda c: c.pop("categories")), "categories"),
            "NaN": (edited(lambda c: c["annotations"][0]["bbox"].__setitem__(2, float("nan"))), "annotation 1 "),
            "infinite": (edited(lambda c: c["annotations"][0]["bbox"].__setitem__(2, float("inf"))), "annotation 1 "),
            "a word for a number": (edited(lambda c: c["annotations"][0].update(bbox=["a", 1, 2, 3])), "annotation 1 "),
            "no box": (edited(lambda c: c["annotations"][0].pop("bbox")), "annotation 1 has no bbox"),
            "a box of three": (edited(lambda c: c["annotations"][0]["bbox"].pop()), "bbox of 3 numbers"),
            "a polygon of one number": (edited(lambda c: outline(c, [[1]])), "segmentation .* no points"),
            "a polygon of words": (edited(lambda c: outline(c, [["a"] * 6])), "segmentation"),
            "a polygon of NaN": (edited(lambda c: outline(c, [[float("nan")] * 6])), "segmentation .* no points"),
            "a polygon beyond memory": (edited(lambda c: outline(c, [[1e300, 1, 2, 1, 2, 1e300]])), "no points"),
            "an area of words": (edited(lambda c: c["annotations"][0].update(area="a")), "annotation 1 "),
            "a crowd of words": (edited(lambda c: c["annotations"][0].update(iscrowd="a")), "annotation 1 "),
            "an id of words": (edited(lambda c: c["annotations"][0].update(id="a")), "annotation a "),
            "no outline": (edited(lambda c: outline(c, None)), "segmentation"),
            "a mask of other size": (edited(lambda c: outline(c, {"size": [5, 5], "counts": [5, 20]})), "size is"),
            "a mask of fewer pixels": (edited(lambda c: outline(c, {"size": [20, 24], "counts": [5]})), "5 of 480"),
            "a class out of range": (edited(lambda c: c["annotations"][0].update(category_id=99)), "does not list"),
            "no partner": (edited(lambda c: c["annotations"][0].update(image_id=99)), "does not list"),
            "an image twice": (edited(lambda c: c["images"].append(c["images"][0])), "twice"),
            "an object twice": (edited(lambda c: c["annotations"].append(c["annotations"][0])), "twice"),
            "a name that is none": (edited(lambda c: c["images"][0].update(file_name=5)), "file_name"),
        },
    ),
    *damages("fastmim ade20k", "images/training/A_1.jpg", ANYTHING | {"missing": (gone, "has no image", "A_1.png")}),
    *damages(
        "fastmim ade20k",
        "annotations/training/A_1.png",
        ANYTHING
        | {
            "missing": (gone, r"is missing \(and 0 more\); expected a mask for every image"),
            "wrong shape": (picture("L"), "8 x 9 pixels, but .* has 24 x 20"),
            "in colour": (picture("RGB", (24, 20), (1, 2, 3)), "no mask of ADE20K"),
            "a label out of range": (picture("L", (24, 20), 151), "largest value 151"),
            "garbled": (flipped, "cannot be read"),
            "NaN": (NAN, "floating-point"),
        },
    ),
    *damages(
        "fastmim ade20k",
        "images/training",
        {
            "empty folder": (emptied, "no .jpg images"),
            "missing": (gone, "not a folder"),
            "a file": (file, "not a folder"),
            "a symlink loop": (loop, "not a folder"),
        },
    ),
    *damages("fastmim --run", "config.json", RUN_CONFIG),
    *damages(
        "fastmim --run",
        "config.json",
        {
            "out of range": (
                edited(lambda c: c["config"].update(patch_size=0)),
                "another version",
                "model.safetensors",
            ),
            "an empty list": (edited(lambda c: c["config"].update(widths=[])), "another version", "model.safetensors"),
        },
    ),
    *damages("fastmim --run", "checkpoint/model.safetensors", RUN_WEIGHTS),
    *damages("fastmim --run", "checkpoint/pretrained.safetensors", WEIGHTS | no_run("pretrained")),
    *damages("fastmim --checkpoint", "best.pth", PICKLED),
    *damages(
        "fastmim --checkpoint",
        "best.pth",
        {
            "no head": (pickled({"model": {"cls_token": torch.zeros(1, 1, 8)}}), "no classification head"),
            "of other shapes": (
                pickled({"model": {"head.bias": torch.zeros(3), "blocks.0.norm1.weight": torch.zeros(3)}}),
                "does not fit",
            ),
            "no tensors": (
                pickled({"model": {"head.bias": torch.zeros(3), "blocks.0.norm1.weight": 1.0}}),
                "is no fine-tuned",
            ),
            "NaN": (pickled({"head.bias": torch.tensor([float("nan")])}), "NaN or infinite"),
            "other keys": (pickled({"model": {"head.bias": torch.zeros(3), 3: torch.zeros(3)}}), "is no fine-tuned"),
            "a list inside": (pickled({"model": [1, 2]}), "no classification head"),
            "a block missing": (without("blocks.1."), "lacks blocks.1.norm1.weight"),
            "the head's weights missing": (without("head.weight"), "lacks head.weight"),
            "the norm before the head missing": (without("fc_norm."), "lacks fc_norm.weight"),
        },
    ),
]

CLASSIFY = "--image ./a.png --out ./filled.png "
COMMANDS = {
    "fastmim": Command(
        predict.main,
        {"shared --image": ".", "fastmim --run": "run"},
        CLASSIFY + "--run ./run",
        files=dict.fromkeys(
            (
                "a.png",
                "run/config.json",
                "run/checkpoint/model.safetensors",
                "run/checkpoint/pretrained.safetensors",
            ),
            BINARY,
        ),
        computed=("filled.png",),
    ),
    "fastmim official": Command(
        predict_with_official,
        {"shared --image": ".", "fastmim --checkpoint": "."},
        CLASSIFY + "--checkpoint ./best.pth",
        files={"best.pth": BINARY},
        computed=(),  # the classes are printed
        spared=("filled.png",),  # there is no decoder in published weights
    ),
}
