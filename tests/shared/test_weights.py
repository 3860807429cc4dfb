"""shared/support/weights.py and ci/publish_weights.py: trained weights that are committed, and read again."""

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tinypaper.config import Config

from ci import publish_weights
from ci.publish_weights import publish
from shared import UserError
from shared.support.files import write_json
from shared.support.weights import committed_weights, load_checkpoint, load_weights, open_trained_run

TINY = Path(__file__).with_name("tinypaper")
WEIGHTS = {"w": torch.tensor([1.0, 1 / 3, -1e-3]), "count": torch.tensor(7), "double": torch.tensor(1 / 3).double()}
ROW: dict[str, Any] = {"variant": "plain", "seed": 1, "metrics": {"error": 1.5, "speed_ratio": 2.0}, "seconds": 1.0}


@dataclass(frozen=True)
class Published:
    """A paper of its own name, a run of it, and the results file that has the run's row."""

    package: str
    home: Path
    runs: Path
    row: dict[str, Any] = field(default_factory=lambda: json.loads(json.dumps(ROW)))

    @property
    def run(self) -> Path:
        return self.runs / self.package / "cpu" / "plain" / "seed1"

    def write(self) -> None:
        results = {"schema": 1, "paper": self.package, "rows": [self.row], "claims": []}
        write_json(self.home / "results" / "cpu.json", results)

    def publish(self, **options: Any) -> list[str]:
        """Names of what is written."""
        return [path.name for path in publish(self.package, "plain", 1, runs=self.runs, **options)]


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    paper = Published("weighty", tmp_path / "weighty", tmp_path / "runs")
    shutil.copytree(TINY, paper.home, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(tmp_path)
    config = dataclasses.asdict(Config(learning_rate=0.5))
    write_json(paper.run / "config.json", {"variant": "plain", "seed": 1, "config": config, "key": "k"})
    write_json(paper.run / "result.json", ROW | {"key": "k"})
    (paper.run / "checkpoint").mkdir()
    save_file(WEIGHTS, paper.run / "checkpoint" / "model.safetensors")
    save_file({"b": torch.ones(2)}, paper.run / "checkpoint" / "first.safetensors")
    paper.write()
    yield paper
    for name in [name for name in sys.modules if name.partition(".")[0] == paper.package]:
        del sys.modules[name]


def test_published_weights_are_opened_as_a_run_is(paper: Published) -> None:
    paper.row["metrics"]["speed_ratio"] = 3.0  # measured times never repeat
    paper.write()
    assert sorted(paper.publish()) == ["plain-first.safetensors", "plain.json", "plain.safetensors"]
    described = paper.home / "weights" / "plain.json"
    content = json.loads(described.read_text())
    assert list(content) == ["variant", "seed", "config", "metrics"] and content["metrics"] == paper.row["metrics"]
    for place in (described, paper.run):
        with open_trained_run(place, "weighty", Config) as (variant, config, weights):
            found = load_weights(weights)
        assert (variant, config) == ("plain", Config(learning_rate=0.5))
        assert all(torch.equal(found[name], x) and found[name].dtype == x.dtype for name, x in WEIGHTS.items())
        with open_trained_run(place, "weighty", Config, "first.safetensors") as (_, _, weights):
            assert load_weights(weights)["b"].tolist() == [1, 1]


def test_half_precision_is_read_as_single(paper: Published) -> None:
    paper.publish(half=True)
    path = committed_weights(paper.home / "weights" / "plain.json")
    assert {name: x.dtype for name, x in load_file(path).items()} == {
        "w": torch.float16,
        "count": torch.int64,
        "double": torch.float64,
    }
    found = load_weights(path)
    assert found["w"].dtype == torch.float32 and found["count"] == 7
    assert torch.equal(found["w"], WEIGHTS["w"].half().float()) and not torch.equal(found["w"], WEIGHTS["w"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("half", [False, True])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float, half: bool) -> None:
    bad = torch.tensor([0.0, value])
    save_file({"good": torch.ones(1), "bad": bad.half() if half else bad}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="bad is NaN or infinite"):
        load_weights(tmp_path / "x.safetensors")


def test_only_a_published_row_is_published(paper: Published) -> None:
    paper.row["metrics"]["error"] = 1.6
    paper.write()
    with pytest.raises(UserError, match="not the published row plain, seed 1: reproduce"):
        paper.publish()
    paper.row["seed"] = 2
    paper.write()
    with pytest.raises(UserError, match="not the published row"):
        paper.publish()
    (paper.home / "results" / "cpu.json").unlink()
    with pytest.raises(UserError, match="not the published row"):
        paper.publish()
    (paper.run / "result.json").unlink()
    with pytest.raises(UserError, match=r"result\.json is missing: make reproduce PAPER=weighty VARIANTS=plain"):
        paper.publish()
    assert not (paper.home / "weights").exists()


def test_weights_that_are_too_large_for_a_checkout(paper: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish_weights, "LARGEST", 100)
    with pytest.raises(UserError, match="at most 100 are meant; give --half"):
        paper.publish()


def test_a_checkpoint_of_more_than_tensors_is_refused_with_advice_that_helps(tmp_path: Path) -> None:
    """Many scripts leave numpy numbers beside the weights: to delete the file, or to get it again, changes nothing."""
    torch.save({"model": WEIGHTS, "beside": np.float64(83.8)}, tmp_path / "finetuned.pth")
    with pytest.raises(UserError, match=r"more than tensors and plain values.*save its weights alone") as error:
        load_checkpoint(tmp_path / "finetuned.pth")
    assert "delete it" not in str(error.value)
    torch.save({"model": WEIGHTS}, tmp_path / "finetuned.pth")
    assert torch.equal(load_checkpoint(tmp_path / "finetuned.pth")["model"]["w"], WEIGHTS["w"])
