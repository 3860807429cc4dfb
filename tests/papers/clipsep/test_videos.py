"""The paper's data: a small VGGSound and MUSIC, written here in the published layout, and every way to spoil them."""

import functools
import json
import os
import random
import re
import shutil
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from papers.clipsep import data
from papers.clipsep.config import CPU, Config
from papers.clipsep.datasets import videos
from papers.clipsep.datasets.clips import PROMPTS, Clip, Pair
from papers.clipsep.eval import evaluate
from papers.clipsep.train import train
from shared import UserError
from shared.clip import CLIP, describe_weights, load_clip
from shared.offline.towers import SentenceEncoder
from shared.run import Run
from shared.support import progress

GOLDEN = Path(__file__).parents[2] / "golden" / "clipsep"
SECONDS, N_FRAMES = 8, 9
TINY = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
VGGSOUND = {
    "train": [
        ("aaTrain_000", "dog barking"),
        ("abTrain_001", "playing harp"),
        ("-_Train_002", "dog barking"),
        ("adTrain_003", "vehicle horn car horn honking"),
        ("aeTrain_004", "playing harp"),
        ("bcTrain_005", "rain"),
    ],
    "val": [("caVal___000", "rain"), ("cbVal___001", "dog barking"), ("ccVal___002", "playing harp")],
    "test-good": [("daGood__000", "playing harp"), ("dbGood__001", "dog barking")],
    "test-no-music": [(f"e{i}NoMusic{i}", "rain") for i in range(5)] + [("dbGood__001", "dog barking")],
    "test-good-no-music": [("dbGood__001", "dog barking"), ("fbGood__009", "vehicle horn car horn honking")],
}
MUSIC = {
    "train": [
        ("tuba", "tubaTrain_0"),
        ("tuba", "tubaTest__0"),
        ("cello", "celloTrain0"),
        ("cello", "celloVal__0"),
        ("cello", "celloTrain1"),
        ("tuba", "tubaTrain_1"),
    ],
    "val": [("tuba", "tubaTest__0"), ("tuba", "tubaVal___0"), ("cello", "celloVal__0")],
    "test": [("acoustic_guitar", "guitarTest0"), ("tuba", "tubaTest__0")],
}


def write_wav(path: Path, samples: np.ndarray, rate: int = videos.RATE, width: int = 2) -> None:
    """int16 samples (N,) or (N, channels)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1] if samples.ndim == 2 else 1)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def write_video(sound: Path, frames: Path) -> None:
    rng = np.random.default_rng(list(sound.stem.encode()))
    write_wav(sound, rng.integers(-9000, 9000, SECONDS * videos.RATE))
    frames.mkdir(parents=True, exist_ok=True)
    for number in range(1, N_FRAMES + 1):
        colours = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((32, 32)).save(frames / f"{number:06d}.jpg")


def write_list(path: Path, rows: Sequence[tuple[object, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")


def make_dataset(root: Path) -> Path:
    for name, members in VGGSOUND.items():
        rows = []
        for video, label in members:
            place = f"{video[0]}/{video[1]}/{video}"
            write_video(root / f"vggsound/audio/{place}.wav", root / f"vggsound/preprocessed/{place}")
            rows.append((f"data/vggsound/audio/{place}.wav", f"data/vggsound/preprocessed/{place}", N_FRAMES, label))
        write_list(root / f"vggsound/{name}.csv", rows)
    for name, solos in MUSIC.items():
        solo_rows: list[tuple[object, ...]] = []
        for instrument, video in solos:
            place = f"{instrument}/{video}"
            write_video(root / f"MUSIC/solo/audio/{place}.wav", root / f"MUSIC/solo/preprocessed/{place}")
            # As the official lists have it.
            home, folder = ("/data2/somebody/data", "frames") if name == "train" else ("data", "preprocessed")
            columns = (f"{home}/MUSIC/solo/audio/{place}.wav", f"{home}/MUSIC/solo/{folder}/{place}", N_FRAMES)
            solo_rows.append(columns if name == "train" else (*columns, instrument))
        write_list(root / f"MUSIC/solo/{name}.csv", solo_rows)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-clip-videos.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "tiny-clip-videos.json")
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-clip-videos")
    save_file(model.state_dict(), folder / "tiny.safetensors")
    return str(folder / "tiny.safetensors")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def dataset(intact: Path, tmp_path: Path) -> Path:
    return shutil.copytree(intact, tmp_path / "données de test")


@pytest.fixture
def config(dataset: Path, weights: str) -> Config:
    heard = replace(CPU, rate=8_000, segment=4_095, n_fft=512, hop=256)  # another rate than that of the files
    return replace(
        heard, data=str(dataset), clip="tiny-clip-videos", clip_weights=weights, frame_margin=3, batch_size=4, width=4
    )


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Number of frames of every call of an image tower."""
    calls: list[int] = []
    original = CLIP.encode_image

    def encode_image(self: CLIP, images: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        calls.append(len(images))
        return original(self, images, normalize)

    monkeypatch.setattr(CLIP, "encode_image", encode_image)
    yield calls


def sound(dataset: Path, video: str) -> Path:
    return dataset / f"vggsound/audio/{video[0]}/{video[1]}/{video}.wav"


def frames(dataset: Path, video: str) -> Path:
    return dataset / f"vggsound/preprocessed/{video[0]}/{video[1]}/{video}"


# -- which videos are mixed -------------------------------------------------------------------------------------------


def test_test_mixtures_are_the_official_ones(tmp_path: Path) -> None:
    golden = np.load(GOLDEN / "eval_lists.npz")

    def row(folder: str, video: object, n_frames: object, label: object) -> tuple[object, ...]:
        return f"data/{folder}/audio/{video}.wav", f"data/{folder}/preprocessed/{video}", n_frames, label

    def columns(name: str, folder: str) -> list[tuple[object, ...]]:
        values = (golden[f"{name}.{column}"] for column in ("ids", "frames", "labels"))
        return [row(folder, *video) for video in zip(*values, strict=True)]

    no_music = [row("vggsound", f"other{i}", 12, "?") for i in range(int(golden["vggsound_clean_plus_n_interference"]))]
    drawn = golden["vggsound_clean_plus_pair_index"]
    ids, labels = (golden[f"vggsound_clean_plus.interference_{column}"] for column in ("ids", "labels"))
    for index, video, label in zip(drawn, ids, labels, strict=True):
        no_music[index] = row("vggsound", video, 12, label)
    write_list(tmp_path / "MUSIC/solo/test.csv", columns("music_test", "MUSIC/solo"))
    write_list(tmp_path / "vggsound/test-good.csv", columns("vggsound_clean", "vggsound"))
    write_list(tmp_path / "vggsound/test-good-no-music.csv", columns("vggsound_clean_nomusic", "vggsound"))
    write_list(tmp_path / "vggsound/test-no-music.csv", no_music)
    for name in ("train", "val"):
        write_list(tmp_path / f"vggsound/{name}.csv", no_music[:9])

    _, _, tests = videos.read_lists(Config(data=str(tmp_path)))
    assert list(tests) == ["vggsound-clean+", "music+"]
    targets, interferers = zip(*tests["vggsound-clean+"], strict=True)
    assert [v.sound.stem for v in targets] == golden["vggsound_clean.ids"].tolist()
    assert [v.sound.stem for v in interferers] == ids.tolist()
    assert [v.label for v in interferers] == labels.tolist()
    targets, interferers = zip(*tests["music+"], strict=True)
    assert [(v.sound.stem, v.label, v.n_frames) for v in targets] == list(
        zip(*(golden[f"music_test.{c}"].tolist() for c in ("ids", "labels", "frames")), strict=True)
    )
    expected = golden["vggsound_clean_nomusic.ids"][golden["music_plus_pair_index"]]
    assert [v.sound.stem for v in interferers] == expected.tolist()


def test_validation_mixtures_are_the_official_ones(config: Config) -> None:
    names = [video for video, _ in VGGSOUND["val"]]
    expected = []
    for item, name in enumerate(names):
        random.seed(item)
        expected.append((name, random.sample([*names[:item], *names[item + 1 :]], 1)[0]))
    _, validation, _ = videos.read_lists(config)
    assert [(a.sound.stem, b.sound.stem) for a, b in validation] == expected


def test_a_mixture_of_files_is_the_official_one(tmp_path: Path) -> None:
    golden = np.load(GOLDEN / "dataset_mix.npz")
    clips = []
    for number in golden["source_order"]:
        path = tmp_path / f"{number}.wav"
        write_wav(path, golden[f"wav{number}_int16"])
        embeddings = torch.zeros(int(golden["total_frames"][number]), 4)
        read = functools.partial(videos.read_sound, path)
        clips.append(Clip(str(number), 0, read, embeddings, float(golden["param_fps"])))
    config = Config(segment=int(golden["param_audio_len"]))
    np.testing.assert_allclose(data.mixtures([Pair(*clips)], config)[0].numpy(), golden["audios"], atol=1e-7)


# -- what prepare leaves ----------------------------------------------------------------------------------------------


def test_prepare_and_load(config: Config, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = data.prepare(config, tmp_path)
    assert (info["name"], info["train"], info["test"]) == ("VGGSound", 6, 4)
    assert capsys.readouterr().err == "" and (tmp_path / "bad_rows.txt").read_text() == ""
    loaded = data.load(config, tmp_path)
    assert [clip.name for clip in loaded.train] == [video for video, _ in VGGSOUND["train"]]
    counts = {split: {name: len(pairs) for name, pairs in sets.items()} for split, sets in loaded.held_out.items()}
    assert counts == {"validation": {"validation": 3}, "test": {"vggsound-clean+": 2, "music+": 2}}
    assert {split: len(pairs) for split, pairs in loaded.examples.items()} == {"validation": 4, "test": 4}

    clip = load_clip(config.clip, pretrained=config.clip_weights)
    for video in (loaded.train[2], loaded.held_out["test"]["vggsound-clean+"][0].target):
        paths = sorted(frames(dataset, video.name).iterdir())
        direct = clip.encode_image(torch.stack([clip.preprocess(Image.open(path)) for path in paths]))
        assert torch.equal(video.frames, direct)
    assert torch.equal(loaded.train[2].image_query(5), loaded.train[2].frames[3:6].mean(0))

    # Labels of the training list come first; MUSIC's exist as texts that no training clip has.
    labels = loaded.queries.labels
    trained = ["dog barking", "playing harp", "rain", "vehicle horn car horn honking"]
    assert labels == [*trained, "acoustic_guitar", "tuba"]
    assert {clip.label for clip in loaded.train} == {0, 1, 2, 3}
    assert [pair.target.label for pair in loaded.held_out["test"]["music+"]] == [4, 5]
    direct = clip.encode_text([prompt.format("acoustic_guitar") for prompt in PROMPTS]).mean(0)
    torch.testing.assert_close(loaded.queries.text[4], direct)
    torch.testing.assert_close(loaded.queries.training_text[0], clip.encode_text(["a photo of dog barking"])[0])
    assert loaded.queries.sentence.shape == (6, 384)
    direct = SentenceEncoder()(labels)
    expected = 10 * torch.nn.functional.normalize(direct - direct.mean(0), dim=1)
    torch.testing.assert_close(loaded.queries.sentence, expected, atol=1e-4, rtol=0)

    with wave.open(str(sound(dataset, loaded.train[0].name))) as file:
        raw = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    at_16_khz = videos.load(replace(config, rate=videos.RATE), tmp_path)[0][0].wave()
    assert torch.equal(at_16_khz, torch.from_numpy(raw / 32768).float())
    assert len(loaded.train[0].wave()) == SECONDS * config.rate


def test_training_consumes_the_videos(config: Config, tmp_path: Path) -> None:
    config = replace(config, steps=2, validate_every=1, save_every=1, noise_heads=2, workers=2)
    data.prepare(config, tmp_path / "cache")
    run = Run(tmp_path / "run", tmp_path / "cache", seed=0, log_every=1)
    train(config, run)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 2 and all(np.isfinite(losses)) and load_file(run.weights)


def test_settings_are_chosen_on_validation_mixtures(config: Config, tmp_path: Path) -> None:
    config = replace(config, model="half-volume", split="validation")
    data.prepare(config, tmp_path / "cache")
    metrics = evaluate(config, Run(tmp_path / "run", tmp_path / "cache", seed=100))
    found = json.loads((tmp_path / "run/items.json").read_text())
    mixed = data.load(config, tmp_path / "cache").held_out["validation"]["validation"]
    pairs = [(p.target.name, p.interferer.name) for p in mixed]
    assert [(item["target"], item["interferer"]) for item in found] == pairs
    assert metrics["sdr_db"] == pytest.approx(np.mean([item["sdr_db"]["own"] for item in found]))
    assert all("+" not in name for name in metrics)


def test_training_on_music_with_the_shipped_list(config: Config, tmp_path: Path) -> None:
    config = replace(config, train_set="music")
    assert data.prepare(config, tmp_path)["name"] == "MUSIC solos"
    loaded = data.load(config, tmp_path)
    assert loaded.queries.labels == ["cello", "tuba", "acoustic_guitar"]
    assert [clip.label for clip in loaded.train] == [1, 0, 0, 1]
    assert [clip.name for clip in loaded.train] == ["tubaTrain_0", "celloTrain0", "celloTrain1", "tubaTrain_1"]
    assert {p.target.name for p in loaded.held_out["validation"]["validation"]} == {"tubaVal___0", "celloVal__0"}
    assert [(p.target.name, p.interferer.name) for p in loaded.held_out["test"]["music"]] == [
        ("guitarTest0", "tubaTest__0"),
        ("tubaTest__0", "guitarTest0"),
    ]


def test_music_that_is_all_held_out_is_refused(config: Config, dataset: Path) -> None:
    config, solo = replace(config, train_set="music"), dataset / "MUSIC/solo"
    solo.joinpath("test.csv").write_text((solo / "test.csv").read_text() + "a,b,c,d\n")
    solo.joinpath("train.csv").write_text((solo / "train.csv").read_text() + "cello/a,b,c\n")
    train, _, _ = videos.read_lists(config)
    assert len(train) == 5 and "'c' is not a number" in train[-1].fault  # two unreadable rows are not one video
    solo.joinpath("val.csv").write_text((solo / "test.csv").read_text())
    with pytest.raises(UserError, match=r"val\.csv has 3 rows, 2 of them held out for validation or test; at least 2"):
        videos.read_lists(config)
    solo.joinpath("val.csv").write_text((solo / "train.csv").read_text())
    with pytest.raises(UserError, match=r"train\.csv has 7 rows, 6 of them held out"):
        videos.read_lists(config)


def test_an_interrupted_pass_continues(
    config: Config, tmp_path: Path, embedded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = videos.prepare(config, tmp_path / "whole")
    in_one_go = {clip.name: clip.frames for clip in videos.load(config, tmp_path / "whole")[0]}
    total = sum(embedded)
    videos_to_embed = len(embedded)
    embedded.clear()

    monkeypatch.setattr(videos, "SHARD_FRAMES", 2 * N_FRAMES)
    with monkeypatch.context() as patch:
        counted = CLIP.encode_image

        def interrupted(self: CLIP, images: torch.Tensor, normalize: bool = False) -> torch.Tensor:
            if len(embedded) == videos_to_embed - 1:
                raise KeyboardInterrupt
            return counted(self, images, normalize)

        patch.setattr(CLIP, "encode_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            videos.prepare(config, tmp_path / "cache")
    assert sum(embedded) == total - N_FRAMES
    assert videos.prepare(config, tmp_path / "cache") == whole
    assert total <= sum(embedded) <= total + N_FRAMES  # at most the shard that was being filled is done again
    continued = {clip.name: clip.frames for clip in videos.load(config, tmp_path / "cache")[0]}
    assert continued.keys() == in_one_go.keys()
    assert all(torch.equal(continued[name], in_one_go[name]) for name in in_one_go)

    embedded.clear()
    assert videos.prepare(config, tmp_path / "cache") == whole and not embedded


def test_other_weights_embed_again(config: Config, tmp_path: Path, embedded: list[int]) -> None:
    assert config.clip_weights is not None
    mine = Path(shutil.copy2(config.clip_weights, tmp_path / "mine.safetensors"))
    config = replace(config, clip_weights=str(mine))
    videos.prepare(config, tmp_path)
    count = len(embedded)
    first = videos.load(config, tmp_path)[0][0].frames
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    save_file(open_clip.create_model(config.clip).state_dict(), other)
    os.utime(other, ns=(mine.stat().st_mtime_ns, mine.stat().st_mtime_ns))
    assert other.stat().st_size == mine.stat().st_size

    videos.prepare(replace(config, clip_weights=str(other)), tmp_path)  # another file
    assert len(embedded) == 2 * count
    os.utime(other)
    shutil.copy2(other, mine)
    videos.prepare(config, tmp_path)  # another content
    assert len(embedded) == 3 * count
    assert not torch.allclose(videos.load(config, tmp_path)[0][0].frames, first)


def test_other_prompts_embed_texts_again(
    config: Config, tmp_path: Path, embedded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    videos.prepare(config, tmp_path)
    count, before = len(embedded), videos.load(config, tmp_path)[3]

    monkeypatch.setattr(videos, "PROMPTS", ("the sound of {}.",))
    videos.prepare(config, tmp_path)
    after = videos.load(config, tmp_path)[3]
    assert not torch.allclose(after.text, before.text) and torch.equal(after.training_text, before.training_text)
    monkeypatch.setattr(videos, "TRAINING_PROMPT", "the sound of {}")
    videos.prepare(config, tmp_path)
    assert not torch.allclose(videos.load(config, tmp_path)[3].training_text, before.training_text)
    assert len(embedded) == count  # frames have no prompt


def test_unusable_videos_are_left_out_until_they_are_mended(
    config: Config, dataset: Path, tmp_path: Path, embedded: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, tests = videos.read_lists(config)
    lost = tests["vggsound-clean+"][0][1].sound  # the interferer of the first mixture
    kept = [(a.sound.stem, b.sound.stem) for a, b in tests["vggsound-clean+"] if lost not in (a.sound, b.sound)]
    broken = [lost, sound(dataset, "aaTrain_000")]
    contents = [path.read_bytes() for path in broken]
    for path in broken:
        path.unlink()

    info = data.prepare(config, tmp_path)
    named = (tmp_path / "bad_rows.txt").read_text()
    assert all(f"{path} is missing" in named for path in broken) and len(named.splitlines()) == 2
    said = capsys.readouterr().err
    assert said.startswith("2 of ") and str(tmp_path / "bad_rows.txt") in said and len(said.splitlines()) == 1
    loaded = data.load(config, tmp_path)
    assert info["train"] == len(loaded.train) == 5
    assert [(p.target.name, p.interferer.name) for p in loaded.held_out["test"]["vggsound-clean+"]] == kept

    for path, content in zip(broken, contents, strict=True):
        path.write_bytes(content)
    embedded.clear()
    assert data.prepare(config, tmp_path)["train"] == 6 and len(embedded) == 2
    assert (tmp_path / "bad_rows.txt").read_text() == ""
    assert [clip.name for clip in data.load(config, tmp_path).train] == [video for video, _ in VGGSOUND["train"]]


def test_channels_that_are_averaged_are_named(
    config: Config, dataset: Path, tmp_path: Path, embedded: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(sound(dataset, VIDEO), np.stack([NOISE, NOISE // 2], 1))
    expected = f"{sound(dataset, VIDEO)} has 2 channels, which are averaged\n"
    for _ in range(2):  # also when nothing is left to embed
        assert data.prepare(config, tmp_path)["train"] == 6
        assert (tmp_path / "bad_rows.txt").read_text() == expected and capsys.readouterr().err == ""
    sound(dataset, "aaTrain_000").unlink()
    data.prepare(config, tmp_path / "other")
    missing = f"{sound(dataset, 'aaTrain_000')} is missing; expected an audio file.\n"
    assert (tmp_path / "other/bad_rows.txt").read_text() == missing + expected
    assert capsys.readouterr().err.startswith("1 of ")


def test_a_sound_spoilt_after_prepare_is_named(config: Config, dataset: Path, tmp_path: Path) -> None:
    data.prepare(config, tmp_path)
    clip = data.load(config, tmp_path).train[1]
    path = sound(dataset, clip.name)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=re.escape(f"{path} is cut short")):
        clip.wave()


# -- unusable videos --------------------------------------------------------------------------------------------------

VIDEO = "abTrain_001"
NOISE = np.random.default_rng(0).integers(-9000, 9000, SECONDS * videos.RATE)


def edit_list(dataset: Path, edit: Callable[[str], str]) -> None:
    path = dataset / "vggsound/train.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] = edit(lines[1])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def truncate(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def without_frames(dataset: Path, numbers: range) -> None:
    for number in numbers:
        (frames(dataset, VIDEO) / f"{number:06d}.jpg").unlink()


def too_short(dataset: Path) -> None:
    """The segment around frame 9 of 12, the last that training draws, begins 6.5 s into the video."""
    write_wav(sound(dataset, VIDEO), NOISE[: 6 * videos.RATE])
    edit_list(dataset, lambda row: row.replace(",9,", ",12,"))
    for number in (10, 11, 12):
        shutil.copy(frames(dataset, VIDEO) / "000001.jpg", frames(dataset, VIDEO) / f"{number:06d}.jpg")


# Kinds of damage beside those of bad_input.py, and what only counts or durations tell.
SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated wav": (
        lambda d: truncate(sound(d, VIDEO), 64_044),
        "abTrain_001.wav is cut short: its header announces more than the file holds",
    ),
    "cancelling stereo": (
        lambda d: write_wav(sound(d, VIDEO), np.stack([NOISE, 1 - NOISE], 1)),  # rounding may leave as much
        "abTrain_001.wav is silent, as its channels cancel each other",
    ),
    "too short": (too_short, "abTrain_001.wav ends after 6.0 s, long before its 12 frames do"),
    "too few frames": (
        lambda d: without_frames(d, range(8, 10)),
        "abTrain_001/000008.jpg is missing: the folder has 7 frames, 9 expected",
    ),
    "too few for the margin": (
        lambda d: edit_list(d, lambda row: row.replace(",9,", ",6,")),
        "vggsound/train.csv, line 2: 6 frames are too few for abTrain_001.wav, at least 7 needed",
    ),
    "a column more": (
        lambda d: edit_list(d, lambda row: row + ", big"),
        "vggsound/train.csv, line 2: 5 columns, expected",
    ),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_check_names_what_is_unusable(kind: str, dataset: Path) -> None:
    spoil, reason = SPOILT[kind]
    spoil(dataset)
    lines = videos.check(dataset)
    start = next(i for i, line in enumerate(lines) if line.startswith("vggsound/train.csv"))
    assert lines[start] == "vggsound/train.csv: 6 rows, 5 usable"
    assert reason in lines[start + 1] and "\n" not in lines[start + 1]
    assert lines[start + 2] == "vggsound/val.csv: 3 rows (7,271 expected), 3 usable"
    "\n".join(lines).encode()  # printable on any terminal


def test_check_of_a_usable_folder(dataset: Path) -> None:
    (dataset / "MUSIC/solo/val.csv").unlink()
    write_wav(sound(dataset, VIDEO), np.stack([NOISE, NOISE // 2], 1))
    assert videos.check(dataset) == [
        "vggsound/train.csv: 6 rows, 6 usable",
        f"  {sound(dataset, VIDEO)} has 2 channels, which are averaged",
        "vggsound/val.csv: 3 rows (7,271 expected), 3 usable",
        "vggsound/test-good.csv: 2 rows (100 expected), 2 usable",
        "vggsound/test-no-music.csv: 6 rows (5,322 expected), 6 usable",
        "vggsound/test-good-no-music.csv: 2 rows (75 expected), 2 usable",
        "MUSIC/solo/train.csv: 6 rows (364 expected), 6 usable",
        "MUSIC/solo/val.csv: missing (92 expected), needed only to train on MUSIC",
        "MUSIC/solo/test.csv: 2 rows (46 expected), 2 usable",
        "vggsound-clean+: 2 of 2 mixtures can be made",
        "music+: 2 of 2 mixtures can be made",
        describe_weights("ViT-B-32", "openai"),
        "Now no training can start: VGGSound (6 usable training videos are less than a batch of 32), "
        "MUSIC solos (MUSIC/solo/val.csv missing).",
    ]
    averaged = (NOISE + NOISE // 2) / 2 / 32768
    np.testing.assert_allclose(videos.read_sound(sound(dataset, VIDEO)).numpy(), averaged, atol=1e-7)


def test_check_says_what_can_start(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(videos.PRESETS, "paper", replace(videos.PRESETS["paper"], batch_size=4))
    assert videos.check(dataset)[-1] == "Now training and testing on VGGSound, MUSIC solos can start."
    (dataset / "MUSIC/solo/test.csv").unlink()
    (dataset / "MUSIC/solo/val.csv").unlink()
    assert videos.check(dataset)[-1] == (
        "Now no training can start: VGGSound (MUSIC/solo/test.csv missing), "
        "MUSIC solos (MUSIC/solo/val.csv, MUSIC/solo/test.csv missing)."
    )
    shutil.copy(dataset / "vggsound/test-good.csv", dataset / "MUSIC/solo/test.csv")
    assert videos.check(dataset)[-1] == (
        "Now training and testing on VGGSound can start; on MUSIC solos (MUSIC/solo/val.csv missing) it cannot."
    )
    for video, _ in VGGSOUND["val"][:2]:
        sound(dataset, video).unlink()
    assert "VGGSound (over half of the 3 validation videos cannot be used)" in videos.check(dataset)[-1]


def test_frames_are_decoded_as_everywhere(dataset: Path) -> None:
    """16 bits are scaled, a photo is turned upright, a range that is not known is told."""
    video = videos.read_list(dataset, "vggsound/train.csv")[1]
    path = frames(dataset, VIDEO) / "000002.jpg"
    Image.fromarray(np.full((32, 32), 128 * 256, np.uint16)).save(path, "PNG")
    assert list(videos.read_frames(video))[1].getpixel((3, 3)) == (128, 128, 128)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 16)).save(path, exif=exif)
    assert list(videos.read_frames(video))[1].size == (16, 32)
    Image.new("F", (32, 32)).save(path, "TIFF")
    with pytest.raises(UserError, match=re.escape(str(path)) + ".*floating-point"):
        list(videos.read_frames(video))


def test_prepare_says_how_far_it_is(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, int, int]] = []
    monkeypatch.setattr(progress, "_listeners", [lambda *report: said.append(report)])
    data.prepare(config, tmp_path)
    assert ("embedding train videos", 0, 6) in said and ("embedding validation videos", 0, 3) in said


def test_check_lists_twenty_and_counts_the_rest(tmp_path: Path) -> None:
    write_list(tmp_path / "vggsound/val.csv", [(f"{i}.wav", f"{i}", 12, "rain") for i in range(25)])
    lines = videos.check(tmp_path)
    assert lines[1] == "vggsound/val.csv: 25 rows (7,271 expected), 0 usable"
    assert (
        lines[2].startswith(f"  {tmp_path / '0.wav'} is missing;") and f"{tmp_path / '19.wav'} is missing" in lines[21]
    )
    assert lines[22] == "  ... and 5 more" and lines[23].startswith("vggsound/test-good.csv: missing")


def test_a_quotation_mark_that_is_never_closed_costs_the_rest_of_a_list(dataset: Path) -> None:
    path = dataset / "vggsound/train.csv"
    path.write_text(path.read_text() + 'a.wav,a,12,"' + "x" * 140_000)
    *good, last = videos.read_list(dataset, "vggsound/train.csv")
    assert len(good) == 6 and not any(video.fault for video in good) and "quotation mark" in last.fault


def test_labels_with_commas_and_absolute_paths(dataset: Path) -> None:
    original = videos.read_list(dataset, "vggsound/train.csv")[1]
    row = f'"{original.sound}",{original.frames},9,"vehicle horn, car horn, honking"'
    edit_list(dataset, lambda _: row)
    edited = videos.read_list(dataset, "vggsound/train.csv")[1]
    assert edited.key == original.key and edited.label == "vehicle horn car horn honking"


def test_hopeless_data_is_refused(config: Config, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"empty has none of the lists.*\n(?s:.*)test-good-no-music\.csv"):
        videos.check(tmp_path / "empty")

    for video, _ in VGGSOUND["val"][:2]:
        sound(dataset, video).unlink()
    with pytest.raises(UserError, match=r"Over half of the 3 validation videos .*\.wav is missing.*make check-data"):
        data.prepare(config, tmp_path)
    assert len((tmp_path / "bad_rows.txt").read_text().splitlines()) == 2

    (dataset / "vggsound/val.csv").write_text("")
    with pytest.raises(UserError, match=r"val\.csv has 0 rows"):
        data.prepare(config, tmp_path)
    (dataset / "vggsound/val.csv").unlink()
    with pytest.raises(UserError, match=r"val\.csv is missing\. Expected:\nDATA/vggsound/"):
        data.prepare(config, tmp_path)


def test_less_than_a_batch_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="6 usable training videos are less than a batch of 7"):
        data.prepare(replace(config, batch_size=7), tmp_path)
