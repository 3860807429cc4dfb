"""papers/clipsep/predict.py: files in, files out, with a small untrained model and a stand-in for the frozen towers."""

import dataclasses
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor, resize

from papers.clipsep import predict
from papers.clipsep.build import build_model, build_spectrogram
from papers.clipsep.config import PRESETS, VARIANTS
from papers.clipsep.datasets.instruments import load_solos
from papers.clipsep.datasets.recordings import SPLITS
from papers.clipsep.metrics import si_sdr
from papers.clipsep.predict import main, separate
from shared.clip import CLIP
from shared.offline.cutouts import load_cutouts

CONFIG = PRESETS["smoke"]
WIDTH = 16  # of the stand-in's embeddings
ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "clipsep"


class Towers(CLIP):
    """Texts embed as noise seeded by their characters, images as the mean colour of their quarters."""

    def __init__(self) -> None:
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(1))
        self.transform = lambda image: resize(pil_to_tensor(image), [2, 2]) / 255
        self.asked: list[str] = []

    def _text_embedding(self, texts: list[str]) -> Tensor:
        self.asked += texts
        return torch.stack(
            [torch.randn(WIDTH, generator=torch.Generator().manual_seed(zlib.crc32(text.encode()))) for text in texts]
        )

    def _image_embedding(self, images: Tensor) -> Tensor:
        self.asked += ["image"] * len(images)
        return 10 * nn.functional.pad(images.flatten(1), (0, WIDTH - 12))


class Constant(nn.Module):
    """A network whose mask for a query (D,) is its first number everywhere."""

    def forward(self, log_mixture: Tensor, queries: Tensor) -> tuple[Tensor, None]:
        return queries[..., :1, None, None].logit().expand(-1, -1, *log_mixture.shape[1:]), None


def write_run(folder: Path, variant: str = "clipsep-nit") -> Path:
    """The folder of a run that ended with random weights, large enough for masks between 0 and 1."""
    config = dataclasses.replace(CONFIG, **VARIANTS[variant].changes)
    torch.manual_seed(0)
    model = build_model(config, torch.randn(3, 8), WIDTH)
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    (folder / "checkpoint").mkdir(parents=True)
    described = {"variant": variant, "seed": 0, "config": dataclasses.asdict(config), "key": "any"}
    (folder / "config.json").write_text(json.dumps(described))
    save_file(
        {name: x.contiguous() for name, x in model.state_dict().items()}, folder / "checkpoint" / "model.safetensors"
    )
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "seed0")


@pytest.fixture(autouse=True)
def towers(monkeypatch: pytest.MonkeyPatch) -> Towers:
    towers = Towers()
    monkeypatch.setattr(predict, "load_clip", lambda name, pretrained, device: towers)
    return towers


@pytest.fixture
def ask(run: Path, tmp_path: Path) -> Callable[..., int]:
    """The command line with ``--run``, and one query unless others are given."""

    def call(
        *arguments: object, query: tuple[str, ...] = ("a dog",), model: tuple[object, ...] = ("--run", run)
    ) -> int:
        return main([str(argument) for argument in ("--query", *query, *arguments, *model)])

    return call


def noise(channels: int, samples: int, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(0).standard_normal((samples, channels))).astype(np.float32)


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32", always_2d=True)[0]


# at once


def test_it_separates_with_what_is_committed(tmp_path: Path) -> None:
    """As a new user does it, from any folder and before anything is trained; the two sounds are easy to tell apart."""
    rate = 16_000
    (cello,) = [solo.sound(rate) for solo in load_solos() if (solo.instrument, solo.split) == ("cello", "test")]
    (toucan,) = [stamp.sound(rate) for stamp in load_cutouts(sounding=True) if stamp.label == "toucan"]
    parts = {"toucan": toucan[round(SPLITS["test"][0] * len(toucan)) :], "cello": cello}
    sources = {name: 0.1 * np.resize(x, 2 * rate) / np.sqrt(np.mean(x**2)) for name, x in parts.items()}
    mixture = sum(sources.values())
    soundfile.write(tmp_path / "mix.wav", mixture, rate, "FLOAT")
    command = [sys.executable, "-m", "papers.clipsep.predict", "--audio", "mix.wav"]
    command += ["--query", "a photo of a toucan", "a photo of a cello", "--out", "toucan.wav", "cello.wav"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    for name, source in sources.items():
        estimates = torch.from_numpy(np.stack([read(tmp_path / f"{name}.wav")[:, 0], mixture]))
        separated, unseparated = si_sdr(torch.from_numpy(source), estimates).tolist()
        assert separated > unseparated + 5, name


# what comes out


@pytest.mark.parametrize(
    ("rate", "channels", "samples", "encoding"),
    [(8_000, 1, 20_001, "FLOAT"), (44_100, 2, 60_000, "FLOAT"), (16_000, 3, 77, "FLOAT"), (6_000, 1, 9_000, "PCM_24")],
)
def test_output_is_like_the_input_and_the_rest_completes_it(
    ask: Callable[..., int], tmp_path: Path, rate: int, channels: int, samples: int, encoding: str
) -> None:
    mix, out, rest = tmp_path / "mix.wav", tmp_path / "new folder" / "dog.wav", tmp_path / "rest.wav"
    soundfile.write(mix, noise(channels, samples), rate, encoding)
    assert ask("--audio", mix, "--out", out, "--rest", rest) == 0
    for path in (out, rest):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (rate, channels, samples, encoding)
        assert np.abs(read(path)).max() > 1e-3
    assert np.abs(read(out) + read(rest) - read(mix)).max() < 1e-6


def test_masks_of_ones_give_back_what_the_model_can_hear() -> None:
    seconds = torch.arange(44_100) / 44_100
    heard, unheard = (2 * torch.pi * 440 * seconds).sin() / 4, (2 * torch.pi * 12_000 * seconds).sin() / 4
    result = separate(Constant(), build_spectrogram(CONFIG), (heard + unheard)[None], 44_100, torch.tensor([[1.0]]))
    middle = slice(2_000, -2_000)  # resampling filters need some samples at either end
    assert (result.estimates[0, 0] - heard)[middle].abs().max() < 2e-3
    assert (result.rest[0] - unheard)[middle].abs().max() < 2e-3


@pytest.mark.parametrize(
    ("masks", "binary", "estimates", "rest"),
    [
        ((0.25, 0.5), False, (0.25, 0.5), 0.25),
        ((0.75, 0.5), False, (0.75, 0.5), 0.0),  # more than all of it is claimed
        ((0.75, 0.25), True, (1.0, 0.0), 0.0),
        ((0.4, 0.4), True, (0.0, 0.0), 1.0),  # none passes the threshold, though their sum would
    ],
)
def test_several_queries(masks: tuple[float, ...], binary: bool, estimates: tuple[float, ...], rest: float) -> None:
    mixture = torch.from_numpy(noise(2, 30_000)).T
    result = separate(Constant(), build_spectrogram(CONFIG), mixture, CONFIG.rate, torch.tensor(masks)[:, None], binary)
    for estimate, share in zip(result.estimates, estimates, strict=True):
        assert (estimate - share * mixture).abs().max() < 1e-5
    assert (result.rest - rest * mixture).abs().max() < 1e-5


@pytest.mark.parametrize("repeated", [False, True])
def test_each_query_gets_its_own_file(ask: Callable[..., int], tmp_path: Path, repeated: bool) -> None:
    mix, a, b, alone = (tmp_path / f"{name}.wav" for name in ("mix", "a", "b", "alone"))
    soundfile.write(mix, noise(1, 30_000), 8_000, "FLOAT")
    if repeated:
        assert ask("--out", a, "--audio", mix, "--query", "a violin", "--out", b) == 0
    else:
        assert ask("--audio", mix, "--out", a, b, query=("a dog", "a violin")) == 0
    assert ask("--audio", mix, "--out", alone, query=("a violin",)) == 0
    assert np.abs(read(b) - read(alone)).max() < 1e-6
    assert np.abs(read(a) - read(b)).max() > 1e-3


def test_what_the_noise_heads_take(ask: Callable[..., int], run: Path, tmp_path: Path) -> None:
    mix, a, b, rest, *noises = (tmp_path / f"{name}.wav" for name in ("mix", "a", "b", "rest", "noise 1", "noise 2"))
    soundfile.write(mix, noise(2, 60_000), 44_100, "FLOAT")
    query = ("a dog", "a violin")
    assert ask("--audio", mix, "--out", a, b, "--rest", rest, "--noise", *noises, query=query) == 0
    for path in noises:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (44_100, 2, 60_000, "FLOAT")
    assert np.abs(read(noises[0]) - read(noises[1])).max() > 1e-3

    alone, rest_alone = tmp_path / "alone.wav", tmp_path / "rest alone.wav"
    assert ask("--audio", mix, "--out", a, alone, "--rest", rest_alone, query=query) == 0
    assert np.array_equal(read(alone), read(b)) and np.array_equal(read(rest_alone), read(rest))


@pytest.mark.parametrize("binary", [False, True])
def test_noise_heads_answer_the_mean_query(run: Path, binary: bool) -> None:
    """One segment: the masks are those of the model, applied to the mixture."""
    config, model = predict.trained_model(run)
    spectrogram = build_spectrogram(config)
    usable = (spectrogram.frames - 1) * spectrogram.hop
    queries = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(1))
    wave = torch.from_numpy(noise(1, usable)).T
    segment = torch.cat([wave, wave], dim=1)[:, : config.segment]  # what the last segment lacks is repeated
    spectrum = spectrogram.stft(segment[None])
    with torch.no_grad():
        log_mixture = spectrogram.network_input(spectrum.abs())
        masks = model(log_mixture, queries[None])[0].sigmoid()
        noise_masks = model(log_mixture, queries.mean(0)[None, None])[1].sigmoid()
    result = separate(model, spectrogram, wave, config.rate, queries, binary, noise=True)
    assert len(result.estimates) == len(result.noise) == 2
    for found, mask in zip([*result.estimates, *result.noise], [*masks[0], *noise_masks[0]], strict=True):
        assert (found - spectrogram.reconstruct(mask, spectrum, binary)).abs().max() < 1e-5
    assert separate(model, spectrogram, wave, config.rate, queries).noise == []


def test_channels_share_the_masks_of_their_mean(run: Path) -> None:
    config, model = predict.trained_model(run)
    left, right = torch.from_numpy(noise(2, 20_000)).T
    queries = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(1))

    def separated(*channels: Tensor) -> Tensor:
        return separate(model, build_spectrogram(config), torch.stack(channels), config.rate, queries).estimates[0]

    panned = separated(1.5 * left, 0.5 * left)
    assert (panned - torch.tensor([[1.5], [0.5]]) * separated(left)).abs().max() < 1e-5
    together, swapped = separated(left, right), separated(right, left)
    assert (together - swapped.flip(0)).abs().max() < 1e-6
    assert (together[0] - separated(left)[0]).abs().max() > 1e-3  # what is on the right matters to the left


def test_binary_masks_are_all_or_nothing(ask: Callable[..., int], tmp_path: Path) -> None:
    mix, soft, hard = (tmp_path / f"{name}.wav" for name in ("mix", "soft", "hard"))
    soundfile.write(mix, noise(1, 30_000), 8_000, "FLOAT")
    assert ask("--audio", mix, "--out", soft) == ask("--audio", mix, "--out", hard, "--binary") == 0
    assert np.abs(read(soft) - read(hard)).max() > 1e-3


def test_text_is_asked_as_it_stands_and_a_file_as_an_image(
    ask: Callable[..., int], tmp_path: Path, towers: Towers
) -> None:
    mix, photo = tmp_path / "mix.wav", tmp_path / "a photo.png"
    soundfile.write(mix, noise(1, 9_000), 8_000)
    Image.new("RGB", (30, 20), "red").save(photo)
    assert ask("--audio", mix, "--out", tmp_path / "a.wav", tmp_path / "b.wav", query=("Hund, laut", str(photo))) == 0
    assert towers.asked == ["Hund, laut", "image"]
    assert np.abs(read(tmp_path / "a.wav") - read(tmp_path / "b.wav")).max() > 1e-3


@pytest.mark.parametrize("name", ["dog.flac", "dog.ogg", "söund of a dog.WAV"])
def test_formats_and_names(ask: Callable[..., int], tmp_path: Path, name: str) -> None:
    mix = tmp_path / "Köter & Geige 犬.wav"
    soundfile.write(mix, noise(2, 22_050), 22_050)
    assert ask("--audio", mix, "--out", tmp_path / name) == 0
    info = soundfile.info(tmp_path / name)
    assert (info.samplerate, info.channels, info.frames) == (22_050, 2, 22_050)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("dog.wav", "PCM_16"), ("dog.flac", "PCM_16"), ("dog.ogg", "VORBIS"), ("dog.mp3", "MPEG_LAYER_III")],
)
def test_an_mp3_in_any_format_out(ask: Callable[..., int], tmp_path: Path, name: str, encoding: str) -> None:
    mix = tmp_path / "mix.mp3"
    soundfile.write(mix, noise(2, 22_050), 22_050)
    assert ask("--audio", mix, "--out", tmp_path / name) == 0
    info = soundfile.info(tmp_path / name)
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (22_050, 2, 22_050, encoding)


@pytest.mark.parametrize("encoding", soundfile.available_subtypes())
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "voc", "w64"])
def test_every_encoding_that_can_be_read_has_one_to_write(tmp_path: Path, suffix: str, encoding: str) -> None:
    """libsndfile reads more than it writes (MPEG inside of WAV, MP2), and some encodings come back longer."""
    path = tmp_path / f"dog.{suffix}"
    predict.write_audio(path, torch.from_numpy(noise(1, 777)).T, 16_000, encoding)
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.frames) == (16_000, 1, 777)
    if encoding in ("PCM_16", "PCM_24", "FLOAT") and suffix in ("wav", "aiff", "caf", "w64"):
        assert info.subtype == encoding


def test_figure_shows_mixture_masks_and_estimates(ask: Callable[..., int], tmp_path: Path) -> None:
    mix, figure = tmp_path / "mix.wav", tmp_path / "masks.png"
    soundfile.write(mix, noise(2, 50_000), 16_000)
    query = ("a dog", "$ and _ and ß")
    assert ask("--audio", mix, "--out", tmp_path / "a.wav", tmp_path / "b.wav", "--figure", figure, query=query) == 0
    with Image.open(figure) as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).std() > 10


@pytest.mark.parametrize("seconds", [2, 70])  # the longer one has more frames than a figure shows
def test_a_tone_is_drawn_at_its_frequency_and_time(seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    time = torch.arange(seconds * 44_100) / 44_100
    mixture = ((2 * torch.pi * 1_000 * time).sin() * (time > seconds / 2) / 4)[None]
    spectrogram = build_spectrogram(CONFIG)
    result = separate(Constant(), spectrogram, mixture, 44_100, torch.tensor([[1.0]]))
    drawn: list[Figure] = []
    monkeypatch.setattr(predict, "write_figure", lambda figure, path, dpi: drawn.append(figure))
    predict.draw(Path("tone.png"), ["a tone"], result, mixture, 44_100, spectrogram)
    panels = [axis for axis in drawn[0].axes if axis.get_title()]
    assert [axis.get_title() for axis in panels] == ["mixture", "mask: a tone", "a tone"]
    assert {axis.get_ylabel() for axis in panels} == {"Hz"} and panels[-1].get_xlabel() == "Time (seconds)"
    for axis in (panels[0], panels[2]):
        assert axis.get_xlim() == (0, seconds)
        mesh = axis.collections[0]
        level = np.asarray(mesh.get_array())
        places = mesh.get_coordinates()  # corners of its cells, in seconds and Hz
        assert level.shape[1] <= predict.COLUMNS
        row, column = np.unravel_index(level.argmax(), level.shape)
        assert places[row, 0, 1] < 1_000 < places[row + 1, 0, 1]
        begins = places[0, :-1, 0][level[row] > level.max() - 20].min()
        assert abs(begins - seconds / 2) < 0.1 and column > level.shape[1] / 2


# levels


def test_nothing_is_clipped_that_the_encoding_can_hold(ask: Callable[..., int], tmp_path: Path, capsys) -> None:
    mix, out, rest = tmp_path / "mix.wav", tmp_path / "out.wav", tmp_path / "rest.wav"
    soundfile.write(mix, noise(1, 30_000, level=3), 8_000, "FLOAT")
    assert ask("--audio", mix, "--out", out, "--rest", rest) == 0
    assert np.abs(read(out)).max() > 1.5
    assert np.abs(read(out) + read(rest) - read(mix)).max() < 1e-5
    assert "clipped" not in capsys.readouterr().err


def test_clipping_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = torch.tensor([[0.5, -2.0, 1.5]])
    predict.write_audio(tmp_path / "loud.wav", samples, 8_000, "PCM_16")
    note = capsys.readouterr().err
    assert "2 samples" in note and "loud.wav" in note and "+6.02 dB" in note
    assert read(tmp_path / "loud.wav")[:, 0] == pytest.approx([0.5, -1, 1], abs=1e-4)


def test_rounding_is_no_clipping(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict.write_audio(tmp_path / "full scale.wav", torch.tensor([[1.0, 1 + 1e-6, -1 - 1e-6]]), 8_000, "PCM_16")
    assert capsys.readouterr().err == ""


def test_minutes_of_vorbis(tmp_path: Path) -> None:
    predict.write_audio(tmp_path / "long.ogg", torch.zeros(2, 4_000_000), 44_100, "PCM_16")
    assert soundfile.info(tmp_path / "long.ogg").frames == 4_000_000


def test_a_rate_that_a_format_lacks_is_told_before_anything_is_written(
    ask: Callable[..., int], tmp_path: Path, capsys
) -> None:
    soundfile.write(tmp_path / "studio.wav", np.zeros(9600), 96_000)
    out = ("--out", tmp_path / "v.wav", tmp_path / "c.mp3")
    assert ask("--audio", tmp_path / "studio.wav", *out, query=("violin", "cello")) == 1
    assert "c.mp3: MP3 holds no 1 channels at 96000 Hz" in capsys.readouterr().err
    assert not (tmp_path / "v.wav").exists()


def test_silence_stays_silent_and_is_told(ask: Callable[..., int], tmp_path: Path, capsys) -> None:
    mix, out = tmp_path / "mix.wav", tmp_path / "out.wav"
    soundfile.write(mix, np.zeros((9_000, 2)), 8_000)
    assert ask("--audio", mix, "--out", out) == 0
    assert "silent" in capsys.readouterr().err
    assert read(out).shape == (9_000, 2) and not read(out).any()


def test_channels_that_cancel_are_told(ask: Callable[..., int], tmp_path: Path, capsys) -> None:
    mix, out = tmp_path / "mix.wav", tmp_path / "out.wav"
    for right, told in ((-1, True), (0.5, False)):
        soundfile.write(mix, noise(1, 9_000) * [1, right], 8_000)
        assert ask("--audio", mix, "--out", out) == 0
        assert ("cancel each other" in capsys.readouterr().err) == told


def test_what_the_model_cannot_hear_is_told(ask: Callable[..., int], tmp_path: Path, capsys) -> None:
    for rate, told in ((16_000, False), (22_050, True)):
        soundfile.write(tmp_path / "mix.wav", noise(1, 5_000), rate)
        assert ask("--audio", tmp_path / "mix.wav", "--out", tmp_path / "out.wav") == 0
        assert ("8000 Hz" in capsys.readouterr().err) == told


# a user's mistakes


def assert_one_sentence(error: str, *parts: str) -> None:
    assert error.startswith("error: ") and error.count("\n") == 1 and "Traceback" not in error
    for part in parts:
        assert part in error


def test_a_recorder_that_announced_no_length_is_believed(ask: Callable[..., int], tmp_path: Path) -> None:
    mix = tmp_path / "piped.wav"
    soundfile.write(mix, noise(1, 8_000), 8_000, "PCM_16")
    content = bytearray(mix.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    mix.write_bytes(content)
    assert ask("--audio", mix, "--out", tmp_path / "out.wav") == 0
    assert soundfile.info(tmp_path / "out.wav").frames == 8_000


BAD_OUTPUTS = {
    "fewer files than queries": (["--out", "a.wav"], ("a", "b"), "2 queries and 1 files"),
    "more files than queries": (["--out", "a.wav", "b.wav"], ("a",), "1 queries and 2 files"),
    "one file twice": (["--out", "a.wav", "./a.wav"], ("a", "b"), "one file"),
    "over the mixture": (["--out", "mix.wav"], ("a",), "one file"),
    "not a sound format": (["--out", "a.txt"], ("a",), "a.txt has no suffix"),
    "no header": (["--out", "a.raw"], ("a",), "a.raw has no suffix"),
    "an option twice": (["--out", "a.wav", "--rest", "b.wav", "--rest", "c.wav"], ("a",), "--rest is given twice"),
    "not a picture format": (["--out", "a.wav", "--figure", "a.doc"], ("a",), "--figure a.doc"),
    "noise over an estimate": (["--out", "a.wav", "--noise", "a.wav", "b.wav"], ("a",), "one file"),
    "noise in no sound format": (["--out", "a.wav", "--noise", "b.wav", "c.txt"], ("a",), "c.txt has no suffix"),
    "fewer files than noise heads": (
        ["--out", "a.wav", "--noise", "b.wav"],
        ("a",),
        "2 noise heads, but --noise names 1",
    ),
    "a folder": (["--out", "folder.wav"], ("a",), "folder.wav is a folder"),
    "below a file": (["--out", "mix.wav/a.wav"], ("a",), "mix.wav"),
    "empty query": (["--out", "a.wav"], (" ",), "--query is empty"),
    "no such image": (["--out", "a.wav"], ("dog.jpg",), "no image dog.jpg"),
    "not an image": (["--out", "a.wav"], ("mix.wav",), "not a whole image"),
}


@pytest.mark.parametrize("case", BAD_OUTPUTS)
def test_bad_command_lines(
    ask: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    case: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("mix.wav", noise(1, 8_000), 8_000)
    Path("folder.wav").mkdir()
    before = Path("mix.wav").read_bytes()
    arguments, query, message = BAD_OUTPUTS[case]
    assert ask("--audio", "mix.wav", *arguments, query=query) == 1
    assert_one_sentence(capsys.readouterr().err, message)
    assert Path("mix.wav").read_bytes() == before and not Path("a.wav").exists()


def test_no_permission(ask: Callable[..., int], tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "mix.wav", noise(1, 8_000), 8_000)
    monkeypatch.setattr(predict.os, "access", lambda path, mode: False)  # tests may run as root, who may write anywhere
    assert ask("--audio", tmp_path / "mix.wav", "--out", tmp_path / "locked" / "a.wav") == 1
    assert_one_sentence(capsys.readouterr().err, "No permission", "locked")


def test_a_run_that_is_not_finished(ask: Callable[..., int], tmp_path: Path, capsys) -> None:
    soundfile.write(tmp_path / "mix.wav", noise(1, 8_000), 8_000)
    run = ("--run", tmp_path / "seed7")
    assert ask("--audio", tmp_path / "mix.wav", "--out", tmp_path / "a.wav", model=run) == 1
    assert_one_sentence(capsys.readouterr().err, "seed7", "make reproduce PAPER=clipsep", "--run")


@pytest.mark.parametrize("variant", ["pit", "labelsep", "bertsep"])
def test_variants_that_take_no_query(ask: Callable[..., int], tmp_path: Path, capsys, variant: str) -> None:
    soundfile.write(tmp_path / "mix.wav", noise(1, 8_000), 8_000)
    run = write_run(tmp_path / variant, variant)
    assert ask("--audio", tmp_path / "mix.wav", "--out", tmp_path / "a.wav", model=("--run", run)) == 1
    assert_one_sentence(capsys.readouterr().err, f"run of {variant}", "clipsep-nit, ")


@pytest.mark.parametrize("variant", ["clipsep", "early-fusion", "middle-fusion"])
def test_other_variants_take_queries_too(ask: Callable[..., int], tmp_path: Path, variant: str) -> None:
    soundfile.write(tmp_path / "mix.wav", noise(1, 8_000), 8_000)
    run = write_run(tmp_path / variant, variant)
    outs = (tmp_path / "a.wav", tmp_path / "b.wav")
    assert ask("--audio", tmp_path / "mix.wav", "--out", *outs, query=("a", "b"), model=("--run", run)) == 0


@pytest.mark.parametrize("variant", ["clipsep", "early-fusion"])
def test_variants_without_noise_heads(ask: Callable[..., int], tmp_path: Path, capsys, variant: str) -> None:
    soundfile.write(tmp_path / "mix.wav", noise(1, 8_000), 8_000)
    run = write_run(tmp_path / variant, variant)
    arguments = ("--audio", tmp_path / "mix.wav", "--out", tmp_path / "a.wav", "--noise", tmp_path / "b.wav")
    assert ask(*arguments, model=("--run", run)) == 1
    assert_one_sentence(capsys.readouterr().err, "no noise heads", "clipsep-nit")
    assert not (tmp_path / "a.wav").exists()


# weights published by the authors


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkpoint of the official code, as it saves them, in place of the published one."""
    with np.load(GOLDEN / "model_nit.npz") as stored:
        state = {f"module.{key[3:]}": torch.tensor(stored[key]) for key in stored.files if key.startswith("sd.")}
        size = {
            "levels": stored["num_downs"].item(),
            "width": stored["ngf"].item(),
            "channels": stored["channels"].item(),
        }
    small = dataclasses.replace(PRESETS["paper"], rate=8_000, segment=8_191, n_fft=512, hop=128, bins=64, **size)
    monkeypatch.setitem(predict.PRESETS, "paper", small)
    monkeypatch.setitem(globals(), "WIDTH", 512)
    torch.save(state, tmp_path / "best_model.pt")
    return tmp_path / "best_model.pt"


def test_official_checkpoint(ask: Callable[..., int], tmp_path: Path, official: Path) -> None:
    mix, out = tmp_path / "mix.wav", tmp_path / "out.wav"
    soundfile.write(mix, noise(1, 8_000), 8_000)
    assert ask("--audio", mix, "--out", out, model=("--checkpoint", official)) == 0
    assert np.abs(read(out)).max() > 1e-3


def test_noise_heads_of_the_official_checkpoint(
    ask: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], official: Path
) -> None:
    config, model = predict.official_model(official)
    state = torch.load(official, weights_only=True)
    assert config.noise_heads == 2
    for name, found in model.state_dict().items():
        if name.startswith("pit_nets"):
            assert torch.equal(found, state[f"module.{name}"])

    mix, out, *noises = (tmp_path / f"{name}.wav" for name in ("mix", "out", "noise 1", "noise 2"))
    soundfile.write(mix, noise(1, 8_000), 8_000)
    arguments = ("--audio", mix, "--out", out, "--noise", *noises)
    assert ask(*arguments, model=("--checkpoint", official)) == 0
    assert all(np.abs(read(path)).max() > 1e-3 and read(path).shape == (8_000, 1) for path in noises)

    torch.save({name: x for name, x in state.items() if "pit_nets.1" not in name}, official)
    assert ask(*arguments, model=("--checkpoint", official)) == 1
    assert_one_sentence(capsys.readouterr().err, "pit_nets.1.weight", "found nothing")
    torch.save({name: x for name, x in state.items() if "pit_nets" not in name}, official)  # of CLIPSep
    assert ask(*arguments, model=("--checkpoint", official)) == 1
    assert_one_sentence(capsys.readouterr().err, "no noise heads")


def test_one_model_at_a_time(ask: Callable[..., int], tmp_path: Path, capsys, run: Path, official: Path) -> None:
    soundfile.write(tmp_path / "mix.wav", noise(1, 8_000), 8_000)
    model = ("--checkpoint", official, "--run", run)
    assert ask("--audio", tmp_path / "mix.wav", "--out", tmp_path / "a.wav", model=model) == 1
    assert_one_sentence(capsys.readouterr().err, "--run", "--checkpoint")
