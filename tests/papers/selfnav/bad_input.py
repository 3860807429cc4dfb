"""Selfnav's readers and command line, whole and damaged: see tests/damage.py."""

import functools
import json
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from papers.selfnav import config, data, predict
from papers.selfnav.build import segmenter
from papers.selfnav.mapping.projection import Camera
from papers.selfnav.simulator.render import Frames
from papers.selfnav.sources import log
from papers.selfnav.sources.record import write_house
from tests.damage import (
    ANY_FILE,
    ANYTHING,
    BINARY,
    NAN,
    PLAIN_TEXT,
    RUN_CONFIG,
    RUN_WEIGHTS,
    Command,
    Damage,
    Kinds,
    Reader,
    Row,
    bomb,
    build_run,
    damages,
    edited,
    emptied,
    empty,
    gone,
    not_utf8,
    picture,
    replaced,
    state,
)

SIZE = 32
HOUSE = "insitu/kitchen"
WEIGHTS = "checkpoint/model.safetensors"


def build_house(root: Path, count: int = 3) -> None:
    """A few frames of a wall some two metres away, with a chair before it."""
    rng = np.random.default_rng(0)
    depth = np.full((count, SIZE, SIZE), 2.0, np.float32)
    truth = np.zeros((count, SIZE, SIZE), np.uint8)
    depth[:, 12:24, 8:20], truth[:, 12:24, 8:20] = 1.5, 1
    poses = np.stack([np.arange(count) * 0.25, np.zeros(count), np.zeros(count)], 1)
    rgb = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    write_house(root, Frames(rgb, depth, truth.astype(np.int32), poses), truth, Camera(SIZE, SIZE))


def build_log(root: Path) -> None:
    for split in ("web", "insitu", "insitu-test", "unseen"):
        build_house(root / split / "kitchen")


def read_log(root: Path) -> None:
    log.describe(root)
    for split in ("web", "insitu", "insitu-test", "unseen"):
        for folder in log.recorded(root, split):
            log.read_house(folder, 16)


@functools.cache
def weights_of_smoke() -> bytes:
    network = segmenter(config.PRESETS["smoke"])
    return state(nn.ModuleDict({"segmenter": network}))


def build_trained(root: Path) -> None:
    build_run(root, "loccon", config.PRESETS["smoke"], model=weights_of_smoke())


def depth_in(factor: float, mode: str = "I;16") -> Damage:
    """The depth images of a house with other numbers."""

    def damage(path: Path) -> None:
        for file in path.glob("*.png"):
            values = np.asarray(Image.open(file)).astype(float) * factor
            Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.uint8)).save(file)

    return damage


READERS = {
    "selfnav log": Reader(build_log, read_log, data.check),
    "selfnav --folder": Reader(build_house, lambda root: log.read_house(root, 16)),
    "selfnav --run": Reader(build_trained, lambda root: predict.trained_segmenter(root)),
}

DEPTH: Kinds = {
    "of another size": (picture("I;16"), "8 x 9 pixels; expected the size of its colour image, 32 x 32"),
    "8 bits": (picture("L", (SIZE, SIZE)), "mode L; expected 16 bits of millimetres"),
    "in colour": (picture("RGB", (SIZE, SIZE)), "mode RGB; expected 16 bits"),
    "NaN": (NAN, "mode F; expected 16 bits"),
    "a bomb": (bomb, "mode L|cannot be read"),
}
LABELS: Kinds = {
    "of another size": (picture("L"), "8 x 9 pixels; expected the size"),
    "in colour": (picture("RGB", (SIZE, SIZE)), "mode RGB; expected 8 bits of class numbers"),
    "a label out of range": (picture("L", (SIZE, SIZE), 7), "holds the label 7; expected 0 to 6"),
}
POSES: Kinds = ANY_FILE | {
    "empty": (empty, "found the columns of an empty file"),
    "not UTF-8": (not_utf8, "utf-8"),
    "other columns": (replaced("heading", "angle"), "found the columns frame,x,y,angle; expected frame,x,y,heading"),
    "a word": (replaced("0.25", "left"), "line 3: a pose is not made of finite numbers"),
    "NaN": (replaced("0.25", "nan"), "line 3: a pose is not made of finite numbers"),
    "a short row": (replaced(",0.25,0.0,0.0", ",0.25"), "line 3: a pose is not made of finite numbers"),
    "a frame twice": (replaced("00001", "00000"), "has the frame 00000 twice"),
    "a frame without pictures": (replaced("00001", "00009"), "00009.png cannot be read", "00009.png"),
    "in millimetres": (
        lambda path: path.write_text("frame,x,y,heading\n00000,0,0,0\n00001,250,0,0\n00002,500,0,0\n"),
        "moves 250 m between frames",
    ),
    "no quaternion": (
        lambda path: path.write_text("frame,tx,ty,tz,qx,qy,qz,qw\n00000,0,0,0,0,0,0,3\n"),
        "line 2: the quaternion has the length 3",
    ),
    "a camera that looks down": (
        lambda path: path.write_text("frame,tx,ty,tz,qx,qy,qz,qw\n00000,0,0,0,0,0.342,0,0.94\n"),
        "line 2: the camera leans by 40 degrees",
    ),
}
INTRINSICS: Kinds = ANYTHING | {
    "without the camera's height": (edited(lambda c: c.pop("camera_height")), "KeyError"),
    "a list": (lambda path: path.write_text(json.dumps([79])), "TypeError"),
    "a wide angle": (edited(lambda c: c.update(fov_degrees=200)), "says 200 degrees"),
}

TABLE: list[Row] = [
    *damages("selfnav log", f"{HOUSE}/rgb/00001.png", ANYTHING),
    *damages(
        "selfnav log",
        f"{HOUSE}/rgb/00001.png",
        {"of another size": (picture(), "8 x 9 pixels; expected the same size in all frames")},
    ),
    *damages("selfnav log", f"{HOUSE}/depth/00001.png", ANYTHING | DEPTH),
    *damages("selfnav log", f"{HOUSE}/labels/00001.png", ANYTHING | LABELS),
    *damages("selfnav log", f"{HOUSE}/poses.csv", POSES),
    *damages("selfnav log", f"{HOUSE}/intrinsics.json", INTRINSICS),
    *damages(
        "selfnav log",
        f"{HOUSE}/depth",
        {
            "in metres": (depth_in(0.001), "depth has a median depth of 0.00|holds no measured depth"),
            "in tenths of a millimetre": (depth_in(12.0), "median depth of 2[0-9]"),
            "nothing measured": (depth_in(0.0), "holds no measured depth"),
            "missing folder": (gone, "00000.png cannot be read", "00000.png"),
        },
    ),
    *damages("selfnav log", "insitu", {"empty folder": (emptied, "holds no recorded house")}),
    *damages("selfnav --folder", "rgb/00000.png", ANYTHING),
    *damages("selfnav --folder", "poses.csv", ANY_FILE),
    *damages("selfnav --folder", "depth/00002.png", DEPTH),
    *damages("selfnav --run", "config.json", RUN_CONFIG),
    *damages("selfnav --run", WEIGHTS, RUN_WEIGHTS),
]

COMMANDS = {
    "selfnav": Command(
        predict.main,
        {"selfnav --folder": "house", "selfnav --run": "run"},
        "--folder ./house --out ./found --run ./run",
        files={
            "house/rgb/00001.png": BINARY,
            "house/depth/00001.png": BINARY,
            "house/poses.csv": PLAIN_TEXT,
            "house/intrinsics.json": BINARY,
            "run/config.json": BINARY,
            f"run/{WEIGHTS}": BINARY,
        },
        computed=("found/map.png", "found/mesh.ply", "found/walk.gif"),
    )
}
