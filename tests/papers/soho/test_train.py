"""All stages on the published layouts, with accumulation and groups of one orientation; and losses that fall."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from papers.soho import data, train
from papers.soho.config import PRESETS, VARIANTS, Config
from papers.soho.eval import evaluate
from papers.soho.visual import boxes
from shared import UserError
from shared.run import Run
from shared.support.weights import load_weights

from .examples import build_all

SMALL = replace(
    PRESETS["smoke"], short_side=32, long_side=64, group=1, batch_size=2, tuning_batch_size=2, steps=2, tuning_steps=2
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    build_all(folder)
    return folder


def trained(config: Config, folder: Path, name: str, start: Path | None = None) -> tuple[Run, dict[str, float]]:
    data.prepare(config, folder / "cache")
    run = Run(folder / name, folder / "cache", seed=0, start=start, tracker="none", log_every=1)
    train.train(config, run)
    return run, evaluate(config, run)


def test_pretraining_with_groups_and_accumulation(root: Path, tmp_path: Path) -> None:
    config = replace(SMALL, data=str(root), group=2, accumulate=2, mask_codes=1.0)
    run, metrics = trained(config, tmp_path, "soho")
    assert metrics == {}, "photographs have no composed truth"
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    assert all(line["loss_codes"] > 0 and 1 <= line["codes_used"] <= 8 for line in lines)
    for line in lines:
        assert line["loss"] == pytest.approx(line["loss_words"] + line["loss_match"] + line["loss_codes"], rel=1e-4)


@pytest.mark.parametrize(
    ("task", "metric"), [("vqa", "yes/no_percent"), ("nlvr2", "accuracy_percent"), ("snli-ve", "accuracy_percent")]
)
def test_downstream_tasks_on_photographs(root: Path, tmp_path: Path, task: str, metric: str) -> None:
    config = replace(SMALL, data=str(root), task=task)  # type: ignore[arg-type]
    run, metrics = trained(config, tmp_path, task)
    assert 0 <= metrics["accuracy_percent"] <= 100 and metric in metrics
    assert json.loads((run.folder / "classes.json").read_text()) == list(data.classes(config))


@pytest.mark.parametrize("which", ["coco", "flickr30k"])
def test_retrieval_on_photographs(root: Path, tmp_path: Path, which: str) -> None:
    config = replace(SMALL, data=str(root), task="retrieval", retrieval_set=which)  # type: ignore[arg-type]
    _, metrics = trained(config, tmp_path, which)
    assert {"tr1_percent", "ir10_percent"} <= metrics.keys()


def test_boxes_of_photographs_are_detected_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Detector(nn.Module):
        seen = 0

        def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            Detector.seen += 1
            return [{"boxes": torch.tensor([[1.0, 2.0, 9.0, 12.0]]).repeat(Detector.seen % 3 + 1, 1)}]

    monkeypatch.setattr(boxes, "detector", lambda pretrained: Detector())
    config = replace(SMALL, data=str(root), crop=32, most_boxes=2, **VARIANTS["regions"].changes)
    trained(config, tmp_path, "regions")
    assert Detector.seen == 5
    trained(config, tmp_path, "again")
    assert Detector.seen == 5


def test_blank_images_give_every_image_the_same_answer(tmp_path: Path) -> None:
    config = replace(SMALL, task="vqa", blind=True)
    run, metrics = trained(config, tmp_path, "blind")
    assert metrics["accuracy_percent"] == pytest.approx(metrics["shuffled_percent"])
    assert (run.folder / "shown.npz").exists()


def test_training_learns_the_places(tmp_path: Path) -> None:
    """From scenes of the smoke preset, the loss of masked words falls, and the CNN's late part has moved."""
    config = replace(SMALL, steps=60, batch_size=8, learning_rate=5e-3, warmup=5, mask_words=0.4)
    run, metrics = trained(config, tmp_path, "soho")
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    first, last = (sum(line["loss_words"] for line in part) / 10 for part in (lines[:10], lines[-10:]))
    assert last < 0.8 * first
    weights = load_weights(run.weights)
    assert weights["soho.visual.dictionary.counts"].sum() > 0
    assert {"noun_percent", "tr1_percent", "purity_percent", "code_percent"} <= metrics.keys()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trunk": "resnet18"}, "Composed scenes need --trunk lite0"),
        ({"group": 3, "data": "x"}, "is no multiple of --group 3"),
        ({"width": 18}, "--width is 18; expected a multiple of 4"),
        ({"codes": 0}, "--codes is 0; expected 1 or more"),
    ],
)
def test_options_that_contradict_each_other_are_told(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        data.prepare(replace(SMALL, **changes), tmp_path)  # type: ignore[arg-type]
