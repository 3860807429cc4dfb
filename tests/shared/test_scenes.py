"""Composed scenes: what they say about themselves is true."""

import itertools
import re

import numpy as np
import pytest

from ci.packs.stamps import KINDS
from shared.offline.cutouts import load_backgrounds, load_cutouts, render_cutout
from shared.offline.scenes import Scene, compose_scene, with_article

STAMPS = load_cutouts()
SCENES = [compose_scene(seed) for seed in range(150)]


@pytest.mark.parametrize("field", Scene.__dataclass_fields__)
def test_same_seed_same_scene(field: str) -> None:
    for seed in range(3):
        np.testing.assert_array_equal(getattr(compose_scene(seed), field), getattr(SCENES[seed], field))


def test_seeds_differ() -> None:
    assert len({scene.image.tobytes() for scene in SCENES}) == len(SCENES)
    assert {len(scene.tags) for scene in SCENES} == {1, 2, 3, 4}


def test_a_generator_moves_on() -> None:
    rng = np.random.default_rng(5)
    first, second = compose_scene(rng), compose_scene(rng)
    np.testing.assert_array_equal(first.image, compose_scene(5).image)
    assert (first.image != second.image).any()


@pytest.mark.parametrize("size", [64, 128, 224])
def test_shapes(size: int) -> None:
    scene = compose_scene(3, size=size)
    n = len(scene.tags)
    assert scene.image.shape == (size, size, 3) and scene.image.dtype == np.uint8
    assert scene.class_map.shape == scene.instance_map.shape == (size, size)
    assert scene.class_map.dtype == scene.instance_map.dtype == np.int16
    assert scene.boxes.shape == (n, 4) and scene.boxes.dtype == np.float32


def test_maps_boxes_and_tags_agree() -> None:
    for scene in SCENES:
        assert set(np.unique(scene.instance_map)) - {0} == set(range(1, len(scene.tags) + 1))
        assert ((scene.class_map == 0) == (scene.instance_map == 0)).all()
        for i, (index, tag) in enumerate(zip(scene.classes, scene.tags, strict=True)):
            mask = scene.instance_map == i + 1
            assert STAMPS[index].label == tag
            assert set(np.unique(scene.class_map[mask])) == {index + 1}
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            np.testing.assert_array_equal(scene.boxes[i], [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def test_spatial_relations_follow_from_the_boxes() -> None:
    seen = set()
    for scene in SCENES:
        stated = {relation for relation in scene.relations if relation[1] != "in front of"}
        expected = set()
        for i, j in itertools.permutations(range(len(scene.tags)), 2):
            (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = scene.boxes[i], scene.boxes[j]
            right, down = (ax0 + ax1 - bx0 - bx1) / 2, (ay0 + ay1 - by0 - by1) / 2  # of i, seen from j
            if abs(right) > abs(down):
                name, distance = ("right of" if right > 0 else "left of"), abs(right)
            else:
                name, distance = ("below" if down > 0 else "above"), abs(down)
            if distance >= 12.8:
                expected.add((i, name, j))
        assert stated == expected
        seen |= {name for _, name, _ in stated}
    assert seen == {"left of", "right of", "above", "below"}


def test_in_front_of_means_a_later_object_that_covers_part_of_an_earlier() -> None:
    covering = 0
    for scene in SCENES:
        front = {(i, j) for i, name, j in scene.relations if name == "in front of"}
        for i, j in front:
            (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = scene.boxes[i], scene.boxes[j]
            near = 0.55 * scene.image.shape[0]  # the hidden part of j is not in its box, but it is no larger than this
            assert i > j and min(ax1, bx1) - max(ax0, bx0) > -near and min(ay1, by1) - max(ay0, by0) > -near
        covering += len(front)
    assert covering > 20


def test_objects_stay_visible() -> None:
    # A cover of exactly the same shape is the hardest case: one stamp in many copies.
    ball = [stamp for stamp in STAMPS if stamp.label == "basketball"]
    crowd = compose_scene(0, cutouts=ball * 4, objects=(4, 4), scale=(0.44, 0.45))
    whole = (crowd.instance_map == len(crowd.tags)).sum()
    assert len(crowd.tags) > 1
    for i in range(len(crowd.tags)):
        assert (crowd.instance_map == i + 1).sum() >= 0.4 * whole


@pytest.mark.parametrize("min_visible", [0.0, 0.9])
def test_the_share_that_stays_visible(min_visible: float) -> None:
    ball = [cutout for cutout in STAMPS if cutout.label == "basketball"]  # in copies of one size: the last is whole
    shares = []
    for seed in range(40):
        scene = compose_scene(seed, 64, ball * 8, objects=(6, 8), scale=(0.5, 0.5), min_visible=min_visible)
        visible = np.bincount(scene.instance_map.ravel())[1:]
        assert visible.min() > 0
        shares.append(visible.min() / visible[-1])
    assert (min(shares) < 0.3) == (min_visible == 0) and (min(shares) > 0.85) == (min_visible > 0)


def test_nothing_to_place_is_refused() -> None:
    slender = [stamp for stamp in STAMPS if stamp.name == "animals/birds/adelaide-rosella"]
    for options in ({"objects": (0, 1)}, {"cutouts": []}, {"size": 1, "scale": (0.01, 0.01), "cutouts": slender}):
        with pytest.raises(ValueError, match="object"):
            compose_scene(0, **options)


def test_captions_name_every_object() -> None:
    for scene in SCENES:
        assert len(set(scene.captions)) == len(scene.captions) >= 3
        for caption, tag in itertools.product(scene.captions, scene.tags):
            assert re.search(rf"\b{with_article(tag)}\b", caption), (caption, tag)
            assert caption.endswith(".")
    assert with_article("owl") == "an owl" and with_article("saw") == "a saw"


def test_questions_have_the_right_answers() -> None:
    asked = set()
    for scene in SCENES:
        shown = [STAMPS[index] for index in scene.classes]
        assert len({question for question, _ in scene.questions}) == len(scene.questions)
        for question, answer in scene.questions:
            if match := re.fullmatch(r"Is there an? (.+)\?", question):
                assert answer == ("yes" if match[1] in scene.tags else "no")
                asked.add(answer)
            elif question == "How many objects are there?":
                assert answer == str(len(shown))
            elif match := re.fullmatch(r"How many (.+) are there\?", question):
                assert answer == str(sum(stamp.kinds == match[1] for stamp in shown))
                asked.add("kinds")
            elif match := re.fullmatch(r"What is (left of|right of|above|below|in front of) the (.+)\?", question):
                j = scene.tags.index(match[2])
                assert [scene.tags[i] for i, name, k in scene.relations if (name, k) == (match[1], j)] == [answer]
                asked.add(match[1])
            else:
                match = re.fullmatch(r"What is the (.+)\?", question)
                kind = match and shown[scene.tags.index(match[1])].kind
                assert kind and answer == with_article(kind)
                asked.add("kind")
    assert asked == {"yes", "no", "kinds", "kind", "left of", "right of", "above", "below", "in front of"}


@pytest.mark.parametrize("seed", [2830, 2137, 1336])  # a cep, a mandarin orange, a rubber duck
def test_nothing_is_denied_that_a_name_or_kind_says(seed: int) -> None:
    scene = compose_scene(seed)
    said = {word for index in scene.classes for word in (*STAMPS[index].label.split(), STAMPS[index].kind)}
    for question, answer in scene.questions:
        if answer == "no":
            assert re.fullmatch(r"Is there an? (.+)\?", question)[1] not in said


def test_kinds() -> None:
    kind = {stamp.label: stamp.kind for stamp in STAMPS}
    assert (kind["owl"], kind["rose"], kind["cep"]) == ("animal", "plant", "mushroom")
    assert (kind["teddy bear"], kind["tractor wheel"], kind["camera"]) == ("", "", "")
    for start in KINDS:  # none is misspelt
        assert any(stamp.name == start or stamp.name.startswith(start + "/") for stamp in STAMPS), start


def test_chosen_stamps_and_backgrounds() -> None:
    few, places = STAMPS[10:13], load_backgrounds()[:2]
    for seed in range(20):
        scene = compose_scene(seed, cutouts=few, backgrounds=places, objects=(2, 3))
        assert scene.background in {place.name for place in places}
        assert scene.class_map.max() <= 3 and set(scene.tags) <= {stamp.label for stamp in few}


def test_render_stamp() -> None:
    owl = next(stamp for stamp in STAMPS if stamp.label == "owl")
    green = (0, 255, 0)
    frames = [render_cutout(owl, 96, np.random.default_rng(seed), green, scale=(0.5, 0.5)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(frames[0], frames[1])
    assert (frames[0] != frames[2]).any()
    rows, columns = np.nonzero((frames[0] != green).any(2))
    area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert area == pytest.approx((0.5 * 96) ** 2, rel=0.1)
    photo = load_backgrounds("monument")[0]
    assert render_cutout(owl, 224, np.random.default_rng(0), photo).shape == (224, 224, 3)


def test_sounds_at_any_rate() -> None:
    owl = next(stamp for stamp in STAMPS if stamp.label == "owl")
    for rate in (8000, 11025, 16000, 44100):
        sound = owl.sound(rate)
        assert sound.dtype == np.float32 and np.abs(sound).max() <= 1
        assert len(sound) / rate == pytest.approx(1.23, abs=0.01)
    silent = next(stamp for stamp in STAMPS if not stamp.has_sound)
    with pytest.raises(ValueError, match=silent.name):
        silent.sound(8000)


def test_images_are_shared_and_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        STAMPS[0].image()[0, 0] = 0
