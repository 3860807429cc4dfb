"""Structcomp's readers and command line, whole and damaged: see tests/damage.py."""

import functools
import json
from pathlib import Path

import numpy as np
import torch

from papers.structcomp import build, config, predict
from papers.structcomp.datasets import places, scenes
from papers.structcomp.datasets.items import Items
from tests.damage import (
    ANY_FILE,
    ANYTHING,
    BINARY,
    NAN,
    RUN_CONFIG,
    RUN_WEIGHTS,
    WEIGHTS,
    Command,
    Kinds,
    Reader,
    Row,
    bomb,
    build_run,
    damages,
    edited,
    emptied,
    file,
    flipped,
    gone,
    labels,
    loop,
    nested,
    not_utf8,
    photo,
    picture,
    replaced,
    state,
)

SIZE = (24, 20)  # width and height of every example
TRAIN, VAL = "data_large/a/abbey", "val_large"
FIRST, VALIDATION = f"{TRAIN}/00000001", f"{VAL}/Places365_val_00000001"


def build_places(root: Path) -> None:
    """Two training images in a class folder, two of validation, and one of the evaluation set."""
    for folder, stems in (
        (TRAIN, ("00000001", "00000002")),
        (VAL, ("Places365_val_00000001", "Places365_val_00000002")),
    ):
        top, _, below = folder.partition("/")
        for stem in stems:
            photo(root / folder / f"{stem}.jpg", SIZE)
            annotate(root / f"{top}_panoptic" / below / stem)
    photo(root / "image/b.png", SIZE)
    annotate(root / "label/b")
    mask = np.full(SIZE[::-1], 255)
    mask[4:14, 4:14] = 0
    labels(root / "mask/b.png", mask)


def annotate(stem: Path) -> None:
    """A sky (stuff 40), a bird and another one (things 14), and void at the border."""
    ids = np.full(SIZE[::-1], 1)
    ids[0], ids[5:11, 4:10], ids[5:11, 10:16] = 0, 2, 3
    labels(stem.with_suffix(".png"), ids)
    segments = [
        {"id": 1, "isthing": False, "category_id": 40, "area": 300},
        {"id": 2, "isthing": True, "category_id": 14, "score": 0.9, "instance_id": 0},
        {"id": 3, "isthing": True, "category_id": 14, "score": 0.9, "instance_id": 1},
    ]
    stem.with_suffix(".json").write_text(json.dumps(segments), encoding="utf-8")


def every(items: Items) -> None:
    for index in range(len(items)):
        items.item(index)


def read_places(root: Path) -> None:
    places.describe(root, "test", 16)
    for split in ("train", "test"):
        every(places.read(root, split, 16))


def read_evaluation(root: Path) -> None:
    places.describe(root, "evaluation", 16)
    every(places.read(root, "evaluation", 16))


SMOKE = config.PRESETS["smoke"]


@functools.cache
def generator_weights() -> bytes:
    torch.manual_seed(0)
    return state(build.generator(SMOKE, scenes.TABLE))


@functools.cache
def layout_weights() -> bytes:
    torch.manual_seed(0)
    return state(build.layout_network(SMOKE, scenes.TABLE))


def build_trained(root: Path) -> None:
    build_run(root, "structcomp", SMOKE, model=generator_weights(), layout=layout_weights())


def build_edit(root: Path) -> None:
    """A mask and a class map for an image that another reader builds."""
    mask = np.zeros(SIZE[::-1])
    mask[5:15, 6:16] = 255
    labels(root / "mask.png", mask)
    labels(root / "label.png", np.full(SIZE[::-1], scenes.TABLE.count))


def read_edit(root: Path) -> None:
    predict.read_mask(root / "mask.png", SIZE[::-1])
    predict.read_label(root / "label.png", SIZE[::-1], scenes.TABLE)


READERS = {
    "structcomp places": Reader(build_places, read_places, places.check),
    "structcomp evaluation": Reader(build_places, read_evaluation, places.check),
    "structcomp --run": Reader(build_trained, lambda root: predict.trained_completer(root)),
    "structcomp --mask": Reader(build_edit, read_edit),
}

MODEL, LAYOUT = "checkpoint/model.safetensors", "checkpoint/layout.safetensors"
LISTED = {kind: x for kind, x in ANYTHING.items() if kind not in ("missing", "a folder", "a symlink loop")}
IMAGE: Kinds = {
    "of another size": (picture(), "24 x 20 pixels .* expected the same size"),
    "a bomb": (bomb, "damaged or not an image"),
    "NaN": (NAN, "floating-point pixels"),
    "garbled": (flipped, "damaged or not an image"),
}
MAP: Kinds = {
    "of another size": (picture("L"), "8 x 9 pixels .* expected the same size"),
    "in colour": (picture("RGB", SIZE), "mode RGB; expected numbers"),
    "NaN": (NAN, "mode F; expected numbers"),
    "unknown segments": (picture("L", SIZE, 77), r"lacks the segments \[77\]", ".json"),
}
DESCRIPTION: Kinds = {
    "missing": (gone, "is missing; the PNG holds ids"),
    "no permission": ANY_FILE["no permission"],
    "truncated": (ANYTHING["truncated"][0], "is not JSON"),
    "empty": (ANYTHING["empty"][0], "is not JSON"),
    "text": (ANYTHING["text"][0], "is not JSON"),
    "not UTF-8": (not_utf8, "utf-8"),
    "nested too deep": (nested, "recursion"),
    "without classes": (replaced("category_id", "category"), "does not describe segments"),
    "of an unknown class": (edited(lambda c: c[1].update(category_id=90)), "does not describe segments .*category 90"),
    "without a segment": (edited(lambda c: c.pop()), r"lacks the segments \[3\]"),
    "of numbers": (edited(lambda c: c.append(5)), "does not describe segments"),
}

TABLE: list[Row] = [
    *damages("structcomp places", f"{FIRST}.jpg", LISTED | IMAGE),
    *damages("structcomp places", f"val_large_panoptic/{Path(VALIDATION).name}.png", ANYTHING | MAP),
    *damages("structcomp places", f"data_large_panoptic/a/abbey/{Path(FIRST).name}.json", DESCRIPTION),
    *damages(
        "structcomp places",
        "val_large",
        {
            "empty folder": (emptied, "holds no image"),
            "missing": (gone, "is missing"),
            "a file": (file, "is missing"),
            "a symlink loop": (loop, "is missing"),
        },
    ),
    *damages("structcomp evaluation", "mask/b.png", ANYTHING),
    *damages(
        "structcomp evaluation",
        "mask/b.png",
        {
            "in colour": (picture("RGB", SIZE), "mode RGB; expected numbers"),
            "all known": (picture("L", SIZE, 255), r"b\.png is all known or all hole"),
            "all hole": (picture("L", SIZE, 0), "all known or all hole"),
        },
    ),
    *damages("structcomp evaluation", "label/b.json", {"missing": DESCRIPTION["missing"]}),
    *damages("structcomp --run", "config.json", RUN_CONFIG),
    *damages("structcomp --run", MODEL, RUN_WEIGHTS),
    *damages(
        "structcomp --run",
        LAYOUT,
        {kind: WEIGHTS[kind] for kind in ("truncated", "empty", "text", "of other shapes", "NaN", "infinite")},
    ),
    *damages(
        "structcomp --mask",
        "mask.png",
        {
            "missing": (gone, "is missing; expected an image file"),
            "truncated": (ANYTHING["truncated"][0], "damaged or cut short"),
            "empty": (ANYTHING["empty"][0], "not an image"),
            "text": (ANYTHING["text"][0], "not an image"),
            "of another size": (picture("L"), "8 x 9 pixels and --image 24 x 20"),
            "all black": (picture("L", SIZE, 0), "is all black"),
            "all white": (picture("L", SIZE, 255), "is all white"),
        },
    ),
    *damages("structcomp --mask", "label.png", ANYTHING),
    *damages(
        "structcomp --mask",
        "label.png",
        {
            "of another size": (picture("L"), "8 x 9 pixels and --image 24 x 20"),
            "in colour": (picture("RGB", SIZE), "mode RGB; expected numbers"),
            "an unknown class": (picture("L", SIZE, 200), "holds the class 200; expected 0 to 9"),
        },
    ),
]

COMMANDS = {
    "structcomp": Command(
        predict.main,
        {"shared --image": ".", "structcomp --mask": ".", "structcomp --run": "run"},
        "--image ./a.png --mask ./mask.png --label ./label.png --edit insert --new-class bird "
        "--out ./filled --run ./run",
        files=dict.fromkeys(
            ("a.png", "mask.png", "label.png", "run/config.json", f"run/{MODEL}", f"run/{LAYOUT}"), BINARY
        ),
        computed=("filled/completed.png", "filled/sheet.png"),
    ),
}
