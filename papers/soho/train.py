"""Training: an explicit loop that reads like the paper's method section."""

import torch
from torch.nn.functional import mse_loss

from shared.loading import Batches
from shared.run import Run

from .build import build_model
from .config import Config
from .data import load


def train(config: Config, run: Run) -> None:
    """Train one variant."""
    points = load(run.cache, "train")
    batches = Batches(points, config.batch_size, seed=run.seed, accelerator=run.accelerator, workers=config.workers)
    model = build_model(config)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.learning_rate)
    model, optimizer = run.accelerator.prepare(model, optimizer)
    state = {"model": model, "optimizer": optimizer, "batches": batches}
    for step in run.steps(config.steps, save_every=config.save_every, **state):
        batch = next(batches)
        loss = mse_loss(model(batch["x"]), batch["y"])
        run.log(step, loss=loss, samples=batch["name"])
        optimizer.zero_grad()
        run.accelerator.backward(loss)
        optimizer.step()
    run.export(run.accelerator.unwrap_model(model).state_dict())


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
