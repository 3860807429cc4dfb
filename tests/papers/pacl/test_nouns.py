"""Nouns of captions, and the prompts around them."""

import numpy as np
import pytest

from papers.pacl.texts.nouns import nouns
from papers.pacl.texts.prompts import PACL_TEMPLATES, noun_prompt, training_text
from shared import UserError
from shared.offline.cutouts import load_cutouts
from shared.offline.scenes import compose_scene, with_article


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A man riding a horse on the beach.", ["man", "horse", "beach"]),
        ("two dogs run through green grass", ["dog", "grass"]),
        ("a red fire hydrant next to parked cars", ["fire hydrant", "car"]),
        ("Women in kimonos feed geese", ["woman", "kimono", "goose"]),
        ("a photo of an owl, a duck and an emperor tamarin.", ["owl", "duck", "tamarin"]),
        ("a duck beside a duck", ["duck"]),
        ("", []),
        ("!!! 123 ...", []),
        ("a picture", []),
        ("日本の写真", []),
    ],
)
def test_nouns(caption: str, expected: list[str]) -> None:
    assert nouns(caption) == expected


def test_labels_of_the_embedded_cutouts() -> None:
    """Nearly all have a noun, which is a part of the label, or the singular of one."""
    found = {stamp.label: nouns(f"a photo of {with_article(stamp.label)}.") for stamp in load_cutouts()}
    assert sum(bool(x) for x in found.values()) >= 0.95 * len(found)
    stems = {label: [noun[:3] for noun in x] for label, x in found.items()}
    assert all(stem in label for label, x in stems.items() for stem in x)


def test_captions_of_scenes_give_all_their_objects() -> None:
    for seed in range(5):
        scene = compose_scene(seed, 64)
        for caption in scene.captions[:3]:
            expected = [noun for tag in scene.tags for noun in nouns(f"a photo of {with_article(tag)}.")]
            assert set(nouns(caption)) == set(expected)


def test_prompts() -> None:
    assert len(PACL_TEMPLATES) == 7 and all(template.count("{}") == 1 for template in PACL_TEMPLATES)
    rng = np.random.default_rng(0)
    caption = "a photo of an owl and a guitar."
    prompts = {noun_prompt(caption, rng) for _ in range(300)}
    assert prompts == {template.format(noun) for template in PACL_TEMPLATES for noun in ("owl", "guitar")}
    assert noun_prompt("so beautiful", rng) is None


def test_one_text_an_image() -> None:
    rng = np.random.default_rng(0)
    caption = "a photo of an owl."
    assert {training_text(caption, rng, 0.0) for _ in range(20)} == {caption}
    assert caption not in {training_text(caption, rng, 1.0) for _ in range(20)}
    shares = [training_text(caption, rng, 0.5) == caption for _ in range(400)]
    assert 150 < sum(shares) < 250
    assert training_text("so beautiful", rng, 1.0) == "so beautiful"


def test_spacy_is_asked_for_by_name() -> None:
    with pytest.raises(UserError, match="pip install spacy"):
        nouns("an owl", "spacy")
