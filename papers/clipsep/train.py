"""Training: mix two clips, separate each with its own query.

``python -m papers.clipsep.train --variant clipsep-nit --seed 0`` trains one run; ``make reproduce`` trains them all.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from shared.loading import Batches
from shared.run import Run

from .audio import Spectrogram, magnitude
from .build import UNTRAINED, build_model, build_spectrogram
from .config import Config
from .data import Data, MixAndSeparate, load, mixtures
from .losses import noise_invariant_loss, permutation_invariant_loss, separation_loss


def train(config: Config, run: Run) -> None:
    """Train one variant; leaves the weights with the lowest validation loss in the run's folder."""
    if config.model in UNTRAINED:
        return
    data = load(config, run.cache)
    spectrogram = build_spectrogram(config).to(run.device)
    batches = Batches(
        MixAndSeparate(data.train, config),
        config.batch_size,
        seed=run.seed,
        accelerator=run.accelerator,
        workers=config.workers,
    )
    model = run.sync_batch_norm(build_model(config, data.queries.sentence, data.queries.text.shape[1]))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    schedule = LambdaLR(
        optimizer,
        lambda step: lr_multiplier(step, config.warmup_steps, config.decay_until, config.decay_floor),
    )
    model, optimizer = run.accelerator.prepare(model, optimizer)
    best = Best()
    training_text = data.queries.training_text.to(run.device)

    for step in run.steps(
        config.steps,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
        best=best,
    ):
        batch = next(batches)
        model.train()
        queries = choose_queries(config, step, batch["image"], training_text, batch["label"])
        loss, parts = loss_of(config, step, model, spectrogram, batch["sources"], queries)
        run.log(step, loss=loss, samples=batch["name"], **parts)
        optimizer.zero_grad()
        run.accelerator.backward(loss)
        run.accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        schedule.step()

        if (step + 1) % config.validate_every == 0 or step + 1 == config.steps:
            best.offer(
                validate(config, model, spectrogram, data, training_text, run), run.accelerator.unwrap_model(model)
            )
    run.export(best.weights)


def loss_of(
    config: Config, step: int, model: nn.Module, spectrogram: Spectrogram, sources: Tensor, queries: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The variant's loss on mixtures of ``sources`` (B, n, N), with ``queries`` (B, n, D) or labels (B, n)."""
    spectra = spectrogram.stft(sources.unsqueeze(2))  # (B, n, 1, F, T)
    log_mixture, targets, weight = spectrogram.targets(magnitude(spectra), magnitude(spectra.sum(1)))
    mask_logits, noise_logits = model(log_mixture, queries)
    if config.model == "pit":
        return permutation_invariant_loss(mask_logits, targets, weight), {}
    if noise_logits is None:
        return separation_loss(mask_logits, targets, weight), {}
    if step < config.noise_warmup_steps:  # the zero keeps the noise heads in the graph, as data parallelism wants
        return separation_loss(mask_logits, targets, weight) + 0 * noise_logits.sum(), {}
    return noise_invariant_loss(mask_logits, noise_logits, targets, weight, config.lambda_, config.gamma)


def choose_queries(config: Config, step: int, image: Tensor, text_of_label: Tensor, label: Tensor) -> Tensor:
    """The queries a variant trains with: labels (B, n), or embeddings (B, n, D) of frames or of label texts."""
    if config.model in ("labelsep", "bertsep"):
        return label
    if config.train_query == "text" or (config.train_query == "hybrid" and step % 2 == 1):
        return text_of_label[label]
    return image


@torch.no_grad()
def validate(
    config: Config, model: nn.Module, spectrogram: Spectrogram, data: Data, text_of_label: Tensor, run: Run
) -> float:
    """Mean training loss over the first validation set, with the queries the variant is trained with (image first)."""
    model.eval()
    total = torch.zeros(2, device=run.device)
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    mixed = next(iter(data.held_out["validation"].values()))
    pairs = mixed[rank::world]
    # The loss of NIT has a mean over processes in it: all take as many turns, a share that is used up without weight.
    for start in range(0, -(-len(mixed) // world), config.batch_size):
        chunk = pairs[start : start + config.batch_size]
        weight, chunk = len(chunk), chunk or pairs[:1]
        sources = mixtures(chunk, config).to(run.device)
        label = torch.tensor([[p.target.label, p.interferer.label] for p in chunk], device=run.device)
        image = torch.stack([torch.stack([p.image, p.swapped.image]) for p in chunk]).to(run.device)
        queries = choose_queries(config, 0, image, text_of_label, label)
        loss, _ = loss_of(config, config.steps, run.accelerator.unwrap_model(model), spectrogram, sources, queries)
        total += torch.tensor([float(loss) * weight, weight], device=run.device)
    total = run.accelerator.reduce(total, reduction="sum")
    return float(total[0] / total[1])


class Best:
    """The weights with the lowest validation loss so far; part of the checkpoint."""

    def __init__(self) -> None:
        self.loss = float("inf")
        self.weights: dict[str, Tensor] = {}

    def offer(self, loss: float, model: nn.Module) -> None:
        if loss < self.loss or not self.weights:
            self.loss = loss
            self.weights = {name: x.detach().cpu().clone() for name, x in model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loss, self.weights = state["loss"], state["weights"]


def lr_multiplier(step: int, warmup: int = 5000, decay_until: int = 100_000, floor: float = 0.1) -> float:
    """Factor on the learning rate at a 0-based step: linear warm-up to 1, linear decay to ``floor``, then constant.

    Source: official code.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min((step - warmup) / max(decay_until - warmup, 1), 1.0)
    return 1 - (1 - floor) * progress


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
