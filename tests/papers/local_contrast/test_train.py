"""Every stage learns, and a stage that is stopped goes on to the same weights."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from papers.local_contrast.config import PRESETS, VARIANTS, Config
from papers.local_contrast.train import Best, train
from shared import UserError
from shared.run import Interrupted, Run

SMOKE = PRESETS["smoke"]
STOPPED_AFTER = 3


def config_of(variant: str, **changes: Any) -> Config:
    return replace(SMOKE, **VARIANTS[variant].changes | changes)


def run_of(folder: Path, cache: Path, variant: str, **changes: Any) -> Run:
    """Train a variant, and before it those that it starts from."""
    start = VARIANTS[variant].start
    begun = run_of(folder, cache, start).folder if start else None
    run = Run(folder / variant, cache, seed=0, start=begun, log_every=1)
    train(config_of(variant, **changes), run)
    return run


def losses(run: Run) -> list[float]:
    return [json.loads(line)["loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


PATHS = ["encoder-rotation", "encoder-r", "encoder-d-minus", "encoder-d", "decoder-r", "decoder-d", "proposed-mixup-2"]


@pytest.mark.parametrize("variant", PATHS)
def test_stopped_and_resumed_it_ends_the_same(
    tmp_path: Path, cache: Path, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM after a step that is no checkpoint: the weights are those of a run in one piece, bit for bit."""
    whole = run_of(tmp_path / "whole", cache, variant)

    class Stopping(Run):
        def log(self, step: int, **values: Any) -> None:
            super().log(step, **values)
            self.asked_to_stop = step + 1 == STOPPED_AFTER

    begun = whole.start
    config, folder = config_of(variant), tmp_path / "stopped"
    with pytest.raises(Interrupted):
        train(config, Stopping(folder, cache, seed=0, start=begun, log_every=1))
    resumed = Run(folder, cache, seed=0, start=begun, log_every=1)
    train(config, resumed)
    assert losses(resumed) == losses(whole)
    expected, found = load_file(whole.weights), load_file(resumed.weights)
    assert expected.keys() == found.keys() and all(torch.equal(found[name], x) for name, x in expected.items())


@pytest.mark.parametrize(
    ("variant", "changes", "share"),
    [
        ("encoder-rotation", {"encoder_steps": 60}, 0.97),
        ("encoder-r", {"encoder_steps": 60, "widths": (8, 16, 16, 16, 16)}, 0.99),
        ("encoder-d-minus", {"encoder_steps": 40}, 0.95),
        ("encoder-d", {"encoder_steps": 40}, 0.95),
        ("decoder-r", {"decoder_steps": 80}, 0.6),
        ("decoder-d", {"decoder_steps": 40}, 0.8),
        ("scratch-2", {"segmentation_steps": 60, "validate_every": 60}, 0.9),
    ],
)
def test_it_learns(tmp_path: Path, cache: Path, variant: str, changes: dict[str, Any], share: float) -> None:
    found = losses(run_of(tmp_path, cache, variant, save_every=100, **changes))
    assert sum(found[-5:]) < share * sum(found[:5]), found


def test_the_encoder_stays_as_it_is_in_stage_2(tmp_path: Path, cache: Path) -> None:
    run = run_of(tmp_path, cache, "decoder-r")
    before, after = load_file(run.start_weights), load_file(run.weights)
    names = [name for name in after if name.startswith("encoder.") and "running" not in name and "track" not in name]
    assert len(names) == 6 * 2 * 4 and all(torch.equal(after[name], before[name]) for name in names)


def test_stage_3_begins_from_stage_2(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = run_of(tmp_path, cache, "decoder-r")
    seen: dict[str, torch.Tensor] = {}

    def first_weights(run: Run, *args: Any, **state: Any) -> Iterator[int]:
        seen.update({name: x.detach().clone() for name, x in state["model"].state_dict().items()})
        return iter(())

    monkeypatch.setattr(Run, "steps", first_weights)
    train(config_of("proposed-2"), Run(tmp_path / "last", cache, seed=0, start=begun.folder))
    given = load_file(begun.weights)
    for name in ("encoder.levels.0.0.1.weight", "encoder.levels.5.1.2.bias", "decoder.2.units.1.1.weight"):
        assert torch.equal(seen[name], given[name]), name
    assert not torch.equal(seen["decoder.3.up.1.weight"], torch.zeros(()))
    assert all((x == 0).all() for name, x in seen.items() if name.endswith("running_mean"))


def test_no_training_leaves_the_initial_encoder(tmp_path: Path, cache: Path) -> None:
    weights = load_file(run_of(tmp_path, cache, "encoder-none").weights)
    assert (weights["encoder.levels.0.0.2.weight"] == 1).all() and "head.dense.0.weight" in weights


def test_seeds_vary_initialisation(tmp_path: Path, cache: Path) -> None:
    weights = []
    for seed in (0, 1, 0):
        run = Run(tmp_path / f"{len(weights)}", cache, seed=seed)
        train(config_of("encoder-none"), run)
        weights.append(load_file(run.weights)["encoder.levels.0.0.1.weight"])
    assert torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[1])


def test_the_best_weights_are_kept() -> None:
    best, network = Best(), torch.nn.Linear(1, 1)
    for dice, value in ((0.2, 1.0), (0.5, 2.0), (0.4, 3.0)):
        with torch.no_grad():
            network.weight.fill_(value)
        best.offer(dice, network)
    assert best.weights["weight"].item() == 2.0
    again = Best()
    again.load_state_dict(best.state_dict())
    again.offer(0.45, network)
    assert again.weights["weight"].item() == 2.0


def test_more_volumes_than_there_are(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match="batch of 12 does not fit a dataset of 8"):
        run_of(tmp_path, cache, "encoder-d", images=96)


def test_a_loss_that_is_not_finite_names_its_slices(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("papers.local_contrast.train.segmentation_loss", lambda logits, *_: logits.sum() * torch.nan)
    with pytest.raises(UserError, match=r"became nan at step 0 .*00\d slice \d+"):
        run_of(tmp_path, cache, "scratch-2")
