"""Segmentation benchmarks and classification sets in their published layouts, whole and damaged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from papers.pacl.data import LAYOUT, check, what_now
from papers.pacl.datasets import benchmarks, classification
from papers.pacl.datasets.benchmarks import BENCHMARKS
from papers.pacl.datasets.part import Part
from papers.pacl.metrics import IGNORED
from shared import UserError
from tests.damage import damaged_avif

LABELS = np.array([[0, 1, 2], [20, 255, 1]], np.uint8)


def save_labels(path: Path, labels: np.ndarray, palette: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    if palette:
        image.putpalette([k % 256 for k in range(768)])
    image.save(path)


def photo(path: Path, size: tuple[int, int] = (3, 2), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "daten ü"
    folder = root / "VOCdevkit/VOC2012"
    for name in ("2007_1", "2007_2"):
        photo(folder / f"JPEGImages/{name}.jpg")
        save_labels(folder / f"SegmentationClass/{name}.png", LABELS)
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "ImageSets/Segmentation/val.txt").write_text("2007_1\n2007_2\n")
    return root


@pytest.mark.parametrize("name", BENCHMARKS)
def test_class_names(name: str) -> None:
    benchmark = BENCHMARKS[name]
    names = benchmark.class_names
    assert len(names) == len(set(names)) == benchmark.classes
    assert (names[0] == "background") == benchmark.background
    assert len(benchmark.queries) == benchmark.classes - benchmark.background
    first_line = (benchmarks.NAMES / benchmark.names).read_text().splitlines()[0]
    assert first_line.startswith("#") and "version v1" in first_line


@pytest.mark.parametrize(
    ("name", "index", "expected"),
    [
        ("voc20", 0, "aeroplane"), ("voc20", 14, "person"), ("voc21", 20, "tv monitor"), ("context59", 0, "aeroplane"),
        ("coco_stuff171", 0, "person"), ("coco_stuff171", 79, "toothbrush"), ("coco_object", 1, "person"),
        ("ade20k150", 0, "wall"), ("ade20k150", 149, "flag"), ("cityscapes19", 0, "road"),
        ("cityscapes19", 18, "bicycle"),
    ],
)  # fmt: skip
def test_order_of_names(name: str, index: int, expected: str) -> None:
    assert BENCHMARKS[name].class_names[index] == expected


def test_voc_with_and_without_background(voc: Path) -> None:
    found = benchmarks.found(voc)
    assert list(found) == ["voc20", "voc21"] and len(found["voc20"]) == 2
    image, labels = found["voc21"][0]
    assert image.mode == "RGB" and found["voc21"].pairs[0][0].stem == "2007_1"
    assert labels.tolist() == LABELS.tolist() and labels.dtype == torch.int64
    reduced = found["voc20"][1][1]
    assert reduced.tolist() == [[IGNORED, 0, 1], [19, IGNORED, 0]]


def test_layouts_of_the_others(tmp_path: Path) -> None:
    for folder, image, label in (
        ("coco_stuff164k", "images/val2017/1.jpg", "annotations/val2017/1_labelTrainIds.png"),
        ("coco_stuff164k", "images/val2017/1.jpg", "annotations/val2017/1_instanceTrainIds.png"),
        ("VOCdevkit/VOC2010", "JPEGImages/1.jpg", "SegmentationClassContext/1.png"),
        ("ADEChallengeData2016", "images/validation/A_1.jpg", "annotations/validation/A_1.png"),
        ("cityscapes", "leftImg8bit/val/ulm/u_1_leftImg8bit.png", "gtFine/val/ulm/u_1_gtFine_labelTrainIds.png"),
    ):
        photo(tmp_path / folder / image)
        save_labels(tmp_path / folder / label, np.array([[1, 2, 3], [4, 5, 255]], np.uint8), palette=False)
    listing = tmp_path / "VOCdevkit/VOC2010/ImageSets/SegmentationContext/val.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("1\n")
    found = benchmarks.found(tmp_path)
    assert list(found) == ["context59", "context60", "coco_stuff171", "coco_object", "ade20k150", "cityscapes19"]
    assert found["context60"][0][1].tolist() == [[1, 2, 3], [4, 5, 255]]
    assert found["context59"][0][1].tolist() == [[0, 1, 2], [3, 4, 255]]
    assert found["coco_object"][0][1].tolist() == [[1, 2, 3], [4, 5, 255]]
    assert found["ade20k150"][0][1].tolist() == [[0, 1, 2], [3, 4, 255]]


def test_check_data_reports_everything(voc: Path) -> None:
    lines = "\n".join(check(voc))
    assert (
        "voc20: 2 images, 2 usable (1,449 expected, unverified)" in lines
        and "cc3m: missing" in lines
        and "food101: missing" in lines
    )
    assert "ade20k150: ADE20K-150: " in lines and "is missing" in lines
    assert lines.endswith("\nNothing to train on; voc20, voc21 will be evaluated.")
    assert all(word in LAYOUT for word in ("cc12m", "coco_stuff164k", "oxford-iiit-pet"))


def test_check_data_of_a_folder_without_any_of_it(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="has no pairs, benchmark or classification set") as caught:
            check(root)
        assert str(caught.value).startswith(str(root)) and str(caught.value).endswith(LAYOUT)


@pytest.mark.parametrize("part", ["cc3m", "coco", "VOCdevkit", "cityscapes", "imagenet-r", "SUN397"])
def test_check_data_lists_what_one_part_lacks(tmp_path: Path, part: str) -> None:
    (tmp_path / part).mkdir()
    *lines, weights, now = check(tmp_path)
    names = [line.partition(":")[0] for line in lines]
    assert names == ["cc3m", "cc12m", "yfcc15m", "pairs", "COCO captions", *BENCHMARKS, *classification.SETS]
    assert weights.startswith("weights of ViT-B-16, open_clip tag openai: ")
    stops = {"VOCdevkit": "", "imagenet-r": "imagenet_r", "SUN397": "sun397"}.get(part)
    assert now.startswith(f"A run would stop at {stops}: mend" if stops else "Nothing to train on; nothing will be")


def test_check_data_names_every_broken_file(voc: Path) -> None:
    folder = voc / "VOCdevkit/VOC2012"
    (folder / "JPEGImages/2007_1.jpg").write_bytes(b"<html>")
    save_labels(folder / "SegmentationClass/2007_2.png", np.full((2, 3), 99, np.uint8))
    lines = check(voc)
    start = next(k for k, line in enumerate(lines) if line.startswith("voc20: 2 images, 0 usable"))
    assert "2007_1.jpg is not an image" in lines[start + 1] and "2007_2.png has the label 98" in lines[start + 2]
    assert lines[-1].startswith("A run would stop at voc20, voc21: mend or take away")


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "Nothing to train on"), (9, "Too few pairs to train in batches of 10"), (10, "Enough to train")],
)
def test_check_data_ends_with_what_can_be_done(count: int, said: str) -> None:
    sources, tests = [Part("cc3m", [], count)], [Part("voc20", [], 5), Part("dtd", [], 0)]
    assert what_now(sources, tests, 10).startswith(said) and what_now(sources, tests, 10).endswith(
        "; voc20 will be evaluated."
    )


def test_images_are_as_labelled(voc: Path) -> None:
    """Labels belong to the pixels as they are stored, whatever EXIF says; 16 bits and transparency as everywhere."""
    folder = voc / "VOCdevkit/VOC2012/JPEGImages"
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (3, 2)).save(folder / "2007_1.jpg", exif=turned)
    Image.new("I;16", (3, 2), 100 * 256).save(folder / "2007_2.jpg", "PNG")
    (phone, labels), (grey, _) = benchmarks.found(voc)["voc21"]
    assert phone.size == (3, 2) and labels.shape == (2, 3)
    assert grey.mode == "RGB" and grey.getpixel((0, 0)) == (100, 100, 100)


def test_hidden_folders_of_benchmarks_are_left_out(tmp_path: Path) -> None:
    for number, place in enumerate(("", ".ipynb_checkpoints/")):
        photo(tmp_path / f"ADEChallengeData2016/images/validation/{place}A_{number}.jpg")
        save_labels(tmp_path / f"ADEChallengeData2016/annotations/validation/.old/A_{number}.png", LABELS % 20)
    assert benchmarks.found(tmp_path) == {}
    save_labels(tmp_path / "ADEChallengeData2016/annotations/validation/A_0.png", LABELS % 20)
    assert [image.name for image, _ in benchmarks.found(tmp_path)["ade20k150"].pairs] == ["A_0.jpg"]


def test_a_damaged_image_is_named_with_the_next_step(voc: Path) -> None:
    path = voc / "VOCdevkit/VOC2012/JPEGImages/2007_1.jpg"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        UserError, match=r"2007_1\.jpg is not an image that can be decoded .*; unpack the archive again"
    ):
        benchmarks.found(voc)["voc20"][0]


# -- classification ---------------------------------------------------------------------------------------------------


def test_there_are_twelve_sets() -> None:
    assert len(classification.SETS) == 12


def test_imagenet_folders(tmp_path: Path) -> None:
    for folder in ("imagenet/val/n01440764", "imagenet/val/n01443537", "imagenetv2-matched-frequency-format-val/1"):
        photo(tmp_path / folder / "a.JPEG")
    assert classification.found(tmp_path) == ["imagenet", "imagenet_v2"]
    found, names = classification.load_set("imagenet", tmp_path)
    assert names == ["tench", "goldfish"] and [label for _, label in found] == [0, 1]
    assert classification.load_set("imagenet_v2", tmp_path)[1] == ["goldfish"]
    photo(tmp_path / "imagenet/val/owls/a.JPEG")
    with pytest.raises(UserError, match="owls is no class of ImageNet"):
        classification.load_set("imagenet", tmp_path)


def test_texture_set_of_torchvision(tmp_path: Path) -> None:
    base = tmp_path / "dtd/dtd"
    (base / "labels").mkdir(parents=True)
    (base / "labels/test1.txt").write_text("banded/a.jpg\nlace_like/b.jpg\n")
    for name in ("banded/a.jpg", "lace_like/b.jpg"):
        photo(base / "images" / name)
    found, names = classification.load_set("dtd", tmp_path)
    assert names == ["banded", "lace like"] and len(found) == 2 and found[1][1] == 1
    assert "dtd: 2 images of 2 classes, 2 usable" in check(tmp_path)


def test_incomplete_sets_are_named(tmp_path: Path) -> None:
    (tmp_path / "food-101").mkdir()
    with pytest.raises(UserError, match=r"food101: .*food-101 cannot be read"):
        classification.load_set("food101", tmp_path)
    assert any(line.startswith("food101: ") and "cannot be read" in line for line in check(tmp_path))


def test_hidden_folders_of_classification_sets_are_left_out(tmp_path: Path) -> None:
    hidden = ".ipynb_checkpoints"
    for name in ("n01440764/a", f"n01440764/{hidden}/a-checkpoint", f"{hidden}/a-checkpoint"):
        photo(tmp_path / f"imagenet/val/{name}.JPEG")
    for name in ("BACKGROUND_Google", "ant", f"ant/{hidden}", hidden):
        photo(tmp_path / f"caltech101/101_ObjectCategories/{name}/image_0001.jpg")
    for name in ("a/abbey", f"a/abbey/{hidden}", f"a/{hidden}", hidden):
        photo(tmp_path / f"SUN397/{name}/sun_1.jpg")
    (tmp_path / "SUN397/ClassName.txt").write_text("/a/abbey\n")
    for name, expected in (("imagenet", "tench"), ("caltech101", "ant"), ("sun397", "abbey")):
        found, names = classification.load_set(name, tmp_path)
        assert names == [expected] and [label for _, label in found] == [0]


@pytest.mark.parametrize("name", ["imagenet", "dtd"])
def test_odd_images_of_classification_sets(tmp_path: Path, name: str) -> None:
    """16 bits are scaled, what is transparent is white; nothing is turned, as with torchvision's own readers."""
    folder = tmp_path / ("imagenet/val/n01440764" if name == "imagenet" else "dtd/dtd/images/banded")
    folder.mkdir(parents=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("I;16", (4, 2), 100 * 256).save(folder / "a.jpg", "PNG")
    Image.new("RGBA", (4, 2), (0, 0, 0, 0)).save(folder / "b.jpg", "PNG")
    Image.new("RGB", (4, 2)).save(folder / "c.jpg", exif=turned)
    (folder / "d.jpg").write_bytes(damaged_avif())
    if name == "dtd":
        (tmp_path / "dtd/dtd/labels").mkdir()
        (tmp_path / "dtd/dtd/labels/test1.txt").write_text("".join(f"banded/{k}.jpg\n" for k in "abcd"))
    found, _ = classification.load_set(name, tmp_path)
    assert found[0][0].getpixel((0, 0)) == (100, 100, 100) and found[1][0].getpixel((0, 0)) == (255, 255, 255)
    assert found[2][0].size == (4, 2)
    with pytest.raises(UserError, match=r"d\.jpg is not an image that can be decoded"):
        found[3]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Faces_easy", "faces easy"),
        ("/a/abbey", "abbey"),
        ("/a/apse/indoor", "indoor apse"),
        ("AM General", "am general"),
    ],
)
def test_readable_names(raw: str, text: str) -> None:
    assert classification.readable(raw) == text
