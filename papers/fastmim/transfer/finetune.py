"""The common part of detection and segmentation: options, the encoder that they start from, and its fine-tuning."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from shared import UserError
from shared.loading import Batches, SampledDataset
from shared.run import Run
from shared.support.weights import load_weights, open_trained_run

from ..build import PRETRAINED, build_classifier, official_classifier, trained_classifier
from ..config import Config
from ..encoders.classifier import Classifier, load_encoder
from ..optim import accumulation, layer_decay_groups, micro_batches, set_learning_rate
from .pyramid import Backbone

MAY_CHANGE = ("out", "workers", "save_every", "micro_batch_size", "debug")
"""Options with which an interrupted run goes on when they are others."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that detection and segmentation have in common."""

    data: Path
    """Folder of the dataset, in its published layout."""
    run: Path | None = None
    """Folder of a trained run of FastMIM, whose encoder is fine-tuned."""
    checkpoint: Path | None = None
    """File (.pth) with a fine-tuned ViT-B, Swin-B, PVTv2-B2 or CMT-S of the authors, in place of --run."""
    start: Literal["finetuned", "pretrained", "scratch"] = "finetuned"
    """Weights to start from: those of the run's classifier (as in the paper), of its pre-training, or random ones."""
    out: Path
    """Folder for the checkpoints, the log and result.json."""
    image_size: int
    """Side of the square images that the network sees, in pixels."""
    batch_size: int = 16
    """Images per optimizer step, over all processes."""
    micro_batch_size: int = 2
    """Largest number of images that a process passes through the network at once; gradients of more are accumulated."""
    learning_rate: float
    """Peak learning rate of AdamW."""
    warmup_steps: int
    """Steps in which the learning rate rises from zero to its peak."""
    weight_decay: float = 0.05
    """Weight decay of AdamW."""
    layer_decay: float
    """Factor on the learning rate from one encoder block to the block before it."""
    drop_path: float
    """Probability that training leaves out the last encoder block for an image; it falls to 0 at the first block."""
    pyramid_width: int = 256
    """Channels of every feature map of the pyramid between the encoder and the head."""
    precision: Literal["no", "fp16", "bf16"] = "no"
    """Number format of the network in training: no is float32, fp16 and bf16 are mixed precision."""
    workers: int = 4
    """Processes that read images, for each training process."""
    save_every: int = 1000
    """Optimizer steps between two checkpoints."""
    seed: int = 0
    """Seed of the random weights and of the order and augmentation of the images."""
    debug: bool = False
    """Show the traceback of an error."""


# -- the network ------------------------------------------------------------------------------------------------------


def load_backbone(options: Options, strides: Sequence[int]) -> tuple[Config, Backbone]:
    """The configuration of the run or checkpoint, and its encoder at ``options.image_size`` under a fresh pyramid.

    Raises:
        UserError: not one of --run and --checkpoint, no such run or a damaged one, or an image size that does not fit.
    """
    if (options.run is None) == (options.checkpoint is None):
        raise UserError("Give either --run, a folder of a trained run, or --checkpoint, a file of the authors.")
    if options.image_size % max(strides) or options.image_size < 1:
        raise UserError(f"--image-size is {options.image_size}; expected a multiple of {max(strides)}.")
    if options.run:
        config, trained = trained_classifier(options.run)
    else:
        assert options.checkpoint
        if options.start != "finetuned":
            raise UserError(f"--start {options.start} needs --run; a --checkpoint is a fine-tuned network.")
        config, trained = official_classifier(options.checkpoint)
    classifier = build_classifier(replace(config, drop_path=options.drop_path), trained.head.out_features)
    if options.start == "finetuned":
        classifier.load_state_dict(trained.state_dict())
    elif options.start == "pretrained":
        assert options.run
        _load_pretrained(classifier, config, options.run)
    classifier.encoder.set_image_size(options.image_size)
    return config, Backbone(classifier.encoder, options.pyramid_width, strides)


def _load_pretrained(classifier: Classifier, config: Config, run: Path) -> None:
    if config.method == "none":
        raise UserError(f"--run {run} had no pre-training; choose --start finetuned or scratch, or another --run.")
    with open_trained_run(run, "fastmim", Config, PRETRAINED) as (_, _, weights):
        load_encoder(classifier, load_weights(weights))


# -- training ---------------------------------------------------------------------------------------------------------


def finetune(
    options: Options,
    run: Run,
    model: nn.Module,
    dataset: SampledDataset,
    collate: Callable[[list[Any]], Any] | None,
    steps: int,
    learning_rate: Callable[[int], float],
) -> None:
    """Train ``model`` for ``steps`` steps, or what is left of them, with AdamW; exports its weights.

    In training mode ``model(images, targets)`` gives named losses, which are added up; it has a ``backbone`` whose
    encoder the layer decay is for. Batches have the keys ``image``, ``target`` and ``name``.

    Raises:
        UserError: if the dataset holds less than one batch, or the loss is not a finite number any more.
    """
    if len(dataset) < options.batch_size:
        raise UserError(
            f"--batch-size is {options.batch_size}, but {options.data} has only {len(dataset)} images to train on; "
            "choose a smaller one, or complete the data."
        )
    model = run.sync_batch_norm(model)
    accumulate = accumulation(options.batch_size, options.micro_batch_size, run)
    batches = Batches(
        dataset,
        options.batch_size // accumulate,
        seed=run.seed,
        accelerator=run.accelerator,
        workers=options.workers,
        collate=collate,
    )
    optimizer = torch.optim.AdamW(parameter_groups(model, options.weight_decay, options.layer_decay), fused=True)
    prepared, optimizer = run.accelerator.prepare(model, optimizer)
    run.reseed(per_process=True)  # weights were drawn alike; drop path and whatever else is random is not
    for step in run.steps(steps, save_every=options.save_every, model=prepared, optimizer=optimizer, batches=batches):
        set_learning_rate(optimizer, learning_rate(step))
        prepared.train()
        optimizer.zero_grad()
        totals: dict[str, Tensor] = {}
        names: list[str] = []
        for batch, last in micro_batches(batches, accumulate):
            with nullcontext() if last else run.accelerator.no_sync(prepared):
                losses = {k: x / accumulate for k, x in prepared(batch["image"], batch["target"]).items()}
                run.accelerator.backward(torch.stack(list(losses.values())).sum())
            if all(bool(x.isfinite()) for x in totals.values()):  # of the first part that is not
                names = batch["name"]
            totals = {k: x.detach() + totals.get(k, 0) for k, x in losses.items()}
        run.log(step, loss=torch.stack(list(totals.values())).sum(), samples=names, **totals)
        optimizer.step()
    run.export(model.state_dict())
    run.accelerator.free_memory()  # workers, and what they hold, would stay through evaluation


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: the backbone's with layer decay (pyramid 1), those of the heads without."""
    backbone = cast(Classifier, model.backbone)  # an encoder and further parameters, which is what counts here
    heads = nn.ModuleList(child for child in model.children() if child is not backbone)
    return [*layer_decay_groups(backbone, weight_decay, layer_decay), *param_groups_weight_decay(heads, weight_decay)]


def share(dataset: Dataset, run: Run, workers: int) -> DataLoader:
    """The samples, one by one, that this process evaluates: every P-th of P processes."""
    indices = range(run.accelerator.process_index, len(cast(Any, dataset)), run.accelerator.num_processes)
    return DataLoader(Subset(dataset, indices), batch_size=None, num_workers=workers)
