"""Pre-training on two corpora without a pair, and fine-tuning for retrieval and other tasks.

``python -m papers.wfh.train --variant wfh --seed 0`` pre-trains one network; ``make reproduce`` trains all.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.loading import Batches
from shared.run import Run
from shared.support.files import write_json
from shared.support.weights import weights_file

from .build import downstream, pretraining
from .config import Config
from .data import answers, captioned, class_names, corpora, standardisation, stored_scenes, texts, vocabulary
from .datasets.regions import SomeImages
from .hallucination.gallery import FILE, gallery
from .optimizer import BertAdam
from .sampling.samples import (
    Encoder,
    Interleaved,
    LabelledTexts,
    RetrievalPairs,
    collate,
    collate_rows,
    inputs,
    sources,
)
from .scoring import accuracy, recalls, retrieval_ranks, text_scores


def train(config: Config, run: Run) -> None:
    """Train one stage of one variant; leaves the weights in the run's folder."""
    if config.task == "pretrain":
        pretrain(config, run)
    else:
        fine_tune(config, run)


# -- pre-training -----------------------------------------------------------------------------------------------------


def pretrain(config: Config, run: Run) -> None:
    """U-VisualBERT's pre-training, with hallucinations of captions or without; keep the last weights."""
    words, found = vocabulary(config), corpora(config, run.cache, run.seed)
    corpus = sources(config, found, Encoder(config, words, class_names(config)))
    streams = {
        kind: Batches(
            source,
            config.batch_size,
            seed=run.seed,
            accelerator=run.accelerator,
            workers=config.workers,
            collate=collate,
        )
        for kind, source in corpus.items()
    }
    counts = {kind: len(source) // config.batch_size for kind, source in corpus.items()}
    batches = Interleaved(streams, counts, run.seed)
    clustered = evenly(found.images, config.vocabulary_regions)
    features = (
        np.concatenate([clustered[k].features for k in range(len(clustered))]) if config.objective == "wfh" else None
    )
    network = pretraining(config, words, features, run.seed)
    steps = pretraining_steps(config)
    optimizer = BertAdam(
        trained(network), config.learning_rate, warmup=config.warmup, total=steps, decay=config.weight_decay
    )
    model, optimizer = run.accelerator.prepare(network, optimizer)
    run.reseed(per_process=True)  # dropout and drawn hallucinations differ between processes

    for step in run.steps(steps, save_every=config.save_every, model=model, optimizer=optimizer, batches=batches):
        model.train()
        kind, batch = batches.at(step)
        losses = model(kind, batch, step >= config.hallucinator_warmup * steps)
        loss = torch.stack(list(losses.values())).sum()
        logged = {f"loss_{name}": x.detach() for name, x in losses.items() if name != "nothing"}
        run.log(step, loss=loss, samples=batch["name"], **logged)
        update(run, model, optimizer, loss, config.clip_norm)
    run.export(run.accelerator.unwrap_model(model).state_dict())
    if network.hallucinator is not None and network.hallucinator.visual is not None:
        shown = gallery(network.hallucinator.cpu(), clustered, _pictures(config, run))
        if config.data is None:
            shown |= standardisation(config, run.cache)
        run.export(shown, weights_file(run.folder, FILE))


def _pictures(config: Config, run: Run) -> np.ndarray | None:
    return stored_scenes(config, run.cache, "pretrain").pictures if config.data is None else None


def pretraining_steps(config: Config) -> int:
    """Optimizer steps of pre-training."""
    return round(config.step_factor * config.steps)


def evenly(images: SomeImages, regions: int) -> SomeImages:
    """Images of the image-only corpus, evenly drawn, with about so many regions in all."""
    count = min(len(images), max(1, regions // len(images[0].features)))
    return SomeImages(images.images, images.numbers[np.linspace(0, len(images) - 1, count).astype(int)])


# -- downstream tasks -------------------------------------------------------------------------------------------------


def fine_tune(config: Config, run: Run) -> None:
    """Train for a task, from pre-trained weights or none; keep the weights that are best on validation images."""
    words = vocabulary(config)
    encoder = Encoder(config, words, class_names(config))
    dataset: RetrievalPairs | LabelledTexts
    if config.task == "retrieval":
        names = None
        dataset = RetrievalPairs(captioned(config, run.cache, "train"), encoder)
    else:
        names = answers(config)
        dataset = LabelledTexts(texts(config, run.cache, "train"), names, encoder)
        if run.accelerator.is_main_process:
            write_json(run.folder / "answers.json", names)
    batches = Batches(
        dataset,
        config.tuning_batch_size,
        seed=run.seed,
        accelerator=run.accelerator,
        workers=config.workers,
        collate=collate_rows,
    )
    network = downstream(config, words, names, run.start_weights if run.start else None)
    optimizer = BertAdam(
        trained(network),
        config.tuning_learning_rate,
        warmup=config.tuning_warmup,
        total=config.tuning_steps,
        decay=config.weight_decay,
    )
    model, optimizer = run.accelerator.prepare(network, optimizer)
    run.reseed(per_process=True)
    best, score = Best(), validation(config, run, encoder, names)

    for step in run.steps(
        config.tuning_steps,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        batches=batches,
        best=best,
    ):
        model.train()
        batch = next(batches)
        loss = task_loss(config, model(inputs(batch)), batch["target"])
        run.log(step, loss=loss, samples=batch["name"], best_validation=best.score)
        update(run, model, optimizer, loss, config.clip_norm)
        if (step + 1) % config.validate_every == 0 or step + 1 == config.tuning_steps:
            best.offer(score(network), network)
    run.export(best.weights)


def task_loss(config: Config, scores: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of matching, of a label, or of each answer by itself where several may be right (VQA).

    Args:
        scores: (B, classes).
        target: (B,) int64 of retrieval, else (B, classes) in [0, 1].
    """
    scores = scores.float()
    if config.task == "retrieval":
        return F.cross_entropy(scores, target)
    if config.task == "vqa":
        return F.binary_cross_entropy_with_logits(scores, target, reduction="sum") / len(scores)
    return F.cross_entropy(scores, target.argmax(1))


def validation(config: Config, run: Run, encoder: Encoder, names: Sequence[str] | None) -> Callable[[nn.Module], float]:
    """A function that scores a network on validation images: the sum of the recalls, or the accuracy."""
    if names is None:
        pairs, size = captioned(config, run.cache, "validation"), config.validation_pool
        pairs = pairs._replace(
            images=SomeImages(pairs.images, np.arange(min(len(pairs.images), config.validation_queries)))
        )

        def rsum(network: nn.Module) -> float:
            text_ranks, _, image_ranks, _ = retrieval_ranks(network, pairs, size, encoder, run.device, texts=1)
            return recalls(text_ranks, image_ranks)["rsum_percent"]

        return rsum
    found = texts(config, run.cache, "validation")
    numbers = range(min(len(found.texts), config.validation_queries))

    def percent(network: nn.Module) -> float:
        return accuracy(text_scores(network, found, numbers, encoder, run.device), found, numbers, names)

    return percent


class Best:
    """The weights with the best validation score so far; part of the checkpoint."""

    def __init__(self) -> None:
        self.score = -1.0
        self.weights: dict[str, Tensor] = {}

    def offer(self, score: float, network: nn.Module) -> None:
        if score > self.score:
            self.score = score
            self.weights = {name: x.detach().cpu().clone() for name, x in network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.score, self.weights = state["score"], state["weights"]


# -- what both have in common -----------------------------------------------------------------------------------------


def trained(network: nn.Module) -> list[nn.Parameter]:
    return [x for x in network.parameters() if x.requires_grad]


def update(run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, clip_norm: float) -> None:
    """One step of the optimizer."""
    optimizer.zero_grad()
    run.accelerator.backward(loss)
    run.accelerator.clip_grad_norm_(trained(model), clip_norm)
    optimizer.step()


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
