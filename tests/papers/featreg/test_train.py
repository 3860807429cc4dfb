"""Both stages with the real loops, in small: what is learned, from what, and that it ends the same after a stop."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from papers.featreg import data
from papers.featreg.build import load_adapted, load_source
from papers.featreg.config import PRESETS, VARIANTS, Config
from papers.featreg.eval import evaluate
from papers.featreg.pairs import CachedPairs, Pairs, predicted
from papers.featreg.predict import main as predict_main
from papers.featreg.train import adapt, layer_weights, polynomial_decay, train
from papers.featreg.transforms import transform
from shared import UserError
from shared.run import Run
from tests.papers.featreg.bad_input import build_aligned, build_voc

SMOKE = replace(PRESETS["smoke"], mirror=False)
ONE = replace(SMOKE, domains=("camera",))


def run_in(folder: Path, cache: Path, start: Path | None = None, seed: int = 0) -> Run:
    return Run(folder, cache, seed=seed, start=start, log_every=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    data.prepare(SMOKE, folder)
    return folder


@pytest.fixture(scope="module")
def source(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a first network that knows its few scenes."""
    folder = tmp_path_factory.mktemp("source")
    train(replace(SMOKE, method="source", source_steps=60), run_in(folder, cache))
    return folder


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(config: Config, folder: Path, cache: Path, start: Path | None = None) -> dict[str, Tensor]:
    run = run_in(folder, cache, start)
    train(config, run)
    files = sorted(run.weights.parent.glob("*.safetensors"))
    return {f"{path.stem}.{name}": x for path in files for name, x in load_file(path).items()}


# -- stage 1 ----------------------------------------------------------------------------------------------------------


def test_the_first_network_learns_its_scenes(source: Path, cache: Path) -> None:
    values = losses(source)
    assert len(values) == 60 and np.mean(values[-5:]) < 0.4 * values[0]
    network = load_source(ONE, source / "checkpoint/model.safetensors")
    one = data.source_images(SMOKE, cache, 0)[0]
    assert (predicted(network, one.source[None])[0] == one.label).float().mean() > 0.85


def test_learning_rates_fall_polynomially() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = polynomial_decay(optimizer, 4, 0.9)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([2 * (1 - step / 4) ** 0.9 for step in range(4)])


# -- stage 2 ----------------------------------------------------------------------------------------------------------


def test_regression_brings_the_maps_of_target_images_to_those_of_source_images(
    source: Path, cache: Path, tmp_path: Path
) -> None:
    config = replace(ONE, steps=40)
    run = run_in(tmp_path, cache, source)
    train(config, run)
    values = losses(tmp_path)
    # At the beginning both networks are one: the loss is that of the maps of target and source images.
    first = load_source(config, run.start_weights)
    images = data.source_images(config, cache, 0)
    with torch.no_grad():
        maps = first(torch.stack([images[i].source for i in range(len(images))]), ("last",))["last"]
        off = first(torch.stack([transform(images[i].source, "camera", i) for i in range(len(images))]), ("last",))[
            "last"
        ]
    relative = float((off - maps).square().mean() / maps.square().mean())
    assert values[0] == pytest.approx(relative, rel=0.5) and values[0] > 0.1
    assert values[-1] < 0.6 * values[0]
    networks = {"source": load_source(config, run.weights)}
    networks["camera"] = load_adapted(first, run.weights.with_name("camera.safetensors"))
    for name, x in first.state_dict().items():
        assert torch.equal(networks["source"].state_dict()[name], x), "the first network moved"
    pair = images[0]
    seen = transform(pair.source, "camera", 0)[None]
    agreement = [
        (predicted(networks[k], seen) == predicted(first, pair.source[None])).float().mean()
        for k in ("source", "camera")
    ]
    assert agreement[1] > agreement[0]


def test_cached_maps_are_those_of_the_teacher(source: Path, cache: Path, tmp_path: Path) -> None:
    """Only rounding to half precision lies between a step with and one without them."""
    config = replace(ONE, bn="frozen")
    on_the_fly = weights(replace(config, cache_teacher=False), tmp_path / "fly", cache, source)
    cached = weights(config, tmp_path / "cached", cache, source)
    assert on_the_fly.keys() == cached.keys() and losses(tmp_path / "fly") == pytest.approx(
        losses(tmp_path / "cached"), rel=1e-2
    )
    first = load_source(config, source / "checkpoint/model.safetensors")
    pairs = CachedPairs(
        Pairs(data.pair_images(config, cache, 0), "camera", config), first, ("stem", "last"), torch.device("cpu")
    )
    mirrored = CachedPairs(
        Pairs(data.pair_images(config, cache, 0), "camera", replace(config, mirror=True)),
        first,
        ("last",),
        torch.device("cpu"),
    )
    assert len(pairs) == config.scenes and len(mirrored) == 2 * config.scenes
    one = data.source_images(config, cache, 0)[5].source
    with torch.no_grad():
        expected = first(one[None], ("last",))["last"][0]
    torch.testing.assert_close(
        pairs.sample(5, np.random.default_rng(0))["last"].float(), expected, rtol=1e-2, atol=1e-2
    )
    with pytest.raises(UserError, match="needs whole images, but --crop is 32"):
        CachedPairs(
            Pairs(data.pair_images(config, cache, 0), "camera", replace(config, crop=32)),
            first,
            (),
            torch.device("cpu"),
        )


def test_a_domain_does_not_depend_on_those_before_it(source: Path, cache: Path, tmp_path: Path) -> None:
    both = weights(replace(SMOKE, domains=("camera", "night")), tmp_path / "both", cache, source)
    alone = weights(replace(SMOKE, domains=("night",)), tmp_path / "alone", cache, source)
    assert {name for name in both if name.startswith("camera.")}
    assert all(torch.equal(both[name], x) for name, x in alone.items())


def test_layers_count_alike_once_they_are_scaled(source: Path, cache: Path) -> None:
    config = replace(ONE, layers=("stem", "last"), layer_weights=(3.0, 0.5))
    first = load_source(config, source / "checkpoint/model.safetensors")
    pairs = CachedPairs(
        Pairs(data.pair_images(config, cache, 0), "camera", config), first, config.layers, torch.device("cpu")
    )
    found = layer_weights(config, first, pairs, torch.device("cpu"))
    for layer, weight in (("stem", 3.0), ("last", 0.5)):
        mean_square = np.mean([float(x[layer].float().square().mean()) for x in pairs.samples])
        assert found[layer] == pytest.approx(weight / mean_square, rel=1e-4)
    unscaled = replace(config, layer_scaling=False)
    assert layer_weights(unscaled, first, pairs, torch.device("cpu")) == {"stem": 3.0, "last": 0.5}


def test_adabn_takes_the_statistics_of_target_images(source: Path, cache: Path, tmp_path: Path) -> None:
    config = replace(ONE, method="adabn")
    stored = weights(config, tmp_path, cache, source)
    changed = {name for name in stored if name.startswith("camera.")}
    assert changed and all("running" in name or "num_batches" in name for name in changed)
    first = load_source(config, source / "checkpoint/model.safetensors")
    images = data.pair_images(config, cache, 0)
    pixels = torch.stack([transform(images[i].source, "camera", i) for i in range(len(images))])
    with torch.no_grad():
        convolved = first.parts["stem"][0]((pixels - first.mean) / first.std)  # type: ignore[index]
    torch.testing.assert_close(
        stored["camera.parts.stem.1.running_mean"], convolved.mean((0, 2, 3)), rtol=1e-3, atol=1e-4
    )


def test_pseudo_labels_are_the_first_networks(source: Path, cache: Path) -> None:
    config = replace(ONE, method="pseudo")
    first = load_source(config, source / "checkpoint/model.safetensors")
    images = data.pair_images(config, cache, 0)
    pairs = CachedPairs(Pairs(images, "camera", config), first, (), torch.device("cpu"))
    for index in (0, 7):
        sample = pairs.sample(index, np.random.default_rng(0))
        assert torch.equal(sample["label"], predicted(first, images[index].source[None])[0])
        assert torch.equal(sample["target"], transform(images[index].source, "camera", index))


PATHS: dict[str, dict[str, Any]] = {
    "source": {"method": "source"},
    "regression with cached maps": {},
    "regression on the fly": {"cache_teacher": False, "mirror": True},
    "labels": {"method": "supft"},
    "pseudo-labels on the fly": {"method": "pseudo", "cache_teacher": False},
}


class Killed(Exception):
    """In place of the end of a process."""


@pytest.mark.parametrize("path", PATHS)
def test_a_stopped_run_ends_the_same(
    source: Path, cache: Path, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second domain (or halfway), two steps after the last checkpoint."""
    config = replace(SMOKE, **PATHS[path])
    expected = weights(config, tmp_path / "whole", cache, source)
    log, steps = Run.log, config.source_steps if config.method == "source" else 2 * config.steps

    def killed(self: Run, step: int, **values: Any) -> None:
        if step == steps - 1:
            raise Killed
        log(self, step, **values)

    with monkeypatch.context() as context:
        context.setattr(Run, "log", killed)
        with pytest.raises(Killed):
            train(config, run_in(tmp_path / "killed", cache, source))
    resumed = weights(config, tmp_path / "killed", cache, source)
    assert resumed.keys() == expected.keys() and all(torch.equal(resumed[name], x) for name, x in expected.items())
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == steps


# -- the paper's scale and a user's own data, on fixtures -------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "layers"), [("deeplab_resnet101", ("last",)), ("fcn8s_vgg16", ("pool3", "pool4", "last"))]
)
def test_the_paper_preset_on_voc(tmp_path: Path, backbone: Any, layers: tuple[str, ...]) -> None:
    build_voc(tmp_path)
    paper = replace(
        PRESETS["paper"],
        data=str(tmp_path),
        backbone=backbone,
        backbone_weights=None,
        layers=layers,
        domains=("night", "hue:turn=0.3"),
        source_steps=1,
        steps=1,
        batch_size=2,
        crop=33,
        workers=0,
    )
    data.prepare(paper, tmp_path / "cache")
    first = replace(paper, **VARIANTS["noadapt"].changes)
    start = run_in(tmp_path / "noadapt", tmp_path / "cache")
    train(first, start)
    assert set(evaluate(first, start)) >= {
        "night_miou_percent",
        "hue_miou_percent",
        "mean_miou_percent",
        "source_miou_percent",
    }
    run = run_in(tmp_path / "featreg", tmp_path / "cache", start.folder)
    train(paper, run)
    stored = load_file(run.weights.with_name("hue.safetensors"))
    assert any(name.startswith("parts.last") for name in stored)
    assert not any(name.startswith("parts.logits") for name in stored)
    metrics = evaluate(paper, run)
    assert 0 <= metrics["night_miou_percent"] <= 100 and "hue_agreement_percent" not in metrics


def test_two_aligned_folders_from_files_to_label_maps(tmp_path: Path) -> None:
    """The monitoring use: no label of time 2 is needed, neither in training nor for the agreement of the networks."""
    build_aligned(tmp_path)
    config = replace(SMOKE, data=str(tmp_path), dataset="aligned", domains=("time2",), batch_size=2, steps=2)
    data.prepare(config, tmp_path / "cache")
    first = replace(config, method="source", source_steps=2)
    start = run_in(tmp_path / "noadapt", tmp_path / "cache")
    train(first, start)
    run = run_in(tmp_path / "featreg", tmp_path / "cache", start.folder)
    train(config, run)
    with_labels = evaluate(config, run)
    assert {"time2_miou_percent", "time2_agreement_percent"} <= with_labels.keys()
    for name in "af":
        (tmp_path / f"time2/labels/{name}.png").unlink()
    without = evaluate(config, run)
    assert without == {"time2_agreement_percent": with_labels["time2_agreement_percent"]}
    (run.folder / "config.json").write_text(json.dumps({"variant": "featreg", "config": vars(config)}))
    image = tmp_path / "time2/images/a.png"
    assert predict_main(["--image", str(image), "--out", str(tmp_path / "out"), "--run", str(run.folder)]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "labels_source.png",
        "labels_adapted.png",
        "overlay.png",
    }


def test_an_unknown_layer_is_told_before_training(source: Path, cache: Path, tmp_path: Path) -> None:
    config = replace(ONE, layers=("conv9",))
    run = run_in(tmp_path, cache, source)
    first = load_source(config, run.start_weights)
    with pytest.raises(UserError, match="small has no layer 'conv9'"):
        adapt(config, run, first, "camera", 0)
