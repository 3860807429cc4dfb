"""Metrics of a trained stage: segmentation in explored and in other houses, and navigation."""

import json
from typing import Any

import numpy as np

from shared import UserError
from shared.run import Run
from shared.support.files import write_atomic

from .build import CLASSES, explorer, grid_of, load_part, load_segmenter, potential_net
from .config import Config
from .data import House, environment_of, held_out, house_seeds
from .detection.ap import Masks, average_precision
from .detection.maskrcnn import Detector, detect
from .exploration.explore import PATIENCE, PICKERS, covered, explore
from .exploration.learned import learned_choice, learned_picker
from .figures import figures
from .metrics import confusion, mean_iou_percent, predicted_masks, true_masks
from .model import Segmenter
from .navigation.episodes import POLICIES, Episode, Policy, navigate, potential_policy
from .perception import as_images, full_size, labeller, probabilities
from .simulator.environment import ObjectNav

__all__ = ["evaluate", "figures"]
SHOWN = 4  # frames, and episodes, in the figures


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Metrics of a trained stage, and what the figures show; the main process does it all.

    Returns:
        web and perception: `insitu_miou_percent` and `insitu_ap50_percent` at held-out poses of the explored real
        houses, `unseen_miou_percent` in other real houses, `sim_miou_percent` in simulated ones, `drop_miou_percent`
        = simulated - other real houses; of self-labels `label_precision_percent`, `label_recall_percent`,
        `label_f1_percent` and `label_coverage_percent`; in situ also `improved_houses_percent`, the share of houses
        where the run is better than what it started from.
        policy: `success_percent`, `spl_percent`, `soft_spl_percent`, `dts_m`.
        explorer: `explored_m2`, and that of the frontier policy and of random goals.
    """
    if not run.accelerator.is_main_process:
        return {}
    if config.stage == "policy":
        return navigation_metrics(config, run)
    if config.stage == "explorer":  # one that looks for objects is judged by the navigation that starts from it
        return {} if config.reward == "goal" else explorer_metrics(config, run)
    if config.stage == "detector":
        return detector_metrics(config, run)
    return segmentation_metrics(config, run)


# -- perception -------------------------------------------------------------------------------------------------------


def segmentation_metrics(config: Config, run: Run) -> dict[str, float]:
    """See :func:`evaluate`."""
    network = load_segmenter(config, run.weights).to(run.device)
    found: dict[str, float] = {}
    by_split = {"insitu": "insitu", "unseen": "unseen", "sim-unseen": "sim"}
    for split, name in by_split.items():
        try:
            counts = house_confusions(config, run, network, split)
        except UserError:
            if config.data is None or split == "insitu":
                raise
            continue  # a user may have no further houses
        found[f"{name}_miou_percent"] = mean_iou_percent(np.sum(counts, axis=0))
        if split == "insitu" and config.stage == "perception" and config.style == "real":
            before = house_confusions(config, run, load_segmenter(config, run.start_weights).to(run.device), split)
            better = [mean_iou_percent(a) > mean_iou_percent(b) for a, b in zip(counts, before, strict=True)]
            found["improved_houses_percent"] = 100 * float(np.mean(better))
    if {"sim_miou_percent", "unseen_miou_percent"} <= found.keys():
        found["drop_miou_percent"] = found["sim_miou_percent"] - found["unseen_miou_percent"]
    found["insitu_ap50_percent"] = in_situ_ap50(config, run, network)
    if labels := sorted(run.folder.glob("labels*.json")):
        found |= json.loads(labels[-1].read_text())
    return found


def house_confusions(config: Config, run: Run, network: Segmenter, split: str) -> list[np.ndarray]:
    """Pixel counts (1 + C, 1 + C) of each house of a split."""
    found = []
    for house in held_out(config, run.cache, run.seed, split):
        predicted = full_size(probabilities(network, house.frames.rgb, run.device)).argmax(1)
        found.append(confusion(predicted, house.truth, 1 + CLASSES))
    return found


def in_situ_ap50(config: Config, run: Run, network: Segmenter) -> float:
    """Mask AP50 in percent, mean over the explored houses.

    Leaves the frames with the largest objects in ``shown.npz``.
    """
    values = []
    for number, house in enumerate(held_out(config, run.cache, run.seed, "insitu")):
        probability = full_size(probabilities(network, house.frames.rgb, run.device))
        values.append(ap50(house, predicted_masks(probability)))
        if number == 0:
            largest = np.argsort(-(house.truth > 0).sum((1, 2)), kind="stable")[:: max(1, len(house.truth) // 16)]
            rows = largest[:SHOWN]
            shown = {
                "rgb": house.frames.rgb[rows],
                "truth": house.truth[rows],
                "predicted": probability.argmax(1)[rows].astype(np.uint8),
            }
            _keep(run, shown)
    return 100 * float(np.mean(values))


def ap50(house: House, found: Masks) -> float:
    """AP50 of objects that were found in a house; in recordings, the pixels of a class in a frame are one object."""
    instance = house.frames.instance
    truth = true_masks(house.truth, instance if instance.any() else house.truth.astype(int))
    return max(0.0, average_precision(truth, found, len(house.truth), CLASSES)[0])


def detector_metrics(config: Config, run: Run) -> dict[str, float]:
    """`insitu_ap50_percent` of the fine-tuned Mask R-CNN."""
    detector = Detector(False, config.resolution)
    load_part(detector, "detector", run.weights)
    values = []
    for house in held_out(config, run.cache, run.seed, "insitu"):
        found = [detect(detector.to(run.device), [x.to(run.device)])[0] for x in as_images(house.frames.rgb)]
        scores = [x.probabilities[:, 1:].max(1) for x in found]
        objects = Masks(
            np.concatenate([x.masks.numpy() for x in found]),
            np.repeat(np.arange(len(found)), [len(x.boxes) for x in found]),
            np.concatenate([1 + x.indices.numpy() for x in scores]),
            np.concatenate([x.values.numpy() for x in scores]),
        )
        values.append(ap50(house, objects))
    return {"insitu_ap50_percent": 100 * float(np.mean(values))}


# -- policies ---------------------------------------------------------------------------------------------------------


def navigation_metrics(config: Config, run: Run) -> dict[str, float]:
    """See :func:`evaluate`; every variant of a seed has the same episodes. Leaves ``episodes.json`` for the figures."""
    network = load_segmenter(config, run.weights).to(run.device)
    policy = trained_policy(config, run)
    own = labeller(network, run.device, confidence=config.confidence, blob=config.blob)
    numbers = house_seeds(config, run.seed, "insitu" if config.nav_houses == "explored" else "unseen")
    envs = [environment_of(config, number, "unseen") for number in numbers]
    grid = grid_of(config)
    episodes = []
    for k in range(config.episodes):
        env = envs[k % len(envs)]
        truth = env.house.category

        def labels(observation: dict[str, Any], info: dict[str, Any], truth: np.ndarray = truth) -> np.ndarray:
            return truth[info["instance"]] if config.perception == "truth" else own(observation["rgb"])

        seed = run.seed * 100_000 + k + (50_000 if config.split == "validation" else 0)
        episodes.append(navigate(env, grid, policy, labels, seed=seed, metric=config.metric))
    _keep_episodes(run, envs, episodes)
    outcomes = [x.outcome for x in episodes]
    return {
        "success_percent": 100 * float(np.mean([x.success for x in outcomes])),
        "spl_percent": 100 * float(np.mean([x.spl for x in outcomes])),
        "soft_spl_percent": 100 * float(np.mean([x.soft_spl for x in outcomes])),
        "dts_m": float(np.mean([x.distance for x in outcomes])),
    }


def trained_policy(config: Config, run: Run) -> Policy:
    """The policy that navigates."""
    if config.policy == "potential":
        potentials = potential_net(config)
        load_part(potentials, "potential", run.weights)
        return potential_policy(potentials.to(run.device), run.device)
    if config.policy == "semexp":
        global_policy = explorer(config)
        load_part(global_policy, "explorer", run.weights)
        return Policy(learned_choice(global_policy), every=PATIENCE)
    return POLICIES[config.policy]


def _keep_episodes(run: Run, envs: list[ObjectNav], episodes: list[Episode]) -> None:
    kept = [{"success": x.outcome.success, "spl": x.outcome.spl, "steps": x.steps, "goal": x.goal} for x in episodes]
    write_atomic(run.folder / "episodes.json", json.dumps(kept).encode())
    shown: dict[str, np.ndarray] = {}
    for k, episode in enumerate(episodes[:SHOWN]):
        world = envs[k % len(envs)].world
        shown |= {
            f"track_{k}": episode.poses,
            f"goal_{k}": np.array(episode.goal),
            f"success_{k}": np.array(episode.outcome.success),
            f"obstacles_{k}": world.obstacles,
            f"objects_{k}": world.objects,
        }
    _keep(run, shown)


def explorer_metrics(config: Config, run: Run) -> dict[str, float]:
    """Square metres that the learned explorer, the frontier policy and random goals explore in other houses."""
    policy = explorer(config)
    load_part(policy, "explorer", run.weights)
    segment = None
    if config.reward == "curiosity":
        network = load_segmenter(config, run.weights).to(run.device)
        segment = labeller(network, run.device, confidence=0.9, blob=config.blob)
    pickers = {"explored": learned_picker(policy), "frontier": PICKERS["frontier"], "random": PICKERS["random"]}
    found = {}
    for name, picker in pickers.items():
        areas = []
        for number in house_seeds(config, run.seed, "sim-unseen"):
            env = environment_of(config, number, "sim-unseen")
            _, walker = explore(
                env,
                grid_of(config),
                picker=picker,
                steps=config.explore_steps,
                every=config.frame_every,
                seed=number,
                segment=segment if name == "explored" else None,
            )
            areas.append(covered(walker))
        found[f"{name}_m2"] = float(np.mean(areas))
    return found


def _keep(run: Run, arrays: dict[str, np.ndarray]) -> None:
    write_atomic(run.folder / "shown.npz", lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))
