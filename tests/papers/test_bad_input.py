"""Every reader of every paper against every kind of bad input: one sentence that names the file, and nothing lost.

A reader is a row of READERS: how to write a whole example, and how to read it. A kind of damage is a function of a
path. A row of TABLE joins them: reader, file, damage, and a pattern of what has to be said. A new paper adds rows.
"""

import argparse
import ast
import contextlib
import ctypes
import functools
import io
import json
import os
import pickle
import re
import shutil
import sys
import tarfile
import wave
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import scipy.io
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor, nn

import papers.clipsep.predict as clipsep_predict
import papers.clipsep.train as clipsep_train
import papers.fastmim.predict as fastmim_predict
import papers.pacl.predict as pacl_predict
from papers.clipsep import config as clipsep_config
from papers.clipsep import videos
from papers.fastmim import ade20k, coco, imagenet, networks, segment, transfer
from papers.fastmim import config as fastmim_config
from papers.pacl import benchmarks, classification, miniclip, model, pairs
from papers.pacl import config as pacl_config
from shared import UserError, images, report
from shared.clip import CLIP, load_clip
from shared.experiment import Run, load_checkpoint
from shared.reproduce import Job, run_job, told

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
FOLDER = "größe und weiß, 写真 (1)"  # of every example: spaces and what is not ASCII have to work

Damage = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """How to write a whole example into a folder, and how to read all of it."""

    build: Callable[[Path], object]
    read: Callable[[Path], object]
    check: Callable[[Path], list[str]] | None = None
    """What `make check-data` calls, if the reader is of a dataset."""
    count: Callable[[Path], int] | None = None
    """How many samples there are, if `check` counts them and does not open every file."""
    alike: str = ""
    """A reader of the same class, whose rows of the table stand for this one."""


# -- kinds of damage --------------------------------------------------------------------------------------------------


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut(share: float) -> Damage:
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("<html>404 not found</html>\n" * 40)


def gone(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("a file")


def emptied(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def loop(path: Path) -> None:
    gone(path)
    path.symlink_to(path.name)


def locked(path: Path) -> None:
    path.chmod(0)


def not_utf8(path: Path) -> None:
    path.write_bytes(path.read_bytes() + "\nGröße".encode("latin-1"))


def nested(path: Path) -> None:
    path.write_text("[" * 200_000)


def flipped(path: Path) -> None:
    """Its second half is other bytes."""
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(255 - x for x in content[middle:]))


def replaced(old: str, new: str) -> Damage:
    def damage(path: Path) -> None:
        content = path.read_text(encoding="utf-8")
        assert old in content
        path.write_text(content.replace(old, new, 1), encoding="utf-8")

    return damage


def edited(change: Callable[[Any], object]) -> Damage:
    """Change the content of a JSON file; NaN and infinity may be in it."""

    def damage(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def picture(mode: str = "RGB", size: tuple[int, int] = (8, 9), value: Any = 1) -> Damage:
    """Another image in its place; modes that PNG and JPEG do not have are written as TIFF."""

    def damage(path: Path) -> None:
        Image.new(mode, size, value).save(path, "TIFF" if mode == "F" else None)

    return damage


def bomb(path: Path) -> None:
    """A PNG whose header announces a picture of 400 gigapixels."""
    Image.new("L", (8, 8)).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[16:24] = (650_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(content)


NAN = picture("F", value=float("nan"))


def sound(samples: Any, rate: int = 16_000, subtype: str = "PCM_16") -> Damage:
    return lambda path: soundfile.write(path, np.asarray(samples), rate, subtype)


def half_sound(form: str) -> Damage:
    def damage(path: Path) -> None:
        soundfile.write(path, noise(1), 16_000, format=form)
        half(path)

    return damage


def lied(path: Path) -> None:
    """The first chunk of a WAV file announces 4 GB."""
    content = bytearray(path.read_bytes())
    content[16:20] = b"\xff" * 4
    path.write_bytes(content)


def weights(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Damage:
    def damage(path: Path) -> None:
        path.write_bytes(save(change(load_file(path))))  # read before it is written: the file may be mapped

    return damage


def spoilt(value: float) -> Damage:
    """The first number of the first tensor becomes NaN or infinite."""

    def change(state: dict[str, Tensor]) -> dict[str, Tensor]:
        name = next(k for k, x in state.items() if x.is_floating_point() and x.numel())
        state[name] = state[name].clone()
        state[name].view(-1)[0] = value
        return state

    return weights(change)


def truncated_shapes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x[:1].clone() if x.ndim else x for name, x in state.items()}


def pickled(content: object) -> Damage:
    return lambda path: torch.save(content, path)


def tar(members: dict[str, bytes] | list[tuple[str, bytes]]) -> Damage:
    def damage(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            for name, content in members.items() if isinstance(members, dict) else members:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    return damage


# -- whole examples ---------------------------------------------------------------------------------------------------


def photo(path: Path, size: tuple[int, int] = (24, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def labels(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def jpeg() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(content, "JPEG")
    return content.getvalue()


@functools.cache
def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, round(16_000 * seconds)).astype(np.float32)


SOUND, FRAMES = "vggsound/audio/a/b/abVideo.wav", "vggsound/preprocessed/a/b/abVideo"
FRAME, LIST = f"{FRAMES}/000002.jpg", "vggsound/train.csv"


def build_videos(root: Path) -> None:
    for name in ("abVideo", "acVideo"):
        place = f"{name[0]}/{name[1]}/{name}"
        path = root / f"vggsound/audio/{place}.wav"
        path.parent.mkdir(parents=True)
        with wave.open(str(path), "wb") as written:
            written.setparams((1, 2, 16_000, 0, "NONE", ""))
            written.writeframes((noise(3) * 32767).astype("<i2").tobytes())
        for number in range(1, 8):  # the fewest that training takes
            photo(root / f"vggsound/preprocessed/{place}/{number:06d}.jpg")
    rows = [
        f"data/vggsound/audio/{p}.wav,data/vggsound/preprocessed/{p},7,rain" for p in ("a/b/abVideo", "a/c/acVideo")
    ]
    for name in ("train", "val", "test-good", "test-no-music", "test-good-no-music"):
        (root / f"vggsound/{name}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (root / "MUSIC/solo").mkdir(parents=True)
    shutil.copy(root / LIST, root / "MUSIC/solo/test.csv")


def read_videos(root: Path) -> None:
    train, _, _ = videos.read_lists(replace(clipsep_config.CPU, data=str(root)))
    for video in train:
        if video.fault:
            raise UserError(video.fault)
        videos.read_sound(video.sound)
        for _ in videos.read_frames(video):
            pass


class Towers(CLIP):
    """Stands in for the frozen towers: an image's embedding is its mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(1))
        self.transform = lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255

    def _image_embedding(self, batch: Tensor) -> Tensor:
        return batch.mean((2, 3))


@functools.cache
def clipsep_weights() -> bytes:
    network = clipsep_train.build_model(clipsep_config.PRESETS["smoke"], torch.empty(0), query_width=16)
    return save({name: x.detach().contiguous() for name, x in network.state_dict().items()})


def build_clipsep_run(root: Path) -> None:
    write_json(root / "config.json", {"variant": "clipsep", "config": asdict(clipsep_config.PRESETS["smoke"])})
    (root / "checkpoint").mkdir()
    (root / "checkpoint/model.safetensors").write_bytes(clipsep_weights())


def golden(path: str, prefix: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / path, allow_pickle=False) as stored:
        return {key[len(prefix) :]: torch.tensor(stored[key]) for key in stored.files if key.startswith(prefix)}


def build_clipsep_official(root: Path) -> None:
    torch.save(golden("clipsep/model_nit.npz", "sd."), root / "best.pt")


def read_clipsep_official(root: Path) -> None:
    with np.load(GOLDEN / "clipsep/model_nit.npz", allow_pickle=False) as stored:
        names = {"levels": "num_downs", "width": "ngf", "channels": "channels"}
        size = {ours: stored[theirs].item() for ours, theirs in names.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clipsep_predict.PRESETS, "paper", replace(clipsep_config.PRESETS["paper"], **size))
        clipsep_predict.official_model(root / "best.pt")


def fastmim_state(network: nn.Module) -> bytes:
    return save({name: x.detach().contiguous() for name, x in network.state_dict().items()})


@functools.cache
def fastmim_weights() -> tuple[bytes, bytes]:
    config = fastmim_config.PRESETS["smoke"]
    return (
        fastmim_state(networks.build_classifier(config, 10)),
        fastmim_state(networks.build_pretraining(config)),
    )


def build_fastmim_run(root: Path) -> None:
    write_json(root / "config.json", {"variant": "fastmim", "config": asdict(fastmim_config.PRESETS["smoke"])})
    (root / "checkpoint").mkdir()
    for name, content in zip(("model", "pretrained"), fastmim_weights(), strict=True):
        (root / f"checkpoint/{name}.safetensors").write_bytes(content)


def read_fastmim_run(root: Path) -> None:
    fastmim_predict.trained_classifier(root)
    fastmim_predict.trained_network(root)


def read_fastmim_backbone(root: Path) -> None:
    options = segment.Options(data=root, run=root, start="pretrained", image_size=32, pyramid_width=16)
    transfer.load_backbone(options, segment.STRIDES)


SMALL_VIT = {"image_size": 64, "widths": (48,), "depths": (2,), "heads": (2,)}


def fastmim_official() -> dict[str, torch.Tensor]:
    state = golden("fastmim/vit_hog_forward.npz", "w/")
    width = state["pos_embed"].shape[-1]
    head = {"head.weight": torch.zeros(7, width), "head.bias": torch.zeros(7)}
    return state | head | {"fc_norm.weight": torch.ones(width), "fc_norm.bias": torch.zeros(width)}


def build_fastmim_official(root: Path) -> None:
    torch.save({"model": fastmim_official()}, root / "best.pth")


def without(start: str) -> bytes:
    return pickled({"model": {name: x for name, x in fastmim_official().items() if not name.startswith(start)}})


def read_fastmim_official(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small = replace(fastmim_config.PRESETS["paper"], **SMALL_VIT)
        patch.setitem(fastmim_predict.PRESETS, "paper", small)
        fastmim_predict.official_classifier(root / "best.pth")


IMAGENET = "train/n01440764/1.JPEG"


def build_imagenet(root: Path) -> None:
    for split in ("train", "val"):
        for name in ("n01440764", "n01443537"):
            photo(root / split / name / "1.JPEG")


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


def open_pairs(root: Path) -> pairs.TextImages:
    return pairs.read(root, root.parent / "cache", lambda image: torch.zeros(1))


def read_pairs(root: Path) -> None:
    data = open_pairs(root)
    for index in range(len(data)):
        data.draw(index, np.random.default_rng(0))


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
    return Reader(build_benchmark(name), read, benchmarks.check, lambda root: len(segmented(root)), alike)


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

    return Reader(build, lambda root: list(load(root)), classification.check, lambda root: len(load(root)))


@functools.cache
def pacl_weights() -> bytes:
    config = pacl_config.PRESETS["smoke"]
    parts = {
        "mean": torch.zeros(1280),
        "components": torch.zeros(config.mini_components, 1280),
        "text_mean": torch.zeros(384),
        "text_components": torch.zeros(config.mini_joint, 384),
    }
    clip = miniclip.MiniCLIP(49, config.mini_width, parts)
    embedder = model.VisionEmbedder(config.mini_width, config.mini_joint, config.embedder)
    state = {f"clip.{name}": x for name, x in clip.state_dict().items()}
    state |= {f"embedder.{name}": x for name, x in embedder.state_dict().items()}
    return save({name: x.detach().contiguous() for name, x in state.items()})


def build_pacl_run(root: Path) -> None:
    write_json(root / "config.json", {"variant": "pacl", "config": asdict(pacl_config.PRESETS["smoke"])})
    (root / "checkpoint").mkdir()
    (root / "checkpoint/model.safetensors").write_bytes(pacl_weights())


def read_names(root: Path) -> object:
    options = pacl_predict.Options(image=root / "a.png", out=root / "out", names_file=root / "names.txt")
    return pacl_predict.class_names(options)


def build_results(root: Path) -> None:
    rows = [{"variant": "a", "seed": k, "metrics": {"x_percent": 1.0 + k}, "seconds": 1.0} for k in (0, 1)]
    write_json(root / "cpu.json", {"schema": 1, "paper": "p", "rows": rows, "claims": []})


def read_results(root: Path) -> None:
    if report.read_results(root / "cpu.json") is None:
        raise UserError(f"{root}: not run yet")


def job(root: Path) -> Job:
    return Job("clipsep", 0, clipsep_config.PRESETS["smoke"], root, "train", "result")


def build_job(root: Path) -> None:
    write_json(root / "result.json", {"variant": "clipsep", "seed": 0, "metrics": {}, "key": "result"})


TINY = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module", autouse=True)
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("clip") / "tiny-clip-bad-input.json"
    path.write_text(json.dumps(TINY))
    open_clip.add_model_config(path)


@functools.cache
def clip_weights() -> bytes:
    return save(open_clip.create_model("tiny-clip-bad-input").state_dict())


READERS = {
    "clipsep videos": Reader(build_videos, read_videos, videos.check),
    "clipsep --audio": Reader(
        lambda root: soundfile.write(root / "mix.wav", noise(1), 16_000, "FLOAT"),
        lambda root: clipsep_predict.read_audio(root / "mix.wav"),
    ),
    "clipsep --query": Reader(
        lambda root: photo(root / "dog.png"), lambda root: clipsep_predict.embed(str(root / "dog.png"), Towers())
    ),
    "clipsep --run": Reader(build_clipsep_run, clipsep_predict.trained_model),
    "clipsep --checkpoint": Reader(build_clipsep_official, read_clipsep_official),
    "fastmim imagenet": Reader(build_imagenet, read_imagenet, imagenet.check),
    "fastmim coco": Reader(build_coco, read_coco),
    "fastmim ade20k": Reader(build_ade, read_ade),
    "fastmim --run": Reader(build_fastmim_run, read_fastmim_run),
    "fastmim transfer --run": Reader(build_fastmim_run, read_fastmim_backbone),
    "fastmim --checkpoint": Reader(build_fastmim_official, read_fastmim_official),
    "pacl shards": Reader(build_shards, read_pairs, pairs.check, lambda root: len(open_pairs(root))),
    "pacl captions": Reader(build_captions, read_pairs, pairs.check, lambda root: len(open_pairs(root))),
    **{f"pacl {name}": benchmark(name) for name in benchmarks.BENCHMARKS},
    "pacl imagenet": classified("imagenet", lambda root: build_imagenet(root / "imagenet")),
    "pacl dtd": classified("dtd", build_dtd),
    "pacl oxford_pets": classified("oxford_pets", build_pets),
    "pacl food101": classified("food101", build_food),
    "pacl sun397": classified("sun397", build_sun),
    "pacl caltech101": classified("caltech101", build_caltech),
    "pacl stanford_cars": classified("stanford_cars", build_cars),
    "pacl --names-file": Reader(lambda root: (root / "names.txt").write_text("owl\nrose\n"), read_names),
    "pacl --run": Reader(build_pacl_run, pacl_predict.trained_model),
    "shared --image": Reader(lambda root: photo(root / "a.png"), lambda root: images.read_image(root / "a.png")),
    "shared checkpoint": Reader(
        lambda root: torch.save({"step": 1, "x": torch.zeros(9)}, root / "state.pt"),
        lambda root: load_checkpoint(root / "state.pt"),
    ),
    "shared clip": Reader(
        lambda root: (root / "clip.safetensors").write_bytes(clip_weights()),
        lambda root: load_clip("tiny-clip-bad-input", pretrained=str(root / "clip.safetensors")),
    ),
    "shared results": Reader(build_results, read_results),
    "shared job": Reader(build_job, lambda root: run_job("papers.clipsep", job(root), print)),
}


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """How to damage a file, a pattern of what is said then, and who is named if it is not the file itself."""

    damage: Damage
    said: str
    named: str = ""


Kinds = dict[str, tuple[Damage, str] | tuple[Damage, str, str]]
Row = tuple[str, str, str, Kind]
"""Reader, name of the kind, file below the reader's folder, kind."""
CITY_LABELS = f"{benchmarks.BENCHMARKS['cityscapes19'].labels}/ulm/u_1_gtFine_labelTrainIds.png"
CALTECH = "caltech101/101_ObjectCategories/ant/image_0001.jpg"


def damages(reader: str, path: str, kinds: Kinds) -> list[Row]:
    return [(reader, name, path, Kind(*kind)) for name, kind in kinds.items()]


MISSING = "missing|No such file|no trained model|cannot be read|neither a checkpoint|There is no image"
ANY_FILE: Kinds = {
    "missing": (gone, MISSING),
    "a folder": (folder, f"a folder|directory|{MISSING}"),
    "a symlink loop": (loop, f"symbolic links|not a checkpoint|{MISSING}"),
    "no permission": (locked, "[Pp]ermission|not audio that can be read"),
}
DAMAGED = (
    "not an? |not audio|not a whole|damaged|truncated|cut short|cannot be (read|decoded|used)|is empty|no file of|"
    "Cannot load|no samples|missing|holds no"
)
ANY_CONTENT: Kinds = {
    "truncated": (half, DAMAGED),
    "empty": (empty, DAMAGED),
    "text": (text, DAMAGED),
}
ANYTHING = ANY_FILE | ANY_CONTENT
LAST_OF_A_CLASS: Kinds = {
    "missing": (gone, "no valid file", "n01440764"),
    "a folder": (folder, "no valid file", "n01440764"),
}
JSON = ANYTHING | {"not UTF-8": (not_utf8, "utf-8"), "nested too deep": (nested, "recursion")}
WEIGHTS = ANYTHING | {
    "of other shapes": (weights(truncated_shapes), "another version|cannot be used|Cannot load"),
    "NaN": (spoilt(float("nan")), "NaN or infinite"),
    "infinite": (spoilt(float("inf")), "NaN or infinite"),
    "a pickle": (pickled({"head.bias": torch.zeros(3)}), "header|damaged|Cannot load"),
}
PICKLED = ANYTHING | {
    "a list": (pickled([torch.zeros(3)]), "holds a list, expected a dictionary"),
    "a tensor": (pickled(torch.zeros(3)), "holds a Tensor, expected a dictionary"),
    "an object": (pickled({"model": Path("x")}), "not a checkpoint this code can trust"),
}
NO_RESULTS = "not a results file of schema 1 .*; run `make reproduce` again"


def no_run(weights: str = "model") -> Kinds:
    """What is said of a run without its configuration or weights: both, the run's folder, and what makes a run."""
    said = f"no trained model in .*{re.escape(FOLDER)} .*`make reproduce PAPER="
    named = f"(config.json and checkpoint/{weights}.safetensors)"
    return {kind: (ANY_FILE[kind][0], said, named) for kind in ("missing", "a folder", "a symlink loop")}


RUN_WEIGHTS = WEIGHTS | no_run()
RUN_CONFIG = (
    JSON
    | no_run()
    | {
        "of another version": (edited(lambda c: c["config"].update(colour=1)), "another version"),
        "a list": (lambda path: path.write_text("[1, 2]"), "another version"),
        "no config": (edited(lambda c: c.pop("config")), "another version"),
    }
)

TABLE: list[Row] = [
    *damages("clipsep videos", SOUND, ANYTHING),
    *damages("clipsep videos", FRAME, ANYTHING | {"a bomb": (bomb, "damaged, or not a JPEG image")}),
    *damages(
        "clipsep videos",
        SOUND,
        {
            "wrong rate": (sound(noise(1), 44_100), "44100 Hz, expected 16000"),
            "wrong width": (sound(noise(1), subtype="PCM_24"), "24 bits a sample, expected 16"),
            "floating point": (sound(noise(1), subtype="FLOAT"), "not a 16-bit PCM WAV"),
            "a chunk that lies": (lied, "not a 16-bit PCM WAV file"),
            "silent": (sound(0 * noise(1)), "silent"),
            "no samples": (sound(noise(1)[:0]), "no samples"),
        },
    ),
    *damages(
        "clipsep videos",
        FRAMES,
        {
            "wav without frames": (gone, "a folder of frames, is missing"),
            "empty folder": (emptied, "has 0 frames, 7 expected"),
            "a file": (file, "Not a directory|is missing"),
            "a symlink loop": (loop, "symbolic links|is missing"),
        },
    ),
    *damages("clipsep videos", LIST, ANY_FILE),
    *damages(
        "clipsep videos",
        LIST,
        {
            "empty": (empty, "0 rows"),
            "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "line 2: 2 columns"),
            "text": (text, "1 columns, expected 4"),
            "not UTF-8": (not_utf8, "line 4: not UTF-8"),
            "a NUL": (replaced("rain", "ra\0in"), "line 1: a NUL character"),
            "a column less": (replaced(",rain", ""), "line 1: 3 columns, expected 4"),
            "an empty column": (replaced("rain", ""), "line 1: an empty column"),
            "not a number": (replaced(",7,", ",NaN,"), "line 1: 'NaN' is not a number of frames"),
            "too many frames": (replaced(",7,", ",8,"), "is missing: the folder has 7 frames, 8", "000008.jpg"),
        },
    ),
    *damages(
        "clipsep --audio",
        "mix.wav",
        ANYTHING
        | {
            "missing": (gone, "is missing; expected an audio file"),
            "a folder": (folder, "is a folder; expected an audio file"),
            "truncated": (half, "is cut short"),
            "a truncated AIFF": (half_sound("AIFF"), "is cut short"),
            "a truncated FLAC": (half_sound("FLAC"), "not audio .*whole WAV, FLAC"),
            "empty": (empty, "not audio"),
            "text": (text, "not audio"),
            "NaN": (sound([0.1, float("nan")], subtype="FLOAT"), "1 samples that are NaN or infinite"),
            "infinite": (sound([float("inf"), 0.1], subtype="FLOAT"), "1 samples that are NaN or infinite"),
            "no samples": (sound(noise(1)[:0]), "no samples"),
        },
    ),
    *damages("clipsep --query", "dog.png", ANYTHING),
    *damages(
        "clipsep --query",
        "dog.png",
        {
            "garbled": (flipped, "not a whole image"),
            "a bomb": (bomb, "not a whole image"),
            "NaN": (NAN, "floating-point"),
        },
    ),
    *damages("clipsep --run", "config.json", RUN_CONFIG),
    *damages(
        "clipsep --run",
        "checkpoint/model.safetensors",
        RUN_WEIGHTS
        | {"other names": (weights(lambda state: {"frame_net.weight": torch.zeros(3, 3)}), "cannot be read")},
    ),
    *damages("clipsep --checkpoint", "best.pt", PICKLED),
    *damages(
        "clipsep --checkpoint",
        "best.pt",
        {
            "no tensors": (pickled({"frame_net.weight": 1.0}), "more than named tensors"),
            "NaN": (pickled({"frame_net.weight": torch.tensor(float("nan"))}), "NaN or infinite"),
            "of other shapes": (pickled({"frame_net.weight": torch.zeros(2, 2)}), "does not fit"),
            "other keys": (pickled({3: torch.zeros(2, 2)}), "more than named tensors"),
        },
    ),
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
    *damages("fastmim transfer --run", "checkpoint/pretrained.safetensors", WEIGHTS),
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
    *damages("pacl dtd", "dtd/dtd/images/banded/a.jpg", ANYTHING),
    *damages("pacl dtd", "dtd/dtd/labels/test1.txt", ANY_FILE),
    *damages(
        "pacl dtd",
        "dtd/dtd/labels/test1.txt",
        {
            "not UTF-8": (not_utf8, "dtd cannot be read .*utf-8", "dtd"),
            "empty": (empty, "dtd lists no images", "dtd"),
            "text": (text, "cannot be read|not an image", "dtd/images/<html>404"),
        },
    ),
    *damages(
        "pacl dtd", "dtd/dtd/images/banded", {"empty folder": (emptied, "No such file"), "a file": (file, "Not a")}
    ),
    *damages("pacl oxford_pets", "oxford-iiit-pet/images/boxer_1.jpg", ANYTHING | {"a bomb": (bomb, "exceeds limit")}),
    *damages(
        "pacl oxford_pets",
        "oxford-iiit-pet/annotations/test.txt",
        ANY_FILE
        | {
            "a column less": (replaced(" 1 1 1", " 1"), "oxford-iiit-pet cannot be read", "oxford-iiit-pet"),
            "not UTF-8": (not_utf8, "oxford-iiit-pet cannot be read", "oxford-iiit-pet"),
            "empty": (empty, "oxford-iiit-pet lists no images", "oxford-iiit-pet"),
            "text": (text, "oxford-iiit-pet cannot be read", "oxford-iiit-pet"),
        },
    ),
    *damages("pacl food101", "food-101/images/tacos/2.jpg", ANYTHING | {"a bomb": (bomb, "exceeds limit")}),
    *damages(
        "pacl food101",
        "food-101/meta/test.json",
        {kind: (JSON[kind][0], "cannot be read", "food-101") for kind in JSON},
    ),
    *damages("pacl sun397", "SUN397/a/abbey/sun_1.jpg", {k: x for k, x in ANYTHING.items() if k != "missing"}),
    *damages(
        "pacl sun397",
        "SUN397/ClassName.txt",
        {
            **{kind: (ANY_FILE[kind][0], "cannot be read", "SUN397") for kind in ANY_FILE},
            "truncated": (replaced("/a/airfield", ""), "cannot be read", "SUN397"),
            "empty": (empty, "cannot be read", "SUN397"),
            "text": (text, "cannot be read", "SUN397"),
            "not UTF-8": (not_utf8, "cannot be read", "SUN397"),
            "binary": (lambda path: path.write_bytes(jpeg()), "cannot be read", "SUN397"),
        },
    ),
    *damages("pacl sun397", "SUN397/a/abbey/sun_1.jpg", {"a bomb": (bomb, "exceeds limit")}),
    *damages("pacl sun397", "SUN397/a", {"empty folder": (emptied, "lists no images", "SUN397")}),
    *damages(
        "pacl caltech101",
        CALTECH,
        ANYTHING
        | {"a bomb": (bomb, "exceeds limit"), "missing": (lambda path: path.rename(f"{path}~"), "No such file")},
    ),
    *damages(
        "pacl caltech101",
        "caltech101/101_ObjectCategories",
        {"empty folder": (emptied, "cannot be read", "caltech101"), "a file": (file, "cannot be read", "caltech101")},
    ),
    *damages("pacl stanford_cars", "stanford_cars/cars_test/2.jpg", ANYTHING),
    *damages(
        "pacl stanford_cars",
        "stanford_cars/cars_test_annos_withlabels.mat",
        {
            **{kind: (ANYTHING[kind][0], "cannot be read", "stanford_cars") for kind in ANYTHING},
            "a class out of range": (lambda path: write_cars(path, 3), "has the class 2; expected 0 to 1", "2.jpg"),
            "a class of -1": (lambda path: write_cars(path, 0), "has the class -1", "2.jpg"),
            "other content": (lambda path: scipy.io.savemat(path, {"a": 1}), "cannot be read", "stanford_cars"),
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


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Root may read what it likes; here this thread gives that up, so that a mode of 000 means what it says."""
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    if os.geteuid() or not sys.platform.startswith("linux") or libc.capget(header, sets):
        yield
        return
    before = sets[0]
    sets[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc.capset(header, sets)
    try:
        yield
    finally:
        sets[0] = before
        libc.capset(header, sets)


def may_read(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True


def contents(folder: Path) -> dict[str, bytes]:
    readable = (path for path in folder.rglob("*") if path.is_file() and may_read(path))
    return {str(path): path.read_bytes() for path in readable}


@pytest.mark.parametrize("name", READERS)
def test_whole_example_is_read(tmp_path: Path, name: str) -> None:
    """From a folder with spaces and characters of other scripts in its name, through a symbolic link."""
    (tmp_path / FOLDER).mkdir()
    READERS[name].build(tmp_path / FOLDER)
    (tmp_path / "link to données").symlink_to(FOLDER)
    READERS[name].read(tmp_path / FOLDER)
    found = READERS[name].read(tmp_path / "link to données")
    if alike := READERS[name].alike:
        (tmp_path / "alike").mkdir()
        READERS[alike].build(tmp_path / "alike")
        assert found is not None and type(found) is type(READERS[alike].read(tmp_path / "alike"))


def test_no_row_is_there_twice() -> None:
    rows = [row[:3] for row in TABLE]
    assert [row for row in rows if rows.count(row) > 1] == []


@pytest.mark.parametrize("name", READERS)
def test_enough_kinds_a_reader(name: str) -> None:
    """Its own, or those of a reader of the same class."""
    damaged = READERS[name].alike or name
    assert len({kind for reader, kind, *_ in TABLE if reader == damaged}) >= 10


@pytest.mark.parametrize(
    ("reader", "path", "kind"),
    [pytest.param(reader, path, kind, id=f"{reader}: {Path(path).name}, {name}") for reader, name, path, kind in TABLE],
)
def test_bad_input_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reader: str, path: str, kind: Kind
) -> None:
    root = tmp_path / FOLDER
    root.mkdir()
    READERS[reader].build(root)
    READERS[reader].read(root)
    kind.damage(root / path)
    before = contents(tmp_path)
    capsys.readouterr()
    with unprivileged():
        if kind.damage is locked and may_read(root / path):
            pytest.skip("this user may read everything")
        status = told(lambda: READERS[reader].read(root), debug=False)
    printed = capsys.readouterr().err
    assert status == 1 and printed.startswith("error: ")
    assert "Traceback" not in printed and "--debug" not in printed, printed
    assert printed.count("\n") == 1 or "Expected" in printed.splitlines()[0], printed  # a layout, below the sentence
    assert (kind.named or str(root / path)) in printed, printed
    assert re.search(kind.said, printed.replace("\n", " ")), printed
    assert before.items() <= contents(tmp_path).items()


@pytest.mark.parametrize(
    ("reader", "path", "kind"),
    [
        pytest.param(reader, path, kind, id=f"{reader}: {Path(path).name}, {name}")
        for reader, name, path, kind in TABLE
        if READERS[reader].check
    ],
)
def test_check_data_tells_whatever_it_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reader: str, path: str, kind: Kind
) -> None:
    """`make check-data` lists what is wrong, or ends with one sentence.

    It opens every file; or it counts the samples, and tells what keeps it from that.
    """
    root, check, count = tmp_path / FOLDER, READERS[reader].check, READERS[reader].count
    assert check is not None
    root.mkdir()
    READERS[reader].build(root)
    whole = check(root)
    kind.damage(root / path)
    counted: list[int] = []
    with unprivileged():
        if kind.damage is locked and may_read(root / path):
            pytest.skip("this user may read everything")
        if count is not None:
            told(lambda: counted.append(count(root)), debug=False)
        capsys.readouterr()
        status = told(lambda: print(*check(root), sep="\n"), debug=False)
    printed = capsys.readouterr()
    assert "--debug" not in printed.err, printed.err
    assert status == 0 or printed.err.startswith("error: ")
    if counted:
        assert f" {counted[0]:,} " in printed.out, printed.out
    else:
        found = " ".join([line for line in printed.out.splitlines() if line not in whole] + [printed.err])
        assert (kind.named or Path(path).name) in found, found
        assert count is not None or re.search(kind.said, found), found


# -- the command line -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A command line whose last options are files and folders below the example."""

    main: Callable[[list[str]], int]
    builds: dict[str, str]
    """Readers whose examples it needs, and the folder of each."""
    options: str
    """Split at spaces; what has a slash is below the example's folder."""


SEPARATE = "--audio ./mix.wav --query violin --out ./violin.wav --figure ./violin.png "
CLASSIFY = "--image ./a.png --out ./filled.png "
SEGMENT = "--image ./a.png --names-file ./names.txt --out ./classes --run ./run"
COMMANDS = {
    "clipsep": Command(
        clipsep_predict.main, {"clipsep --audio": ".", "clipsep --run": "run"}, SEPARATE + "--run ./run"
    ),
    "clipsep official": Command(
        clipsep_predict.main, {"clipsep --audio": ".", "clipsep --checkpoint": "."}, SEPARATE + "--checkpoint ./best.pt"
    ),
    "fastmim": Command(fastmim_predict.main, {"shared --image": ".", "fastmim --run": "run"}, CLASSIFY + "--run ./run"),
    "fastmim official": Command(
        fastmim_predict.main, {"shared --image": ".", "fastmim --checkpoint": "."}, CLASSIFY + "--checkpoint ./best.pth"
    ),
    "pacl": Command(pacl_predict.main, {"shared --image": ".", "pacl --names-file": ".", "pacl --run": "run"}, SEGMENT),
}
COMPUTED = ("violin.wav", "violin.png", "filled.png", "classes/labels.png", "classes/overlay.png")


FILES = {
    "clipsep": ("mix.wav", "run/config.json", "run/checkpoint/model.safetensors"),
    "clipsep official": ("best.pt",),
    "fastmim": (
        "a.png",
        "run/config.json",
        "run/checkpoint/model.safetensors",
        "run/checkpoint/pretrained.safetensors",
    ),
    "fastmim official": ("best.pth",),
    "pacl": ("a.png", "names.txt", "run/config.json", "run/checkpoint/model.safetensors"),
}


@pytest.mark.parametrize(
    ("command", "path", "damage"),
    [
        pytest.param(command, path, damage, id=f"{command}: {Path(path).name}, {damage.__name__}")
        for command, paths in FILES.items()
        for path in paths
        for damage in ((empty, not_utf8, locked) if path == "names.txt" else (half, text, locked))
    ],
)
def test_command_ends_with_one_sentence_and_keeps_what_was_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, path: str, damage: Damage
) -> None:
    root, asked = tmp_path / FOLDER, COMMANDS[command]
    root.mkdir()
    for reader, below in asked.builds.items():
        (root / below).mkdir(exist_ok=True)
        READERS[reader].build(root / below)
    (root / "classes").mkdir()
    for name in COMPUTED:
        (root / name).write_text("computed before")
    damage(root / path)
    before = contents(tmp_path)
    with unprivileged():
        if damage is locked and may_read(root / path):
            pytest.skip("this user may read everything")
        status = asked.main([str(root / word) if word.startswith("./") else word for word in asked.options.split()])
    printed = capsys.readouterr()
    assert status == 1 and printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert "Traceback" not in printed.err and "--debug" not in printed.err and Path(path).name in printed.err
    assert contents(tmp_path) == before


# -- nothing is unpickled ---------------------------------------------------------------------------------------------


class Malicious:
    """Makes a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def build_interrupted_run(root: Path) -> None:
    for _ in Run(root, root / "cache", seed=0).steps(1, save_every=1):
        pass


def read_clip(name: str) -> Callable[[Path], object]:
    return lambda root: load_clip("tiny-clip-bad-input", pretrained=str(root / name))


PLACES = {
    "resumed run": (Reader(build_interrupted_run, build_interrupted_run), "checkpoint/state.pt"),
    "clip .pt": (Reader(lambda root: None, read_clip("clip.pt")), "clip.pt"),
    "clip .bin": (Reader(lambda root: None, read_clip("clip.bin")), "clip.bin"),
    "fastmim transfer --checkpoint": (
        Reader(
            lambda root: None,
            lambda root: transfer.load_backbone(segment.Options(data=root, checkpoint=root / "best.pth"), (4,)),
        ),
        "best.pth",
    ),
    **{
        f"{reader}: {Path(path).name}": (READERS[reader], path)
        for reader, path in dict.fromkeys((reader, path) for reader, _, path, _ in TABLE)
        if Path(path).suffix in (".safetensors", ".pt", ".pth")
    },
}


FORMS: dict[str, Callable[[object, Path], object]] = {
    "zip": torch.save,
    "plain": functools.partial(torch.save, _use_new_zipfile_serialization=False),
    "bare": lambda content, path: path.write_bytes(pickle.dumps(content, 2)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
def test_a_malicious_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, form: str
) -> None:
    root, marker = tmp_path / FOLDER, tmp_path / "executed"
    reader, path = PLACES[place]
    root.mkdir()
    reader.build(root)
    evil = {
        "args": argparse.Namespace(x=Malicious(marker)),
        "model": Malicious(marker),
        "head.bias": Malicious(marker),
        "step": 1,
        "state": {},
    }
    FORMS[form](evil, root / path)
    assert told(lambda: reader.read(root), debug=False) == 1
    printed = capsys.readouterr().err
    assert Path(path).name in printed and "--debug" not in printed
    assert "trusted" not in printed  # torch's advice to unpickle it after all
    assert not marker.exists()
    with contextlib.suppress(RuntimeError):  # a bare pickle is none of torch's, which it finds out too late
        torch.load(shutil.copy(root / path, tmp_path / "evil.pt"), weights_only=False)
    assert marker.exists(), "the file does nothing even where it is unpickled: the test shows nothing"


def unpickling(path: Path) -> Iterator[str]:
    """Calls and imports by which a file could be unpickled."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from (m for m in modules if m.partition(".")[0] in ("pickle", "dill", "joblib", "shelve"))
        elif isinstance(node, ast.Call):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if ast.unparse(node.func) == "torch.load" and options.get("weights_only") != "True":
                yield ast.unparse(node)
            if options.get("allow_pickle") == "True" or options.get("weights_only") == "False":
                yield ast.unparse(node)


def test_no_code_unpickles() -> None:
    sources = [path for folder in ("shared", "papers") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 50
    assert {str(path.relative_to(ROOT)): found for path in sources if (found := list(unpickling(path)))} == {}
