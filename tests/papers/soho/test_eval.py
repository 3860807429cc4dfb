"""Metrics, figures' numbers, and the order of answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from papers.soho import build, eval, speed
from papers.soho.config import PRESETS
from papers.soho.data import Texts, vocabulary
from papers.soho.datasets.images import Scenes
from papers.soho.datasets.texts import Text
from papers.soho.metrics import fold_recalls, normalised_information, perplexity, purity, ranks, recalls, soft_score

SMOKE = PRESETS["smoke"]


def test_recall_in_both_directions() -> None:
    """Image 1 has texts 2 and 3; its second text is found, which counts for the image."""
    scores = torch.tensor([[3.0, 2.0, 0.0, 0.0], [1.0, 0.0, -1.0, 2.0]])
    found = recalls(scores, torch.tensor([0, 0, 1, 1]))
    assert found["tr1_percent"] == 100 and found["ir1_percent"] == 75 and found["ir5_percent"] == 100


def test_folds_are_averaged() -> None:
    torch.manual_seed(0)
    scores, image_of = torch.randn(6, 12), torch.arange(12) // 2
    parts = [recalls(scores[a : a + 3, 2 * a : 2 * a + 6], torch.arange(6) // 2) for a in (0, 3)]
    found = fold_recalls(scores, image_of, 2)
    for name, value in found.items():
        assert value == pytest.approx((parts[0][name] + parts[1][name]) / 2)
    assert fold_recalls(scores, image_of, 1) == recalls(scores, image_of)


def test_ties_count_against_the_right_candidate() -> None:
    scores = torch.tensor([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    assert ranks(scores)[1] == 50 and ranks(scores)[5] == 100
    assert ranks(torch.zeros(4, 20))[10] == 0
    same = recalls(torch.zeros(20, 40), torch.arange(40) // 2)
    assert same["tr10_percent"] == same["ir10_percent"] == 0


def test_soft_scores() -> None:
    target = torch.tensor([[0.3, 1.0], [0.6, 0.0]])
    assert soft_score(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), target).tolist() == pytest.approx([0.3, 0.6])


def test_codes_that_tell_everything_or_nothing() -> None:
    content = torch.arange(4).repeat(25)
    told, nothing = (content + 3) % 4, torch.zeros_like(content)
    assert perplexity(told, 8) == pytest.approx(4) and perplexity(nothing, 8) == pytest.approx(1)
    assert purity(told, content, 4, 8) == 1 and purity(nothing, content, 4, 8) == 0.25
    assert normalised_information(told, content, 4, 8) == pytest.approx(1)
    assert normalised_information(nothing, content, 4, 8) == pytest.approx(0, abs=1e-9)
    half = content // 2
    assert normalised_information(half, content, 4, 8) == pytest.approx(0.5) and purity(half, content, 4, 8) == 0.5


def test_logits_stand_in_the_order_of_the_texts() -> None:
    """Texts of an image stand apart; every one has the logits that it has by itself."""
    torch.manual_seed(0)
    config = replace(SMOKE, task="nlvr2")
    words, names = vocabulary(config), ("false", "true")
    network = build.downstream(config, words, names).eval()
    source = Scenes(np.random.default_rng(0).normal(size=(4, 12, 16, 16)).astype(np.float16))
    rows = [((0, 1), "an owl"), ((2, 3), "a pig by the wall"), ((0, 1), "a rose"), ((3, 0), "an owl")]
    texts = [Text(images, text, {"true": 1.0}) for images, text in rows]
    together = eval.answered(config, network, Texts(source, texts), words, torch.device("cpu"))
    for k, text in enumerate(texts):
        alone = eval.answered(config, network, Texts(source, [text]), words, torch.device("cpu"))
        torch.testing.assert_close(together[k : k + 1], alone)
    others = eval.answered(config, network, Texts(eval.Shuffled(source), texts), words, torch.device("cpu"))
    assert not torch.allclose(others, together)
    assert torch.equal(eval.Shuffled(source).image(1).pixels, source.image(3).pixels)


def test_latencies_are_multiples_of_the_whole_image(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: float(next(ticks)))
    found = speed.medians({"whole": lambda: None, "boxes": lambda: next(ticks)}, 3)
    assert found == {"whole": 1.0, "boxes": 2.0}


def test_every_latency_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a detector that takes a moment."""
    monkeypatch.setattr(speed, "detector", lambda pretrained, **options: lambda pixels: speed.time.sleep(0.05))
    found = speed.latencies(replace(SMOKE, task="speed", repeats=1))
    names = ("crops10", "crops36", "detector", "pipeline")
    assert found.keys() == {"whole_ratio", *(f"{name}_batch{size}_ratio" for name in names for size in (1, 8))}
    assert found["whole_ratio"] == 1 and all(x > 0 for x in found.values())
    assert found["pipeline_batch1_ratio"] == pytest.approx(
        found["detector_batch1_ratio"] + found["crops36_batch1_ratio"]
    )
