"""Training: stages by stage, rounds, the guard, and samples of pairs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from papers.selfnav import data
from papers.selfnav.build import load_segmenter, named, segmenter
from papers.selfnav.config import PRESETS, Config
from papers.selfnav.eval import evaluate
from papers.selfnav.houses import labelled_houses, policy_maps
from papers.selfnav.mapping.projection import world_points
from papers.selfnav.pairs import Pairs, Pictures, voxels_of
from papers.selfnav.train import contrastive_loss, train
from shared import UserError
from shared.run import Run

from .bad_input import build_log

SMOKE = replace(PRESETS["smoke"], explore_steps=36, labels="truth")


def run_in(folder: Path, cache: Path, start: Path | None = None) -> Run:
    return Run(folder, cache, seed=100, start=start, tracker="none", log_every=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    run = run_in(tmp_path_factory.mktemp("web"), cache)
    train(replace(SMOKE, stage="web"), run)
    return run.folder


def losses(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def pairs(cache: Path, start: Path) -> Pairs:
    houses = data.explored(SMOKE, cache, 100, "insitu")
    network = load_segmenter(SMOKE, start / "checkpoint/model.safetensors")
    return Pairs(SMOKE, houses, labelled_houses(SMOKE, houses, network, torch.device("cpu")))


def test_pixels_of_a_pair_show_one_place(cache: Path, start: Path) -> None:
    dataset = pairs(cache, start)
    assert any(len(x) for x in dataset.seen[0].partners)
    seen = dataset.seen[0]
    checked = 0
    for index in range(len(dataset)):
        sample = dataset.sample(index, np.random.default_rng(index))
        real = sample["house"] >= 0
        assert bool(real.any()) == bool(len(seen.partners[index]))
        if not real.any():
            continue
        first, second = (int(x) for x in sample["name"].split("frames ")[1].split(" and "))
        width = seen.labels.shape[2]
        pixel = sample["pixels"][real].numpy()
        for side, frame in enumerate((first, second)):
            label = sample["label"][side].flatten().numpy()
            original = seen.labels[frame]
            mirrored = not np.array_equal(label.reshape(original.shape), original)
            row, column = np.divmod(pixel[:, side], width)
            column = width - 1 - column if mirrored else column
            if original.max() == original.min():
                continue  # mirrored or not cannot be told
            points = seen.voxels.points[frame][row, column]
            assert np.abs(points - sample["place"][real].numpy()).max() <= SMOKE.voxel + 1e-6
            checked += 1
    assert checked > 4


def test_voxels_hold_the_points_of_the_full_images_pixels(cache: Path) -> None:
    house = data.explored(SMOKE, cache, 100, "insitu")[0]
    points = world_points(house.frames.depth[0], house.camera, house.frames.poses[0])
    np.testing.assert_allclose(voxels_of(SMOKE, house).points[0], points[1::2, 1::2])


def test_contrastive_loss_takes_the_embeddings_at_the_pixels(cache: Path, start: Path) -> None:
    dataset = pairs(cache, start)
    index = int(np.argmax([len(x) for x in dataset.seen[0].partners]))
    sample = dataset.sample(index, np.random.default_rng(0))
    batch: dict[str, Any] = {key: x[None] for key, x in sample.items() if key != "name"}
    size = sample["label"].shape[-1]
    config = replace(SMOKE, exclude_same_label=False)  # most places are background
    torch.manual_seed(0)
    vectors = torch.randn(1, SMOKE.matches, 8)
    embedding = torch.zeros(2, 8, size * size)
    for side in (0, 1):
        embedding[side, :, sample["pixels"][:, side]] = vectors[0].T
    alike = contrastive_loss(config, embedding.view(2, 8, size, size), batch)
    other = contrastive_loss(config, torch.randn(2, 8, size, size), batch)
    assert float(alike) < float(other)


def test_pictures_are_mirrored_with_their_labels(cache: Path) -> None:
    houses = data.web_views(SMOKE, cache, 100)
    dataset = Pictures(houses)
    index = int(np.argmax((dataset.labels > 0).sum((1, 2))))
    label = dataset.labels[index]
    assert not np.array_equal(label, label[:, ::-1])
    seen = {str(dataset.sample(index, np.random.default_rng(k))["label"].numpy().tolist()) for k in range(8)}
    assert seen == {str(label.astype(int).tolist()), str(label[:, ::-1].astype(int).tolist())}


def test_a_second_round_labels_with_the_network_of_the_first(cache: Path, start: Path, tmp_path: Path) -> None:
    config = replace(SMOKE, labels="self-training", threshold=0.2, rounds=2, steps=2, batch_size=2, contrastive=0.1)
    run = run_in(tmp_path, cache, start)
    train(config, run)
    assert {path.name for path in tmp_path.glob("labels*.json")} == {"labels0.json", "labels1.json"}
    assert [x["step"] for x in losses(tmp_path)] == [0, 1, 2, 3]
    first = load_file(tmp_path / "checkpoint/round0.safetensors")
    last = load_file(run.weights)
    assert any(not torch.equal(first[name], x) for name, x in last.items())
    assert evaluate(config, run).keys() >= {"insitu_miou_percent", "improved_houses_percent", "label_recall_percent"}


def test_too_few_labels_leave_the_network_as_it_is(
    cache: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(SMOKE, labels="location", threshold=0.999, least_coverage=0.05, steps=2)
    run = run_in(tmp_path, cache, start)
    train(config, run)
    before, after = load_file(start / "checkpoint/model.safetensors"), load_file(run.weights)
    assert all(torch.equal(before[name], x) for name, x in after.items())
    assert "the network stays as it is" in capsys.readouterr().err


def test_true_maps_have_every_category_and_own_ones_what_was_seen(cache: Path, start: Path) -> None:
    network = load_segmenter(SMOKE, start / "checkpoint/model.safetensors")
    (true,) = policy_maps(replace(SMOKE, maps="truth"), cache, 100, network, torch.device("cpu"))
    assert true.any((1, 2)).all()
    (own,) = policy_maps(replace(SMOKE, maps="self", threshold=0.01), cache, 100, network, torch.device("cpu"))
    assert own.shape == true.shape and 0 < own[0].sum() < true[0].sum()
    assert (own.sum(0) <= 1).all()


def test_a_users_recordings_are_trained_on(tmp_path: Path) -> None:
    build_log(tmp_path / "data")
    config = replace(
        PRESETS["smoke"], data=str(tmp_path / "data"), stage="web", web_steps=2, web_batch=2, steps=2, batch_size=2
    )
    described = data.prepare(config, tmp_path / "cache")
    assert described["name"] == "recorded houses in data" and described["train"] == 1
    first = run_in(tmp_path / "frozen", tmp_path / "cache")
    train(config, first)
    assert "sim_miou_percent" not in evaluate(config, first)
    tuned = replace(config, stage="perception", labels="location", threshold=0.2, contrastive=0.1)
    run = run_in(tmp_path / "loccon", tmp_path / "cache", first.folder)
    train(tuned, run)
    assert evaluate(tuned, run).keys() >= {"insitu_miou_percent", "unseen_miou_percent", "insitu_ap50_percent"}
    with pytest.raises(UserError, match="Navigation needs a simulator"):
        train(replace(tuned, stage="policy"), run)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"map_cells": 100}, "multiple of 16"), ({"resolution": 50}, "multiple of 32"), ({"cell": 0.05}, "do not hold")],
)
def test_options_that_do_not_fit_are_told(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        data.prepare(replace(SMOKE, **changes), tmp_path)


def test_a_run_without_a_policy_is_told(tmp_path: Path, start: Path) -> None:
    from papers.selfnav.build import load_part, potential_net

    with pytest.raises(UserError, match="holds no potential"):
        load_part(potential_net(SMOKE), "potential", start / "checkpoint/model.safetensors")
    assert set(named(segmenter=segmenter(SMOKE).state_dict())) == set(load_file(start / "checkpoint/model.safetensors"))


def test_no_two_houses_share_a_seed() -> None:
    config: Config = PRESETS["cpu"]
    seeds = [
        number
        for seed in (0, 1, 100)
        for split in data.SPLITS
        for kind in ("test", "validation")
        for number in data.house_seeds(replace(config, split=kind), seed, split)  # type: ignore[arg-type]
        if kind == "test" or split in ("unseen", "sim-unseen")
    ]
    assert len(seeds) == len(set(seeds))
