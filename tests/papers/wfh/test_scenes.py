"""papers/wfh/datasets/scenes.py: the premise of the offline experiment, and that its texts are true."""

from collections import Counter

import numpy as np
import pytest

from papers.wfh.datasets import scenes
from shared.offline.scenes import Scene


@pytest.fixture(scope="module")
def composed() -> list[Scene]:
    return scenes.compose(60, "a", 3)


def test_domains_share_three_fifths_of_their_objects() -> None:
    a, b = ({thing.name for thing in scenes.things(domain)} for domain in ("a", "b"))
    assert len(a) == len(b) and len(a & b) == 0.6 * len(a)
    assert {thing.name for thing in scenes.things("both")} == a | b
    assert not scenes.PLACES["a"].keys() & scenes.PLACES["b"].keys()
    assert not set(scenes.TEMPLATES["a"]) & set(scenes.TEMPLATES["b"])


def test_some_names_are_beyond_the_tags() -> None:
    kinds = Counter(thing.tag for thing in scenes.THINGS if thing.tag != thing.name)
    assert set(kinds.values()) == {3}, "three objects of each kind share a tag"
    assert not {thing.name for thing in scenes.THINGS if thing.tag != thing.name} & set(scenes.OBJECT_NAMES)


def test_no_two_scenes_have_one_content(composed: list[Scene]) -> None:
    contents = {(frozenset(scene.tags), scene.background) for scene in composed}
    assert len(contents) == len(composed)
    assert {scenes.place_of(scene) for scene in composed} == scenes.PLACES["a"].keys()


def test_captions_name_every_object_and_the_place(composed: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    for scene in composed:
        for caption in scenes.captions(scene, "a", rng):
            words = caption.replace(",", "").split()
            assert {*scene.tags, scenes.place_of(scene)} <= set(words), caption


def test_detections_are_near_the_objects_and_seldom_wrong(composed: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    right = []
    for scene in composed:
        found = scenes.detect(scene, rng)
        assert len(found.boxes) == len(scene.tags) + 1 and found.boxes[-1].tolist() == [0, 0, 1, 1]
        assert np.abs(found.boxes[:-1] - scene.boxes / scenes.SIZE).max() < 0.05
        named = [scenes.OBJECT_NAMES[k] for k in found.objects[:-1]]
        agree = [tag == scenes.BY_NAME[name].tag for tag, name in zip(named, scene.tags, strict=True)]
        right += agree
        assert all(confidence < 0.6 for confidence, ok in zip(found.object_confidence, agree, strict=False) if not ok)
    assert 0.8 < np.mean(right) < 1


def test_sentences_of_a_story_tell_of_the_same_things() -> None:
    for first, second, third in scenes.stories(50, np.random.default_rng(0)):
        words = [set(text.replace(",", "").replace("?", "").split()) for text in (first, second, third)]
        shown = [{*scenes.BY_NAME} & part for part in words]
        assert shown[0] == shown[1] == shown[2] and len(shown[0]) in scenes.OBJECTS
        assert len({frozenset({*scenes.PLACES["both"]} & part) for part in words}) == 1
        colours = {scenes.BY_NAME[name].colour for name in shown[0]}
        assert all({*scenes.ATTRIBUTE_NAMES} & part <= colours for part in words)


def test_questions_are_answered_truly(composed: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    kinds: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    for number, scene in enumerate(composed):
        for images, text, answer, kind in scenes.questions(number, scene, rng):
            assert images == [number] and answer in scenes.ANSWERS
            kinds[kind] += 1
            if kind == "presence":
                assert (text.rstrip("?").split()[-1] in scene.tags) == (answer == "yes")
                answers[answer] += 1
            if kind == "colour":
                assert scenes.BY_NAME[text.rstrip("?").split()[-1]].colour == answer
            if kind == "count":
                assert scenes.NUMBERS[len(scene.tags) - 1] == answer
            if kind == "object":
                assert scene.boxes[scene.tags.index(answer), 0] <= scene.boxes[:, 2].max() / 1.5
            if kind == "place":
                assert (text.rstrip("?").split()[-1] == scenes.place_of(scene)) == (answer == "yes")
    assert set(kinds) == {"colour", "object", "count", "presence", "place"}
    assert 0.25 < answers["yes"] / answers.total() < 0.75


def test_statements_are_as_often_true_as_false(composed: list[Scene]) -> None:
    rows = scenes.tasks(composed, np.random.default_rng(0))["nlvr2"]
    for (left, right), text, answer, kind in ((tuple(row[0]), *row[1:]) for row in rows):
        name = text.split()[-1]
        if kind == "neither":
            assert (name not in composed[left].tags + composed[right].tags) == (answer == "true")
        elif kind == "one":
            side = left if "left image" in text else right
            assert (text.split()[3] in composed[side].tags) == (answer == "true")
        else:
            side = left if text.startswith("the left") else right
            assert (name == scenes.place_of(composed[side])) == (answer == "true")
    assert 0.4 < np.mean([row[2] == "true" for row in rows]) < 0.6


def test_hypotheses_have_each_label_as_often(composed: list[Scene]) -> None:
    rows = scenes.tasks(composed, np.random.default_rng(0))["snli-ve"]
    assert set(Counter(row[2] for row in rows).values()) == {len(composed)}
    for (number,), text, label, _ in rows:
        _, name, *_, place = text.split()
        scene = composed[number]
        if label == "neutral":
            assert name not in scene.tags
        else:
            assert name in scene.tags and (place == scenes.place_of(scene)) == (label == "entailment")
