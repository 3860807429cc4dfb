"""The offline images and their augmentation; a small ImageNet, written here in its layout, and the ways to spoil it."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from papers.fastmim import data
from papers.fastmim.config import CPU, PRESETS, VARIANTS, Config
from papers.fastmim.data import Data, Evaluation, Labelled, Unlabelled, crop_box, load, prepare
from papers.fastmim.datasets import digits, imagenet, scenes
from papers.fastmim.eval import evaluate
from papers.fastmim.predict import class_names
from papers.fastmim.train import train
from shared import UserError
from shared.run import Run
from shared.support import progress
from tests.damage import damaged_avif

CLASSES = ("n01440764", "n01443537", "n01484850")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("UNLABELLED", "LABELLED", "VALIDATION", "TEST"):  # all of them take half a minute
            patch.setattr(scenes, name, 42)
        prepare(CPU, folder)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images a class and split; one is grey, one CMYK."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in CLASSES:
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(2):
                image = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
                mode = {(CLASSES[0], 0): "L", (CLASSES[1], 1): "CMYK"}.get((name, number), "RGB")
                image.convert(mode).save(tmp_path / split / name / f"{name}_{number}.JPEG", "JPEG")
    return tmp_path


def images_of(root: Path) -> Config:
    return replace(Config(), data=str(root), image_size=32)


# -- offline ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["digits", "scenes"])
def test_fewer_unlabelled_images(cache: Path, source: Literal["digits", "scenes"]) -> None:
    every, few = (load(replace(CPU, source=source, labels=40, unlabelled=count), cache) for count in (1300, 30))
    assert torch.equal(few.pretrain, every.pretrain[:30]) and torch.equal(few.train_images, every.train_images)
    assert len(few.validation_images) == len(every.validation_images)
    assert prepare(replace(CPU, unlabelled=30), cache)["train"] == 60


def test_digits_are_split_and_balanced(cache: Path) -> None:
    found = load(CPU, cache)
    images, labels = found.tests["test"]
    assert found.pretrain.shape == (1297, 3, 32, 32) and images.shape == (500, 3, 32, 32)
    assert sorted(found.train_labels.bincount().tolist()) == [6] * 6 + [7] * 4
    assert len(found.validation_labels) == 200 and len(labels.unique()) == 10
    everything = torch.cat([found.pretrain, images]).flatten(1)
    assert len(everything.unique(dim=0)) == 1797
    assert isinstance(found.train_images, torch.Tensor) and isinstance(found.validation_images, torch.Tensor)
    both = torch.cat([found.train_images, found.validation_images]).flatten(1)
    assert len(both.unique(dim=0)) == CPU.labels + 200


@pytest.mark.parametrize("source", ["digits", "scenes", "scenes-coarse"])
def test_validation_images_take_the_place_of_the_tested_ones(cache: Path, source: str) -> None:
    config = replace(CPU, source=source, labels=42)
    tested, chosen = load(config, cache), load(replace(config, split="validation"), cache)
    ((images, labels),) = chosen.tests.values()
    assert torch.equal(images, tested.validation_images) and torch.equal(labels, tested.validation_labels)  # type: ignore[arg-type]
    assert torch.equal(chosen.train_labels, tested.train_labels)


def test_digits_are_bright_on_dark() -> None:
    built = digits.build()["pretrain"].astype(float) / 255
    brightness = built.mean(1)
    assert np.all(brightness.max((1, 2)) > 0.5) and np.median(brightness) < 0.3


def test_offline_images_are_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_equal(digits.build(), digits.build())
    for name in ("UNLABELLED", "LABELLED", "VALIDATION", "TEST"):
        monkeypatch.setattr(scenes, name, 14)
    np.testing.assert_equal(scenes.build(), scenes.build())


def test_preparing_tells_how_far_it_is(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(progress, "_listeners", [lambda *what: told.append(what)])
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    for name in ("UNLABELLED", "LABELLED", "VALIDATION", "TEST"):
        monkeypatch.setattr(scenes, name, 7)
    prepare(CPU, tmp_path / "offline")
    assert told[0] == ("composing scenes", 0, 56) and told[-1][1] > 0
    prepare(images_of(root), tmp_path / "photos")
    assert told[-1][0] == "listing images"


def test_imagenet_has_no_validation_images(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="split is validation, but ImageNet's val is what is tested on"):
        load(replace(images_of(root), split="validation"), tmp_path)


@pytest.mark.parametrize("count", [9, 1098])
def test_wrong_number_of_labels(cache: Path, count: int) -> None:
    with pytest.raises(UserError, match=f"labels is {count}; there are 1097 images"):
        load(replace(CPU, labels=count), cache)


def test_scenes_hold_out_backgrounds_and_objects() -> None:
    here, there = ({place.name for place in places} for places in scenes.backgrounds())
    assert len(there) >= 10 and not here & there
    seen, unseen = ({stamp.name for group in part.values() for stamp in group} for part in scenes.objects())
    assert not seen & unseen
    for part in scenes.objects():
        assert list(part) == list(scenes.KINDS) and all(len(group) >= 3 for group in part.values())
        assert all(stamp.kind == kind for kind, group in part.items() for stamp in group)


def test_scenes_have_fine_and_coarse_labels(cache: Path) -> None:
    fine = load(replace(CPU, source="scenes", labels=42), cache)
    coarse = load(replace(CPU, source="scenes-coarse", labels=42), cache)
    assert len(set(fine.classes)) == 21 and fine.train_labels.bincount().tolist() == [2] * 21
    assert coarse.classes == list(scenes.KINDS) and coarse.train_labels.bincount().tolist() == [6] * 7
    assert list(fine.tests) == ["new_backgrounds"] and list(coarse.tests) == ["new_backgrounds", "new_objects"]
    assert torch.equal(fine.pretrain, coarse.pretrain)


@pytest.mark.parametrize(("source", "size"), [("digits", 16), ("digits", 32), ("scenes", 24)])
def test_views_depend_on_their_generator_alone(cache: Path, source: str, size: int) -> None:
    config = replace(CPU, source=source, labels=42)
    drawn = Unlabelled(load(config, cache), size)
    first, again, other = (drawn.sample(3, np.random.default_rng(seed))["image"] for seed in (1, 1, 3))
    assert first.shape == (3, size, size) and first.dtype == torch.float32
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_digits_are_shifted_and_never_mirrored(cache: Path) -> None:
    found = load(CPU, cache)
    drawn = Labelled(found, 32)
    padded = np.pad(found.train_images[5].numpy(), ((0, 0), (2, 2), (2, 2)), mode="reflect")
    shifts = {padded[:, y : y + 32, x : x + 32].tobytes() for y in range(5) for x in range(5)}
    views = [drawn.sample(5, np.random.default_rng(seed))["image"] for seed in range(200)]
    pixels = {((view * 0.25 + 0.5) * 255).round().byte().numpy().tobytes() for view in views}
    assert pixels == shifts


def test_crops_are_distributed_as_torchvisions() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([crop_box(80, 60, rng, (0.2, 1.0)) for _ in range(4000)])
    torch.manual_seed(0)
    crop = data.transforms.RandomResizedCrop
    blank = torch.zeros(3, 60, 80)
    tops = np.array([crop.get_params(blank, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])  # top, left, h, w
    theirs = np.stack([tops[:, 1], tops[:, 0], tops[:, 1] + tops[:, 3], tops[:, 0] + tops[:, 2]], 1)
    assert boxes.min() >= 0 and np.all(boxes.max(0)[2:] <= (80, 60))
    np.testing.assert_allclose(boxes.mean(0), theirs.mean(0), atol=1)
    np.testing.assert_allclose(boxes.std(0), theirs.std(0), atol=1)


def test_a_very_long_image_is_cropped_to_its_central_square() -> None:
    assert crop_box(1000, 10, np.random.default_rng(0), (0.2, 1.0)) == (495, 0, 505, 10)


def test_input_is_normalised_and_resized(cache: Path) -> None:
    found = load(CPU, cache)
    white = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)
    shown = Evaluation(found, white, torch.tensor([4, 7]), 16)
    image, label = shown[1]
    torch.testing.assert_close(image, torch.full((3, 16, 16), 2.0))
    assert len(shown) == 2 and label == 7


# -- ImageNet ---------------------------------------------------------------------------------------------------------


def test_imagenet_is_read(root: Path, tmp_path: Path) -> None:
    config = images_of(root)
    assert prepare(config, tmp_path)["train"] == 6
    found = load(config, tmp_path)
    assert found.classes == list(CLASSES) and found.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert imagenet.check(root) == [
        "train: 3 classes, 6 images, 6 usable (expected, unverified: 1,000 classes, 1,281,167 images)",
        "val: 3 classes, 6 images, 6 usable (expected, unverified: 1,000 classes, 50,000 images)",
        "weights: none are needed, pre-training starts from random ones",
        "Enough to train; val will be evaluated.",
    ]
    images, labels = found.tests["val"]
    shown = Evaluation(found, images, labels, 32)
    image, label = shown[0]
    assert len(shown) == 6 and image.shape == (3, 32, 32) and shown[5][1] == 2 and label == 0
    grey = image * torch.tensor(found.std).view(3, 1, 1) + torch.tensor(found.mean).view(3, 1, 1)
    torch.testing.assert_close(grey[0], grey[2])


def test_imagenet_is_listed_by_prepare_alone(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo of another name is known, by another hash of the data, once a reproduction has prepared again."""
    config, read = images_of(root), imagenet.read
    before = prepare(config, tmp_path / "cache")["sha256"]
    first = root / "train" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG"
    first.rename(first.with_name("another.JPEG"))
    monkeypatch.setattr(imagenet, "read", None)
    assert str(first) in load(config, tmp_path / "cache").pretrain.paths  # type: ignore[union-attr]
    monkeypatch.setattr(imagenet, "read", read)
    assert prepare(config, tmp_path / "cache")["sha256"] != before
    found = load(config, tmp_path / "cache")
    ((train, labels), (val, val_labels), classes) = read(root)
    shown = [found.pretrain, found.train_images, found.tests["val"][0]]
    assert [images.paths for images in shown] == [train.paths, train.paths, val.paths]
    assert found.train_labels.tolist() == labels and found.tests["val"][1].tolist() == val_labels
    assert found.classes == classes


def test_imagenet_views_leave_the_global_generators_alone(root: Path, tmp_path: Path) -> None:
    config = images_of(root)
    prepare(config, tmp_path)
    found: Data = load(config, tmp_path)
    for drawn in (Unlabelled(found, 16), Labelled(found, 32)):
        state = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
        views = [drawn.sample(2, np.random.default_rng(seed)) for seed in (1, 1, 2)]
        assert random.getstate() == state[0] and torch.equal(torch.get_rng_state(), state[1])
        np.testing.assert_array_equal(np.random.get_state()[1], state[2])
        assert torch.equal(views[0]["image"], views[1]["image"])
        assert not torch.equal(views[0]["image"], views[2]["image"])
        assert views[0]["name"].endswith("n01443537_0.JPEG")
    assert views[0]["image"].shape == (3, 32, 32) and views[0]["label"] == 1


def test_a_bad_file_stops_training_and_is_counted(root: Path) -> None:
    path = root / "train" / CLASSES[2] / f"{CLASSES[2]}_1.JPEG"
    path.write_bytes(b"")
    prepare(images_of(root), root)
    drawn = Unlabelled(load(images_of(root), root), 16)
    with pytest.raises(UserError, match=f"{path.name} is empty; replace it"):
        drawn.sample(5, np.random.default_rng(0))
    lines = imagenet.check(root)
    assert "6 images, 5 usable" in lines[0] and path.name in lines[1]
    assert lines[-1] == "A run would stop at the faults above; mend them first."


def test_odd_images_are_read_as_stored(root: Path) -> None:
    """16 bits are scaled, what is transparent is white; nothing is turned, as with torchvision's reader."""
    folder = root / "train" / CLASSES[0]
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("I;16", (4, 2), 100 * 256).save(folder / "a.png")
    Image.new("RGBA", (4, 2), (0, 0, 0, 0)).save(folder / "b.png")
    Image.new("RGB", (4, 2)).save(folder / "c.jpg", exif=turned)
    (folder / "d.jpg").write_bytes(damaged_avif())
    photos = imagenet.read(root)[0][0]
    odd = {Path(path).name: index for index, path in enumerate(photos.paths)}
    assert photos[odd["a.png"]].getpixel((0, 0)) == (100, 100, 100)
    assert photos[odd["b.png"]].getpixel((0, 0)) == (255, 255, 255)
    assert photos[odd["c.jpg"]].size == (4, 2)
    with pytest.raises(UserError, match=r"d\.jpg cannot be read: .*replace it with the original file"):
        photos[odd["d.jpg"]]


def test_hidden_folders_are_left_out(root: Path) -> None:
    """Jupyter leaves `.ipynb_checkpoints` where somebody looked at images."""
    before = imagenet.read(root)
    for place in ("train", "val", f"train/{CLASSES[0]}"):
        (root / place / ".ipynb_checkpoints").mkdir()
        Image.new("RGB", (8, 8)).save(root / place / ".ipynb_checkpoints" / "0-checkpoint.jpg")
    (train, labels), (val, val_labels), classes = imagenet.read(root)
    assert (train.paths, labels, classes) == (before[0][0].paths, before[0][1], list(CLASSES))
    assert (val.paths, val_labels) == (before[1][0].paths, before[1][1])
    assert imagenet.check(root)[-1] == "Enough to train; val will be evaluated."
    assert class_names(images_of(root), 3) == list(CLASSES)


def test_a_file_that_is_gone_is_named(root: Path) -> None:
    config = images_of(root)
    prepare(config, root)
    drawn = Labelled(load(config, root), 32)
    (root / "train" / CLASSES[0] / f"{CLASSES[0]}_1.JPEG").unlink()
    with pytest.raises(UserError, match=r"n01440764_1\.JPEG is missing"):
        drawn.sample(1, np.random.default_rng(0))


def test_a_missing_folder(root: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere/train is missing. Expected:\nDATA/"):
        prepare(images_of(root / "nowhere"), root)
    with pytest.raises(UserError, match="nowhere has neither train/ nor val/"):
        imagenet.check(root / "nowhere")
    (root / "val").rename(root / "validation")
    with pytest.raises(UserError, match="val is missing"):
        prepare(images_of(root), root)
    assert imagenet.check(root)[1].endswith("val is missing.")


def test_a_class_in_one_split_only(root: Path) -> None:
    (root / "val" / CLASSES[0]).rename(root / "val" / "n99999999")
    with pytest.raises(UserError, match=r"1 classes only in val, not in train: n99999999; 1 classes only in train"):
        prepare(images_of(root), root)
    assert imagenet.check(root)[2:4] == [
        "1 classes only in val, not in train: n99999999",
        "1 classes only in train, not in val: n01440764",
    ]


def test_imagenet_from_training_to_its_metrics(root: Path, tmp_path: Path) -> None:
    """The variant of the published command; what is compared offline has no part in it."""
    small = replace(
        PRESETS["paper"], data=str(root), image_size=64, resolutions=(32,), widths=(32,), depths=(2,), heads=(2,),
        decoder_width=32, epochs=(1,), finetune_epochs=1, batch_size=4, finetune_batch_size=4, precision="no",
        workers=0,
    )  # fmt: skip
    config = replace(small, **VARIANTS["fastmim"].changes)
    assert config.compared_steps
    run = Run(tmp_path / "run", tmp_path / "cache", seed=0)
    prepare(config, run.cache)
    train(config, run)
    assert list(evaluate(config, run)) == ["accuracy_percent"]
