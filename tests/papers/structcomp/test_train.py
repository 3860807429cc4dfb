"""The training loops in small: what learns, what stays, and that a stopped run ends the same."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import Tensor

from papers.structcomp import data
from papers.structcomp.build import LAYOUT_FILE
from papers.structcomp.config import PRESETS, VARIANTS, Config
from papers.structcomp.eval import evaluate, figures, load_completer
from papers.structcomp.evaluation import evaluators
from papers.structcomp.evaluation.editing import largest
from papers.structcomp.train import build_judges_optimizer, train
from shared.run import Run
from tests.papers.structcomp.bad_input import build_places

SMOKE = replace(PRESETS["smoke"], features="random", test_scenes=16, edited=3)


def run_in(folder: Path, cache: Path, start: Path | None = None, precision: str = "no") -> Run:
    return Run(folder, cache, seed=0, start=start, log_every=1, tracker="none", precision=precision)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    data.prepare(SMOKE, folder)
    return folder


@pytest.fixture(scope="module")
def warm(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("warm")
    train(replace(SMOKE, method="warm", warm_steps=30, layout_steps=12), run_in(folder, cache))
    return folder


def weights(folder: Path) -> dict[str, dict[str, Tensor]]:
    return {path.name: load_file(path) for path in sorted((folder / "checkpoint").glob("*.safetensors"))}


def logged(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(
        torch.equal(x, other[file][name]) for file, tensors in one.items() for name, x in tensors.items()
    )


def test_reconstruction_learns(warm: Path) -> None:
    losses = [line["loss"] for line in logged(warm)]
    layout, generator = losses[:12], losses[12:]
    assert len(generator) == 30 and np.mean(layout[-4:]) < layout[0]
    assert np.mean(generator[-6:]) < 0.95 * np.mean(generator[:3])


@pytest.mark.parametrize("roles", ["base", "structcomp"])
def test_discriminators_learn_alone_and_then_the_generator_moves(
    cache: Path, warm: Path, tmp_path: Path, roles: str
) -> None:
    config = replace(SMOKE, discriminator_steps=2, steps=2, **VARIANTS[roles].changes)
    train(config, run_in(tmp_path, cache, warm))
    lines = logged(tmp_path)
    assert [line["generator"] > 0 for line in lines] == [False, False, True, True]
    assert set(config.discriminators) <= lines[0].keys()
    before, after = weights(warm), weights(tmp_path)
    assert same_tensors(before[LAYOUT_FILE], after[LAYOUT_FILE]), "the layout network goes along"
    assert not same_tensors(before["model.safetensors"], after["model.safetensors"])


def same_tensors(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(x, second[name]) for name, x in first.items())


def test_a_probe_leaves_the_generator_alone(cache: Path, warm: Path, tmp_path: Path) -> None:
    config = replace(SMOKE, **VARIANTS["probe-objsem"].changes | {"probe_steps": 20})
    run = run_in(tmp_path, cache, warm)
    before = run.start_weights.read_bytes()
    train(config, run)
    assert run.start_weights.read_bytes() == before
    assert all(name.startswith("object_semantic.") for name in weights(tmp_path)["model.safetensors"])
    metrics = evaluate(config, run)
    assert metrics.keys() == {"probe_accuracy_percent", "probe_auc_percent"}
    assert all(0 <= x <= 100 for x in metrics.values())
    losses = [line["loss"] for line in logged(tmp_path)]
    assert np.mean(losses[-5:]) < losses[0]


def test_lazy_penalties_rescale_rate_and_betas() -> None:
    judges = torch.nn.ModuleDict({"image": torch.nn.Linear(1, 1), "semantic": torch.nn.Linear(1, 1)})
    config = replace(SMOKE, r1_every=4, discriminator_learning_rate=0.01)
    image, semantic = build_judges_optimizer(config, judges).param_groups
    assert image["lr"] == pytest.approx(0.008) and image["betas"] == (0.0, pytest.approx(0.99**0.8))
    assert semantic["lr"] == 0.01 and semantic["betas"] == (0.0, 0.99)


class Killed(Exception):
    """In place of the end of a process."""


@pytest.mark.parametrize("path", ["warm", "gan"])
def test_a_stopped_run_ends_the_same(
    cache: Path, warm: Path, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the last phase, after a checkpoint and between two."""
    changes: dict[str, Any] = {"method": "warm", "layout_steps": 3, "warm_steps": 6} if path == "warm" else {}
    config, start = replace(SMOKE, save_every=2, **changes), None if path == "warm" else warm
    train(config, run_in(tmp_path / "whole", cache, start))
    log, steps = Run.log, len(logged(tmp_path / "whole"))

    def killed(self: Run, step: int, **values: Any) -> None:
        if step == steps - 2:
            raise Killed
        log(self, step, **values)

    with monkeypatch.context() as context:
        context.setattr(Run, "log", killed)
        with pytest.raises(Killed):
            train(config, run_in(tmp_path / "killed", cache, start))
    train(config, run_in(tmp_path / "killed", cache, start))
    assert same(tmp_path / "killed", tmp_path / "whole")
    assert [x["loss"] for x in logged(tmp_path / "killed")] == [x["loss"] for x in logged(tmp_path / "whole")]


# -- evaluation -------------------------------------------------------------------------------------------------------


def test_evaluation_measures_completions_edits_and_the_pipeline(cache: Path, warm: Path, tmp_path: Path) -> None:
    config = replace(SMOKE, **VARIANTS["base"].changes | {"edited": 3})
    run = run_in(tmp_path / "base" / "seed0", cache, warm)
    train(config, run)
    metrics = evaluate(config, run)
    assert metrics == evaluate(config, run), "evaluation draws nothing"
    expected = {"image_fd", "object_p_ids_percent", "circular_object_fd", "hole_miou_percent", "auto_image_fd"}
    assert expected <= metrics.keys() and metrics["known_changed_percent"] == 0
    assert metrics["images"] == 16 and metrics["objects"] > 4
    assert metrics["image_fd_low"] < metrics["image_fd"] < metrics["image_fd_high"]
    (run.folder / "result.json").write_text(json.dumps({"metrics": metrics}))
    figures({("base", 0): run.folder}, tmp_path / "figures")
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"grid.png", "grid_all.png", "crops.png", "edits.png", "metrics.png"}


def test_the_imagined_layout_is_that_of_the_hole_alone(cache: Path, warm: Path) -> None:
    config = replace(SMOKE, method="warm")
    completer = load_completer(config, run_in(warm, cache))
    batch = data.test_batch(config, data.test_items(config, cache), range(4))
    imagined, edges = completer.imagined_layout(*(batch[name] for name in ("image", "hole", "label", "instances")))
    outside = batch["hole"][:, 0] == 0
    assert torch.equal(imagined[outside], batch["label"][outside]) and imagined.min() > 0
    changed = batch["label"].clone()
    changed[~outside] = 1
    again, _ = completer.imagined_layout(batch["image"], batch["hole"], changed, batch["instances"])
    assert torch.equal(imagined, again), "what the hole's layout was does not matter"
    assert edges.shape == batch["hole"].shape


def test_completions_are_what_a_picture_can_hold(cache: Path, warm: Path) -> None:
    config = replace(SMOKE, method="warm")
    completer = load_completer(config, run_in(warm, cache))
    torch.nn.init.constant_(completer.generator.to_rgb[-1].bias, 5.0)  # type: ignore[arg-type]
    batch = data.test_batch(config, data.test_items(config, cache), range(2))
    image, hole, z = (batch[name] for name in ("image", "hole", "z"))
    for completed in (completer.guided(image, hole, batch["label"], batch["instances"], z),
                      completer.automatic(image, hole, z)[0]):  # fmt: skip
        assert completed.max() == 1
        assert torch.equal(torch.where(hole > 0, image, completed), image), "known pixels are untouched"


def test_evaluators_are_trained_once_and_draw_from_their_own_seed(cache: Path, tmp_path: Path) -> None:
    path = data.evaluators_file(SMOKE, cache)
    before = torch.get_rng_state()
    evaluators.train_once(SMOKE, data.class_table(SMOKE), data.train_items(SMOKE, cache), tmp_path / "x.safetensors")
    assert torch.equal(before, torch.get_rng_state())
    assert (tmp_path / "x.safetensors").read_bytes() == path.read_bytes()


def test_the_largest_instance() -> None:
    assert largest(np.array([[0, 2, 2], [3, 0, 0]])) == 2 and largest(np.zeros((2, 2), int)) == 0


# -- the paper's scale, on fixtures -----------------------------------------------------------------------------------


@pytest.fixture
def any_precision() -> Iterator[None]:
    """Accelerate keeps the precision of the first run in a process."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("any_precision")
@pytest.mark.parametrize("guidance", ["panoptic", "segmentation", "edge"])
def test_the_paper_preset_on_places(tmp_path: Path, guidance: Any) -> None:
    build_places(tmp_path)
    small = (
        "size",
        "channels",
        "discriminator_channels",
        "object_channels",
        "crop_size",
        "z_dim",
        "w_dim",
        "global_dim",
    )
    paper: Config = replace(
        PRESETS["paper"],
        **{name: getattr(SMOKE, name) for name in small},
        data=str(tmp_path),
        guidance=guidance,
        features="random",
        feature_size=32,
        fourier_from=16,
        warm_steps=2,
        layout_steps=2,
        discriminator_steps=1,
        steps=1,
        batch_size=2,
        workers=0,
        evaluator_steps=2,
        inception=False,
        lpips=False,
        edited=2,
    )
    data.prepare(paper, tmp_path / "cache")
    first = replace(paper, method="warm")
    start = run_in(tmp_path / "warm", tmp_path / "cache", precision=PRESETS["paper"].precision)
    train(first, start)
    run = run_in(tmp_path / "structcomp", tmp_path / "cache", start.folder, PRESETS["paper"].precision)
    train(paper, run)
    assert (run.weights.with_name(LAYOUT_FILE)).exists() == (guidance == "panoptic")
    assert all(torch.isfinite(x).all() for x in weights(run.folder)["model.safetensors"].values())
