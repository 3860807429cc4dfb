"""Featreg's readers and command line, whole and damaged: see tests/damage.py."""

import functools
from pathlib import Path

import numpy as np
import scipy.io
import torch
from PIL import Image

from papers.featreg import build, config, predict
from papers.featreg.backbones.imagenet import imagenet_weights
from papers.featreg.datasets import aligned, voc
from papers.featreg.datasets.images import Images
from tests.damage import (
    ANY_FILE,
    ANYTHING,
    BINARY,
    NAN,
    PICKLED,
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
    emptied,
    empty,
    file,
    flipped,
    gone,
    labels,
    locked,
    loop,
    not_utf8,
    photo,
    picture,
    replaced,
    state,
    text,
)

VOC = "VOCdevkit/VOC2012"
SOURCE, CAMERA = "checkpoint/model.safetensors", "checkpoint/camera.safetensors"
SIZE = (24, 20)  # width and height of every example


def build_voc(root: Path) -> None:
    """Two images of each list, and four of SBD, of which VOC has two."""
    lists = {"train": ["t_1", "t_2"], "val": ["v_1", "v_2"]}
    rng = np.random.default_rng(0)
    for name, stems in lists.items():
        listing = root / VOC / "ImageSets/Segmentation" / f"{name}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("\n".join(stems) + "\n")
        for stem in stems:
            photo(root / VOC / f"JPEGImages/{stem}.jpg", SIZE)
            classes = rng.integers(0, 21, SIZE[::-1])
            classes[0] = 255
            palette_image(root / VOC / f"SegmentationClass/{stem}.png", classes)
    for name, stems in (("train", ["s_1", "t_1"]), ("val", ["s_2", "v_1"])):
        (root / "sbd/cls").mkdir(parents=True, exist_ok=True)
        (root / f"sbd/{name}.txt").write_text("\n".join(stems) + "\n")
        for stem in stems:
            photo(root / f"sbd/img/{stem}.jpg", SIZE)
            write_sbd(root / f"sbd/cls/{stem}.mat", 3)


def palette_image(path: Path, classes: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(classes.astype(np.uint8), "P")
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
    image.save(path)


def write_sbd(path: Path, label: int) -> None:
    """A mat file as SBD has it: a struct whose Segmentation is the label map."""
    segmentation = np.empty((1, 1), [("Segmentation", object), ("Boundaries", object)])
    segmentation[0, 0] = (np.full(SIZE[::-1], label, np.uint8), np.zeros((20, 1)))
    scipy.io.savemat(path, {"GTcls": segmentation})


def build_aligned(root: Path) -> None:
    """Six pairs; the first and the last, which are for testing, have labels of time 2."""
    (root / "classes.txt").write_text("water\nshore\nsky\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    for name in "abcdef":
        photo(root / f"time1/images/{name}.jpg", SIZE)
        photo(root / f"time2/images/{name}.png", SIZE)
        labels(root / f"time1/labels/{name}.png", rng.integers(0, 3, SIZE[::-1]))
        if name in "af":
            (root / "time2/labels").mkdir(parents=True, exist_ok=True)
            (root / f"time2/labels/{name}.png").write_bytes((root / f"time1/labels/{name}.png").read_bytes())


def every(images: Images) -> Images:
    for index in range(len(images)):
        images[index]
    return images


def read_voc(root: Path) -> None:
    voc.describe(root, sbd=False)
    for images in (voc.train(root, sbd=False), voc.validation(root)):
        every(images)


def read_sbd(root: Path) -> None:
    voc.describe(root, sbd=True)
    every(voc.augmentation(root))


def read_aligned(root: Path) -> None:
    aligned.describe(root)
    every(aligned.read(root, "train"))
    every(aligned.read(root, "test"))


@functools.cache
def weights_of_smoke() -> bytes:
    return state(build.first_network(config.PRESETS["smoke"], 9))


def build_trained(root: Path) -> None:
    build_run(root, "featreg", config.PRESETS["smoke"], model=weights_of_smoke(), camera=weights_of_smoke())


READERS = {
    "featreg voc": Reader(build_voc, read_voc),
    "featreg sbd": Reader(build_voc, read_sbd),
    "featreg aligned": Reader(build_aligned, read_aligned, aligned.check),
    "featreg --run": Reader(build_trained, lambda root: predict.trained_networks(root)),
    "featreg --backbone-weights": Reader(
        lambda root: torch.save({"x": torch.zeros(2)}, root / "resnet.pth"),
        lambda root: imagenet_weights(str(root / "resnet.pth"), None),
    ),
}

LABELS: Kinds = {
    "of another size": (picture("L"), "8 x 9 pixels .* expected the same size"),
    "in colour": (picture("RGB", SIZE), "mode RGB; expected class numbers"),
    "NaN": (NAN, "mode F; expected class numbers|8 x 9"),
    "a label out of range": (picture("L", SIZE, 200), "holds the label 200; expected 0 to"),
    "garbled": (flipped, "damaged or not an image|holds the label"),
}

DOMAIN_WEIGHTS = {kind: x for kind, x in WEIGHTS.items() if kind not in ("missing", "a folder", "a symlink loop")}

TABLE: list[Row] = [
    *damages("featreg voc", f"{VOC}/JPEGImages/t_1.jpg", ANYTHING | {"a bomb": (bomb, "damaged or not an image")}),
    *damages(
        "featreg voc",
        f"{VOC}/JPEGImages/t_1.jpg",
        {"of another size": (picture(), "expected the same size"), "NaN": (NAN, "floating-point pixels")},
    ),
    *damages("featreg voc", f"{VOC}/SegmentationClass/v_1.png", ANYTHING | LABELS),
    *damages("featreg voc", f"{VOC}/ImageSets/Segmentation/train.txt", ANY_FILE),
    *damages(
        "featreg voc",
        f"{VOC}/ImageSets/Segmentation/train.txt",
        {
            "empty": (empty, "is empty"),
            "not UTF-8": (not_utf8, "utf-8"),
            "an unknown name": (replaced("t_2", "t_9"), "t_9.jpg is missing", "t_9.jpg"),
        },
    ),
    *damages("featreg voc", VOC, {"missing folder": (gone, "train.txt cannot be read", "train.txt")}),
    *damages("featreg sbd", "sbd/img/s_1.jpg", ANYTHING),
    *damages("featreg sbd", "sbd/cls/s_1.mat", ANYTHING),
    *damages(
        "featreg sbd",
        "sbd/cls/s_1.mat",
        {
            "other content": (lambda path: scipy.io.savemat(path, {"a": 1}), "missing or damaged .*GTcls"),
            "a label out of range": (lambda path: write_sbd(path, 21), "holds the label 21"),
        },
    ),
    *damages("featreg sbd", "sbd/val.txt", ANY_FILE),
    *damages("featreg sbd", "sbd", {"missing folder": (gone, "train.txt cannot be read", "sbd")}),
    *damages("featreg aligned", "time1/images/b.jpg", {k: ANYTHING[k] for k in ("truncated", "empty", "text")}),
    *damages(
        "featreg aligned",
        "time1/images/b.jpg",
        {
            "missing": (gone, "b.png has no partner of the same name", "b.png"),
            "no permission": (locked, "permission"),
            "of another size": (picture(), "8 x 9 .* expected the same size|24 x 20", "b.jpg"),
        },
    ),
    *damages("featreg aligned", "time1/labels/b.png", ANYTHING | LABELS),
    *damages(
        "featreg aligned",
        "time2/images/c.png",
        {
            "missing": (gone, "c.jpg has no partner of the same name", "c.jpg"),
            "of another size": (picture(), "8 x 9 pixels .* expected the same size"),
            "truncated": ANYTHING["truncated"],
        },
    ),
    *damages("featreg aligned", "time2/labels/f.png", LABELS),
    *damages("featreg aligned", "classes.txt", ANY_FILE),
    *damages(
        "featreg aligned",
        "classes.txt",
        {
            "empty": (empty, "names 0 classes; expected two or more"),
            "one class": (lambda path: path.write_text("water\n"), "names 1 classes"),
            "not UTF-8": (not_utf8, "not text in UTF-8"),
        },
    ),
    *damages(
        "featreg aligned",
        "time2/images",
        {
            "empty folder": (emptied, "holds no image"),
            "missing": (gone, "is missing or no folder"),
            "a file": (file, "is missing or no folder"),
            "a symlink loop": (loop, "is missing or no folder"),
        },
    ),
    *damages("featreg --run", "config.json", RUN_CONFIG),
    *damages("featreg --run", SOURCE, RUN_WEIGHTS),
    *damages(
        "featreg --run",
        CAMERA,
        DOMAIN_WEIGHTS,
    ),
    *damages("featreg --backbone-weights", "resnet.pth", PICKLED),
    *damages("featreg --backbone-weights", "resnet.pth", {"a text": (text, "not a checkpoint this code can trust")}),
]

COMMANDS = {
    "featreg": Command(
        predict.main,
        {"shared --image": ".", "featreg --run": "run"},
        "--image ./a.png --domain camera --transform --out ./classes --run ./run",
        files=dict.fromkeys(("a.png", "run/config.json", f"run/{SOURCE}", f"run/{CAMERA}"), BINARY),
        computed=("classes/labels_source.png", "classes/labels_adapted.png", "classes/overlay.png"),
    ),
}
