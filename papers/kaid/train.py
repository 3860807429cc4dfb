"""Infuse relational knowledge into adapters, fit the heads of the tasks, distil a student.

``python -m papers.kaid.train --variant kaid --seed 0`` infuses and fits; ``make reproduce`` trains all variants.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from shared.loading import Batches
from shared.run import Run
from shared.support.weights import weights_file

from .build import domain_file, encoder, head, knowledge_model, load_knowledge, state_source
from .config import Config
from .data import domains, states_file, token_ids
from .datasets.tasks import Domain, Task, few_shot
from .knowledge import HYPERNYM_OF, NONE, SAME, Facts, collate, infused_triples
from .losses import alignment_loss
from .features import features
from .model import ClassificationHead, KnowledgeModel, MaskedHead, RelationHead
from .states import Encoder, States, StateSource

RELATIONS = 4
LBFGS_STEPS = 100


def train(config: Config, run: Run) -> None:
    """Train what the variant asks for; leaves adapters a domain, and the heads of all tasks, in the run's folder."""
    if config.method == "overlap":
        run.export({})
        return
    source = encoder(config).requires_grad_(False).to(run.device)
    states = state_source(config, source, states_file(config, run.cache))
    found = domains(config, run.cache)
    for number, domain in enumerate(found):
        finished = weights_file(run.folder, domain_file(domain.name))
        if config.method == "adapters" and not finished.exists():
            run.reseed()  # a domain's numbers do not depend on those before it
            start = number * config.steps * len(config.relations)
            run.export(infuse(config, run, domain, source, states, start).state_dict(), finished)
    heads: dict[str, Tensor] = {}
    for domain in found:
        model = trained_model(config, run, source, domain)
        for task in domain.tasks:
            for name, fitted in fit_heads(config, run, model, states, task):
                heads |= {f"{name}.{key}": x for key, x in fitted.state_dict().items()}
    run.export(heads)


def trained_model(config: Config, run: Run, source: Encoder, domain: Domain) -> KnowledgeModel:
    """The domain's infused adapters, or none."""
    if config.method == "encoder":
        return knowledge_model(config, source).to(run.device).eval()
    return load_knowledge(config, source, weights_file(run.folder, domain_file(domain.name))).to(run.device)


# -- infusion ---------------------------------------------------------------------------------------------------------


class Infusion(nn.Module):
    """Adapters, fusion, and the heads of the pre-training tasks."""

    def __init__(self, config: Config, model: KnowledgeModel, source: Encoder) -> None:
        super().__init__()
        self.model = model
        self.relation = RelationHead(source.width, RELATIONS) if config.relation_weight else None
        words = source.backbone.get_input_embeddings().weight
        self.masked = MaskedHead(words) if config.masked_weight else None

    def forward(
        self, query: tuple[States, Tensor], phrase: tuple[States, Tensor], masked: tuple[States, Tensor], words: list[int]
    ) -> dict[str, Tensor]:
        """Features "query" and "phrase" (B, d), and logits "masked" of all masked positions, a row each.

        Args:
            words: number of masked tokens of each sentence; they stand at its end, before the separator.
        """
        found = {"query": self.model(*query), "phrase": self.model(*phrase)}
        if self.relation is not None:
            vectors = [found["query"], found["phrase"]]
            others = vectors[0].roll(1, 0)
            pairs = [(vectors[0], vectors[1]), (vectors[1], vectors[0]), (vectors[0], others)]
            found["relation"] = torch.cat([self.relation(*pair) for pair in pairs])
        if self.masked is not None:
            tokens, ends = self.model.tokens(*masked), masked[1].sum(1).tolist()
            chosen = [tokens[k, end - 1 - n : end - 1] for k, (n, end) in enumerate(zip(words, ends, strict=True))]
            found["masked"] = self.masked(torch.cat(chosen))
        return found


def infuse(
    config: Config, run: Run, domain: Domain, source: Encoder, states: StateSource, start: int
) -> KnowledgeModel:
    """Train a domain's adapters beside the frozen encoder, a stack at a time; returns the model without its heads.

    Args:
        start: number of the first step: the domains of a run follow one another.
    """
    whole = knowledge_model(config, source).to(run.device)
    if config.knowledge == "none":
        return whole
    for number, (name, triples) in enumerate(infused_triples(config, domain, run.seed).items()):
        facts = Facts(triples, domain.templates, source.tokenizer.mask_token, token_ids(source))
        run.reseed()
        part = knowledge_model(config, source, (name,)).to(run.device)
        infuse_stack(config, run, facts, Infusion(config, part, source), states, start + number * config.steps)
        whole.stacks[name].load_state_dict(part.stacks[name].state_dict())
        if config.fusion == "concat":
            whole.fusion.project[name].load_state_dict(part.fusion.project[name].state_dict())
    return whole


def infuse_stack(
    config: Config, run: Run, facts: Facts, infusion: Infusion, states: StateSource, start: int
) -> None:
    """Contrastive alignment, relation classification and masked knowledge modelling, added up."""
    batches = Batches(
        facts,
        min(config.batch_size, len(facts)),
        seed=run.seed,
        accelerator=run.accelerator,
        workers=config.workers,
        collate=collate,
    )
    optimizer = torch.optim.AdamW(infusion.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = warmup_and_decay(optimizer, config.steps, config.warmup)
    model, optimizer = run.accelerator.prepare(infusion.to(run.device).train(), optimizer)

    for step in run.steps(
        start + config.steps,
        start=start,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
    ):
        batch = next(batches)
        words = [len(ids) for ids in batch["words"]]
        found = model(*(states(batch[name]) for name in ("query", "phrase", "masked")), words)
        parts = infusion_losses(config, facts, batch, found)
        loss = torch.stack([weight * parts[name] for name, weight in loss_weights(config).items()]).sum()
        run.log(step, loss=loss, samples=batch["term"], **{name: float(x.detach()) for name, x in parts.items()})
        optimizer.zero_grad()
        run.accelerator.backward(loss)
        if config.gradient_clip:
            run.accelerator.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimizer.step()
        schedule.step()


def loss_weights(config: Config) -> dict[str, float]:
    """The pre-training tasks that count, and their weights."""
    weights = {"align": config.align_weight, "relation": config.relation_weight, "masked": config.masked_weight}
    return {name: weight for name, weight in weights.items() if weight}


def infusion_losses(
    config: Config, facts: Facts, batch: dict[str, Any], found: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Losses "align", "relation" and "masked", those that count."""
    losses: dict[str, Tensor] = {}
    query, phrase = found["query"].float(), found["phrase"].float()
    if config.align_weight:
        related = lambda ids: facts.related_to(batch["term"], ids)  # noqa: E731
        losses["align"] = alignment_loss(query, phrase, batch["phrase_id"], related, config.temperature)
    if config.relation_weight:
        relation = batch["relation"]
        inverse = torch.where(relation == SAME, SAME, HYPERNYM_OF)
        terms = batch["term"]
        unrelated = [a not in facts.related[b] and b not in facts.related[a] for a, b in _neighbours(terms)]
        none = torch.where(torch.tensor(unrelated, device=relation.device), NONE, -100)
        losses["relation"] = F.cross_entropy(found["relation"].float(), torch.cat([relation, inverse, none]))
    if config.masked_weight:
        target = torch.tensor([x for ids in batch["words"] for x in ids], device=query.device)
        losses["masked"] = F.cross_entropy(found["masked"].float(), target)
    return losses


def _neighbours(terms: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each term and the one before it, as `Tensor.roll` has them."""
    return zip(terms, [terms[-1], *terms[:-1]], strict=True)


def warmup_and_decay(optimizer: torch.optim.Optimizer, steps: int, warmup: float) -> LambdaLR:
    rising = max(1, round(warmup * steps))
    return LambdaLR(optimizer, lambda step: min((step + 1) / rising, max(0.0, (steps - step) / max(1, steps - rising))))


# -- fine-tuning ------------------------------------------------------------------------------------------------------


def fit_heads(
    config: Config, run: Run, model: KnowledgeModel, states: StateSource, task: Task
) -> Iterator[tuple[str, ClassificationHead]]:
    """Heads of a task on frozen features for every number of labels and draw, by their names."""
    pool = task.splits["train"]
    of_pool = features(config, model, states, pool)
    row = {id(example): k for k, example in enumerate(pool)}
    for shots in config.shots:
        for draw in range(config.draws):
            chosen = few_shot(task, shots, run.seed, draw)
            rows = torch.tensor([row[id(example)] for example in chosen])
            label = torch.tensor([example.label for example in chosen], device=of_pool.device)
            fitted = head(config, task, model.width).to(of_pool.device)
            yield head_name(task, shots, draw), fit_head(config, fitted, of_pool[rows], label)


def head_name(task: Task, shots: int, draw: int) -> str:
    return f"{task.name}/{shots}/{draw}"


def fit_head(
    config: Config, fitted: ClassificationHead, of_texts: Tensor, label: Tensor
) -> ClassificationHead:
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


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
