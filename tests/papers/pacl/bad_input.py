"""PACL's readers and command line, with whole and damaged input: see tests/damage.py."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import scipy.io
import torch
from torch import nn

from papers.pacl import config, model, predict
from papers.pacl.datasets import benchmarks, classification, pairs
from papers.pacl.datasets.part import Part
from papers.pacl.towers import miniclip
from tests.damage import (
    ANY_FILE,
    ANYTHING,
    BINARY,
    FOLDER,
    JSON,
    LAST_OF_A_CLASS,
    NAN,
    PLAIN_TEXT,
    RUN_CONFIG,
    RUN_WEIGHTS,
    Command,
    Damage,
    Reader,
    Row,
    bomb,
    build_imagenet,
    build_run,
    cut,
    damages,
    edited,
    emptied,
    empty,
    file,
    flipped,
    folder,
    gone,
    jpeg,
    labels,
    locked,
    loop,
    not_utf8,
    photo,
    picture,
    replaced,
    state,
    tar,
    text,
    write_json,
)

SHARD = "cc3m/00000.tar"
MEMBERS = {f"{k}.{end}": jpeg() if end == "jpg" else b"An owl." for k in range(20) for end in ("jpg", "txt")}


def build_shards(root: Path) -> None:
    (root / "cc3m").mkdir()
    tar(MEMBERS)(root / SHARD)


def build_captions(root: Path) -> None:
    for number in (1, 2):
        photo(root / f"coco/train2017/{number}.jpg")
    listed = [{"id": k, "file_name": f"{k}.jpg"} for k in (1, 2)]
    write_json(
        root / pairs.COCO, {"images": listed, "annotations": [{"image_id": k, "caption": "Owl."} for k in (1, 2)]}
    )


def build_tables(root: Path) -> None:
    for name in ("0", "1"):
        features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
        rows = {"image": [{"bytes": jpeg(), "path": None}] * 2, "text": ["An owl.", "A bat."]}
        (root / "pairs").mkdir(exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(root / f"pairs/{name}.parquet"))


def write_rows(**columns: list[Any]) -> Damage:
    return lambda path: datasets.Dataset.from_dict(columns).to_parquet(str(path))


def numbers(path: Path) -> None:
    """Numbers in place of the images."""
    for table in path.iterdir():
        write_rows(image=[1, 2, 3], text=["a", "b", "c"])(table)


def lines(check: Callable[[Path], list[Part]]) -> Callable[[Path], list[str]]:
    return lambda root: [line for part in check(root) for line in part.lines]


def open_pairs(root: Path) -> pairs.TextImages:
    return pairs.read(root, root.parent / "cache", lambda image: torch.zeros(1))


def read_pairs(root: Path) -> None:
    data = open_pairs(root)
    for index in range(len(data)):
        data.sample(index, np.random.default_rng(0))


def build_benchmark(name: str) -> Callable[[Path], None]:
    def build(root: Path) -> None:
        chosen = benchmarks.BENCHMARKS[name]
        for number in (1, 2):
            stem = f"ulm/u_{number}" if name == "cityscapes19" else f"u_{number}"
            ending = "_leftImg8bit.png" if name == "cityscapes19" else ".jpg"
            photo(root / chosen.images / f"{stem}{ending}", (3, 2))
            labels(root / chosen.labels / f"{stem}{chosen.suffix}", [[1, 2, 3], [4, 5, 255]])
        if chosen.listing:
            (root / chosen.listing).parent.mkdir(parents=True)
            (root / chosen.listing).write_text("u_1\nu_2\n")

    return build


DAMAGED_BENCHMARKS = {"voc20": "u_1.png is missing, but .* the list names it", "ade20k150": "u_1.jpg has no labels"}
"""One with a list of names and one without, and what is said of an image without labels."""


def benchmark(name: str) -> Reader:
    def segmented(root: Path) -> benchmarks.Segmented:
        return benchmarks.Segmented(benchmarks.BENCHMARKS[name], root)

    def read(root: Path) -> benchmarks.Segmented:
        data = segmented(root)
        for _ in data:
            pass
        return data

    damaged = "voc20" if benchmarks.BENCHMARKS[name].listing else "ade20k150"
    alike = "" if name in DAMAGED_BENCHMARKS else f"pacl {damaged}"
    return Reader(build_benchmark(name), read, lines(benchmarks.check), lambda root: len(segmented(root)), alike)


def build_dtd(root: Path) -> None:
    (root / "dtd/dtd/labels").mkdir(parents=True)
    (root / "dtd/dtd/labels/test1.txt").write_text("banded/a.jpg\nlaced/b.jpg\n")
    for name in ("banded/a.jpg", "laced/b.jpg"):
        photo(root / "dtd/dtd/images" / name)


def build_pets(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    (base / "annotations").mkdir(parents=True)
    (base / "annotations/test.txt").write_text("Abyssinian_1 1 1 1\nboxer_1 2 2 1\n")
    for name in ("Abyssinian_1", "boxer_1"):
        photo(base / "images" / f"{name}.jpg")


def build_food(root: Path) -> None:
    write_json(root / "food-101/meta/test.json", {"baklava": ["baklava/1"], "tacos": ["tacos/2"]})
    for name in ("baklava/1", "tacos/2"):
        photo(root / f"food-101/images/{name}.jpg")


def build_sun(root: Path) -> None:
    for name in ("abbey", "airfield"):
        photo(root / f"SUN397/a/{name}/sun_1.jpg")
    (root / "SUN397/ClassName.txt").write_text("/a/abbey\n/a/airfield\n")


def build_caltech(root: Path) -> None:
    for name in ("BACKGROUND_Google", "anchor", "ant"):
        photo(root / f"caltech101/101_ObjectCategories/{name}/image_0001.jpg")
    (root / "caltech101/Annotations").mkdir()


def build_cars(root: Path) -> None:
    (root / "stanford_cars/devkit").mkdir(parents=True)
    for number in (1, 2):
        photo(root / f"stanford_cars/cars_test/{number}.jpg")
    write_cars(root / "stanford_cars/cars_test_annos_withlabels.mat", 2)
    names = np.array(["AM General", "Audi"], object)
    scipy.io.savemat(root / "stanford_cars/devkit/cars_meta.mat", {"class_names": names})


def write_cars(path: Path, last: int) -> None:
    cars = np.array([("1.jpg", 1), ("2.jpg", last)], [("fname", object), ("class", int)])
    scipy.io.savemat(path, {"annotations": cars})


def classified(name: str, build: Callable[[Path], object]) -> Reader:
    def load(root: Path) -> Any:
        return classification.load_set(name, root)[0]

    def read(root: Path) -> classification.Photos:
        data = load(root)
        for index in range(len(data)):
            data[index]
        return data

    alike = "" if name == "imagenet" else "pacl imagenet"
    return Reader(build, read, lines(classification.check), lambda root: len(load(root)), alike)


@functools.cache
def weights_of_smoke() -> bytes:
    smoke = config.PRESETS["smoke"]
    parts = {
        "mean": torch.zeros(1280),
        "components": torch.zeros(smoke.mini_components, 1280),
        "text_mean": torch.zeros(384),
        "text_components": torch.zeros(smoke.mini_joint, 384),
    }
    clip = miniclip.MiniCLIP(49, smoke.mini_width, parts)
    embedder = model.VisionEmbedder(smoke.mini_width, smoke.mini_joint, smoke.embedder)
    return state(nn.ModuleDict({"clip": clip, "embedder": embedder}))


def build_trained(root: Path) -> None:
    build_run(root, "pacl", config.PRESETS["smoke"], model=weights_of_smoke())


def read_names(root: Path) -> object:
    options = predict.Options(image=root / "a.png", out=root / "out", names_file=root / "names.txt")
    return predict.class_names(options)


CITY_LABELS = f"{benchmarks.BENCHMARKS['cityscapes19'].labels}/ulm/u_1_gtFine_labelTrainIds.png"
CALTECH = "caltech101/101_ObjectCategories/ant/image_0001.jpg"

READERS = {
    "pacl shards": Reader(build_shards, read_pairs, lines(pairs.check), lambda root: len(open_pairs(root))),
    "pacl captions": Reader(build_captions, read_pairs, lines(pairs.check), lambda root: len(open_pairs(root))),
    "pacl tables": Reader(build_tables, read_pairs, lines(pairs.check), lambda root: len(open_pairs(root))),
    **{f"pacl {name}": benchmark(name) for name in benchmarks.BENCHMARKS},
    "pacl imagenet": classified("imagenet", lambda root: build_imagenet(root / "imagenet")),
    "pacl dtd": classified("dtd", build_dtd),
    "pacl oxford_pets": classified("oxford_pets", build_pets),
    "pacl food101": classified("food101", build_food),
    "pacl sun397": classified("sun397", build_sun),
    "pacl caltech101": classified("caltech101", build_caltech),
    "pacl stanford_cars": classified("stanford_cars", build_cars),
    "pacl --names-file": Reader(lambda root: (root / "names.txt").write_text("owl\nrose\n"), read_names),
    "pacl --run": Reader(build_trained, predict.open_model),
}

TABLE: list[Row] = [
    *damages("pacl shards", SHARD, ANYTHING | {"missing": (gone, "no image-text pairs", FOLDER)}),
    *damages(
        "pacl shards",
        SHARD,
        {
            "image without text": (tar({"0.jpg": jpeg()}), "1 images and 0 texts, but no pair"),
            "text without image": (tar({"0.txt": b"owl"}), "0 images and 1 texts, but no pair"),
            "other names": (tar({"0.jpg": jpeg(), "1.txt": b"owl"}), "no pair of one name"),
            "text not UTF-8": (tar({"0.jpg": jpeg(), "0.txt": b"\xff\xfe"}), "text of 00000.tar:0 .* not UTF-8"),
            "only damaged images": (tar({"0.jpg": b"no image", "0.txt": b"owl"}), "cannot be decoded"),
            "a name twice": (tar([*MEMBERS.items(), *MEMBERS.items()]), "twice"),
        },
    ),
    *damages(
        "pacl shards",
        "cc3m",
        {
            "empty folder": (emptied, r"no image-text pairs.*cc3m/\*\.tar", FOLDER),
            "a file": (file, "no image-text pairs", FOLDER),
            "a symlink loop": (loop, "no image-text pairs", FOLDER),
        },
    ),
    *damages(
        "pacl captions",
        str(pairs.COCO),
        JSON
        | {
            "missing": (gone, "no image-text pairs", FOLDER),
            "a symlink loop": (loop, "no image-text pairs", FOLDER),
        },
    ),
    *damages(
        "pacl captions",
        str(pairs.COCO),
        {
            "a list": (lambda path: path.write_text("[]"), "not a file of COCO captions"),
            "no annotations": (edited(lambda c: c.pop("annotations")), "KeyError: 'annotations'"),
            "no caption": (edited(lambda c: c["annotations"][0].pop("caption")), "caption"),
            "null": (edited(lambda c: c["annotations"][0].update(caption=None)), "not a file of COCO captions"),
            "NaN": (edited(lambda c: c["annotations"][0].update(caption=float("nan"))), "not a file of COCO captions"),
            "no partner": (edited(lambda c: c["annotations"][0].update(image_id=9)), "captions .KeyError: 9"),
            "an image twice": (edited(lambda c: c["images"].append(c["images"][0])), "twice"),
            "a name that is none": (edited(lambda c: c["images"][0].update(file_name=5)), "COCO captions"),
        },
    ),
    # One of which `datasets` has a copy may be away or locked; the others of the folder are read without it.
    *damages(
        "pacl tables",
        "pairs/1.parquet",
        {kind: row for kind, row in ANYTHING.items() if kind not in ("missing", "no permission")},
    ),
    *damages(
        "pacl tables",
        "pairs/1.parquet",
        {
            "cut by a little": (cut(0.9), "cannot be read as parquet"),
            "garbled": (flipped, "cannot be read as parquet"),
            "other columns": (
                write_rows(picture=[jpeg()], title=["An owl."]),
                "has the columns picture, title; expected image",
            ),
        },
    ),
    *damages("pacl tables", "pairs", {"numbers": (numbers, "cannot be decoded", "row ")}),
    *damages(
        "pacl tables",
        "pairs",
        {
            "missing": (gone, r"no image-text pairs.*pairs/\*\.tar", FOLDER),
            "empty folder": (emptied, "no image-text pairs", FOLDER),
            "a file": (file, "no image-text pairs", FOLDER),
            "a symlink loop": (loop, "no image-text pairs", FOLDER),
        },
    ),
    *damages("pacl captions", "coco/train2017/1.jpg", {"missing": (gone, "is missing, but .* captions of it")}),
    *damages("pacl captions", "coco/train2017/1.jpg", {"a folder": (folder, "missing")}),
    *damages("pacl captions", "coco/train2017/1.jpg", {"no permission": (locked, "cannot be read")}),
    *[
        row
        for name, unlabelled in DAMAGED_BENCHMARKS.items()
        for chosen in [benchmarks.BENCHMARKS[name]]
        for row in [
            *damages(f"pacl {name}", f"{chosen.images}/u_1.jpg", ANYTHING),
            *damages(f"pacl {name}", f"{chosen.images}/u_1.jpg", {"wrong shape": (picture(), "expected the same")}),
            *damages(f"pacl {name}", f"{chosen.labels}/u_1.png", ANYTHING | {"missing": (gone, unlabelled, "u_1")}),
            *damages(
                f"pacl {name}",
                f"{chosen.labels}/u_1.png",
                {
                    "wrong shape": (picture("L"), "expected the same"),
                    "in colour": (picture("RGB", (3, 2)), "has mode RGB"),
                    "16 bits": (picture("I;16", (3, 2)), "has mode I;16"),
                    "NaN": (NAN, "has mode F"),
                    "a label out of range": (picture("L", (3, 2), 200), f"has the label 199; {chosen.title} has"),
                    "garbled": (flipped, "can(not)? be decoded"),
                },
            ),
            *damages(
                f"pacl {name}",
                chosen.labels,
                {
                    "empty folder": (emptied, "missing|holds no"),
                    "missing": (gone, "missing"),
                    "a file": (file, "missing"),
                    "a symlink loop": (loop, "missing"),
                },
            ),
        ]
    ],
    # Its folders are nested, its images PNG, and its labels stay as they are in the file.
    *damages("pacl cityscapes19", CITY_LABELS, {"missing": (gone, "has no labels", "u_1_leftImg8bit.png")}),
    *damages(
        "pacl cityscapes19",
        CITY_LABELS,
        {"a label out of range": (picture("L", (3, 2), 200), "has the label 200; Cityscapes-19 has")},
    ),
    *damages("pacl voc20", str(benchmarks.BENCHMARKS["voc20"].listing), ANY_FILE),
    *damages(
        "pacl voc20",
        str(benchmarks.BENCHMARKS["voc20"].listing),
        {
            "empty": (empty, "is empty"),
            "spaces": (lambda path: path.write_text(" \n"), "is empty"),
            "truncated": (
                lambda path: path.write_text("u_1\nu_"),
                "is missing, but its partner or the list names it",
                "u_.jpg",
            ),
            "text": (text, "lists <html>404 twice"),
            "not UTF-8": (not_utf8, "in UTF-8"),
            "an image twice": (lambda path: path.write_text("u_1\nu_2\nu_1\n"), "u_1 twice"),
        },
    ),
    *damages("pacl imagenet", "imagenet/val/n01440764/1.JPEG", ANYTHING | LAST_OF_A_CLASS),
    *damages(
        "pacl imagenet",
        "imagenet/val/n01440764",
        {
            "empty folder": (emptied, "no valid file for the classes", "n01440764"),
            "no class of ImageNet": (
                lambda path: path.rename(path.with_name("owls")),
                "owls is no class of ImageNet",
                "owls",
            ),
        },
    ),
    *damages("pacl imagenet", "imagenet/val", {"empty folder": (emptied, "cannot be read"), "a file": (file, "read")}),
    # The other sets: a damaged image of each is named, whatever torchvision calls its list, and so is a damaged list.
    *damages("pacl dtd", "dtd/dtd/images/banded/a.jpg", {"truncated": ANYTHING["truncated"]}),
    *damages("pacl dtd", "dtd/dtd/labels/test1.txt", {"empty": (empty, "dtd lists no images", "dtd")}),
    *damages("pacl oxford_pets", "oxford-iiit-pet/images/boxer_1.jpg", {"a bomb": (bomb, "exceeds limit")}),
    *damages(
        "pacl oxford_pets",
        "oxford-iiit-pet/annotations/test.txt",
        {"a column less": (replaced(" 1 1 1", " 1"), "oxford-iiit-pet cannot be read", "oxford-iiit-pet")},
    ),
    *damages("pacl food101", "food-101/images/tacos/2.jpg", {"missing": ANYTHING["missing"]}),
    *damages(
        "pacl food101",
        "food-101/meta/test.json",
        {kind: (JSON[kind][0], "cannot be read", "food-101") for kind in ("truncated", "nested too deep")},
    ),
    *damages("pacl sun397", "SUN397/a/abbey/sun_1.jpg", {"empty": ANYTHING["empty"]}),
    *damages("pacl sun397", "SUN397/ClassName.txt", {"not UTF-8": (not_utf8, "cannot be read", "SUN397")}),
    *damages("pacl sun397", "SUN397/a", {"empty folder": (emptied, "lists no images", "SUN397")}),
    *damages(
        "pacl caltech101",
        CALTECH,
        {
            "text": ANYTHING["text"],
            "missing": (gone, r"holds no image_\*\.jpg", "ant"),
        },
    ),
    *damages(
        "pacl caltech101",
        "caltech101/101_ObjectCategories",
        {"empty folder": (emptied, "cannot be read", "caltech101")},
    ),
    *damages("pacl stanford_cars", "stanford_cars/cars_test/2.jpg", {"no permission": ANYTHING["no permission"]}),
    *damages(
        "pacl stanford_cars",
        "stanford_cars/cars_test_annos_withlabels.mat",
        {
            "truncated": (ANYTHING["truncated"][0], "cannot be read", "stanford_cars"),
            "a class out of range": (lambda path: write_cars(path, 3), "has the class 2; expected 0 to 1", "2.jpg"),
            "a class of -1": (lambda path: write_cars(path, 0), "has the class -1", "2.jpg"),
        },
    ),
    *damages("pacl --names-file", "names.txt", ANY_FILE),
    *damages(
        "pacl --names-file",
        "names.txt",
        {
            "empty": (empty, "holds no class name"),
            "not UTF-8": (not_utf8, "not text in UTF-8"),
            "binary": (lambda path: path.write_bytes(jpeg()), "not text in UTF-8"),
            "spaces": (lambda path: path.write_text(" \n\t\n"), "holds no class name"),
            "a name twice": (lambda path: path.write_text("owl\nowl \n"), "holds 'owl' twice"),
            "too many": (lambda path: path.write_text("\n".join(map(str, range(300)))), "300 class names"),
        },
    ),
    *damages("pacl --run", "config.json", RUN_CONFIG),
    *damages("pacl --run", "checkpoint/model.safetensors", RUN_WEIGHTS),
]

COMMANDS = {
    "pacl": Command(
        predict.main,
        {"shared --image": ".", "pacl --names-file": ".", "pacl --run": "run"},
        "--image ./a.png --names-file ./names.txt --out ./classes --run ./run",
        files={"a.png": BINARY, "names.txt": PLAIN_TEXT}
        | dict.fromkeys(("run/config.json", "run/checkpoint/model.safetensors"), BINARY),
        computed=("classes/labels.png", "classes/overlay.png", "classes/heatmaps.png"),
    ),
}
