"""Training: an encoder by the global loss, decoder blocks by the local loss, the whole network with few labels.

``python -m papers.local_contrast.train --variant proposed-2 --seed 0`` trains one run; ``make reproduce`` trains all.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from shared.loading import Batches
from shared.losses import all_gather
from shared.run import Run

from .augment import HIGHEST, change_intensity, crop, elastic_flow, mixup, move, warp
from .build import build, transfer
from .config import Config
from .data import Slices, dataset_of, load, split_of
from .losses import (
    global_loss_d,
    global_loss_d_minus,
    global_loss_r,
    local_loss_d,
    local_loss_r,
    segmentation_loss,
)
from .model import LEVELS, UNet
from .regions import regions
from .sampling import AnySlices, LabelledSlices, PartitionedVolumes
from .segment import dice, mean, probabilities

VIEWS = {"d-minus": 2, "d": 1}  # transformed versions of a slice beside the slice as it is


def train(config: Config, run: Run) -> None:
    """Train one stage of one variant; leaves the weights in the run's folder."""
    match config.stage:
        case "encoder":
            train_encoder(config, run)
        case "decoder":
            train_decoder(config, run)
        case "segmentation":
            train_segmentation(config, run)


# -- stage 1: the encoder, from slices without labels -----------------------------------------------------------------


def train_encoder(config: Config, run: Run) -> None:
    """Pre-train e with g1 and a global contrastive loss, or by predicting quarter turns; keep the last weights."""
    network = run.sync_batch_norm(build(config, dataset_of(config)))
    if config.global_loss == "none":
        run.export(network.state_dict())
        return
    volumes = load(config, run.cache, split_of(config, run.seed).pretraining)
    by_partition = config.global_loss in VIEWS
    batches = Batches(
        PartitionedVolumes(volumes, VIEWS[config.global_loss], config)
        if by_partition
        else AnySlices(volumes, 2, config),
        samples_a_step(config),
        seed=run.seed,
        accelerator=run.accelerator,
        workers=config.workers,
    )
    model, optimizer, schedule = prepared(config, run, network, config.encoder_steps)

    for step in run.steps(
        config.encoder_steps,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
    ):
        batch = next(batches)
        model.train()
        if config.global_loss == "rotation":
            loss = rotation_loss(model, batch)
        elif config.global_loss == "r":
            z = project(model, views(batch))  # (B, 2, D)
            loss = global_loss_r(z, temperature=config.temperature)
        else:
            images = batch["images"][:, None]  # (V, 1, S, H, W), as they are
            z = project(model, torch.cat([images, views(batch)], dim=1))  # (V, 1 + views, S, D)
            by_strategy = global_loss_d if config.global_loss == "d" else global_loss_d_minus
            loss = by_strategy(z, all_gather(batch["partition"]), temperature=config.temperature)
        update(run, step, loss, batch["name"], optimizer, schedule)
    run.export(network.state_dict())


def samples_a_step(config: Config) -> int:
    """Slices a step of stage 1, or volumes with a slice of every partition: the paper's number, or to fit `images`."""
    if config.global_loss not in VIEWS:
        return config.slices if config.images is None else config.images // 2
    versions = 1 + VIEWS[config.global_loss]
    if config.images is not None:
        return config.images // (versions * config.partitions)
    sets = 2 if config.global_loss == "d" else 1  # G^D takes b slices of one set of volumes, and b of another
    return sets * config.slices // config.partitions


def views(batch: dict[str, Tensor], *, cropped: bool = True) -> Tensor:
    """Transformed versions: (B, n, H, W) of slices (B, H, W), or (V, n, S, H, W) of volumes' slices (V, S, H, W)."""
    delta = batch["delta"]
    versions = batch["images"][:, None].expand(*delta.shape, -1, -1)
    images = versions.flatten(0, -3)[:, None]
    if cropped:
        images = crop(images, batch["box"].flatten(0, -2))
    return change_intensity(images, delta.flatten(), batch["factor"].flatten(), HIGHEST).view(versions.shape)


def project(network: nn.Module, images: Tensor) -> Tensor:
    """g1(e(x)) of images (..., H, W), (..., D), with those of the other processes after one another."""
    z = network(channels_last(images.flatten(0, -3)[:, None]))
    return all_gather(z.view(*images.shape[:-2], -1))


def rotation_loss(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of the number of quarter turns, which are dealt out to the views in turn: 0, 1, 2, 3, 0, ..."""
    images = views(batch)  # (B, 2, H, W)
    turns = torch.arange(images[..., 0, 0].numel(), device=images.device) % 4
    turned = torch.stack([image.rot90(int(k), (0, 1)) for image, k in zip(images.flatten(0, 1), turns, strict=True)])
    return F.cross_entropy(network(channels_last(turned[:, None])), turns)


# -- stage 2: decoder blocks, the encoder being fixed -----------------------------------------------------------------


def train_decoder(config: Config, run: Run) -> None:
    """Pre-train d_l with g2 and a local contrastive loss, on views that differ in intensity only."""
    dataset = dataset_of(config)
    network = build(config, dataset)
    transfer(network, run.start_weights)
    network = run.sync_batch_norm(network)
    volumes = load(config, run.cache, split_of(config, run.seed).pretraining)
    between_volumes = config.local_loss == "d"
    batches = Batches(
        PartitionedVolumes(volumes, 2, config) if between_volumes else AnySlices(volumes, 2, config),
        config.local_volumes if between_volumes else config.local_slices,
        seed=run.seed,
        accelerator=run.accelerator,
        workers=config.workers,
    )
    grid = regions(dataset.size >> (LEVELS - config.decoder_blocks), config.region, config.regions)
    corners = grid.corners.to(run.device)
    model, optimizer, schedule = prepared(config, run, network, config.decoder_steps)

    for step in run.steps(
        config.decoder_steps,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
    ):
        batch = next(batches)
        model.train()  # the encoder's batch normalisation, too: as in the official code
        # Nothing is cut out: a place of the map has to be the same anatomy in both views.
        pairs = views(batch, cropped=False)  # (B, 2, H, W), or (V, 2, S, H, W)
        vectors = model(channels_last(pairs.flatten(0, -3)[:, None]), corners)
        vectors = all_gather(vectors.view(*pairs.shape[:-2], *vectors.shape[1:]))
        local_loss = local_loss_d if between_volumes else local_loss_r
        loss = local_loss(vectors, grid, temperature=config.temperature)
        update(run, step, loss, batch["name"], optimizer, schedule)
    run.export(network.state_dict())


# -- stage 3: everything, with few labels -----------------------------------------------------------------------------


def train_segmentation(config: Config, run: Run) -> None:
    """Train the U-Net on the labelled volumes, from what earlier stages left; keep the best weights by validation."""
    dataset = dataset_of(config)
    network = build(config, dataset)
    assert isinstance(network, UNet)
    if run.start is not None:
        transfer(network, run.start_weights)
    network = run.sync_batch_norm(network)
    split = split_of(config, run.seed)
    validation = load(config, run.cache, split.validation)
    batches = Batches(
        LabelledSlices(load(config, run.cache, split.labelled), config),
        config.batch_size,
        seed=run.seed,
        accelerator=run.accelerator,
        workers=config.workers,
    )
    steps = config.steps_of_fine_tuning
    model, optimizer, schedule = prepared(config, run, network, steps)
    best = Best()

    for step in run.steps(
        steps,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
        best=best,
    ):
        batch = next(batches)
        model.train()
        images, labels = augmented(config, batch, len(dataset.classes))
        loss = segmentation_loss(model(channels_last(images)), labels, config.segmentation_loss)
        update(run, step, loss, batch["name"], optimizer, schedule)

        if (step + 1) % config.validate_every == 0 or step + 1 == steps:
            best.offer(validation_dice(run, network, validation, len(dataset.classes)), network)
    run.export(best.weights)


def augmented(config: Config, batch: dict[str, Tensor], classes: int) -> tuple[Tensor, Tensor]:
    """Images (B, 1, H, W) and soft labels (B, C, H, W): changed in place, deformed, in intensity, and mixed."""
    images = batch["images"][:, None]
    labels = F.one_hot(batch["labels"], classes).permute(0, 3, 1, 2).to(images)
    images, labels = move(images, labels, batch["angle"], batch["scale"], batch["flip"])
    height, width = images.shape[2:]
    flow = elastic_flow(batch["displacement"], (height, width))
    images, labels = warp(images, flow), warp(labels, flow)
    if config.intensity:
        images = change_intensity(images, batch["delta"], batch["factor"])
    if config.mixup:
        first, second = (batch["mixup_partners"] * len(images)).long().unbind(1)
        images, labels = (mixup(x, batch["mixup_weight"], first, second) for x in (images, labels))
    return images, labels


@torch.no_grad()
def validation_dice(run: Run, network: nn.Module, volumes: list[Slices], classes: int) -> float:
    """Mean 3-D Dice of the foreground classes over validation volumes, at the network's resolution."""
    network.eval()
    scores = []
    for volume in volumes:
        predicted = probabilities(network, volume.images.to(run.device)).argmax(0)
        scores.append(mean(dice(predicted.cpu().numpy(), volume.labels.numpy(), classes)))
    return mean(scores)


class Best:
    """The weights with the best validation Dice so far; part of the checkpoint."""

    def __init__(self) -> None:
        self.dice = -1.0
        self.weights: dict[str, Tensor] = {}

    def offer(self, dice: float, network: nn.Module) -> None:
        if dice > self.dice:
            self.dice = dice
            self.weights = {name: x.detach().cpu().clone() for name, x in network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"dice": self.dice, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.dice, self.weights = state["dice"], state["weights"]


# -- what the stages have in common -----------------------------------------------------------------------------------


def prepared(config: Config, run: Run, network: nn.Module, steps: int) -> tuple[nn.Module, Optimizer, LRScheduler]:
    """The network on its device and over all processes, Adam for the weights that are trained, and the schedule."""
    trained = [x for x in network.parameters() if x.requires_grad]
    rate = config.fine_tuning_rate if config.stage == "segmentation" else config.learning_rate
    optimizer: Optimizer = torch.optim.Adam(trained, lr=rate, fused=True)
    schedule: LRScheduler = (
        CosineAnnealingLR(optimizer, steps) if config.schedule == "cosine" else LambdaLR(optimizer, lambda _: 1.0)
    )
    model, optimizer = run.accelerator.prepare(network.to(memory_format=torch.channels_last), optimizer)
    return model, optimizer, schedule


def update(
    run: Run, step: int, loss: Tensor, names: Sequence[str], optimizer: Optimizer, schedule: LRScheduler
) -> None:
    """One step of the optimizer; a loss that is not finite stops the run and names the ``names`` of the samples."""
    run.log(step, loss=loss, samples=names)
    optimizer.zero_grad()
    run.accelerator.backward(loss)
    optimizer.step()
    schedule.step()


def channels_last(images: Tensor) -> Tensor:
    """The layout in which convolutions of few channels are fastest, on CPUs as on GPUs."""
    return images.contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
