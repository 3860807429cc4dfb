"""Scenes, pairs and their augmentation; VOC, SBD and a user's own aligned folders on fixtures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from papers.featreg import data
from papers.featreg.config import PRESETS
from papers.featreg.datasets import aligned, scenes, voc
from papers.featreg.datasets.images import Sample
from papers.featreg.losses import IGNORED
from papers.featreg.pairs import Labelled, Pairs, augmented, in_domain, target_of
from papers.featreg.transforms import transform
from shared import UserError
from tests.papers.featreg.bad_input import build_aligned, build_voc

SMOKE = PRESETS["smoke"]
RNG = np.random.default_rng


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    data.prepare(SMOKE, folder)
    return folder


# -- composed scenes --------------------------------------------------------------------------------------------------


def test_every_cut_out_has_one_class_and_every_background_one_split() -> None:
    names = [x.name for group in scenes.cutouts().values() for x in group]
    assert len(names) == len(set(names)) and min(len(group) for group in scenes.cutouts().values()) >= 8
    places = [x.name for group in scenes.backgrounds().values() for x in group]
    assert len(places) == len(set(places)) and {len(x) >= 10 for x in scenes.backgrounds().values()} == {True}


def test_scenes_have_their_classes_where_the_labels_say() -> None:
    images, labels = scenes.compose("validation", 12)
    again, _ = scenes.compose("validation", 3)
    other, _ = scenes.compose("test", 3)
    assert images.shape == (12, 96, 96, 3) and labels.shape == (12, 96, 96)
    assert np.array_equal(images[:3], again) and not np.array_equal(images[:3], other)
    shown = [set(np.unique(label).tolist()) - {0} for label in labels]
    assert all(1 <= len(classes) <= 4 for classes in shown) and set.union(*shown) <= set(range(1, 9))


def test_source_and_new_pairs_share_no_scene(cache: Path) -> None:
    """Also not across seeds of one: which scenes are the source's is a seed's own."""
    config = replace(SMOKE, pairs="new")
    pixels: dict[str, list[set[bytes]]] = {"source": [], "new": []}
    for seed in (0, 1):
        for name, images in (
            ("source", data.source_images(config, cache, seed)),
            ("new", data.pair_images(config, cache, seed)),
        ):
            assert len(images) == SMOKE.scenes
            pixels[name].append({images[i].source.numpy().tobytes() for i in range(len(images))})
    for source, new in zip(pixels["source"], pixels["new"], strict=True):
        assert len(source) == SMOKE.scenes and not source & new
    assert pixels["source"][0] != pixels["source"][1]
    same = data.pair_images(SMOKE, cache, 0)
    assert torch.equal(same[3].source, data.source_images(SMOKE, cache, 0)[3].source)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"domains": ()}, "--domains is empty"),
        ({"domains": ("night", "night:gamma=3")}, "each of them once"),
        ({"domains": ("time2",)}, "needs target images, --data"),
        ({"layers": ("last", "stem"), "layer_weights": (1.0,)}, "--layer-weights has 1 numbers for 2 layers"),
        ({"scenes": 0}, "--scenes is 0"),
        ({"labelled": 0}, "--labelled is 0"),
        ({"data": "x", "split": "validation"}, "for the composed scenes alone"),
        ({"data": "x", "dataset": "aligned"}, "--dataset aligned has one domain, --domains time2"),
    ],
)
def test_options_that_contradict_are_told(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        data.prepare(replace(SMOKE, **options), tmp_path)


# -- pairs ------------------------------------------------------------------------------------------------------------


def sample(height: int = 20, width: int = 30) -> Sample:
    """An image whose red channel holds its label map, so that both can be told to have moved alike."""
    label = torch.randint(4, (height, width), generator=torch.Generator().manual_seed(0))
    return Sample("x", torch.stack([label / 4, label / 8, torch.ones(height, width)]), label)


@pytest.mark.parametrize("crop", [16, 40])
def test_image_and_labels_are_cropped_and_mirrored_alike(crop: int) -> None:
    config = replace(PRESETS["paper"], crop=crop, scales=(1.0,))
    one, mirrored = sample(), 0
    for seed in range(12):
        (image, other), (label,) = augmented(config, [one.source, 1 - one.source], [one.label], RNG(seed))
        assert image.shape == (3, crop, crop) and label.shape == (crop, crop)
        inside = label != IGNORED
        assert torch.equal((4 * image[0])[inside].long(), label[inside])
        torch.testing.assert_close(other[:, inside], 1 - image[:, inside])
        assert inside.all() == (crop == 16) and bool((image[:, ~inside] == 0.5).all())
        mirrored += int(inside.any() and not inside[0, 0])
    assert crop == 16 or 0 < mirrored < 12


def test_scales_keep_labels_apart() -> None:
    config = replace(PRESETS["paper"], crop=64, mirror=False)
    sizes = set()
    for seed in range(40):
        (image,), (label,) = augmented(config, [sample().source], [sample().label], RNG(seed))
        assert set(label.unique().tolist()) <= {0, 1, 2, 3, IGNORED} and image.shape[1:] == label.shape
        sizes.add(int((label != IGNORED).sum()))
    assert {10 * 15, 20 * 30, 30 * 45} <= sizes


def test_labels_of_misaligned_pairs(cache: Path) -> None:
    """Copied labels are the source's; those of supervised fine-tuning move with the target image."""
    images = data.source_images(SMOKE, cache, 0)
    off = replace(SMOKE, shift=8.0, rotation=3.0, mirror=False)
    copied = Pairs(images, "camera", replace(off, method="labelcopy")).sample(2, RNG(0))
    own = Pairs(images, "camera", replace(off, method="supft")).sample(2, RNG(0))
    assert torch.equal(copied["target"], own["target"]) and torch.equal(copied["source"], images[2].source)
    assert torch.equal(copied["label"], images[2].label) and not torch.equal(own["label"], images[2].label)
    aligned_pair = Pairs(images, "camera", replace(SMOKE, mirror=False)).sample(2, RNG(0))
    assert torch.equal(aligned_pair["target"], transform(images[2].source, "camera", 2))


def test_few_labelled_images_are_for_supervised_fine_tuning_alone(cache: Path) -> None:
    images = data.source_images(SMOKE, cache, 0)
    few = replace(SMOKE, labelled=3)
    assert len(Pairs(images, "night", replace(few, method="supft"))) == 3
    assert len(Pairs(images, "night", few)) == len(images) == SMOKE.scenes
    assert len(Labelled(images, few)) == SMOKE.scenes


# -- PASCAL VOC and SBD -----------------------------------------------------------------------------------------------


@pytest.fixture
def voc_root(tmp_path: Path) -> Path:
    build_voc(tmp_path)
    return tmp_path


def test_voc_is_read_through_torchvision(voc_root: Path) -> None:
    config = replace(PRESETS["paper"], data=str(voc_root))
    described = data.prepare(config, voc_root / "cache")
    assert (described["train"], described["test"]) == (2, 2) and described["name"] == "PASCAL VOC 2012"
    first = data.source_images(config, voc_root, 0)[0]
    stored = np.array(Image.open(voc_root / "VOCdevkit/VOC2012/SegmentationClass/t_1.png"))
    assert first.name == "t_1" and np.array_equal(first.label.numpy(), stored) and 255 in stored
    photo = np.array(Image.open(voc_root / "VOCdevkit/VOC2012/JPEGImages/t_1.jpg"))
    assert np.array_equal((255 * first.source).round().byte().permute(1, 2, 0).numpy(), photo)
    pairs = Pairs(data.pair_images(config, voc_root, 0), "night", replace(config, crop=20, scales=(1.0,), mirror=False))
    batch = pairs.sample(0, RNG(3))
    left = next(x for x in range(5) if torch.equal(batch["source"], first.source[..., x : x + 20]))
    assert torch.equal(batch["target"], transform(first.source, "night", 0)[..., left : left + 20])
    assert torch.equal(batch["label"], first.label[:, left : left + 20])


def test_target_images_are_transformed_on_the_fly(voc_root: Path) -> None:
    config = replace(PRESETS["paper"], data=str(voc_root))
    images = data.test_images(config, voc_root)
    for domain in ("negative", "blur_noise", "hue:turn=0.2"):
        pair = in_domain(images[1], domain, 1, config)
        assert torch.equal(target_of(pair), transform(images[1].source, domain, 1))
        assert torch.equal(pair.source, images[1].source) and pair.target_label is not None
    with pytest.raises(UserError, match="needs --dataset aligned"):
        in_domain(images[0], "time2", 0, config)


def test_sbd_adds_what_voc_does_not_have(voc_root: Path) -> None:
    """Images of either of VOC's lists are left out; mat files hold the labels."""
    assert [voc.SBD(voc_root)[i].name for i in range(len(voc.SBD(voc_root)))] == ["s_1", "s_2"]
    config = replace(PRESETS["paper"], data=str(voc_root), sbd=True)
    both = data.source_images(config, voc_root, 0)
    assert [both[i].name for i in range(len(both))] == ["t_1", "t_2", "s_1", "s_2"]
    assert both[2].label.tolist() == np.full((20, 24), 3).tolist()
    new = replace(config, pairs="new")
    assert len(data.source_images(new, voc_root, 0)) == 2, "images for new pairs have no part in source training"
    assert [data.pair_images(new, voc_root, 0)[i].name for i in (0, 1)] == ["s_1", "s_2"]


# -- two aligned folders ----------------------------------------------------------------------------------------------


@pytest.fixture
def aligned_root(tmp_path: Path) -> Path:
    build_aligned(tmp_path)
    return tmp_path


def test_aligned_images_are_paired_by_name(aligned_root: Path) -> None:
    config = replace(PRESETS["paper"], data=str(aligned_root), dataset="aligned", domains=("time2",))
    described = data.prepare(config, aligned_root / "cache")
    assert (described["train"], described["test"]) == (4, 2)
    assert data.class_names(config) == ["water", "shore", "sky"]
    images = data.source_images(config, aligned_root, 0)
    assert [images[i].name for i in range(4)] == ["b", "c", "d", "e"]
    for i in range(4):
        pair = in_domain(images[i], "time2", i, config)
        later = np.array(Image.open(aligned_root / f"time2/images/{pair.name}.png"))
        assert np.array_equal((255 * target_of(pair)).round().byte().permute(1, 2, 0).numpy(), later)
        assert pair.target_label is None
    tests = data.test_images(config, aligned_root)
    assert [tests[i].name for i in (0, 1)] == ["a", "f"]
    known = in_domain(tests[0], "time2", 0, config).target_label
    assert known is not None and torch.equal(known, tests[0].label)


def test_a_list_of_test_names(aligned_root: Path) -> None:
    (aligned_root / "test.txt").write_text("c\nb\n")
    assert aligned.read(aligned_root, "test").names == ["c", "b"]
    assert aligned.read(aligned_root, "train").names == ["a", "d", "e", "f"]


def test_supervised_fine_tuning_needs_labels_of_time_2(aligned_root: Path) -> None:
    config = replace(PRESETS["paper"], data=str(aligned_root), dataset="aligned", domains=("time2",), method="supft")
    with pytest.raises(UserError, match="b has no labels of time 2, and supft trains with them"):
        Pairs(data.pair_images(config, aligned_root, 0), "time2", config).sample(0, RNG(0))


def test_check_lists_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither PASCAL VOC nor two aligned sets"):
        data.check(tmp_path)
    build_voc(tmp_path)
    build_aligned(tmp_path)
    said = "\n".join(data.check(tmp_path))
    whole = [f"{name}: 2 images, 2 usable" for name in ("VOC 2012 train", "VOC 2012 val", "SBD beyond VOC")]
    for expected in (*whole, "4 pairs for training, 2 for testing"):
        assert expected in said
    (tmp_path / "VOCdevkit/VOC2012/JPEGImages/t_2.jpg").write_bytes(b"no JPEG")
    (tmp_path / "time2/images/b.png").write_bytes((tmp_path / "time2/images/b.png").read_bytes()[:-40])
    said = "\n".join(data.check(tmp_path))
    assert "VOC 2012 train: 2 images, 1 usable" in said and "t_2.jpg" in said and "time2/images/b.png" in said
