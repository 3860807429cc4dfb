"""Training."""

import time

from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from shared.loading import Batches
from shared.run import Run
from shared.support.weights import load_weights

from .config import Config
from .data import load


def train(config: Config, run: Run) -> None:
    """Train one variant."""
    batches = Batches(
        load(run.cache), config.batch_size, seed=run.seed, accelerator=run.accelerator, workers=config.workers
    )
    model = build_model(config)
    if run.start:
        model.load_state_dict(load_weights(run.start_weights))
    optimizer = Adam(model.parameters(), lr=config.learning_rate)
    schedule = LambdaLR(optimizer, lambda step: 1 / (1 + step / 10))
    model, optimizer = run.accelerator.prepare(model, optimizer)
    run.reseed(per_process=True)  # of the dropout
    state = {"model": model, "optimizer": optimizer, "schedule": schedule, "batches": batches}
    for step in run.steps(config.steps, save_every=config.save_every, **state):
        batch = next(batches)
        loss = mse_loss(model(batch["x"]).squeeze(1), batch["y"])
        run.log(step, loss=loss, samples=batch["name"])
        optimizer.zero_grad()
        run.accelerator.backward(loss)
        optimizer.step()
        schedule.step()
        time.sleep(config.pause)
    run.export(run.accelerator.unwrap_model(model).state_dict())


def build_model(config: Config) -> nn.Module:
    """19 parameters."""
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Dropout(config.dropout), nn.Linear(3, 1))


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
