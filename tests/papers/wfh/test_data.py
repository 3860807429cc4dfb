"""papers/wfh/data.py and datasets: corpora without a pair, scenes as they are stored, the published layouts."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from papers.wfh import data
from papers.wfh.config import PRESETS, Config
from papers.wfh.datasets import detect, detected, scenes, vqa
from papers.wfh.eval import prototypes
from shared import UserError
from tests.damage import photo

from .examples import FEATURES, REGIONS, arrays, build_all, build_features, coco_name, write_tsv

SMOKE = PRESETS["smoke"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared scenes."""
    folder = tmp_path_factory.mktemp("cache")
    found = data.prepare(SMOKE, folder)
    assert found["train"] == 2 * SMOKE.scenes and len(found["sha256"]) == 64
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A configuration for the examples of the paper's datasets."""
    root = tmp_path_factory.mktemp("data")
    build_all(root)
    return replace(SMOKE, data=str(root), features=FEATURES, regions=2)


# -- composed scenes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_corpora_hold_no_pair(cache: Path, seed: int) -> None:
    found = data.corpora(SMOKE, cache, seed)
    assert not set(found.image_ids) & set(found.text_ids)
    stored = data.stored_scenes(SMOKE, cache, "pretrain")
    assert len(found.image_ids) + len(found.text_ids) == len(stored.images)
    told = [stored.captions[int(name.split()[1])] for name in found.text_ids]
    assert found.captions == told
    for k, name in enumerate(found.image_ids):
        expected = stored.images[int(name.split()[1])]
        assert (found.images[k].features == expected.features).all()
        assert stored.captions[int(name.split()[1])] not in found.captions


def test_halves_are_the_seeds(cache: Path) -> None:
    assert data.corpora(SMOKE, cache, 0).image_ids != data.corpora(SMOKE, cache, 1).image_ids


def test_prototypes_are_of_regions_that_pretraining_saw(cache: Path) -> None:
    names, means = prototypes(SMOKE, SimpleNamespace(cache=cache, seed=0))  # type: ignore[arg-type]
    stored = data.stored_scenes(SMOKE, cache, "pretrain")
    seen = [(k, name) for k in data.corpora(SMOKE, cache, 0).images.numbers for name in stored.objects[k]]
    assert set(names) == {name for _, name in seen} < {name for objects in stored.objects for name in objects}
    (k, name) = next(x for x in seen if [name for _, name in seen].count(x[1]) == 1)
    region = stored.images[k].features[stored.objects[k].index(name)]
    np.testing.assert_allclose(means[names.index(name)], region, rtol=1e-5)


def test_pairs_of_fine_tuning_are_of_other_scenes(cache: Path) -> None:
    parts = [data.stored_scenes(SMOKE, cache, part) for part in data.parts(SMOKE)]
    assert len({x.images.regions.features.tobytes() for x in parts}) == len(parts)
    pairs = data.captioned(replace(SMOKE, pairs=5), cache, "train")
    assert len(pairs.images) == len(pairs.captions) == 5
    kept, own = pairs.images[4], data.stored_scenes(SMOKE, cache, "tuning").images[4]
    assert (kept.features == own.features).all() and (kept.boxes == own.boxes).all()


def test_the_other_domain_has_other_places(cache: Path) -> None:
    own, other = (data.captioned(SMOKE, cache, "test", other).captions for other in (False, True))
    assert any("castle" in text for texts in own for text in texts)
    assert not any("castle" in text for texts in other for text in texts)


def test_features_of_pretraining_are_standardised(cache: Path) -> None:
    features = data.stored_scenes(SMOKE, cache, "pretrain").images.regions.features
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(0), 1, atol=1e-3)


def test_every_text_is_of_known_words(cache: Path) -> None:
    words = data.vocabulary(SMOKE)
    unknown = words.number[100]
    for part in data.parts(SMOKE):
        stored = data.stored_scenes(SMOKE, cache, part)
        texts = [text for told in stored.captions for text in told]
        texts += [text for rows in stored.tasks.values() for _, text, *_ in rows]
        assert all(unknown not in words.split(text) for text in texts)
    stories = scenes.stories(200, np.random.default_rng(0))
    assert all(unknown not in words.split(text) for story in stories for text in story)
    objects, attributes = data.class_names(SMOKE)
    assert all(unknown not in words.split(name) for name in (*objects, *attributes))
    assert not words.content[words.split("a photo of the castle , in front")].any()
    assert words.content[words.split("crow wrench rodent")].all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"heads": 3}, "--width is 16; expected a multiple of --heads, 3"),
        ({"steps": 0}, "--steps is 0; expected 1 or more"),
        ({"batch_size": 1}, "--batch-size is 1; expected 2 or more"),
        ({"scenes": 31}, "--scenes is 31; expected 4 times --batch-size or more"),
        ({"test_scenes": 6000}, "--test-scenes is 6000; there are no more than 4,000"),
        ({"passage_length": 4}, "--passage-length is 4"),
        ({"features": 2048}, "composed scenes have 320"),
        ({"tag_weight": 0.0}, "Nothing trains the hallucinator"),
    ],
)
def test_options_that_contradict_each_other(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        data.prepare(replace(SMOKE, **changes), tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


# -- the published layouts --------------------------------------------------------------------------------------------


def test_converted_features_are_those_of_the_table(tmp_path: Path) -> None:
    build_features(tmp_path, ["a", "b", "c"])
    images = detected.open_images(tmp_path, ["c", "a"], most=2)
    for k, number in ((0, 2), (1, 0)):
        found, expected = images[k], arrays(number)
        assert (found.features == expected["features"][:2]).all()
        np.testing.assert_allclose(found.boxes, expected["boxes"][:2] / [40, 30, 40, 30], rtol=1e-6)
        assert (found.objects == expected["objects_id"][:2]).all()
        assert (found.attribute_confidence == expected["attrs_conf"][:2]).all()


def test_a_table_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    table = tmp_path / "x_imgfeat/x.tsv"
    write_tsv(table, ["a", "b"])
    table.write_text(table.read_text()[:-30])
    with pytest.raises(UserError, match="line 2"):
        detected.convert(table)
    assert [path.name for path in table.parent.iterdir()] == ["x.tsv"]
    with pytest.raises(UserError, match=r"convert .*x.tsv with"):
        detected.index(tmp_path)


def test_pictures_without_features_are_named(tmp_path: Path) -> None:
    build_features(tmp_path, ["a"])
    with pytest.raises(UserError, match="no region features of 1 images, such as z"):
        detected.open_images(tmp_path, ["a", "z"], 36)


def test_corpora_of_the_published_datasets(real: Config, tmp_path: Path) -> None:
    found = data.corpora(real, tmp_path, 0)
    train = {coco_name(n, "train") for n in (1, 2, 3, 8, 9)} | {coco_name(n, "restval") for n in (4, 10, 11)}
    assert set(found.image_ids) | set(found.text_ids) == train
    assert not set(found.image_ids) & set(found.text_ids)
    for texts, name in zip(found.captions, found.text_ids, strict=True):
        assert texts[0] == f"A dog 0 by thing {int(name.split('_')[-1])}."
    assert found.passages[0] == ["The dog ran.", "It was old.", "The man called it."] and len(found.passages) == 6
    assert found.images[0].features.shape == (2, FEATURES)


def test_retrieval_tests_the_other_dataset_as_well(real: Config, tmp_path: Path) -> None:
    own, other = (data.captioned(real, tmp_path, "test", other).captions for other in (False, True))
    assert [texts[0] for texts in own] == ["A dog 0 by thing 6.", "A dog 0 by thing 7."]
    assert [texts[0] for texts in other] == ["Someone 0 at place 24.", "Someone 0 at place 25."]


@pytest.mark.parametrize(
    ("task", "images", "answers"),
    [("vqa", 1, ("yes",)), ("nlvr2", 2, ("False", "True")), ("snli-ve", 1, ("contradiction", "neutral", "entailment"))],
)
def test_labelled_texts(real: Config, tmp_path: Path, task: str, images: int, answers: tuple[str, ...]) -> None:
    config = replace(real, task=task)  # type: ignore[arg-type]
    assert tuple(data.answers(config)) == answers
    for split in ("train", "validation", "test"):
        found = data.texts(config, tmp_path, split)
        assert all(len(text.images) == images for text in found.texts)
        assert found.images[found.texts[-1].images[-1]].features.shape == (2, FEATURES)


def test_answers_are_normalised_as_in_the_official_evaluation() -> None:
    assert [vqa.normalised(x) for x in ("Two", "the dog.", "a man, old", "3.5")] == ["2", "dog", "man old", "3.5"]


def test_check_lists_what_is_there(real: Config) -> None:
    assert real.data is not None
    lines = data.check(Path(real.data))
    assert len(lines) == 14 and "running text, books.txt: 6 passages" in lines
    with pytest.raises(UserError, match="none of the paper's datasets"):
        data.check(Path(__file__).parent)


def test_own_pictures_get_features_in_the_published_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=64, max_size=96).eval()
    monkeypatch.setattr(detect, "detector", {"none": small}.__getitem__)
    for name, width in (("one", 60), ("two", 90)):
        photo(tmp_path / f"photos/{name}.png", (width, 40))
    out = tmp_path / "data/own_imgfeat/photos.h5"
    arguments = [
        "--images",
        str(tmp_path / "photos"),
        "--out",
        str(out),
        "--weights",
        "none",
        "--regions",
        str(REGIONS),
    ]
    assert detect.main(arguments) == 0
    images = detected.open_images(tmp_path / "data", ["two", "one"], 36)
    found = images[0]
    assert found.features.shape == (REGIONS, detect.WIDTH) and found.boxes.shape == (REGIONS, 4)
    assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all() and found.boxes.max() <= 1
    assert (np.diff(found.object_confidence) <= 0).all()
    assert (images[1].features != found.features).any()
