"""The committed weights, evaluated: their row is the published one."""

import json
from pathlib import Path

import pytest
import torch

from papers.pacl.claims import COLUMNS
from papers.pacl.datasets import scenes
from papers.pacl.datasets.scene_features import SceneTest, reduced
from papers.pacl.eval import scene_metrics
from papers.pacl.predict import WEIGHTS, open_model

RESULTS = Path(__file__).parents[3] / "papers/pacl/results/cpu.json"


@pytest.mark.parametrize("split", ["seen", "held_out"])
def test_committed_weights_give_the_published_row(split: str) -> None:
    """Composing the scenes of one split takes seconds, those of training minutes."""
    described = json.loads(WEIGHTS.read_text())
    rows = json.loads(RESULTS.read_text())["rows"]
    published = next(row for row in rows if (row["variant"], row["seed"]) == (described["variant"], described["seed"]))
    assert described["metrics"] == published["metrics"]
    config, towers, embedder = open_model(WEIGHTS)
    built = scenes.build_split(config.scenes, config.test_scenes, split, config.scene_size)
    test = SceneTest(
        scenes.splits(config.scenes, config.test_scenes)[split].names,
        torch.from_numpy(reduced(built["features"], dict(towers.model.named_buffers()))).float(),
        torch.from_numpy(built["maps"]).long(),
        torch.from_numpy(built["images"]),
    )
    metrics, _ = scene_metrics(config, towers, embedder, test)
    printed = {column.metric: column.digits for column in COLUMNS if column.metric.removeprefix(f"{split}_") in metrics}
    assert len(printed) >= 4
    for metric, digits in printed.items():
        expected = published["metrics"][metric]
        assert f"{metrics[metric.removeprefix(f'{split}_')]:.{digits}f}" == f"{expected:.{digits}f}", metric
