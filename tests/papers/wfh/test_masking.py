"""papers/wfh/sampling/masking.py and how samples are masked."""

import numpy as np
import pytest

from papers.wfh.config import PRESETS
from papers.wfh.data import class_names, vocabulary
from papers.wfh.datasets.regions import Regions
from papers.wfh.sampling import masking
from papers.wfh.sampling.samples import CaptionsAlone, Encoder, ImagesAlone, RunningText, collate

CONFIG = PRESETS["smoke"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(CONFIG, vocabulary(CONFIG), class_names(CONFIG))


def image(seed: int, count: int = 4) -> Regions:
    """Regions whose features tell which image and which region they are of."""
    rng = np.random.default_rng(seed)
    features = 10 * seed + np.arange(1, count + 1, dtype=np.float32)[:, None] * np.ones((1, 5), np.float32)
    objects = rng.integers(5, size=count)
    ones = np.ones(count, np.float32)
    return Regions(features, rng.random((count, 4)).astype(np.float32), objects, ones, objects % 3, ones)


class Repeated:
    """Image k with k + 1 as its seed."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Regions:
        return image(index + 1)


def test_all_pieces_of_a_word_are_masked_together() -> None:
    uniforms = np.array([0.9, 0.01, 0.8, 0.7, 0.6])
    whole = masking.whole_words(uniforms, np.array([False, False, True, True, False]))
    assert whole.tolist() == [0.9, 0.01, 0.01, 0.01, 0.6]
    words, labels = masking.mask_words(np.arange(10, 15), whole, np.zeros(5, int), 3, 0.15)
    assert words.tolist() == [10, 3, 3, 3, 14] and labels.tolist() == [-1, 11, 12, 13, -1]


def test_masked_words_are_hidden_replaced_or_kept() -> None:
    share = np.array([0.79, 0.85, 0.95])
    words, labels = masking.mask_words(np.array([5, 6, 7]), 0.15 * share, np.array([41, 42, 43]), 3, 0.15)
    assert words.tolist() == [3, 42, 7] and labels.tolist() == [5, 6, 7]


def test_special_words_are_never_masked(encoder: Encoder) -> None:
    rng = np.random.default_rng(0)
    words = encoder.caption("a crow and a pig")
    found = [encoder.masked_words(words, False, rng) for _ in range(200)]
    labels = np.stack([x["word_labels"] for x in found])
    assert (labels[:, [0, -1]] == -1).all()
    assert 0.1 < (labels[:, 1:-1] >= 0).mean() < 0.2


def test_tags_of_masked_regions_are_masked_more_often(encoder: Encoder) -> None:
    rng = np.random.default_rng(0)
    masked: dict[bool, list[bool]] = {True: [], False: []}
    for _ in range(300):
        x = encoder.masked_image(image(1), rng)
        for region, predicted in enumerate(x["predicted"]):
            own = (x["tags_boxes"] == x["boxes"][region]).all(1)
            masked[bool(predicted)].append(bool((x["tag_labels"][own] >= 0).any()))
    assert np.mean(masked[True]) > 0.85
    assert 0.1 < np.mean(masked[False]) < 0.2


def test_replaced_regions_show_another_image(encoder: Encoder) -> None:
    dataset = ImagesAlone(Repeated(), encoder)
    replaced = 0
    for seed in range(40):
        batch = collate([dataset.sample(k, np.random.default_rng((seed, k))) for k in range(len(dataset))])
        for seen, target, predicted in zip(batch["features"], batch["targets"], batch["predicted"], strict=True):
            for region in range(len(seen)):
                value, own = float(seen[region, 0]), float(target[region, 0])
                if value not in (0, own):
                    assert predicted[region] == 1
                    assert int((value - 1) // 10) != int((own - 1) // 10), "of another image"
                    replaced += 1
    assert replaced > 10


def test_the_sentence_of_tags_has_every_region_once(encoder: Encoder) -> None:
    x = image(2)
    sentences = set()
    for seed in range(20):
        sample = encoder.masked_image(x, np.random.default_rng(seed))
        words, owner = sample["sentence"], sample["owner"]
        assert words[0] == encoder.vocabulary.cls and owner[0] == -1
        for region in range(len(x.objects)):
            assert words[owner == region].tolist() == encoder.objects[x.objects[region]]
        assert (words[1:][owner[1:] == -1] == encoder.comma[0]).sum() == len(x.objects) - 1
        sentences.add(tuple(words.tolist()))
    assert len(sentences) > 5, "the order is random"


def test_text_alone_matches_captions_of_one_image(encoder: Encoder) -> None:
    captions = [["a crow", "a pig"], ["the tower", "the gate"]]
    dataset = CaptionsAlone(captions, encoder, match=True)
    vocabulary, seen = encoder.vocabulary, set()
    for seed in range(30):
        x = dataset.sample(0, np.random.default_rng(seed))
        second = "a pig" if x["match"] else ("the tower", "the gate")
        split = np.flatnonzero(x["words"] == vocabulary.sep)[0]
        told = x["words"][split + 1 : -1].tolist()
        assert told in [vocabulary.split(text) for text in ([second] if x["match"] else second)]
        seen.add(int(x["match"]))
    assert seen == {0, 1}
    assert "match" not in CaptionsAlone(captions, encoder, match=False).sample(0, np.random.default_rng(0))


def test_running_text_follows_or_is_of_another_passage(encoder: Encoder) -> None:
    dataset = RunningText([["crow", "pig", "dog"], ["tower", "gate"]], encoder)
    follows, of_others = set(), set()
    for seed in range(60):
        x = dataset.sample(0, np.random.default_rng(seed))
        (of_others, follows)[int(x["match"])].add(tuple(x["words"][[1, 3]].tolist()))
    number = {word: encoder.vocabulary.split(word)[0] for word in ("crow", "pig", "dog", "tower", "gate")}
    assert follows == {(number["crow"], number["pig"]), (number["pig"], number["dog"])}
    assert {second for _, second in of_others} == {number["tower"], number["gate"]}
