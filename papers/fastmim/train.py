"""Training: predict the HOG features of masked low-resolution images, then fine-tune at full resolution.

``python -m papers.fastmim.train --variant fastmim --seed 0`` trains one run; ``make reproduce`` trains them all.
"""

from contextlib import nullcontext
from pathlib import Path

import torch
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import param_groups_weight_decay
from torch import nn

from shared import UserError
from shared.loading import Batches
from shared.run import Run
from shared.support.weights import load_weights

from .build import build_classifier, build_pretraining, carried_over, official_encoder, pretrained_weights
from .config import Config
from .data import Data, Labelled, load
from .encoders.classifier import load_encoder
from .optim import accumulation, layer_decay_groups, learning_rate, micro_batches, set_learning_rate
from .progressive import ResolutionSchedule, stages


def train(config: Config, run: Run) -> None:
    """Pre-train and fine-tune one variant; leaves both networks' weights in the run's folder.

    Raises:
        UserError: the data or ``config.checkpoint`` cannot be used, or the loss is not a finite number any more.
    """
    if config.checkpoint and config.method != "fastmim":
        raise UserError(
            f"checkpoint is {config.checkpoint}, but method is {config.method}; the authors' files are FastMIM's: "
            "choose such a variant, or leave checkpoint away."
        )
    data = load(config, run.cache)
    if config.method != "none" and not pretrained_weights(run).exists():
        if config.checkpoint:
            run.accelerator.wait_for_everyone()  # before the first one writes what the others look for
            run.export(official_encoder(Path(config.checkpoint), config), pretrained_weights(run))
        else:
            pretrain(config, run, data)
    finetune(config, run, data)


# -- pre-training -----------------------------------------------------------------------------------------------------


def pretrain(config: Config, run: Run, data: Data) -> None:
    """Train the encoder to predict what is masked; exports its weights and the decoder's."""
    run.reseed()
    model = run.sync_batch_norm(build_pretraining(config))
    optimizer = torch.optim.AdamW(param_groups_weight_decay(model, config.weight_decay), betas=(0.9, 0.95), fused=True)
    schedule = ResolutionSchedule(config, run, data, model, optimizer)
    optimizer = run.accelerator.prepare(optimizer)
    epochs = sum(config.epochs)

    for step in run.steps(
        schedule.stages[-1].stop,
        whole=schedule.stages[-1].stop + finetune_steps(config, data),
        save_every=config.save_every,
        schedule=schedule,
        model=model,
        optimizer=optimizer,
    ):
        schedule.enter(step)
        peak = config.learning_rate * schedule.stage.batch_size / 256
        set_learning_rate(optimizer, learning_rate(schedule.stage.epoch(step), peak, 0.0, config.warmup_epochs, epochs))
        optimizer.zero_grad()
        total = torch.zeros((), device=run.device)
        names: list[str] = []
        for batch, last in micro_batches(schedule.batches, schedule.accumulate):
            with nullcontext() if last else run.accelerator.no_sync(schedule.prepared):
                loss = schedule.prepared(batch["image"], batch["noise"], config.mask_ratio).loss / schedule.accumulate
                run.accelerator.backward(loss)
            names = batch["name"] if total.isfinite() else names  # of the first part that is not
            total += loss.detach()
            del loss  # its graph would outlive a resizing, and expect gradients of the old shapes
        run.log(step, loss=total, samples=names, size=schedule.stage.size)
        optimizer.step()
    run.export(model.state_dict(), pretrained_weights(run))
    run.accelerator.free_memory()  # network, optimizer and workers would stay through fine-tuning


# -- fine-tuning ------------------------------------------------------------------------------------------------------


def finetune_steps(config: Config, data: Data) -> int:
    """Steps of all epochs of fine-tuning. Raises UserError if the labelled images are fewer than a batch."""
    if (per_epoch := len(data.train_labels) // config.finetune_batch_size) == 0:
        raise UserError(
            f"A batch of {config.finetune_batch_size} does not fit {len(data.train_labels)} labelled images; change "
            "finetune_batch_size."
        )
    return config.finetune_epochs * per_epoch


def finetune(config: Config, run: Run, data: Data) -> None:
    """Train a classifier at full resolution, from the pre-trained encoder if there is one; exports its weights.

    Its steps are counted from where those of pre-training ended.
    """
    run.reseed()
    model = build_classifier(config, len(data.classes))
    if config.method != "none":
        load_encoder(model, carried_over(config, load_weights(pretrained_weights(run))))
    model = run.sync_batch_norm(model)
    accumulate = accumulation(config.finetune_batch_size, config.finetune_micro_batch_size, run)
    batches = Batches(
        Labelled(data, config.image_size),
        config.finetune_batch_size // accumulate,
        seed=run.seed,
        accelerator=run.accelerator,
        workers=config.workers,
    )
    optimizer = torch.optim.AdamW(layer_decay_groups(model, config.weight_decay, config.layer_decay), fused=True)
    peak = config.finetune_learning_rate * config.finetune_batch_size / 256
    steps = finetune_steps(config, data)
    start = 0 if config.method == "none" or config.checkpoint else stages(config, len(data.pretrain))[-1].stop
    mixup = None
    if config.mixup or config.cutmix:
        mixup = Mixup(
            config.mixup,
            config.cutmix,
            prob=1.0,
            switch_prob=0.5,
            label_smoothing=config.label_smoothing,
            num_classes=len(data.classes),
        )
    criterion = SoftTargetCrossEntropy() if mixup else nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    model, optimizer = run.accelerator.prepare(model, optimizer)
    run.reseed(per_process=True)  # weights were drawn alike; mixing and drop path are not

    for step in run.steps(
        start + steps,
        start=start,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        batches=batches,
    ):
        epoch = (step - start) * config.finetune_epochs / steps
        rate = learning_rate(
            epoch, peak, config.finetune_min_learning_rate, config.finetune_warmup_epochs, config.finetune_epochs
        )
        set_learning_rate(optimizer, rate)
        optimizer.zero_grad()
        sum_of_parts = torch.zeros((), device=run.device)
        names: list[str] = []
        for batch, last in micro_batches(batches, accumulate):
            images, labels = batch["image"], batch["label"]
            if mixup:
                images, labels = mixup(images, labels)
            with nullcontext() if last else run.accelerator.no_sync(model):
                loss = criterion(model(images), labels) / accumulate
                run.accelerator.backward(loss)
            names = batch["name"] if sum_of_parts.isfinite() else names
            sum_of_parts += loss.detach()
        run.log(step, loss=sum_of_parts, samples=names)
        optimizer.step()
    run.export(run.accelerator.unwrap_model(model).state_dict())


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
