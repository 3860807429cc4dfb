"""Training: web pictures, fine-tuning in explored houses by self-labels and location consistency, and the policies.

``python -m papers.selfnav.train --variant loccon --seed 0`` trains one run; ``make reproduce`` trains all.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from shared import UserError
from shared.loading import Batches
from shared.run import Run
from shared.support.command_line import note
from shared.support.files import write_json
from shared.support.weights import load_weights, weights_file

from .build import CLASSES, explorer, grid_of, load_part, load_segmenter, named, potential_net, segmenter
from .config import Config
from .data import House, environment_of, explored, house_seeds, web_views
from .detection.finetune import ObjectPairs, fine_tuning_loss
from .detection.maskrcnn import Detector
from .exploration.learned import learned_picker, rollout
from .exploration.ppo import EPOCHS, LARGEST_GRADIENT, ppo_loss, targets
from .houses import labelled_houses, policy_maps
from .labelling.selflabels import coverage, label_quality
from .losses import location_consistency, potential_loss, segmentation_loss
from .model import Segmenter
from .navigation.potentials import class_distances
from .pairs import Pairs, PartialMaps, Pictures
from .perception import halved, labeller


def train(config: Config, run: Run) -> None:
    """Train one stage; leaves the weights of the segmenter, and of a policy if there is one, in the run's folder.

    Raises:
        UserError: if a policy is asked for, which walks, and the data are recordings.
    """
    if config.stage in ("policy", "explorer") and config.data is not None:
        raise UserError(
            "Navigation needs a simulator, and recordings are none; leave out --data, or the navigation variants."
        )
    match config.stage:
        case "web":
            train_on_web(config, run)
        case "perception":
            train_in_houses(config, run)
        case "detector":
            train_detector(config, run)
        case "policy":
            train_policy(config, run)
        case "explorer":
            train_explorer(config, run)


def weights_of_classes(config: Config, device: torch.device) -> Tensor:
    return torch.tensor([config.background_weight, *[1.0] * CLASSES], device=device)


# -- the segmenter's beginning ----------------------------------------------------------------------------------------


def train_on_web(config: Config, run: Run) -> None:
    """Cross-entropy on labelled pictures of objects in other houses: what COCO is to a real robot."""
    dataset = Pictures(web_views(config, run.cache, run.seed))
    batches = _batches(config, run, dataset, config.web_batch)
    model, optimizer, schedule = _prepared(run, segmenter(config), config.web_rate, config.web_steps)
    for step in run.steps(
        config.web_steps,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
    ):
        batch = next(batches)
        logits, embedding = model(batch["image"])
        loss = segmentation_loss(logits, batch["label"], weights_of_classes(config, run.device))
        loss = loss + 0 * embedding.sum()  # DistributedDataParallel wants a gradient of every parameter
        _update(run, step, loss, batch["name"], optimizer, schedule)
    run.export(named(segmenter=run.accelerator.unwrap_model(model).state_dict()))


# -- location consistency ---------------------------------------------------------------------------------------------


def train_in_houses(config: Config, run: Run) -> None:
    """Explore houses, label the frames with the network's own predictions, fine-tune it; as often as configured."""
    network = load_segmenter(config, run.start_weights).to(run.device)
    houses = explore_houses(config, run)
    for number in range(config.rounds):
        finished = (
            run.weights if number == config.rounds - 1 else weights_file(run.folder, f"round{number}.safetensors")
        )
        if finished.exists():
            load_part(network, "segmenter", finished)
            continue
        fine_tune(config, run, network, houses, number)
        run.export(named(segmenter=network.state_dict()), finished)


def explore_houses(config: Config, run: Run) -> list[House]:
    """Frames of the houses that the network is fine-tuned in."""
    split = "sim" if config.style == "sim" else "insitu"
    options: dict[str, Any] = {}
    if config.exploration in ("coverage", "curiosity") and config.data is None:
        policy = explorer(config)
        load_part(policy, "explorer", run.start_weights)
        options["picker"] = learned_picker(policy)
    if config.revisit:
        options["revisit"] = True
    if config.revisit or config.exploration == "curiosity":  # these look at the objects on the map
        network = load_segmenter(config, run.start_weights).to(run.device)
        options["segment"] = labeller(network, run.device, confidence=config.confidence, blob=config.blob)
    return explored(config, run.cache, run.seed, split, **options)


def fine_tune(config: Config, run: Run, network: Segmenter, houses: Sequence[House], number: int) -> None:
    """One round: labels from the network, then its fine-tuning; the network is changed in place.

    The quality of the round's labels, in percent, is left in ``labels<round>.json``.
    """
    labelled = labelled_houses(config, houses, network, run.device)
    labels, truth = (np.concatenate(x) for x in ([y.labels for y in labelled], [halved(h.truth) for h in houses]))
    share = float(np.mean([coverage(x) for x in labelled]))
    quality = label_quality(labels, truth) | {"label_coverage_percent": 100 * share}
    if run.accelerator.is_main_process:
        write_json(run.folder / f"labels{number}.json", quality)
    if share < config.least_coverage:
        note(f"{run.folder}: labels cover {100 * share:.2f} % of the pixels; the network stays as it is.")
        return
    dataset = Pairs(config, houses, labelled)
    batches = _batches(config, run, dataset, config.batch_size)
    model, optimizer, schedule = _prepared(run, copy.deepcopy(network), config.rate, config.steps)
    class_weights = weights_of_classes(config, run.device)
    start = number * config.steps
    for step in run.steps(
        start + config.steps,
        start=start,
        whole=config.rounds * config.steps,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
    ):
        batch = next(batches)
        logits, embedding = model(batch["image"].flatten(0, 1))
        supervised = segmentation_loss(logits, batch["label"].flatten(0, 1), class_weights)
        consistency = contrastive_loss(config, embedding, batch) if config.contrastive else 0 * embedding.sum()
        loss = (supervised if step - start >= config.warm_up else 0 * supervised) + config.contrastive * consistency
        _update(
            run,
            step,
            loss,
            batch["name"],
            optimizer,
            schedule,
            supervised=supervised.detach(),
            consistency=consistency.detach(),
        )
    network.load_state_dict(run.accelerator.unwrap_model(model).state_dict())


def contrastive_loss(config: Config, embedding: Tensor, batch: dict[str, Any]) -> Tensor:
    """Location consistency of the places that the pairs of a batch see: embeddings (2 B, D, h, w)."""
    batch_size = len(batch["house"])
    flat = embedding.flatten(2).unflatten(0, (batch_size, 2))  # (B, 2, D, h w)
    index = batch["pixels"].permute(0, 2, 1)[:, :, None].expand(-1, -1, flat.shape[2], -1)
    first, second = flat.gather(3, index).permute(1, 0, 3, 2).flatten(1, 2)
    return location_consistency(
        first,
        second,
        batch["place"].flatten(0, 1),
        batch["place_label"].flatten(),
        batch["house"].flatten(),
        temperature=config.temperature,
        apart=config.apart,
        exclude_same_label=config.exclude_same_label,
        gather=True,
    )


def train_detector(config: Config, run: Run) -> None:
    """The same with Mask R-CNN: objects by a vote over its detections, and the contrastive loss of its RoIs.

    RoIs are compared with those of their own process: their number differs from frame to frame.
    """
    detector = Detector(config.coco, config.resolution).to(run.device)
    dataset = ObjectPairs(config, explore_houses(config, run), detector, run.device)
    batches = _batches(config, run, dataset, config.batch_size, collate=list)
    optimizer = torch.optim.SGD(
        [x for x in detector.parameters() if x.requires_grad],
        lr=config.rate, momentum=0.9, nesterov=True, weight_decay=5e-4,
    )  # fmt: skip
    schedule = CosineAnnealingLR(optimizer, config.steps)
    for step in run.steps(
        config.steps,
        save_every=config.save_every,
        model=detector,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
    ):
        batch = next(batches)
        parts = [part for sample in batch for part in sample["parts"]]
        detector.train()
        loss, logged = fine_tuning_loss(
            detector,
            [x["image"] for x in parts],
            [x["target"] for x in parts],
            [x["numbers"] for x in parts],
            contrastive=config.contrastive,
            temperature=config.temperature,
            form=config.roi_loss,
        )
        run.log(step, loss=loss, samples=[x["name"] for x in batch], **logged)
        optimizer.zero_grad()
        loss.backward()
        for parameter in detector.parameters():
            if parameter.requires_grad:  # a process without RoIs has no gradient of their heads; all have to take part
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = run.accelerator.reduce(gradient, reduction="mean")
        optimizer.step()
        schedule.step()
    run.export(named(detector=detector.state_dict()))


# -- policies ---------------------------------------------------------------------------------------------------------


def train_policy(config: Config, run: Run) -> None:
    """PONI: potentials of partial maps, made of maps that the segmenter labelled (or of true ones)."""
    if config.policy != "potential" or config.maps == "start":
        run.export(load_weights(run.start_weights))
        return
    network = load_segmenter(config, run.start_weights).to(run.device)
    maps = policy_maps(config, run.cache, run.seed, network, run.device)
    batches = _batches(config, run, PartialMaps(config, maps), config.policy_batch)
    model, optimizer, schedule = _prepared(run, potential_net(config), config.policy_rate, config.policy_steps)
    for step in run.steps(
        config.policy_steps,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
    ):
        batch = next(batches)
        objects, area = model(batch["seen"])
        loss = potential_loss(objects, area, batch["objects"], batch["area"], batch["known"])
        _update(run, step, loss, batch["name"], optimizer, schedule)
    trained = run.accelerator.unwrap_model(model).state_dict()
    run.export(named(segmenter=network.state_dict(), potential=trained))


def train_explorer(config: Config, run: Run) -> None:
    """PPO of the global policy in two simulated houses; SemExp's reward needs their self-labelled maps."""
    network = load_segmenter(config, run.start_weights).to(run.device)
    confidence = 0.9 if config.reward == "curiosity" else config.confidence
    segment = labeller(network, run.device, confidence=confidence, blob=config.blob)
    policy = explorer(config)  # small, and its maps are made on the CPU
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.explorer_rate, eps=1e-5)
    numbers = house_seeds(config, run.seed, "sim")
    envs = [environment_of(config, numbers[k % len(numbers)], "sim") for k in range(2)]
    distances: list[np.ndarray | None] = [None, None]
    if config.reward == "goal":
        two = replace(config, policy_houses=min(2, config.houses))
        maps = policy_maps(two, run.cache, run.seed, network, run.device)
        distances = [class_distances(maps[k % len(maps)], config.cell) for k in range(2)]
    for update in run.steps(config.explorer_updates, save_every=config.save_every, policy=policy, optimizer=optimizer):
        collected = rollout(
            list(envs), grid_of(config), policy, None if config.reward == "coverage" else segment,
            goals=config.explorer_goals, reward=config.reward, seed=run.seed * 1_000_003 + 2 * update,
            distances=distances,
        )  # fmt: skip
        expected, advantage = targets(collected)
        for _ in range(EPOCHS):
            rows = torch.randperm(len(expected))
            for part in rows.chunk(2):
                loss = ppo_loss(policy, collected, part, expected, advantage)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(policy.parameters(), LARGEST_GRADIENT)
                optimizer.step()
        run.log(update, loss=loss, samples=["rollout"], reward=collected.rewards.sum(0).mean())
    run.export(named(segmenter=network.state_dict(), explorer=policy.state_dict()))


# -- parts of every loop ----------------------------------------------------------------------------------------------


def _batches(config: Config, run: Run, dataset: Any, batch_size: int, **options: Any) -> Batches:
    return Batches(dataset, batch_size, seed=run.seed, accelerator=run.accelerator, workers=config.workers, **options)


def _prepared(run: Run, network: nn.Module, rate: float, steps: int) -> tuple[nn.Module, Optimizer, LRScheduler]:
    """The network to train, AdamW, and a cosine from ``rate`` to zero."""
    network = network.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    schedule = CosineAnnealingLR(optimizer, steps)
    model, optimizer = run.accelerator.prepare(network, optimizer)
    return model, optimizer, schedule


def _update(
    run: Run, step: int, loss: Tensor, names: Sequence[str], optimizer: Optimizer, schedule: LRScheduler, **logged: Any
) -> None:
    """One step of the optimizer; a loss that is not finite stops the run and names the samples."""
    run.log(step, loss=loss, samples=names, **logged)
    optimizer.zero_grad()
    run.accelerator.backward(loss)
    optimizer.step()
    schedule.step()


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
