"""Pre-training with masked words, masked codes and matching; fine-tuning for a downstream task.

``python -m papers.soho.train --variant soho --seed 0`` pre-trains one network; ``make reproduce`` trains all.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from shared.loading import Batches
from shared.run import Run
from shared.support.files import write_json

from .build import downstream, pretraining
from .config import Config
from .data import captioned, classes, texts, vocabulary
from .losses import answer_loss, decayed, masked_loss, match_loss, text_rows
from .sampling import OneOrientation, Pairs, Questions, Sampled, collate, images
from .visual.dictionary import VisualDictionary


def train(config: Config, run: Run) -> None:
    """Train one stage of one variant; leaves the weights in the run's folder."""
    match config.task:
        case "speed":
            run.export({"nothing": torch.zeros(1)})
        case "pretrain":
            pretrain(config, run)
        case "vqa" | "nlvr2" | "snli-ve" | "retrieval":
            fine_tune(config, run)


def pretrain(config: Config, run: Run) -> None:
    """Pre-train on images with captions: three losses, added up."""
    words = vocabulary(config)
    with run.accelerator.main_process_first():  # boxes of photographs are detected once
        found = captioned(config, run.cache, "train")
    dataset = Pairs(found, words, texts=config.texts, length=config.length, mask=config.mask_words)

    def losses(model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        predicted = model(images(batch, config.blind), batch["words"], batch["of"])
        rows = text_rows(batch["match"], positives_only=config.positives_only)
        found = {
            "words": masked_loss(predicted.words, batch["word_labels"], rows),
            "match": match_loss(predicted.match, batch["match"]),
        }
        if predicted.codes is not None and predicted.code_labels is not None:
            found["codes"] = masked_loss(predicted.codes, predicted.code_labels, rows)
        return found

    optimise(config, run, pretraining(config, words), dataset, losses)


def fine_tune(config: Config, run: Run) -> None:
    """Train for a downstream task, from the weights of pre-training or from scratch."""
    words, names = vocabulary(config), classes(config)
    dataset: Sampled
    with run.accelerator.main_process_first():  # as above
        if config.task == "retrieval":
            found = captioned(config, run.cache, "train")
            dataset = Pairs(found, words, texts=config.texts, length=config.length, mask=0)
        else:
            asked = texts(config, run.cache, "train")
            dataset = Questions(asked, names, words, texts=config.texts, length=config.length)

    def losses(model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        logits = model(images(batch, config.blind), batch["words"], batch["of"])
        if config.task == "retrieval":
            return {"match": match_loss(logits, batch["match"])}
        if config.task == "vqa":
            return {"answers": answer_loss(logits, batch["target"])}
        return {"labels": F.cross_entropy(logits.float(), batch["target"].argmax(1))}

    start = run.start_weights if run.start else None
    if run.accelerator.is_main_process:
        write_json(run.folder / "classes.json", names)  # prediction needs them without the data
    optimise(config, run, downstream(config, words, names, start), dataset, losses)


class Stage(NamedTuple):
    """The numbers of pre-training, or of a downstream task."""

    batch_size: int
    accumulate: int
    steps: int
    learning_rate: float
    trunk_rate: float
    milestones: tuple[float, ...]
    clip: float


def stage_of(config: Config) -> Stage:
    """The numbers of the stage that a configuration asks for."""
    prefix = "" if config.task == "pretrain" else "tuning_"
    return Stage(*(getattr(config, prefix + name) for name in Stage._fields))


def optimise(
    config: Config,
    run: Run,
    network: nn.Module,
    dataset: Sampled,
    losses: Callable[[nn.Module, dict[str, Any]], dict[str, Tensor]],
) -> None:
    """The loop of all stages, with SGD for the CNN and AdamW for the rest under one schedule; exports the weights."""
    stage = stage_of(config)
    if config.group > 1:
        dataset = OneOrientation(dataset, config.group)
    batches = Batches(
        dataset,
        stage.batch_size // config.group,
        seed=run.seed,
        accelerator=run.accelerator,
        workers=config.workers,
        collate=partial(collate, most_boxes=config.most_boxes),
    )
    network = run.sync_batch_norm(network)
    trunk = {name for name, _ in network.named_parameters() if name.startswith("soho.trunk.")}
    trained = {name: x for name, x in network.named_parameters() if x.requires_grad}
    sgd, adamw = optimizers(
        [x for name, x in trained.items() if name in trunk],
        [x for name, x in trained.items() if name not in trunk],
        sgd_rate=stage.trunk_rate,
        rate=stage.learning_rate,
        sgd_decay=config.trunk_decay,
        decay=config.weight_decay,
    )
    milestones = tuple(round(share * stage.steps) for share in stage.milestones)
    factor = partial(decayed, warmup=config.warmup, warmup_ratio=1 / 3, milestones=milestones)
    schedules = [LambdaLR(optimizer, factor) for optimizer in (sgd, adamw)]
    model, sgd, adamw = run.accelerator.prepare(network, sgd, adamw)
    run.reseed(per_process=True)  # dropout and masked codes differ between processes

    for step in run.steps(
        stage.steps,
        save_every=config.save_every,
        model=model,
        sgd=sgd,
        adamw=adamw,
        sgd_schedule=schedules[0],
        adamw_schedule=schedules[1],
        batches=batches,
    ):
        model.train()
        for optimizer in (sgd, adamw):
            optimizer.zero_grad()
        logged: dict[str, Tensor] = {}
        names: list[str] = []
        for _ in range(stage.accumulate):
            batch = next(batches)
            parts = losses(model, batch)
            run.accelerator.backward(torch.stack(list(parts.values())).sum() / stage.accumulate)
            logged = {name: logged.get(name, 0) + x.detach() / stage.accumulate for name, x in parts.items()}
            names += batch["name"]
        total = torch.stack(list(logged.values())).sum()
        run.log(step, loss=total, samples=names, **{f"loss_{name}": x for name, x in logged.items()}, **usage(network))
        run.accelerator.clip_grad_norm_(trained.values(), stage.clip)
        for optimizer, schedule in zip((sgd, adamw), schedules, strict=True):
            optimizer.step()
            schedule.step()
    run.export(run.accelerator.unwrap_model(model).state_dict())


def usage(network: nn.Module) -> dict[str, float]:
    """Codes that the last batch used, and their perplexity."""
    for module in network.modules():
        if isinstance(module, VisualDictionary) and not module.frozen:
            share = module.last_counts / module.last_counts.sum()
            return {"codes_used": float((share > 0).sum()), "perplexity": float(torch.special.entr(share).sum().exp())}
    return {}


def optimizers(
    trunk: Iterable[nn.Parameter],
    others: Iterable[nn.Parameter],
    *,
    sgd_rate: float,
    rate: float,
    sgd_decay: float,
    decay: float,
) -> tuple[Optimizer, Optimizer]:
    """SGD with momentum for the CNN, AdamW for everything else (the official `AdamwSGD`).

    A frozen CNN leaves SGD with one parameter that nothing uses.
    """
    convolutions = list(trunk) or [nn.Parameter(torch.zeros(1))]
    sgd = torch.optim.SGD(convolutions, sgd_rate, momentum=0.9, weight_decay=sgd_decay, fused=True)
    adamw = torch.optim.AdamW(list(others), rate, betas=(0.9, 0.999), eps=1e-6, weight_decay=decay, fused=True)
    return sgd, adamw


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
