"""papers/wfh/train.py: every stage on the published layouts, and what fine-tuning keeps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from papers.wfh import build, data
from papers.wfh.config import PRESETS, Config
from papers.wfh.datasets.regions import Regions, SomeImages
from papers.wfh.eval import evaluate
from papers.wfh.optimizer import warmup_linear
from papers.wfh.train import Best, evenly, task_loss, train
from shared.run import Run
from shared.support.weights import load_weights

from .examples import FEATURES, build_all


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("data")
    build_all(root)
    return replace(
        PRESETS["smoke"], data=str(root), features=FEATURES, word_vectors=False, batch_size=2, tuning_batch_size=2,
        steps=6, visual_words=4,
    )  # fmt: skip


def run(folder: Path, start: Path | None = None) -> Run:
    return Run(folder, folder.parent / "cache", seed=0, start=start, tracker="none")


def test_every_stage_on_the_published_layouts(real: Config, tmp_path: Path) -> None:
    """Images, captions and running text in one pre-training; retrieval on two datasets; three labelled tasks."""
    first = run(tmp_path / "wfh")
    train(real, first)
    weights = load_weights(first.weights)
    assert weights["hallucinator.visual"].shape == (4, FEATURES)
    gallery = load_weights(first.weights.with_name("gallery.safetensors"))
    assert gallery.keys() == {"objects"}, "published features have no pictures"
    assert evaluate(real, first)["compute_tflop"] > 0
    for task in ("retrieval", "vqa", "nlvr2", "snli-ve"):
        config: Config = replace(real, task=task)  # type: ignore[arg-type]
        later = run(tmp_path / task, first.folder)
        train(config, later)
        found = evaluate(config, later)
        if task == "retrieval":
            assert found["tr10_percent"] == found["other_ir10_percent"] == 100, "ten of two"
            assert "named_rsum_percent" not in found
        else:
            assert 0 <= found["accuracy_percent"] <= 100


def test_fine_tuning_begins_with_pre_trained_weights(tmp_path: Path) -> None:
    config = PRESETS["smoke"]
    words = data.vocabulary(config)
    features = np.random.default_rng(0).normal(size=(40, config.features)).astype(np.float32)
    model = build.pretraining(config, words, features)
    state = {name: torch.randn_like(x) if x.is_floating_point() else x for name, x in model.state_dict().items()}
    run(tmp_path).export(state, tmp_path / "start.safetensors")
    retrieval = build.downstream(replace(config, task="retrieval"), words, None, tmp_path / "start.safetensors")
    assert torch.equal(retrieval.state_dict()["head.weight"], state["network.cls.seq_relationship.weight"])
    pairs = build.downstream(replace(config, task="nlvr2"), words, ("no", "yes"), tmp_path / "start.safetensors")
    for network in (retrieval, pairs):
        for name, x in network.state_dict().items():
            if name.startswith("bert."):
                assert torch.equal(x, state[f"network.{name}"]), name


def test_words_begin_with_directions_in_which_word_vectors_vary() -> None:
    table = torch.zeros(6, 4)
    table[:, 2] = torch.tensor([5.0, -5, 5, -5, 5, -5])
    table[:, 0] = torch.tensor([1.0, 1, -1, -1, 0, 0])
    found = build.principal_components(table, 3)
    assert found.shape == (6, 3) and found.std() == pytest.approx(1)
    assert (found[:, 0].sign() * table[:, 2].sign()).unique().numel() == 1
    assert found[:, 2].abs().max() < 1e-6
    assert build.principal_components(table, 9)[:, 4:].abs().sum() == 0


class Images:
    """Ten images of two regions."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Regions:
        x: Any = np.full((2, 3), index, np.float32)
        return Regions(x, x, x, x, x, x)


def test_regions_for_the_vocabulary_are_drawn_evenly() -> None:
    images = SomeImages(Images(), np.array([1, 3, 5, 7, 9]))
    assert evenly(images, 6).numbers.tolist() == [1, 5, 9]
    assert evenly(images, 100).numbers.tolist() == [1, 3, 5, 7, 9]


def test_best_weights_are_kept_and_restored() -> None:
    network = torch.nn.Linear(1, 1)
    best, again = Best(), Best()
    for score, value in ((1.0, 3.0), (2.0, 5.0), (1.5, 7.0)):
        torch.nn.init.constant_(network.weight, value)
        best.offer(score, network)
    again.load_state_dict(best.state_dict())
    assert again.weights["weight"].item() == 5 and again.score == 2


def test_losses_of_the_tasks() -> None:
    config = PRESETS["smoke"]
    scores = torch.tensor([[2.0, 0, -1], [0, 1, 0]])
    target = torch.tensor([[1.0, 0.3, 0], [0, 0, 1]])
    binary = torch.nn.functional.binary_cross_entropy(scores.sigmoid(), target, reduction="sum") / 2
    torch.testing.assert_close(task_loss(replace(config, task="vqa"), scores, target), binary)
    expected = -scores.log_softmax(1)[[0, 1], [0, 2]].mean()
    torch.testing.assert_close(task_loss(replace(config, task="nlvr2"), scores, target), expected)
    torch.testing.assert_close(task_loss(replace(config, task="retrieval"), scores, torch.tensor([0, 2])), expected)


def test_the_rate_rises_and_falls_linearly() -> None:
    assert [warmup_linear(x, 0.1) for x in (0, 0.05, 0.1, 0.55, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert warmup_linear(1.2, 0.1) == 0
