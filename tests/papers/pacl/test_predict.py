"""A user's image and names in, three pictures out; every mistake in one sentence."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from papers.pacl import predict
from papers.pacl.config import PRESETS
from papers.pacl.datasets import scenes
from papers.pacl.predict import Options, class_names, colours, main
from papers.pacl.train import train
from shared.run import Run

CONFIG = replace(PRESETS["smoke"], epochs=1)


@pytest.fixture(scope="module")
def run(cache: Path) -> Path:
    """A trained run in the layout of a reproduction: it stands beside the cache."""
    folder = cache.parent / "pacl" / "seed0"
    train(CONFIG, Run(folder, cache, seed=0))
    (folder / "config.json").write_text(json.dumps({"config": asdict(CONFIG), "variant": "pacl", "seed": 0}))
    return folder


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 4), dtype=np.uint8)
    image = Image.fromarray(values, "RGBA")
    (Image.fromarray(values[..., 0].astype(np.uint16) << 8) if mode == "I;16" else image.convert(mode)).save(path)
    return path


def arguments(path: Path, trained: Path, **options: Any) -> list[str]:
    given = {"image": path, "names": "owl, guitar ,rose", "run": trained, "out": path.parent / "out"} | options
    return [
        x for name, value in given.items() if value is not None for x in (f"--{name.replace('_', '-')}", str(value))
    ]


@pytest.mark.parametrize(
    ("mode", "suffix", "size"),
    [("RGB", ".jpg", (60, 40)), ("RGBA", ".png", (1, 1)), ("I;16", ".png", (33, 77)), ("RGB", ".webp", (300, 20))],
)
def test_any_image(run: Path, tmp_path: Path, mode: str, suffix: str, size: tuple[int, int], capsys: Any) -> None:
    path = picture(tmp_path / f"größe und weiß{suffix}", mode, size)
    assert main(arguments(path, run)) == 0
    labels = Image.open(tmp_path / "out" / "labels.png")
    assert labels.mode == "P" and labels.size == size and set(np.unique(np.asarray(labels))) <= {0, 1, 2}
    printed = capsys.readouterr().out
    shares = [float(line.split("%")[0]) for line in printed.splitlines() if "%" in line]
    assert sum(shares) == pytest.approx(100, abs=0.3) and shares == sorted(shares, reverse=True)
    for name in ("overlay.png", "heatmaps.png"):
        assert (tmp_path / "out" / name).stat().st_size > 2000


def test_without_a_run_the_committed_weights_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """From any folder; on a scene of one seen concept, which then takes the largest part of its own pixels."""
    split = scenes.splits(1600, 200)["single_seen"]
    koala = [stamp for stamp in split.stamps if stamp.label == "koala"]
    (scene,) = scenes.compose(replace(split, stamps=koala, count=1), np.random.default_rng(0))
    Image.fromarray(scene.image).save(tmp_path / "scene.png")
    monkeypatch.chdir(tmp_path)
    assert main(arguments(tmp_path / "scene.png", Path(), run=None, names="guitar,koala,rose")) == 0
    labels = np.asarray(Image.open(tmp_path / "out" / "labels.png"))
    assert np.bincount(labels[scene.class_map > 0]).argmax() == 1
    assert "koala" in capsys.readouterr().out


def test_many_names_of_a_large_image(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps that would not fit into memory are coarser; the labels still have every pixel."""
    path, shapes = picture(tmp_path / "a.png"), []
    monkeypatch.setattr(predict, "VALUES", 300)
    monkeypatch.setattr(predict, "heatmaps", lambda image, maps, names: shapes.append(maps.shape) or Figure())
    assert main(arguments(path, run)) == 0
    assert shapes == [(3, 9, 13)] and Image.open(tmp_path / "out" / "labels.png").size == (60, 40)


def test_background_is_class_zero(run: Path, tmp_path: Path, capsys: Any) -> None:
    path = picture(tmp_path / "a.png")
    assert main([*arguments(path, run, entropy="1e-9", scale="1e-3"), "--background"]) == 0
    assert np.asarray(Image.open(tmp_path / "out" / "labels.png")).max() == 0
    assert "100.0 %  background" in capsys.readouterr().out


def test_names_from_a_file(run: Path, tmp_path: Path, capsys: Any) -> None:
    names = tmp_path / "names.txt"
    names.write_text("owl\n\n  fire hydrant \n", encoding="utf-8")
    assert main(arguments(picture(tmp_path / "a.png"), run, names=None, names_file=names)) == 0
    printed = capsys.readouterr().out
    shown = {line.split("%  ")[1] for line in printed.splitlines() if "%  " in line}
    assert shown and shown <= {"owl", "fire hydrant"}


def test_a_mark_at_the_start_of_a_file_is_no_part_of_a_name(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("owl\nrose\n", encoding="utf-8-sig")
    options = Options(image=tmp_path / "a.png", out=tmp_path / "out", names_file=names)
    assert class_names(options) == ["owl", "rose"]


def test_dollars_are_no_formula(run: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(arguments(picture(tmp_path / "a.png"), run, names="$x_$,rose")) == 0
    assert capsys.readouterr().err == "" and (tmp_path / "out" / "heatmaps.png").exists()


def test_run_named_from_inside_its_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = picture(tmp_path / "a.png")
    monkeypatch.chdir(run)
    assert main(arguments(path, Path("."))) == 0, capsys.readouterr().err


@pytest.mark.parametrize(("count", "noted"), [(1, True), (4, True), (5, False)])
def test_too_few_names_for_the_threshold_are_noted(
    run: Path, tmp_path: Path, capsys: Any, count: int, noted: bool
) -> None:
    """The entropy of n names is at most ln n: 1.39 for four, 1.61 for five, against 1.5."""
    names = ",".join(["owl", "guitar", "rose", "tiger", "boat"][:count])
    assert main([*arguments(picture(tmp_path / "a.png"), run, names=names, scale="1e-3"), "--background"]) == 0
    assert ("no pixel can be background" in capsys.readouterr().err) == noted
    labels = np.asarray(Image.open(tmp_path / "out" / "labels.png"))
    assert (labels > 0).all() if noted else (labels == 0).all()


def test_background_is_no_name_beside_the_background(run: Path, tmp_path: Path, capsys: Any) -> None:
    path = picture(tmp_path / "a.png")
    assert main([*arguments(path, run, names="background,rose"), "--background"]) == 1
    assert "leave one of them away" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["labels.png", "overlay.png", "heatmaps.png"])
def test_the_image_is_never_overwritten(run: Path, tmp_path: Path, capsys: Any, name: str) -> None:
    path = picture(tmp_path / name)
    before = path.read_bytes()
    assert main(arguments(path, run, out=tmp_path)) == 1
    assert "would be overwritten" in capsys.readouterr().err and path.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": " , "}, "holds no class name"),
        ({"names": "owl,owl"}, "holds 'owl' twice"),
        ({"names": None}, "either with --names"),
        ({"names_file": "x.txt"}, "either with --names"),
        ({"names": None, "names_file": "missing.txt"}, "missing.txt cannot be read"),
        ({"names": ",".join(map(str, range(300)))}, "300 class names"),
        ({"stride": 0}, "--stride is 0"),
        ({"scale": -1}, "--scale is -1"),
        ({"scale": "nan"}, "--scale is nan"),
        ({"scale": "inf"}, "--scale is inf"),
        ({"entropy": 1.0}, "give both"),
        ({"entropy": "nan"}, "--entropy is nan"),
        ({"entropy": -1}, "--entropy is -1"),
        ({"run": "nowhere"}, "no trained model in nowhere"),
        ({"image": "missing.png"}, "missing.png is missing"),
    ],
)
def test_mistakes(run: Path, tmp_path: Path, options: dict[str, Any], message: str, capsys: Any) -> None:
    assert main(arguments(picture(tmp_path / "a.png"), run, **options)) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder(run: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    assert main(arguments(picture(tmp_path / "a.png"), run, out=tmp_path / "file")) == 1
    assert "is a file; expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["labels.png", "heatmaps.png"])
def test_pictures_that_cannot_be_written_are_told_before_the_model_is_loaded(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, name: str
) -> None:
    monkeypatch.setattr("papers.pacl.predict.trained_model", lambda *_: pytest.fail("the model was loaded"))
    (tmp_path / "out" / name).mkdir(parents=True)
    assert main(arguments(picture(tmp_path / "a.png"), run)) == 1
    assert f"{name} is a folder" in capsys.readouterr().err


def test_colours_differ() -> None:
    for count in (1, 3, 40, 200):
        for background in (False, True):
            found = colours(count + background, background)
            assert found.shape == (count + background, 3) and len(np.unique(found, axis=0)) >= 0.95 * len(found)
            assert not background or found[0].tolist() == [0, 0, 0]
