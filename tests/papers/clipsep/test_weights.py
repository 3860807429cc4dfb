"""The committed weights are those of the published rows: evaluated here, they give the printed digits."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import papers.clipsep
from papers.clipsep import data
from papers.clipsep.config import Config
from papers.clipsep.datasets import recordings
from papers.clipsep.eval import evaluate
from papers.clipsep.predict import WEIGHTS
from shared.clip import load_clip
from shared.run import Run
from shared.support.weights import open_trained_run, weights_file

PUBLISHED = json.loads((Path(papers.clipsep.__file__).parent / "results" / "cpu.json").read_text())["rows"]
ASKED_WITH_IMAGES = ("image", "noise_activation")  # parts of a metric's name


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of the preset without its pictures, which take most of the time: text queries need none."""
    cache = tmp_path_factory.mktemp("cache")
    with open_trained_run(WEIGHTS / "clipsep.json", "clipsep", Config) as (_, config, _):
        pass
    with pytest.MonkeyPatch.context() as patch:
        clip = load_clip(config.clip)
        blind = SimpleNamespace(
            encode_prompts=clip.encode_prompts,
            preprocess=lambda frame: torch.zeros(1),
            encode_image=lambda frames: torch.zeros(len(frames), clip.encode_text(["a dog"]).shape[1]),
        )
        patch.setattr(recordings, "load_clip", lambda name, pretrained: blind)
        patch.setattr(recordings, "_frame", lambda picture, split, rng: None)
        data.prepare(config, cache)
    return cache


@pytest.mark.parametrize("described", sorted(WEIGHTS.glob("*.json")), ids=lambda path: path.stem)
def test_committed_weights_give_the_published_row(described: Path, cache: Path, tmp_path: Path) -> None:
    committed = json.loads(described.read_text())
    key = (committed["variant"], committed["seed"])
    (published,) = [row["metrics"] for row in PUBLISHED if (row["variant"], row["seed"]) == key]
    assert committed["metrics"] == published
    with open_trained_run(described, "clipsep", Config) as (_, config, weights):
        weights_file(tmp_path).parent.mkdir()
        shutil.copy(weights, weights_file(tmp_path))
        found = evaluate(config, Run(tmp_path, cache, seed=committed["seed"]))
    assert found.keys() == published.keys()
    for name, value in found.items():
        if not any(part in name for part in ASKED_WITH_IMAGES):
            assert value == pytest.approx(published[name], abs=0.005), name
