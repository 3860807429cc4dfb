"""What shared reads, whole and damaged: see tests/damage.py."""

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from tinypaper.config import PRESETS, Config
from tinypaper.train import build_model

from shared import UserError
from shared.clip import load_clip
from shared.reproduce import tables
from shared.reproduce.jobs import run_job
from shared.reproduce.keys import Job
from shared.run import Run
from shared.support import images
from shared.support.weights import load_checkpoint, load_weights, open_trained_run
from tests.damage import (
    ANY_CONTENT,
    ANYTHING,
    DAMAGED,
    FOLDER,
    JSON,
    NAN,
    PICKLED,
    WEIGHTS,
    Kinds,
    Reader,
    Row,
    bomb,
    build_run,
    cut,
    damages,
    edited,
    empty,
    flipped,
    folder,
    gone,
    half,
    locked,
    nested,
    no_run,
    not_utf8,
    photo,
    state,
    text,
    write_json,
)


def build_results(root: Path) -> None:
    rows = [{"variant": "a", "seed": k, "metrics": {"x_percent": 1.0 + k}, "seconds": 1.0} for k in (0, 1)]
    write_json(root / "cpu.json", {"schema": 1, "paper": "p", "rows": rows, "claims": []})


def read_results(root: Path) -> None:
    if tables.read_results(root / "cpu.json") is None:
        raise UserError(f"{root}: not run yet")


def job(root: Path) -> Job:
    return Job("tinypaper", 0, PRESETS["smoke"], root, root / "cache", "train", "result")


def build_job(root: Path) -> None:
    write_json(root / "result.json", {"variant": "tinypaper", "seed": 0, "metrics": {}, "key": "result"})


TINY = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


@functools.cache
def tiny_clip() -> str:
    """Its name, for open_clip, which reads a file of its sizes once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny-clip-bad-input.json"
        path.write_text(json.dumps(TINY))
        open_clip.add_model_config(path)
    return path.stem


@functools.cache
def clip_weights() -> bytes:
    return state(open_clip.create_model(tiny_clip()))


def read_clip(name: str) -> Callable[[Path], object]:
    return lambda root: load_clip(tiny_clip(), pretrained=str(root / name))


def build_interrupted_run(root: Path) -> None:
    for _ in Run(root, root / "cache", seed=0).steps(1, save_every=1):
        pass


def build_trained(root: Path) -> None:
    build_run(root, "tinypaper", PRESETS["smoke"], model=state(build_model(PRESETS["smoke"])))


def build_committed(root: Path) -> None:
    build_trained(root)
    (root / "config.json").rename(root / "plain.json")
    (root / "checkpoint/model.safetensors").rename(root / "plain.safetensors")


def read_trained(root: Path) -> None:
    with open_trained_run(root, "tinypaper", Config) as (_, config, weights):
        build_model(config).load_state_dict(load_weights(weights))


NO_RESULTS = "not a results file of schema 1 .*; run `make reproduce` again"

NOT_COMMITTED: Kinds = {
    kind: (damage, r"no trained model in .*plain\.json .*`make reproduce PAPER=", "(plain.json and plain.safetensors)")
    for kind, (damage, *_) in no_run().items()
}
CONFIG = JSON | {
    "of another version": (edited(lambda c: c["config"].update(colour=1)), "another version"),
    "a list": (lambda path: path.write_text("[1, 2]"), "another version"),
    "no config": (edited(lambda c: c.pop("config")), "another version"),
}

READERS = {
    "shared --image": Reader(lambda root: photo(root / "a.png"), lambda root: images.read_image(root / "a.png")),
    "shared checkpoint": Reader(
        lambda root: torch.save({"step": 1, "x": torch.zeros(9)}, root / "state.pt"),
        lambda root: load_checkpoint(root / "state.pt"),
    ),
    "shared clip": Reader(
        lambda root: (root / "clip.safetensors").write_bytes(clip_weights()),
        read_clip("clip.safetensors"),
    ),
    "shared trained run": Reader(build_trained, read_trained),
    "shared committed run": Reader(build_committed, lambda root: read_trained(root / "plain.json")),
    "shared results": Reader(build_results, read_results),
    "shared job": Reader(build_job, lambda root: run_job("tinypaper", job(root), "none", print)),
}

TABLE: list[Row] = [
    *damages(
        "shared --image",
        "a.png",
        ANYTHING
        | {
            "missing": (gone, "--image .* is missing"),
            "a folder": (folder, "--image .* is a folder"),
            "truncated": (half, "--image .* damaged or cut short"),
            "text": (text, "--image .* is not an image"),
            "garbled": (flipped, "damaged"),
            "a bomb": (bomb, "too large"),
            "NaN": (NAN, "floating-point"),
        },
    ),
    *damages("shared checkpoint", "state.pt", PICKLED),
    *damages("shared checkpoint", "state.pt", {"a tenth": (cut(0.1), DAMAGED), "cut at its end": (cut(0.99), DAMAGED)}),
    *damages("shared clip", "clip.safetensors", WEIGHTS),
    *damages("shared trained run", "config.json", CONFIG | no_run()),
    *damages("shared trained run", "checkpoint/model.safetensors", WEIGHTS | no_run()),
    *damages("shared committed run", "plain.json", CONFIG | NOT_COMMITTED),
    *damages("shared committed run", "plain.safetensors", WEIGHTS | NOT_COMMITTED),
    *damages(
        "shared results",
        "cpu.json",
        JSON
        | {kind: (JSON[kind][0], NO_RESULTS) for kind in (*ANY_CONTENT, "not UTF-8", "nested too deep")}
        | {"missing": (gone, "not run yet", FOLDER)},
    ),
    *damages(
        "shared job",
        "result.json",
        {
            "a folder": (folder, "directory"),
            "no permission": (locked, "permission"),
            "truncated": (half, "is damaged"),
            "empty": (empty, "is damaged"),
            "text": (text, "is damaged"),
            "not UTF-8": (not_utf8, "is damaged"),
            "nested too deep": (nested, "is damaged"),
            "a list": (lambda path: path.write_text("[]"), "no key"),
            "a number": (lambda path: path.write_text("NaN"), "is damaged"),
            "no key": (edited(lambda c: c.pop("key")), "no key"),
        },
    ),
    *damages(
        "shared results",
        "cpu.json",
        {
            "a list": (lambda path: path.write_text("[]"), NO_RESULTS),
            "null": (lambda path: path.write_text("null"), NO_RESULTS),
            "another schema": (edited(lambda c: c.update(schema=2)), NO_RESULTS),
            "no schema": (edited(lambda c: c.pop("schema")), NO_RESULTS),
            "no rows": (edited(lambda c: c.pop("rows")), "rows"),
            "a row without a seed": (edited(lambda c: c["rows"][0].pop("seed")), "seed"),
            "a row twice": (edited(lambda c: c["rows"].append(c["rows"][0])), "twice"),
            "NaN": (edited(lambda c: c["rows"][0]["metrics"].update(x_percent=float("nan"))), "NaN"),
            "infinite": (edited(lambda c: c["rows"][0]["metrics"].update(x_percent=float("inf"))), "Infinity"),
        },
    ),
]

CHECKPOINTS = {
    "shared resumed run": (Reader(build_interrupted_run, build_interrupted_run), "checkpoint/state.pt"),
    "shared clip .pt": (Reader(lambda root: None, read_clip("clip.pt")), "clip.pt"),
    "shared clip .bin": (Reader(lambda root: None, read_clip("clip.bin")), "clip.bin"),
}
