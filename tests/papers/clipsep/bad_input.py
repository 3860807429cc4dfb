"""Files that CLIPSep reads and command lines, whole and damaged: see tests/damage.py."""

import contextlib
import functools
import shutil
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from papers.clipsep import config, predict
from papers.clipsep.build import build_model
from papers.clipsep.datasets import videos
from shared import UserError
from shared.clip import CLIP
from shared.support.audio import read_audio
from tests.damage import (
    ANY_FILE,
    ANYTHING,
    BINARY,
    GOLDEN,
    NAN,
    PICKLED,
    RUN_CONFIG,
    RUN_WEIGHTS,
    Command,
    Reader,
    Row,
    bomb,
    build_run,
    damages,
    emptied,
    empty,
    file,
    flipped,
    folder,
    golden,
    gone,
    half,
    half_sound,
    lied,
    loop,
    noise,
    not_utf8,
    photo,
    pickled,
    replaced,
    sound,
    state,
    text,
    weights,
)

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
    train, _, _ = videos.read_lists(replace(config.CPU, data=str(root)))
    for video in train:
        if video.fault:
            raise UserError(video.fault)
        videos.read_sound(video.sound)
        for _ in videos.read_frames(video):
            pass


class Towers(CLIP):
    """Stands in for the frozen towers: an image's embedding is its mean colour, those of texts are alike."""

    def __init__(self) -> None:
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(1))
        self.transform = lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255

    def _image_embedding(self, batch: Tensor) -> Tensor:
        return batch.mean((2, 3))

    def _text_embedding(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 512)


@functools.cache
def weights_of_smoke() -> bytes:
    offline_towers = 384
    return state(build_model(config.PRESETS["smoke"], torch.empty(0), query_width=offline_towers))


def build_trained(root: Path) -> None:
    build_run(root, "clipsep", config.PRESETS["smoke"], model=weights_of_smoke())


def build_official(root: Path) -> None:
    torch.save(golden("clipsep/model_nit.npz", "sd."), root / "best.pt")


@contextlib.contextmanager
def small_paper_preset() -> Iterator[pytest.MonkeyPatch]:
    """With networks of the size that is stored here."""
    with np.load(GOLDEN / "clipsep/model_nit.npz", allow_pickle=False) as stored:
        names = {"levels": "num_downs", "width": "ngf", "channels": "channels"}
        size = {ours: stored[theirs].item() for ours, theirs in names.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(predict.PRESETS, "paper", replace(config.PRESETS["paper"], **size))
        yield patch


def read_official(root: Path) -> None:
    with small_paper_preset():
        predict.official_model(root / "best.pt")


def predict_with_official(arguments: list[str]) -> int:
    """``predict`` without the CLIP that the authors' weights need: it is not here."""
    with small_paper_preset() as patch:
        patch.setattr(predict, "load_clip", lambda name, pretrained, device: Towers())
        return predict.main(arguments)


READERS = {
    "clipsep videos": Reader(build_videos, read_videos, videos.check),
    "clipsep --audio": Reader(
        lambda root: soundfile.write(root / "mix.wav", noise(1), 16_000, "FLOAT"),
        lambda root: read_audio(root / "mix.wav"),
    ),
    "clipsep --query": Reader(
        lambda root: photo(root / "dog.png"), lambda root: predict.embed(str(root / "dog.png"), Towers())
    ),
    "clipsep --run": Reader(build_trained, predict.trained_model),
    "clipsep --checkpoint": Reader(build_official, read_official),
}

TABLE: list[Row] = [
    *damages("clipsep videos", SOUND, ANYTHING),
    *damages("clipsep videos", FRAME, ANYTHING | {"a bomb": (bomb, "damaged, or not a JPEG image")}),
    *damages(
        "clipsep videos",
        SOUND,
        {
            "wrong rate": (sound(noise(1), 44_100), "44100 Hz, expected 16000"),
            "wrong width": (sound(noise(1), subtype="PCM_24"), "PCM_24 samples, expected 16-bit"),
            "floating point": (sound(noise(1), subtype="FLOAT"), "FLOAT samples, expected 16-bit"),
            "a chunk that lies": (lied, "not audio"),
            "silent": (sound(0 * noise(1)), "silent"),
            "cancelling channels": (sound(np.stack([noise(1), -noise(1)], 1)), "silent"),
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
]

SEPARATE = "--audio ./mix.wav --query violin --out ./violin.wav --figure ./violin.png "
COMMANDS = {
    "clipsep": Command(
        predict.main,
        {"clipsep --audio": ".", "clipsep --run": "run"},
        SEPARATE + "--run ./run",
        files=dict.fromkeys(("mix.wav", "run/config.json", "run/checkpoint/model.safetensors"), BINARY),
        computed=("violin.wav", "violin.png"),
    ),
    "clipsep official": Command(
        predict_with_official,
        {"clipsep --audio": ".", "clipsep --checkpoint": "."},
        SEPARATE + "--checkpoint ./best.pt",
        files={"best.pt": BINARY},
        computed=("violin.wav", "violin.png"),
    ),
}
