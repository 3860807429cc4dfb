"""Scenes, readers, holes and edits of layouts."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from papers.structcomp import data
from papers.structcomp.config import PRESETS
from papers.structcomp.datasets import places, scenes
from papers.structcomp.datasets.items import Item, read_map
from papers.structcomp.masks.objects import cmgan_hole, object_hole, random_hole
from papers.structcomp.structure.layout import Edit, insertion, removal, replacement
from shared import UserError
from tests.papers.structcomp.bad_input import build_places

SMOKE = PRESETS["smoke"]


# -- composed scenes --------------------------------------------------------------------------------------------------


def test_scenes_have_exact_maps_and_splits_share_no_background() -> None:
    made = scenes.compose("train", 12, 32)
    assert made["images"].shape == (12, 32, 32, 3) and made["labels"].shape == (12, 32, 32)
    for label, instances in zip(made["labels"], made["instances"], strict=True):
        assert set(np.unique(label)) <= set(range(1, 10)) and 2 <= instances.max() <= 3
        assert np.array_equal(instances == 0, label == scenes.TABLE.count)
        for number in range(1, instances.max() + 1):
            assert len(np.unique(label[instances == number])) == 1
    again = scenes.compose("train", 12, 32)
    assert all(np.array_equal(x, again[name]) for name, x in made.items())
    assert not np.array_equal(made["images"], scenes.compose("test", 12, 32)["images"])
    names = [{x.name for x in group} for group in scenes.backgrounds().values()]
    assert all(names) and not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])


def item() -> Item:
    label = np.full((32, 32), scenes.TABLE.count)
    instances = np.zeros((32, 32), np.int64)
    label[6:16, 6:16], instances[6:16, 6:16] = 3, 1
    label[20:28, 20:28], instances[20:28, 20:28] = 5, 2
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Item("x", image, label, instances)


class One:
    def __len__(self) -> int:
        return 1

    def item(self, index: int) -> Item:
        return item()


def test_evaluation_is_the_same_for_every_run_and_training_is_not() -> None:
    first, second = (data.test_batch(SMOKE, One(), range(1)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in ("image", "hole", "z"))
    training = data.Training(One(), SMOKE)
    drawn = [training.sample(0, np.random.default_rng(seed)) for seed in range(6)]
    assert len({x["hole"].numpy().tobytes() for x in drawn}) > 3
    mirrored = [torch.equal(x["image"], drawn[0]["image"].flip(2)) for x in drawn]
    assert any(mirrored) and drawn[0]["image"].min() >= -1 and drawn[0]["image"].max() <= 1
    for x in drawn:
        assert torch.equal(x["instances"] == 1, x["label"] == 3), "maps are mirrored with the image"


def test_holes_around_objects_cover_whole_instances() -> None:
    instances = item().instances
    for seed in range(20):
        hole = object_hole(instances, np.random.default_rng(seed))
        covered = [hole[instances == n].mean() for n in (1, 2)]
        assert 1.0 in covered and not hole.all()


def test_random_holes_mix_and_are_never_empty() -> None:
    instances = item().instances
    holes = [random_hole(instances, np.random.default_rng(seed), 0.65) for seed in range(60)]
    assert all(0 < hole.mean() < 1 for hole in holes)
    whole = [max(hole[instances == n].mean() for n in (1, 2)) == 1 for hole in holes]
    assert np.mean(whole) > 0.5
    none = random_hole(np.zeros((32, 32), int), np.random.default_rng(0), 1.0)
    assert 0 < none.mean() < 1


def test_cmgan_holes_leave_no_instance_mostly_hidden_but_its_rim() -> None:
    instances = np.zeros((64, 64), int)
    instances[10:40, 10:40] = 1
    for seed in range(15):
        hole = cmgan_hole(instances, np.random.default_rng(seed))
        assert 0 < hole.mean() < 1 and not hole[instances == 1].mean() > 0.62, "a rim of four pixels may stay"


# -- edits ------------------------------------------------------------------------------------------------------------


def layout() -> Edit:
    x = item()
    return Edit(np.zeros((32, 32), bool), x.label, x.instances)


def test_insertion_adds_an_object_in_front() -> None:
    silhouette = np.zeros((32, 32), bool)
    silhouette[10:22, 10:22] = True
    edit = insertion(layout(), silhouette, 7)
    assert (edit.label[silhouette] == 7).all() and (edit.instances[silhouette] == 3).all()
    assert edit.hole[silhouette].all() and edit.hole.sum() > silhouette.sum()
    assert np.array_equal(edit.label[~silhouette], layout().label[~silhouette])
    with pytest.raises(ValueError, match="is empty"):
        insertion(layout(), ~np.ones((32, 32), bool), 7)


def test_replacement_keeps_the_silhouette() -> None:
    edit = replacement(layout(), 1, 8)
    own = layout().instances == 1
    assert (edit.label[own] == 8).all() and np.array_equal(edit.instances, layout().instances)
    assert (edit.label[~own] == layout().label[~own]).all() and edit.hole[own].all()
    with pytest.raises(ValueError, match="no object 9"):
        replacement(layout(), 9, 8)


def test_removal_leaves_the_stuff_around() -> None:
    before = layout()
    table = replace(scenes.TABLE, names=(*scenes.TABLE.names, "sky"))
    label = before.label.copy()
    label[:, 18:][before.instances[:, 18:] == 0] = 10  # sky on the right, where the second object is
    edit = removal(replace(before, label=label), 2, table)
    own = before.instances == 2
    assert (edit.label[own] == 10).all() and (edit.instances[own] == 0).all() and edit.hole[own].all()
    assert (removal(before, 1, table).label[before.instances == 1] == 9).all()


# -- Places365 --------------------------------------------------------------------------------------------------------


def test_panoptic_annotations_are_read_with_their_classes(tmp_path: Path) -> None:
    build_places(tmp_path)
    found = places.read(tmp_path, "train", 20)
    assert [Path(name).name for name in found.names] == ["00000001.jpg", "00000002.jpg"]
    x = found.item(0)
    assert x.image.shape == (20, 20, 3) and x.hole is None
    assert set(np.unique(x.label)) == {0, 1 + 14, 1 + 80 + 40} and set(np.unique(x.instances)) == {0, 2, 3}
    assert (x.label[x.instances > 0] == 15).all() and (x.label[0] == 0).all()
    test = places.read(tmp_path, "test", 20)
    assert [test.item(i).name for i in range(2)] == ["Places365_val_00000001", "Places365_val_00000002"]


def test_maps_of_one_bit_are_numbers(tmp_path: Path) -> None:
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "map.png")
    found = read_map(tmp_path / "map.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.eye(8))


def test_check_tells_missing_annotations_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_places(tmp_path)
    shutil.rmtree(tmp_path / "val_large_panoptic")
    monkeypatch.setattr(places.Places, "item", lambda *_: pytest.fail("an image was read"))
    with pytest.raises(UserError, match="val_large_panoptic is missing"):
        data.check(tmp_path)


def test_the_evaluation_set_has_its_own_holes(tmp_path: Path) -> None:
    build_places(tmp_path)
    x = places.read(tmp_path, "evaluation", 20).item(0)
    assert x.hole is not None and 0.15 < x.hole.mean() < 0.3
    mask = np.asarray(Image.open(tmp_path / "mask/b.png").resize((20, 20), Image.Resampling.NEAREST))
    assert np.array_equal(x.hole, mask == 0), "white is known"
    config = replace(SMOKE, data=str(tmp_path), split="evaluation", size=16)
    batch = data.test_batch(config, data.test_items(config, tmp_path), range(1))
    assert batch["hole"].mean() == pytest.approx(x.hole.mean(), abs=0.05)


def test_check_counts_images_and_names_what_cannot_be_used(tmp_path: Path) -> None:
    build_places(tmp_path)
    assert data.check(tmp_path) == [
        "train: 2 images, 0 of which cannot be used",
        "test: 2 images, 0 of which cannot be used",
        "evaluation: 1 images, 0 of which cannot be used",
    ]
    (tmp_path / "val_large_panoptic/Places365_val_00000002.json").unlink()
    lines = data.check(tmp_path)
    assert lines[1] == "test: 2 images, 1 of which cannot be used" and "Places365_val_00000002.json" in lines[2]
    with pytest.raises(UserError, match="no images with panoptic annotations"):
        data.check(tmp_path / "mask")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": 48}, "--size is 48; expected a power of two"),
        ({"channels": (8, 8)}, "--channels has 2 numbers; expected one for each scale from 32 pixels down to 4"),
        ({"crop_size": 64}, "--object-channels has 3 numbers"),
        ({"shares": (1.0,)}, "--shares has 1 numbers for 4 discriminators"),
        ({"method": "probe"}, "A probe has one discriminator"),
        ({"split": "evaluation"}, "--split evaluation does not fit"),
        ({"split": "validation", "data": "/nowhere"}, "--split validation does not fit"),
    ],
)
def test_options_that_contradict_each_other_are_told(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        data.prepare(replace(SMOKE, **changes), tmp_path)
    assert not list(tmp_path.iterdir())
