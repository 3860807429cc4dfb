"""Composed scenes and their texts, the readers, and how samples become batches."""

from pathlib import Path

import numpy as np
import pytest
import torch

from papers.soho.config import PRESETS
from papers.soho.data import Captions, Texts, vocabulary
from papers.soho.datasets import captions, nlvr2, scenes, snli_ve, vqa
from papers.soho.datasets.images import Image, Photographs, Scenes, batch, crops, resized
from papers.soho.datasets.texts import Text, by_images
from papers.soho.sampling import OneOrientation, Pairs, Questions, collate, images
from papers.soho.wordpiece import Vocabulary, mask_words, wordpiece

from .examples import build_all

SMOKE = PRESETS["smoke"]
SEEN = scenes.compose(60, np.random.default_rng(7))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    build_all(folder)
    return folder


# -- composed scenes --------------------------------------------------------------------------------------------------


def test_unseen_objects_are_in_no_training_scene() -> None:
    shown = {tag for scene in SEEN for tag in scene.tags}
    unseen = {name for names in scenes.UNSEEN.values() for name in names}
    assert shown <= set(scenes.OBJECT_NAMES) and not unseen & set(scenes.OBJECT_NAMES)
    other = scenes.compose(8, np.random.default_rng(0), unseen=True)
    assert {tag for scene in other for tag in scene.tags} <= unseen
    asked = [
        text for k, scene in enumerate(other) for text in scenes.questions(k, scene, np.random.default_rng(k), True)
    ]
    assert {text.kind for text in asked} == {"colour", "count", "place", "place check"} | (
        {"empty side"} if any(text.kind == "empty side" for text in asked) else set()
    )
    assert not any(name in text.text for text in asked for name in unseen)


def test_questions_are_answered_by_the_scene() -> None:
    kinds = set()
    for k, scene in enumerate(SEEN):
        for text in scenes.questions(k, scene, np.random.default_rng(k)):
            (answer,) = text.scores
            kinds.add(text.kind)
            assert answer in scenes.ANSWERS and text.images == (k,)
            centres = (scene.boxes[:, 0] + scene.boxes[:, 2]) / 2
            if text.kind == "count":
                assert scenes.NUMBERS.index(answer) + 1 == len(scene.tags)
            elif text.kind == "presence":
                assert (text.text.removesuffix("?").split()[-1] in scene.tags) == (answer == "yes")
            elif text.kind == "place":
                assert scenes.PLACES[answer] == scene.background
            elif text.kind == "place check":
                assert (text.text.removesuffix("?").split()[-1] == scenes.place_of(scene)) == (answer == "yes")
            elif text.kind == "object" and "left" in text.text:
                assert scene.tags[int(centres.argmin())] == answer
            elif text.kind == "colour" and "right" in text.text:
                assert scenes.COLOUR_OF[scene.tags[int(centres.argmax())]] == answer
            elif text.kind == "empty side":
                x1, y1, x2, y2 = (*scene.boxes[:, :2].min(0), *scene.boxes[:, 2:].max(0))
                gap = {"left": x1, "right": scenes.SIZE - x2, "top": y1, "bottom": scenes.SIZE - y2}
                assert gap[answer] >= scenes.SIZE / 2
    assert kinds == {*scenes.INSIDE, *scenes.OUTSIDE}


def test_statements_are_true_as_often_as_false() -> None:
    rng = np.random.default_rng(0)
    found = [text for k in range(59) for text in scenes.statements(SEEN, (k, k + 1), rng)]
    share = np.mean([text.scores == {"true": 1.0} for text in found])
    assert 0.4 < share < 0.6
    for text in found:
        if text.kind == "more":
            assert len({len(SEEN[k].tags) for k in text.images}) == 2, "as many things would always make it false"
        first, second = (SEEN[k] for k in text.images)
        words, truth = text.text.split(), text.scores == {"true": 1.0}
        if text.kind == "neither":
            assert truth == (words[-1] not in first.tags + second.tags)
        elif text.kind == "one":
            shown = first if "left" in words else second
            assert truth == (words[3] in shown.tags)
        elif text.kind == "place":
            shown = first if "left" in words else second
            assert truth == (words[-1] == scenes.place_of(shown))
        else:
            a, b = (first, second) if "left" in words else (second, first)
            assert truth == (len(a.tags) > len(b.tags))


def test_hypotheses_have_every_label_in_the_same_words() -> None:
    labels: dict[str, list[str]] = {}
    for k, scene in enumerate(SEEN):
        for text in scenes.hypotheses(k, scene, np.random.default_rng(k)):
            (label,) = text.scores
            labels.setdefault(text.kind, []).append(label)
            words = text.text.split()
            if text.kind == "place":
                there = words[1] in scene.tags
                right = words[-1] == scenes.place_of(scene)
                assert label == ("neutral" if not there else "entailment" if right else "contradiction")
            elif label != "neutral":
                a, b = scene.tags.index(words[1]), scene.tags.index(words[-1])
                stated = (a, " ".join(words[3:5]), b) in scene.relations
                assert stated == (label == "entailment")
    for kind, found in labels.items():
        assert {found.count(label) for label in scenes.ENTAILMENT} == {len(found) // 3}, kind


def test_captions_and_nouns_have_words_of_the_vocabulary() -> None:
    known = Vocabulary(scenes.corpus())
    rng = np.random.default_rng(0)
    texts = [caption for scene in SEEN for caption in scenes.captions(scene, rng)]
    texts += [text.text for k, scene in enumerate(SEEN) for text in scenes.questions(k, scene, rng)]
    texts += [text.text for k, scene in enumerate(SEEN) for text in scenes.hypotheses(k, scene, rng)]
    texts += [text.text for k in range(59) for text in scenes.statements(SEEN, (k, k + 1), rng)]
    encoded = known.encode(texts, 16)
    assert not (encoded == known.number[100]).any()
    assert (encoded == known.number[102]).sum() == len(texts), "a text is longer than 16 words"
    for name in (*scenes.OBJECT_NAMES, *scenes.PLACES, *scenes.COLOURS):
        assert len(wordpiece().tokenize(name)) == 1, name
    for caption, noun in scenes.masked_nouns(SEEN[0]):
        assert caption.replace(",", "").split().count(noun) == 1


def test_cells_know_what_they_show() -> None:
    scene = SEEN[0]
    content = scenes.content(scene)
    assert content.shape == (4, 4) and {int(x) - 1 for x in np.unique(content) if x} <= set(scene.classes)
    side = scenes.SIZE // 4
    for row, column in np.ndindex(4, 4):
        cell = scene.class_map[row * side : (row + 1) * side, column * side : (column + 1) * side]
        shares = [(cell == k + 1).mean() for k in scene.classes]
        assert (content[row, column] > 0) == (max(shares) >= 0.25)


# -- published datasets -----------------------------------------------------------------------------------------------


def test_captions_of_coco_and_visual_genome(root: Path) -> None:
    found = captions.pretraining(root)
    assert [x.file.name for x in found] == [
        *(f"COCO_train2014_{k:012d}.jpg" for k in (1, 2, 3)), "COCO_val2014_000000000004.jpg", "21.jpg",
    ]  # fmt: skip
    assert all(x.file.is_file() for x in found) and len(found[0].captions) == 5
    assert found[-1].captions == ["a red thing", "the sky"], "22 is a test image of COCO"
    tested = captions.karpathy(root, "flickr30k", ("test",))
    assert [x.file.name for x in tested] == ["14.jpg"] and tested[0].file.is_file()


def test_questions_of_vqa(root: Path) -> None:
    files, texts = vqa.read(root, "train")
    assert len(files) == 2 and len(texts) == 10 and all(file.is_file() for file in files)
    assert texts[0].scores == {"yes": 1.0, "no": pytest.approx(2 / 3)} and texts[9].scores == {"2": 1.0}
    assert vqa.answers(texts) == ("yes",) and vqa.answers(texts, 1) == ("yes", "2")
    assert [len(group) for group in by_images(texts)] == [5, 5]


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("The dog's.", "dog's"),
        ("Two", "2"),
        ("a cat, an owl", "cat owl"),
        ("3.5", "3.5"),
        ("t-shirt", "t shirt"),
        ("none", "0"),
    ],
)
def test_answers_are_compared_as_officially(answer: str, normal: str) -> None:
    assert vqa.normalised(answer) == normal


def test_statements_of_nlvr2(root: Path) -> None:
    for split in ("train", "dev", "test1"):
        files, texts = nlvr2.read(root, split)
        assert len(files) == 4 and all(file.is_file() for file in files)
        assert [text.images for text in texts] == [(0, 1), (0, 1), (2, 3)]
        assert [next(iter(text.scores)) for text in texts] == ["True", "False", "True"]


def test_hypotheses_of_snli_ve(root: Path) -> None:
    files, texts = snli_ve.read(root, "dev")
    assert [file.name for file in files] == ["11.jpg", "12.jpg"] and all(file.is_file() for file in files)
    assert [text.images for text in texts] == [(0,), (0,), (0,), (1,)]


# -- images and batches -----------------------------------------------------------------------------------------------


def test_photographs_are_resized_and_normalised(root: Path) -> None:
    files = [x.file for x in captions.karpathy(root, "coco", ("train",))]
    source = Photographs(files, (0.5,) * 3, (0.25,) * 3, short_side=60, long_side=80, training_sides=(40, 50, 120))
    assert source.image(1).pixels.shape == (3, 48, 80), "the long side is the limit"
    assert source.image(1).pixels.min() >= -2 and source.image(1).pixels.max() <= 2
    sizes = {source.image(1, np.random.default_rng(k)).pixels.shape[1] for k in range(20)}
    assert len(sizes) > 5 and min(sizes) >= 40 and max(sizes) in (49, 50), "training has a limit of its own"
    boxed = Photographs(
        files, (0.5,) * 3, (0.25,) * 3, short_side=60, long_side=80, crop=16,
        boxes=[np.array([[0, 0, 0.5, 0.5], [0.2, 0.2, 1, 1]], np.float32)] * 3,
    ).image(0)  # fmt: skip
    assert boxed.pixels.shape == (2, 3, 16, 16) and boxed.boxes is not None and boxed.boxes.shape == (2, 4)


def test_a_crop_shows_its_box_alone() -> None:
    pixels = torch.zeros(3, 40, 40)
    pixels[:, 10:20, 20:30] = 1
    inside, all_of_it = crops(pixels, torch.tensor([[0.5, 0.25, 0.75, 0.5], [0, 0, 1, 1]]), 8)
    assert (inside > 0.999).all() and 0 < all_of_it.mean() < 0.2
    assert crops(pixels, torch.tensor([[0.9999, 0.9999, 1.0, 1.0]]), 4).shape == (1, 3, 4, 4)
    assert resized(pixels, 20, 1000).shape == (3, 20, 20)


def test_a_batch_is_padded_to_a_multiple_and_knows_its_padding() -> None:
    found = batch([Image(torch.ones(3, 40, 60)), Image(torch.ones(3, 64, 30))], 3)
    assert found["pixels"].shape == (2, 3, 64, 64)
    assert found["pixels"][0, :, :40, :60].all() and not found["pixels"][0, :, 40:].any()
    torch.testing.assert_close(found["valid"], torch.tensor([[40 / 64, 60 / 64], [1.0, 30 / 64]]))


def pairs(mask: float = 0.3) -> Pairs:
    maps = np.arange(40, dtype=np.float16).reshape(10, 1, 2, 2).repeat(12, 1)
    told = [[f"an owl and {name}", f"a pig by {name}", f"the wall of {name}"] for name in scenes.OBJECT_NAMES[:10]]
    return Pairs(Captions(Scenes(maps), told), vocabulary(SMOKE), texts=4, length=12, mask=mask)


def test_half_of_the_captions_are_of_other_images() -> None:
    dataset, rng, matched = pairs(0), np.random.default_rng(0), []
    for index in list(range(10)) * 20:
        sample = dataset.sample(index, rng)
        own = {tuple(row) for row in dataset.words[index]}
        for words, match in zip(sample["words"].numpy(), sample["match"].tolist(), strict=True):
            assert (tuple(words) in own) == bool(match)
            matched.append(match)
        assert (sample["word_labels"] == -100).all()
    assert 0.45 < np.mean(matched) < 0.55
    again = dataset.sample(3, np.random.default_rng(5)), dataset.sample(3, np.random.default_rng(5))
    assert torch.equal(again[0]["words"], again[1]["words"])


def test_words_are_masked_but_never_the_special_ones() -> None:
    known = vocabulary(SMOKE)
    words = known.encode(["an owl and a pig by the wall"] * 2000, 12).numpy()
    masked, labels = mask_words(words, known, 0.3, np.random.default_rng(0))
    special = np.isin(words, known.special)
    chosen = labels >= 0
    assert (
        not chosen[special].any()
        and (labels[chosen] == words[chosen]).all()
        and (masked[~chosen] == words[~chosen]).all()
    )
    assert abs(chosen[~special].mean() - 0.3) < 0.02
    share = (masked[chosen] == known.mask).mean()
    assert abs(share - 0.8) < 0.02 and abs((masked[chosen] == words[chosen]).mean() - 0.1) < 0.02


def test_a_batch_knows_the_images_of_its_texts() -> None:
    dataset = pairs()
    found = collate([dataset.sample(k, np.random.default_rng(k)) for k in (4, 7)], 3)
    assert found["of"][:, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1] and found["match"].shape == (8,)
    assert found["pixels"][1, 0].flatten().tolist() == [28, 29, 30, 31]
    assert found["words"].shape == found["word_labels"].shape and found["words"].shape[1] < 12
    assert (found["words"][:, -1] != 0).any(), "a column of padding is left"
    assert (images(found, blind=True).pixels == 0).all() and (images(found).pixels != 0).any()


def test_a_pair_of_images_has_several_statements() -> None:
    texts = [
        Text((2, 0), "an owl", {"true": 1.0}),
        Text((2, 0), "a pig", {"false": 1.0}),
        Text((1, 2), "a rose", {"?": 1.0}),
    ]
    dataset = Questions(
        Texts(Scenes(np.zeros((3, 12, 2, 2), np.float16)), texts),
        ("false", "true"),
        vocabulary(SMOKE),
        texts=4,
        length=8,
    )
    assert len(dataset) == 1, "the third has no answer among the classes"
    joined = collate([dataset.sample(0, np.random.default_rng(k)) for k in range(2)], 3)
    assert joined["of"].tolist() == [[0, 1]] * 4 + [[2, 3]] * 4 and joined["target"].shape == (8, 2)
    assert joined["target"].sum(1).tolist() == [1.0] * 8


def test_a_group_has_one_orientation(root: Path) -> None:
    found = captions.karpathy(root, "coco", ("train", "restval", "val", "test"))
    source = Photographs([x.file for x in found], (0.5,) * 3, (0.5,) * 3, short_side=24, long_side=40)
    dataset = Pairs(Captions(source, [x.captions for x in found]), vocabulary(SMOKE), texts=2, length=8, mask=0.2)
    grouped = OneOrientation(dataset, 3)
    assert len(grouped) == 2
    shapes = set()
    for k in range(8):
        group = grouped.sample(0, np.random.default_rng(k))["group"]
        (shape,) = {tuple(sample["images"][0].pixels.shape) for sample in group}
        shapes.add(shape)
        assert collate([{"group": group}], 3)["pixels"].shape[0] == 3
    assert shapes == {(3, 40, 24), (3, 24, 40)}
