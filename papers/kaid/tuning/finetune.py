"""Fine-tuning: heads on frozen features, or the encoder and a head together."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from shared.loading import Batches
from shared.run import Run

from ..build import head, head_name, wanted_states
from ..config import Config
from ..datasets.tasks import Example, Task, few_shot
from ..model import ClassificationHead, KnowledgeModel
from ..states import Encoder, StateSource
from .features import TaskModel, features

LBFGS_STEPS = 100


def fit_heads(
    config: Config, run: Run, model: KnowledgeModel, states: StateSource, task: Task
) -> Iterator[tuple[str, ClassificationHead]]:
    """Heads of a task on frozen features for every number of labels and draw, by their names."""
    pool = task.splits["train"]
    with torch.no_grad():
        of_pool = features(config, model, states, pool)
    row = {id(example): k for k, example in enumerate(pool)}
    for shots in config.shots:
        for draw in range(config.draws):
            chosen = few_shot(task, shots, run.seed, draw)
            rows = torch.tensor([row[id(example)] for example in chosen])
            label = torch.tensor([example.label for example in chosen], device=of_pool.device)
            fitted = head(config, task, model.width).to(of_pool.device)
            yield head_name(task, shots, draw), fit_head(config, fitted, of_pool[rows], label)


def fit_head(config: Config, fitted: ClassificationHead, of_texts: Tensor, label: Tensor) -> ClassificationHead:
    """Cross-entropy to its minimum, with a penalty on the distance from the weights that the head begins with."""
    linear = fitted.out_proj
    prior = linear.weight.detach().clone()
    optimizer = torch.optim.LBFGS(fitted.parameters(), max_iter=LBFGS_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        distance = (linear.weight - prior).square().sum()
        loss = F.cross_entropy(fitted(of_texts), label) + config.head_l2 * distance
        loss.backward()
        return loss

    optimizer.step(closure)
    return fitted


def tune_all(config: Config, run: Run, source: Encoder, model: KnowledgeModel, task: Task, start: int) -> TaskModel:
    """Train the encoder and a new head with all that `shots` gives; adapters and fusion stay frozen.

    Args:
        source: is changed: give a copy.
        start: number of the first step: the tasks of a run follow one another.
    """
    examples = few_shot(task, config.shots[-1], run.seed, 0)
    whole = TaskModel(
        config, source.requires_grad_(True), model, head(config, task, source.width), wanted_states(config, source)
    )
    batches = Batches(
        Labelled(examples),
        min(config.tuning_batch_size, len(examples)),
        seed=run.seed,
        accelerator=run.accelerator,
        collate=list,
    )
    trained = [x for x in whole.parameters() if x.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.tuning_learning_rate, weight_decay=config.weight_decay)
    schedule = warmup_and_decay(optimizer, config.tuning_steps, config.warmup)
    prepared, optimizer = run.accelerator.prepare(whole.to(run.device).train(), optimizer)
    for step in run.steps(
        start + config.tuning_steps,
        start=start,
        save_every=config.save_every,
        model=prepared,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
    ):
        batch = [sample["example"] for sample in next(batches)]
        label = torch.tensor([example.label for example in batch], device=run.device)
        loss = F.cross_entropy(prepared(batch).float(), label)
        run.log(step, loss=loss, samples=[example.text for example in batch])
        optimizer.zero_grad()
        run.accelerator.backward(loss)
        if config.gradient_clip:
            run.accelerator.clip_grad_norm_(trained, config.gradient_clip)
        optimizer.step()
        schedule.step()
    return whole.eval()


class Labelled:
    """Examples as samples."""

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Example]:
        return {"example": self.examples[index]}


def warmup_and_decay(optimizer: torch.optim.Optimizer, steps: int, warmup: float) -> LambdaLR:
    rising = max(1, round(warmup * steps))
    return LambdaLR(optimizer, lambda step: min((step + 1) / rising, max(0.0, (steps - step) / max(1, steps - rising))))
