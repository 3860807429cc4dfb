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
SPLIT = "seen"  # to compose the scenes of one split takes seconds, all of them minutes


def test_committed_weights_give_the_published_row() -> None:
    """Headline columns to the printed digits; near ties of others fall otherwise, as weights are in half precision."""
    described = json.loads(WEIGHTS.read_text())
    rows = json.loads(RESULTS.read_text())["rows"]
    published = next(row for row in rows if (row["variant"], row["seed"]) == (described["variant"], described["seed"]))
    assert described["metrics"] == published["metrics"]
    config, towers, embedder = open_model(WEIGHTS)
    built = scenes.build_split(config.scenes, config.test_scenes, SPLIT, config.scene_size)
    test = SceneTest(
        scenes.splits(config.scenes, config.test_scenes)[SPLIT].names,
        torch.from_numpy(reduced(built["features"], dict(towers.model.named_buffers()))).float(),
        torch.from_numpy(built["maps"]).long(),
        torch.from_numpy(built["images"]),
    )
    metrics, _ = scene_metrics(config, towers, embedder, test)
    found = {f"{SPLIT}_{name}": value for name, value in metrics.items()}
    expected = {name: published["metrics"][name] for name in found}
    headline = [column for column in COLUMNS if column.headline and column.metric in found]
    assert len(headline) == 3
    for column in headline:
        digits = f".{column.digits}f"
        assert format(found[column.metric], digits) == format(expected[column.metric], digits), column.metric
    assert found == pytest.approx(expected, abs=0.3)
