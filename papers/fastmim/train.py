"""Training: predict the HOG features of masked low-resolution images, then fine-tune at full resolution.

``python -m papers.fastmim.train --variant fastmim --seed 0`` trains one run; ``make reproduce`` trains them all.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from shared import UserError
from shared.experiment import UNREADABLE, Run, finite_weights, load_checkpoint, load_weights
from shared.loading import Batches, Drawable

from .baselines import MAE, SimMIM
from .classifier import HEADS, Classifier, load_encoder, load_official
from .cmt import CMT
from .config import Config
from .data import Data, Labelled, Unlabelled, load
from .encoders import Swin, ViT
from .model import FastMIM
from .optim import layer_decay_groups, learning_rate
from .pvt import PVTv2

PRETRAINED = "pretrained.safetensors"  # beside model.safetensors


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
    total = finetune_start(config, data) + finetune_steps(config, data)
    if config.method != "none" and not pretrained_weights(run).exists():
        if config.checkpoint:
            take_over(Path(config.checkpoint), config, run)
        else:
            pretrain(config, run, data)
    finetune(config, run, data, total)


def pretrained_weights(run: Run) -> Path:
    return run.folder / "checkpoint" / PRETRAINED


# -- pre-training -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """Consecutive steps of pre-training at one resolution."""

    size: int
    batch_size: int
    start: int
    stop: int
    first_epoch: int
    steps_per_epoch: int

    def epoch(self, step: int) -> float:
        return self.first_epoch + (step - self.start) / self.steps_per_epoch


def stages(config: Config, images: int) -> list[Stage]:
    """The resolutions of pre-training in turn; one only, but for FastMIM-P."""
    found: list[Stage] = []
    step, epoch = 0, 0
    batch_sizes = config.stage_batch_sizes or (config.batch_size,) * len(config.resolutions)
    for size, batch_size, epochs in zip(config.resolutions, batch_sizes, config.epochs, strict=True):
        per_epoch = images // batch_size
        found.append(Stage(size, batch_size, step, step + epochs * per_epoch, epoch, per_epoch))
        step, epoch = found[-1].stop, epoch + epochs
    return found


def pretrain(config: Config, run: Run, data: Data) -> None:
    """Train the encoder to predict what is masked; exports its weights and the decoder's."""
    set_seed(run.seed)
    schedule = stages(config, len(data.pretrain))
    model = run.sync_batch_norm(build_pretraining(config))
    optimizer = torch.optim.AdamW(param_groups_weight_decay(model, config.weight_decay), betas=(0.9, 0.95), fused=True)
    growth = Growth(config, run, data, schedule, model, optimizer)
    optimizer = run.accelerator.prepare(optimizer)
    epochs = sum(config.epochs)

    for step in run.steps(
        schedule[-1].stop,
        save_every=config.save_every,
        growth=growth,
        model=model,
        optimizer=optimizer,
    ):
        growth.enter(step)
        peak = config.learning_rate * growth.stage.batch_size / 256
        set_learning_rate(optimizer, learning_rate(growth.stage.epoch(step), peak, 0.0, config.warmup_epochs, epochs))
        optimizer.zero_grad()
        total = torch.zeros((), device=run.device)
        names: list[str] = []
        for batch, last in micro_batches(growth.batches, growth.accumulate):
            with run.accelerator.autocast(), nullcontext() if last else run.accelerator.no_sync(growth.prepared):
                loss = growth.prepared(batch["image"], batch["noise"], config.mask_ratio).loss / growth.accumulate
                run.accelerator.backward(loss)
            names = batch["name"] if total.isfinite() else names  # of the first part that is not
            total += loss.detach()
            del loss  # its graph would outlive a resizing, and expect gradients of the old shapes
        run.log(step, loss=total, samples=names, size=growth.stage.size)
        optimizer.step()
    run.export(model.state_dict(), pretrained_weights(run))
    run.accelerator.free_memory()  # network, optimizer and workers would stay through fine-tuning


def take_over(checkpoint: Path, config: Config, run: Run) -> None:
    """In place of pre-training, read an encoder that the authors pre-trained; exports its weights for fine-tuning.

    Raises:
        UserError: the file is damaged, fine-tuned already, or of another encoder than the variant's.
    """
    run.accelerator.wait_for_everyone()  # before the first one writes what the others look for
    content = load_checkpoint(checkpoint)
    classifier = build_classifier(config, 1, config.discard)
    try:
        weights = finite_weights(content.get("model", content))
        if "head.bias" in weights:
            raise UserError("It is fine-tuned already: classify with it, or transfer it.")
        load_official(classifier, weights, fresh=HEADS)
    except (UserError, *UNREADABLE) as error:
        raise UserError(
            f"{checkpoint} is no pre-trained encoder of the authors that fits this variant ({config.encoder}). {error}"
        ) from error
    encoder = {f"encoder.{name}": x for name, x in classifier.encoder.state_dict().items()}
    run.export(encoder, pretrained_weights(run))


class Growth:
    """Where pre-training stands: its stage, the stage's batches, and the network's resolution (part of the checkpoint).

    At the border of two stages positions, windows and bias tables are resized; the optimizer keeps the moments of every
    tensor whose shape is unchanged.
    """

    prepared: Any
    """The network as accelerate trains it, in DistributedDataParallel where there are several processes."""

    def __init__(
        self,
        config: Config,
        run: Run,
        data: Data,
        schedule: list[Stage],
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.config, self.run, self.data, self.schedule = config, run, data, schedule
        self.model, self.optimizer = model, optimizer
        self._go(0)

    @property
    def stage(self) -> Stage:
        return self.schedule[self.number]

    def enter(self, step: int) -> None:
        """Move to the stage of ``step``."""
        number = next(k for k, stage in enumerate(self.schedule) if step < stage.stop)
        if number != self.number:
            self._go(number)

    def _go(self, number: int) -> None:
        self.number = number
        if number:
            self.prepared = None  # the former replica, too, would expect gradients of the old shapes
            self.run.accelerator.free_memory()
            resize(self.model, self.optimizer, self.stage.size)
        self.prepared = self.run.accelerator.prepare_model(self.model)
        self.accumulate = accumulation(self.stage.batch_size, self.config.micro_batch_size, self.run)
        blocks = self.stage.size // self.config.block
        dataset = Noised(Unlabelled(self.data, self.stage.size), blocks**2)
        self.batches = Batches(
            dataset,
            self.stage.batch_size // self.accumulate,
            seed=self.run.seed + 1000 * number,  # another order in every stage
            accelerator=self.run.accelerator,
            workers=self.config.workers,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"stage": self.number, "batches": self.batches.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["stage"] != self.number:
            self._go(state["stage"])
        self.batches.load_state_dict(state["batches"])


def resize(model: nn.Module, optimizer: torch.optim.Optimizer, size: int) -> None:
    """Take the encoder to another resolution; the optimizer forgets its moments of every tensor that changed shape."""
    encoder: Any = model.encoder
    encoder.set_image_size(size)
    for parameter in model.parameters():
        moments = optimizer.state.get(parameter, {})
        if moments and moments["exp_avg"].shape != parameter.shape:
            del optimizer.state[parameter]


class Noised:
    """A dataset whose samples come with the noise (n^2,) that decides which blocks are masked."""

    def __init__(self, dataset: Drawable, blocks: int) -> None:
        self.dataset, self.blocks = dataset, blocks

    def __len__(self) -> int:
        return len(self.dataset)

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return self.dataset.draw(index, rng) | {"noise": rng.random(self.blocks, dtype=np.float32)}


def micro_batches(batches: Batches, accumulate: int) -> Iterator[tuple[dict[str, Any], bool]]:
    """The parts of one batch, and whether a part is the last."""
    for k in range(accumulate):
        yield next(batches), k + 1 == accumulate


def accumulation(batch_size: int, micro_batch_size: int, run: Run) -> int:
    """Parts that a batch is taken in, the fewest whose share of one process does not exceed ``micro_batch_size``.

    Raises:
        UserError: if the batch does not split evenly over the processes.
    """
    processes = run.accelerator.num_processes
    if batch_size % processes:
        raise UserError(
            f"A batch of {batch_size} does not split over {processes} processes; use a number of processes that "
            "divides it, or change the batch size."
        )
    share = batch_size // processes
    return next(k for k in range(1, share + 1) if share % k == 0 and share // k <= micro_batch_size)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value * group.get("lr_scale", 1.0)


# -- fine-tuning ------------------------------------------------------------------------------------------------------


def finetune_start(config: Config, data: Data) -> int:
    """Step number at which fine-tuning starts: those of pre-training count before it."""
    return 0 if config.method == "none" or config.checkpoint else stages(config, len(data.pretrain))[-1].stop


def finetune_steps(config: Config, data: Data) -> int:
    return config.finetune_epochs * (len(data.train_labels) // config.finetune_batch_size)


def finetune(config: Config, run: Run, data: Data, total: int) -> None:
    """Train a classifier at full resolution, from the pre-trained encoder if there is one; exports its weights."""
    set_seed(run.seed)
    start = finetune_start(config, data)
    model = build_classifier(config, len(data.classes))
    if config.method != "none":
        load_encoder(model, kept(config, load_weights(pretrained_weights(run))))
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
    steps_per_epoch = len(data.train_labels) // config.finetune_batch_size
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

    for step in run.steps(
        total,
        start=start,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        batches=batches,
    ):
        epoch = (step - start) / steps_per_epoch
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
            with run.accelerator.autocast(), nullcontext() if last else run.accelerator.no_sync(model):
                loss = criterion(model(images), labels) / accumulate
                run.accelerator.backward(loss)
            names = batch["name"] if sum_of_parts.isfinite() else names
            sum_of_parts += loss.detach()
        run.log(step, loss=sum_of_parts, samples=names)
        optimizer.step()
    run.export(run.accelerator.unwrap_model(model).state_dict())


def kept(config: Config, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The pre-trained encoder weights that a variant carries over: all, or those outside of the blocks and of half of
    the blocks, rounded down (ViT only, a control)."""
    encoder = {name.removeprefix("encoder."): x for name, x in weights.items() if name.startswith("encoder.")}
    if config.load == "all":
        return encoder
    if config.encoder != "vit":
        raise UserError(f"load is {config.load}, a control for ViT only; a {config.encoder} needs load all.")
    (depth,) = config.depths
    half = range(depth // 2) if config.load == "first" else range(depth - depth // 2, depth)
    return {
        name: value
        for name, value in encoder.items()
        if not name.startswith("blocks.") or int(name.split(".")[1]) in half
    }


# -- networks ---------------------------------------------------------------------------------------------------------


def build_encoder(config: Config, image_size: int, discard: int = 0, drop_path: float = 0.0, **vit: Any) -> nn.Module:
    """The variant's encoder without its last ``discard`` blocks; ``vit`` are further options of a ViT."""
    depths = list(config.depths)
    if not 0 <= discard <= sum(depths) - len(depths):
        raise UserError(f"discard is {discard}; of blocks {config.depths} at most {sum(depths) - len(depths)} can go.")
    for _ in range(discard):  # from the end, but never the whole of a stage
        stage = next(k for k in reversed(range(len(depths))) if depths[k] > 1)
        depths[stage] -= 1
    shape: dict[str, Any] = {"image_size": image_size, "drop_path": drop_path}
    match config.encoder:
        case "vit":
            return ViT(
                **shape,
                **vit,
                patch_size=config.patch_size,
                width=config.widths[0],
                depth=depths[0],
                heads=config.heads[0],
            )
        case "swin":
            return Swin(
                **shape,
                patch_size=config.patch_size,
                width=config.widths[0],
                depths=tuple(depths),
                heads=config.heads,
            )
        case "pvtv2":
            return PVTv2(
                **shape,
                patch_size=config.patch_size,
                widths=config.widths,
                depths=tuple(depths),
                heads=config.heads,
                mlp_ratios=config.mlp_ratios,
                reductions=config.reductions,
            )
        case "cmt":
            return CMT(
                **shape,
                widths=config.widths,
                depths=tuple(depths),
                heads=config.heads,
                reductions=config.reductions,
            )


def build_pretraining(config: Config) -> nn.Module:
    """The variant's pre-training network at its first resolution."""
    encoder = build_encoder(config, config.resolutions[0], config.discard)
    match config.method:
        case "mae":
            return MAE(encoder, decoder_width=config.decoder_width, decoder_depth=config.decoder_depth)
        case "simmim":
            return SimMIM(encoder, block=config.block)
        case _:
            return FastMIM(
                encoder,
                target=config.target,
                block=config.block,
                cell=config.cell,
                decoder_width=config.decoder_width,
                decoder_depth=config.decoder_depth,
                normalize=config.normalize_target,
            )


def build_classifier(config: Config, classes: int, discard: int = 0) -> Classifier:
    """The variant's classifier at full resolution, without its last ``discard`` blocks."""
    encoder = build_encoder(config, config.image_size, discard, drop_path=config.drop_path, positions="trainable")
    return Classifier(encoder, classes)


if __name__ == "__main__":
    from shared.reproduce import train_one

    train_one(__package__)
