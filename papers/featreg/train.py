"""Train the first network with labels; adapt it to a target domain by regression between feature maps.

``python -m papers.featreg.train --variant noadapt --seed 0`` trains the first network; ``make reproduce`` trains all.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from shared.loading import Batches
from shared.run import Run
from shared.support.weights import weights_file

from .build import adapted, domain_file, first_network, load_source
from .config import Config
from .data import class_names, pair_images, source_images
from .losses import regression_loss, segmentation_loss, shrink_label
from .model import Segmenter, set_batch_norm
from .pairs import CachedPairs, Labelled, Pairs, predicted

SCALED = 1000  # images over which the mean square of a layer is taken, at most
ADABN_BATCH = 50  # images whose statistics are averaged


def train(config: Config, run: Run) -> None:
    """Train the first network, or adapt it to every domain; leaves the networks in the run's folder."""
    if config.method == "source":
        train_source(config, run)
        return
    source = load_source(config, run.start_weights).to(run.device)
    for number, domain in enumerate(config.domains):
        finished = weights_file(run.folder, domain_file(domain))
        if not finished.exists():
            run.reseed()  # a domain's numbers do not depend on those before it
            run.export(adapt(config, run, source, domain, number * config.steps), finished)
    run.export(source.state_dict())


# -- stage 1 ----------------------------------------------------------------------------------------------------------


def train_source(config: Config, run: Run) -> None:
    """Cross-entropy over the labelled pixels of source images."""
    dataset = Labelled(source_images(config, run.cache, run.seed), config)
    batches = Batches(dataset, config.batch_size, seed=run.seed, accelerator=run.accelerator, workers=config.workers)
    model = first_network(config, len(class_names(config))).train()
    set_batch_norm(model, config.source_bn == "train")
    outputs = model.SUPERVISED
    optimizer = build_optimizer(config, model, config.source_learning_rate)
    schedule = polynomial_decay(optimizer, config.source_steps, config.power)
    model, optimizer = run.accelerator.prepare(run.sync_batch_norm(model), optimizer)

    for step in run.steps(
        config.source_steps,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
    ):
        batch = next(batches)
        loss = supervised_loss(config, model(batch["image"], outputs), batch["label"])
        run.log(step, loss=loss, samples=batch["name"])
        optimizer.zero_grad()
        run.accelerator.backward(loss)
        optimizer.step()
        schedule.step()
    run.export(run.accelerator.unwrap_model(model).state_dict())


# -- stage 2 ----------------------------------------------------------------------------------------------------------


def adapt(config: Config, run: Run, source: Segmenter, domain: str, start: int) -> dict[str, Tensor]:
    """Adapt the first network to a domain; returns the tensors that are no longer those of the first network.

    The source image goes through the first network, which is frozen, and the target image through the student.

    Args:
        start: number of the first step: the domains of a run follow one another.
    """
    dataset: Pairs | CachedPairs
    dataset = pairs = Pairs(pair_images(config, run.cache, run.seed), domain, config)
    layers = config.layers if config.method == "featreg" else ()
    if config.cache_teacher:
        dataset = CachedPairs(pairs, source, layers, run.device)
    student = adapted(config, source).to(run.device)
    if config.method == "adabn":
        estimate_statistics(student, dataset, run.device)
        return changed(student, source)
    batch_size = min(config.batch_size, len(dataset))  # a handful of labelled images may be all there is
    batches = Batches(dataset, batch_size, seed=run.seed, accelerator=run.accelerator, workers=config.workers)
    weights = layer_weights(config, source, dataset, run.device)
    optimizer = build_optimizer(config, student, config.learning_rate)
    schedule = polynomial_decay(optimizer, config.steps, config.power)
    model, optimizer = run.accelerator.prepare(run.sync_batch_norm(student), optimizer)

    for step in run.steps(
        start + config.steps,
        start=start,
        whole=len(config.domains) * config.steps,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
    ):
        batch = next(batches)
        if config.method == "featreg":
            with torch.no_grad():
                maps = {x: batch[x] for x in layers} if config.cache_teacher else source(batch["source"], layers)
            loss = regression_loss(model(batch["target"], layers), maps, weights, config.l2, config.alignment)
        else:
            own = config.method == "pseudo" and not config.cache_teacher
            label = predicted(source, batch["source"]) if own else batch["label"]
            loss = supervised_loss(config, model(batch["target"], student.SUPERVISED), label)
        run.log(step, loss=loss, samples=batch["name"])
        optimizer.zero_grad()
        run.accelerator.backward(loss)
        optimizer.step()
        schedule.step()
    return changed(run.accelerator.unwrap_model(model), source)


def layer_weights(
    config: Config, source: Segmenter, dataset: CachedPairs | Pairs, device: torch.device
) -> dict[str, float]:
    """The weight of each regressed layer; with scaling, divided by the mean square of the source's maps."""
    weights = dict(zip(config.layers, config.layer_weights or [1.0] * len(config.layers), strict=True))
    if config.method != "featreg" or not config.layer_scaling:
        return weights
    squares: dict[str, list[float]] = {layer: [] for layer in config.layers}
    for index in range(min(len(dataset), SCALED)):
        sample = dataset.sample(index, np.random.default_rng(index))
        with torch.no_grad():
            maps = sample if config.cache_teacher else source(sample["source"][None].to(device), config.layers)
        for layer in config.layers:
            squares[layer].append(float(maps[layer].float().square().mean()))
    return {layer: weight / float(np.mean(squares[layer])) for layer, weight in weights.items()}


def estimate_statistics(model: Segmenter, dataset: CachedPairs | Pairs, device: torch.device) -> None:
    """Replace the running statistics of every batch normalisation by those of target images (AdaBN)."""
    normalisations = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [module.momentum for module in normalisations]
    for module in normalisations:
        module.reset_running_stats()
        module.momentum = None  # the mean over all batches, each with the same weight
    set_batch_norm(model, True)
    for start in range(0, len(dataset), ADABN_BATCH):
        chosen = range(start, min(start + ADABN_BATCH, len(dataset)))
        images = torch.stack([dataset.sample(i, np.random.default_rng(i))["target"] for i in chosen])
        with torch.no_grad():
            model(images.to(device))
    set_batch_norm(model, False)
    for module, momentum in zip(normalisations, momenta, strict=True):
        module.momentum = momentum


def changed(student: nn.Module, source: nn.Module) -> dict[str, Tensor]:
    """The student's tensors that differ from the first network's."""
    before = source.state_dict()
    return {name: x for name, x in student.state_dict().items() if not torch.equal(x, before[name])}


# -- parts of both stages ---------------------------------------------------------------------------------------------


def supervised_loss(config: Config, outputs: dict[str, Tensor], label: Tensor) -> Tensor:
    """Cross-entropy of every output that labels train, added up: DeepLab has one a scale, and their maximum."""
    losses = []
    for logits in outputs.values():
        at_output = shrink_label(label, (logits.shape[-2], logits.shape[-1])) if config.shrink_labels else label
        losses.append(segmentation_loss(logits, at_output))
    return torch.stack(losses).sum()


def build_optimizer(config: Config, model: Segmenter, learning_rate: float) -> torch.optim.Optimizer:
    """SGD or Adam for what is trained; the classifier's rate times `head_factor`, its biases' twice that, undecayed."""
    backbone: list[nn.Parameter] = []
    weights: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            head = name.startswith("parts.logits.")
            (biases if head and parameter.ndim == 1 else weights if head else backbone).append(parameter)
    factor = config.head_factor
    groups = [
        {"params": backbone, "lr": learning_rate},
        {"params": weights, "lr": factor * learning_rate},
        {"params": biases, "lr": (2 * factor if factor > 1 else 1) * learning_rate, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.Adam(groups, weight_decay=config.weight_decay, fused=True)


def polynomial_decay(optimizer: torch.optim.Optimizer, steps: int, power: float) -> LambdaLR:
    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps) ** power)


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
