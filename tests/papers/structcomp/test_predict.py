"""papers/structcomp/predict.py: an image and a mask in, a completed image out, by completion and by every edit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from papers.structcomp.predict import (
    Options,
    class_number,
    edited_layout,
    main,
    predict,
    touched,
    trained_completer,
    window,
)
from shared import UserError
from tests.damage import photo
from tests.papers.structcomp.bad_input import SMOKE, build_run, build_trained, generator_weights, layout_weights

WIDE = (90, 60)  # width and height


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """A photograph that is no scene, a hole in it, and an untrained network."""
    photo(tmp_path / "a.png", WIDE)
    mask = np.zeros(WIDE[::-1], np.uint8)
    mask[20:38, 50:74] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(np.full(WIDE[::-1], 9, np.uint8)).save(tmp_path / "label.png")
    (tmp_path / "run").mkdir()
    build_trained(tmp_path / "run")
    return Options(tmp_path / "a.png", tmp_path / "mask.png", tmp_path / "out", run=tmp_path / "run")


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


@pytest.mark.parametrize(
    ("edit", "new_class", "with_label"),
    [
        ("complete", None, False),
        ("complete", None, True),
        ("insert", "bird", False),
        ("insert", "fish", True),
        ("replace", "flower", True),
        ("replace", "flower", False),
        ("remove", None, False),
        ("remove", None, True),
    ],
)
def test_every_edit_changes_the_hole_alone(
    options: Options, tmp_path: Path, edit: str, new_class: str | None, with_label: bool
) -> None:
    label = tmp_path / "label.png" if with_label else None
    predict(replace(options, edit=edit, new_class=new_class, label=label))  # type: ignore[arg-type]
    before, after = pixels(options.image), pixels(tmp_path / "out/completed.png")
    changed = (before != after).any(2)
    hole = pixels(options.mask)[..., 0] > 0
    assert after.shape == before.shape and changed[hole].mean() > 0.9
    rows, columns = np.nonzero(changed)
    slack = 0 if edit == "complete" else 3  # the rim of an edit
    assert 20 - slack <= rows.min() and rows.max() < 38 + slack
    assert 50 - slack <= columns.min() and columns.max() < 74 + slack
    assert Image.open(tmp_path / "out/sheet.png").width > 800


def test_a_pixel_that_the_hole_touches_is_hole() -> None:
    mask = np.zeros((80, 80), bool)
    mask[8:13, 8] = True  # a sliver of the pixels 2 and 3
    small = touched(mask, 20)
    assert set(zip(*np.nonzero(small), strict=True)) == {(2, 2), (3, 2)}
    assert np.array_equal(touched(mask[:16, :16], 32), mask[:16, :16].repeat(2, 0).repeat(2, 1))


def test_an_edit_keeps_the_other_objects_apart(options: Options) -> None:
    assert options.run is not None
    completer = trained_completer(options.run)
    size = completer.config.size
    known, silhouette = torch.full((1, size, size), 9), np.zeros((size, size), bool)
    known[:, :6, :6], known[:, :6, 20:26] = 2, 2
    silhouette[12:18, 12:18] = True
    for edit, new_class, count in (("insert", 1, 3), ("replace", 1, 3), ("remove", 0, 2)):
        found = edited_layout(
            completer, torch.zeros(1, 3, size, size), silhouette, known, replace(options, edit=edit), new_class
        )
        assert len(np.unique(found.instances[found.instances > 0])) == count, edit
        assert found.hole[silhouette].all() and (found.label[silhouette] == (new_class or 9)).all()


def test_the_layout_steers_and_the_seed_varies(options: Options, tmp_path: Path) -> None:
    found = {}
    for name, changes in {
        "bird": {"new_class": "bird"},
        "tool": {"new_class": "tool"},
        "again": {"new_class": "tool"},
        "other": {"new_class": "tool", "seed": 1},
    }.items():
        predict(replace(options, edit="insert", out=tmp_path / name, **changes))  # type: ignore[arg-type]
        found[name] = pixels(tmp_path / name / "completed.png")
    assert np.array_equal(found["tool"], found["again"])
    assert not np.array_equal(found["tool"], found["bird"]) and not np.array_equal(found["tool"], found["other"])


def test_the_command_says_what_it_did(options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--image", options.image, "--mask", options.mask, "--out", options.out, "--run", options.run]
    assert main([str(x) for x in arguments]) == 0
    assert "Filled 8.0 % of the image." in capsys.readouterr().out


def test_committed_weights_take_the_place_of_a_run(options: Options, tmp_path: Path) -> None:
    (tmp_path / "run/config.json").rename(tmp_path / "structcomp.json")
    (tmp_path / "run/checkpoint/model.safetensors").rename(tmp_path / "structcomp.safetensors")
    (tmp_path / "run/checkpoint/layout.safetensors").rename(tmp_path / "structcomp-layout.safetensors")
    predict(replace(options, run=tmp_path / "structcomp.json"))
    assert (tmp_path / "out/completed.png").is_file()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"edit": "insert"}, "--new-class is missing; --edit insert needs one of: bird, mammal"),
        ({"edit": "replace", "new_class": "background"}, "--new-class is background"),
        ({"new_class": "bird"}, "has no meaning with --edit complete"),
        ({"image": "out/completed.png"}, "would be overwritten"),
        ({"out": "mask.png"}, "is a file; expected a folder"),
    ],
)
def test_wrong_options_are_told(options: Options, tmp_path: Path, changes: dict[str, str], said: str) -> None:
    paths = {name: tmp_path / x if name in ("image", "out") else x for name, x in changes.items()}
    with pytest.raises(UserError, match=said):
        predict(replace(options, **paths))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_run_without_layouts_is_told(tmp_path: Path) -> None:
    config = replace(SMOKE, guidance="none")
    build_run(tmp_path, "unguided", config, model=generator_weights(), layout=layout_weights())
    with pytest.raises(UserError, match="of the variant unguided, which has no layouts"):
        trained_completer(tmp_path)


def test_classes_are_those_of_the_layout(options: Options, tmp_path: Path) -> None:
    table = trained_completer(tmp_path / "run").table
    assert class_number(replace(options, edit="insert", new_class="bird"), table) == table.names.index("bird")


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((20, 30, 50, 60), (15, 35, 45, 65)),  # rows 20 to 30, columns 50 to 60: a square of 20 around it
        ((0, 10, 80, 90), (0, 20, 70, 90)),  # at the corner
        ((10, 20, 0, 90), (0, 60, 0, 90)),  # longer than the image is high: the whole image
    ],
)
def test_the_network_sees_a_square_around_the_hole(box: tuple[int, ...], expected: tuple[int, ...]) -> None:
    hole = np.zeros(WIDE[::-1], bool)
    hole[box[0] : box[1], box[2] : box[3]] = True
    rows, columns = window(hole)
    assert (rows.start, rows.stop, columns.start, columns.stop) == expected
