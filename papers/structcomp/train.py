"""Reconstruct; then train against image-level and object-level discriminators with and without semantic features.

``python -m papers.structcomp.train --seed 0`` trains the warm start first; ``make reproduce`` trains all.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from shared.loading import Batches
from shared.run import Run
from shared.support.weights import load_weights, weights_file

from .build import (
    LAYOUT_FILE,
    discriminators,
    generator,
    is_semantic,
    layout_network,
    load_generator,
)
from .config import Config
from .data import Training, class_table, train_items
from .losses import discriminator_loss, generator_loss, hole_l1, layout_loss, perceptual_loss, r1_penalty
from .model import Generator
from .networks.frozen import FrozenFeatures
from .structure.layout import boundaries
from .views import Scene, View, calibrated_features, judged, mean_loss, scene_of, views_of

BETAS = (0.0, 0.99)  # of Adam, as in StyleGAN2
WARM_BETAS = (0.9, 0.99)  # reconstruction has no opponent that moves, and learns faster with momentum


def train(config: Config, run: Run) -> None:
    """Leaves the generator's averaged weights (a probe: its discriminator's), and the layout network beside them."""
    if config.method == "warm":
        layout_weights = weights_file(run.folder, LAYOUT_FILE)
        if config.guidance == "panoptic" and not layout_weights.exists():
            run.export(train_layout_network(config, run), layout_weights)
        run.reseed()
        warm_start(config, run, config.layout_steps if layout_weights.exists() else 0)
    else:
        adversarial(config, run)


# -- the layout network -----------------------------------------------------------------------------------------------


def train_layout_network(config: Config, run: Run) -> dict[str, Tensor]:
    """Learn to say what an image shows, in its hole and around it, from the known pixels (automatic pipeline)."""
    table = class_table(config)
    batches = _batches(config, run)
    network = run.sync_batch_norm(layout_network(config, table)).to(run.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.layout_learning_rate, fused=True)
    state: dict[str, Any] = {"network": network, "optimizer": optimizer, "batches": batches}
    for step in run.steps(
        config.layout_steps, whole=config.layout_steps + config.warm_steps, save_every=config.save_every, **state
    ):
        batch = next(batches)
        edges = boundaries(batch["instances"])
        with run.accelerator.autocast():
            classes, boundary = (x.float() for x in network(batch["image"], batch["hole"]))
        parts = [
            layout_loss(classes, boundary, batch["label"], edges, where) for where in (batch["hole"], 1 - batch["hole"])
        ]
        loss = torch.stack(parts).sum()
        run.log(step, loss=loss, samples=batch["name"])
        descend(run, loss, optimizer, network)
    return network.state_dict()


# -- stage 1: reconstruction ------------------------------------------------------------------------------------------


def warm_start(config: Config, run: Run, start: int) -> None:
    """Train the generator to reconstruct the hole, so that discriminators later begin with recognisable completions.

    Args:
        start: number of the first step, after those of the layout network.
    """
    table, batches = class_table(config), _batches(config, run)
    network = run.sync_batch_norm(generator(config, table)).to(run.device)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.warm_learning_rate, betas=WARM_BETAS, fused=True)
    features = calibrated_features(config, run, "lite0")
    state: dict[str, Any] = {"network": network, "average": average, "optimizer": optimizer, "batches": batches}
    run.reseed(per_process=True)
    for step in run.steps(start + config.warm_steps, start=start, save_every=config.save_every, **state):
        batch = next(batches)
        with run.accelerator.autocast():
            scene = scene_of(config, table, batch)
            completed = network(scene.image, scene.hole, scene.guidance, latents(config, scene))
            with torch.no_grad():
                target = features(scene.image)
            loss = reconstruction_loss(config, scene, completed, features(completed), target)
        run.log(step, loss=loss, samples=batch["name"])
        descend(run, loss, optimizer, network)
        move_average(average, network, config.ema)
    run.export(average.state_dict())


def reconstruction_loss(
    config: Config, scene: Scene, completed: Tensor, features: list[Tensor], target: list[Tensor]
) -> Tensor:
    """Absolute difference in the hole, and difference between frozen features of completed and real image."""
    l1, perceptual = hole_l1(completed, scene.image, scene.hole), perceptual_loss(features, target)
    return config.l1_weight * l1 + config.perceptual_weight * perceptual


# -- stage 2: discriminators ------------------------------------------------------------------------------------------


def adversarial(config: Config, run: Run) -> None:
    """Train the discriminators against the warm start, and after some steps the generator against them.

    In a probe the generator never moves.
    """
    table, batches = class_table(config), _batches(config, run)
    probe = config.method == "probe"
    network = generator(config, table)
    network.load_state_dict(load_weights(run.start_weights))
    network = run.sync_batch_norm(network).to(run.device)
    if probe:
        network = load_generator(config, table, run.start_weights).to(run.device)
    average = copy.deepcopy(network).requires_grad_(False)
    perceptual = calibrated_features(config, run, "lite0")
    semantic: FrozenFeatures | None = None
    if any(is_semantic(role) for role in config.discriminators):
        semantic = perceptual if config.features == "lite0" else calibrated_features(config, run, config.features)
    shared = semantic is perceptual and "semantic" in config.discriminators  # the same maps serve both
    judges = discriminators(config, table, semantic).to(run.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=BETAS, fused=True)
    judges_optimizer = build_judges_optimizer(config, judges)
    state: dict[str, Any] = {
        "network": network,
        "average": average,
        "judges": judges,
        "optimizer": optimizer,
        "judges_optimizer": judges_optimizer,
        "batches": batches,
    }
    run.reseed(per_process=True)
    total = config.probe_steps if probe else config.discriminator_steps + config.steps
    for step in run.steps(total, save_every=config.save_every, **state):
        batch = next(batches)
        moves = not probe and step >= config.discriminator_steps
        with run.accelerator.autocast():
            scene = scene_of(config, table, batch, most=config.crops)
            with torch.set_grad_enabled(moves):
                completed = network(scene.image, scene.hole, scene.guidance, latents(config, scene))
                features = perceptual(completed) if moves or shared else None
                fake = views_of(config, scene, completed, semantic, features if shared else None)
            with torch.no_grad():
                target = perceptual(scene.image) if moves or shared else None
                real = views_of(config, scene, scene.image, semantic, target if shared else None)
            judged_losses = judges_losses(config, judges, real, {role: x.detached() for role, x in fake.items()})
            loss = torch.stack(list(judged_losses.values())).sum()
        if not probe and step % config.r1_every == 0:
            loss = loss + config.r1_every * config.r1_gamma / 2 * masked_r1(judges, real, scene)
        moving = torch.zeros((), device=run.device)
        if features is not None and target is not None and moves:
            with run.accelerator.autocast():
                adversary = generator_losses(config, judges, fake)
                moving = adversary + reconstruction_loss(config, scene, completed, features, target)
        values = {role: x.detach() for role, x in judged_losses.items()}
        run.log(step, loss=loss + moving, samples=batch["name"], generator=moving.detach(), **values)
        if moves:
            descend(run, moving, optimizer, network)
            move_average(average, network, config.ema)
        descend(run, loss, judges_optimizer, judges)
    if probe:
        run.export(judges.state_dict())
        return
    layout = weights_file(run.start, LAYOUT_FILE) if run.start else None
    if layout is not None and layout.exists():
        run.export(load_weights(layout), weights_file(run.folder, LAYOUT_FILE))
    run.export(average.state_dict())


def judges_losses(
    config: Config, judges: nn.ModuleDict, real: dict[str, View], fake: dict[str, View]
) -> dict[str, Tensor]:
    """The loss of each discriminator, by role."""
    return {
        role: mean_loss(
            discriminator_loss(judged(x, role, real[role]), judged(x, role, fake[role]), config.adversarial), real[role]
        )
        for role, x in judges.items()
    }


def generator_losses(config: Config, judges: nn.ModuleDict, fake: dict[str, View]) -> Tensor:
    """Sum over the discriminators of share times the generator's loss; the discriminators do not learn from it."""
    judges.requires_grad_(False)
    losses = [
        share * mean_loss(generator_loss(judged(judges[role], role, fake[role]), config.adversarial), fake[role])
        for role, share in zip(config.discriminators, config.shares, strict=True)
    ]
    judges.requires_grad_(True)
    return torch.stack(losses).sum()


def masked_r1(judges: nn.ModuleDict, real: dict[str, View], scene: Scene) -> Tensor:
    """Masked R1 of the discriminators without frozen features (CM-GAN), in full precision.

    An object discriminator has it with respect to the crop: the crop of an image has no second derivative.
    """
    penalties = [torch.zeros((), device=scene.image.device)]
    for role, network in judges.items():
        if is_semantic(role):
            continue
        view = real[role]
        leaf = view.pixels.detach().float().requires_grad_()
        logits = judged(network, role, View(leaf, view.condition.float(), [], view.kinds, view.weights))
        hole = scene.hole if role == "image" else scene.crop_hole
        penalties.append(mean_loss(r1_penalty(logits, leaf, hole), view))
    return torch.stack(penalties).sum()


# -- parts of all stages ----------------------------------------------------------------------------------------------


def _batches(config: Config, run: Run) -> Batches:
    dataset = Training(train_items(config, run.cache), config)
    return Batches(dataset, config.batch_size, seed=run.seed, accelerator=run.accelerator, workers=config.workers)


def latents(config: Config, scene: Scene) -> Tensor:
    """Normal noise (N, z_dim)."""
    return torch.randn(len(scene.image), config.z_dim, device=scene.image.device)


def build_judges_optimizer(config: Config, judges: nn.ModuleDict) -> torch.optim.Optimizer:
    """Adam; rate and betas of those with a lazy R1 are those of a step in each interval more (StyleGAN2)."""
    lazy = config.r1_every / (config.r1_every + 1) if config.method == "gan" else 1.0
    groups = []
    for role, network in judges.items():
        factor = 1.0 if is_semantic(role) else lazy
        betas = tuple(beta**factor if beta else 0.0 for beta in BETAS)
        groups.append(
            {
                "params": list(network.parameters()),
                "lr": factor * config.discriminator_learning_rate,
                "betas": betas,
            }
        )
    return torch.optim.Adam(groups, fused=True)


def descend(run: Run, loss: Tensor, optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
    """One step; gradients and running statistics are averaged over processes.

    DistributedDataParallel has no second derivatives, which R1 needs.
    """
    optimizer.zero_grad()
    run.accelerator.backward(loss)
    if run.accelerator.num_processes > 1:
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad.copy_(run.accelerator.reduce(parameter.grad, reduction="mean"))
        for name, buffer in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(run.accelerator.reduce(buffer, reduction="mean"))
    optimizer.step()


@torch.no_grad()
def move_average(average: Generator, network: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights; buffers are copied."""
    for mean, x in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(x, 1 - decay)
    for kept, buffer in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(buffer)


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
