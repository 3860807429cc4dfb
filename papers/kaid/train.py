"""Infuse relational knowledge into adapters, fit the heads of the tasks, distil a student.

``python -m papers.kaid.train --variant kaid --seed 0`` infuses and fits; ``make reproduce`` trains all variants.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.loading import Batches
from shared.run import Run
from shared.support.weights import weights_file

from .build import domain_file, encoder, knowledge_model, load_knowledge, stack_names, state_source, task_file
from .config import Config
from .data import domains, states_file, token_ids
from .datasets.facts import HYPERNYM_OF, NONE, SAME, Facts, collate, infused_triples
from .datasets.tasks import Domain
from .losses import alignment_loss
from .model import KnowledgeModel, MaskedHead, RelationHead
from .states import Encoder, States, StateSource
from .students.distil import distil
from .tuning.finetune import fit_heads, tune_all, warmup_and_decay

RELATIONS = 4


def train(config: Config, run: Run) -> None:
    """Train what the variant asks for; leaves a file for each domain and the heads of all tasks in the run's folder."""
    if config.method in ("acquire", "overlap"):  # nothing of theirs is trained
        run.export({})
        return
    source = encoder(config).requires_grad_(False).to(run.device)
    found = domains(config, run.cache)
    if config.method == "student":
        train_students(config, run, source, found[: config.distilled_domains])
        return
    states = state_source(config, source, states_file(config, run.cache))
    for number, domain in enumerate(found):
        finished = weights_file(run.folder, domain_file(domain.name))
        if config.method == "adapters" and not finished.exists():
            run.reseed()  # a domain's numbers do not depend on those before it
            start = infusion_steps(config, number)
            run.export(infuse(config, run, domain, source, states, start).state_dict(), finished)
    if config.tuning == "full":
        tune_tasks(config, run, found)
        return
    heads: dict[str, Tensor] = {}
    for domain in found:
        model = trained_model(config, run, source, domain)
        for task in domain.tasks:
            for name, fitted in fit_heads(config, run, model, states, task):
                heads |= {f"{name}.{key}": x for key, x in fitted.state_dict().items()}
    run.export(heads)


def trained_model(config: Config, run: Run, source: Encoder, domain: Domain) -> KnowledgeModel:
    """The domain's infused adapters, or none."""
    weights = weights_file(run.folder, domain_file(domain.name)) if config.method == "adapters" else None
    return load_knowledge(config, source, weights).to(run.device)


def train_students(config: Config, run: Run, source: Encoder, found: list[Domain]) -> None:
    """A student for each domain."""
    for number, domain in enumerate(found):
        finished = weights_file(run.folder, domain_file(domain.name))
        if not finished.exists():
            student = distil(config, run, domain, source, number * config.student_steps)
            run.export({name: x for name, x in student.named_parameters() if x.requires_grad}, finished)
    run.export({})


def tune_tasks(config: Config, run: Run, found: list[Domain]) -> None:
    """The encoder and a head for each task, one after the other."""
    start = infusion_steps(config, len(found))
    for domain in found:
        for task in domain.tasks:
            finished = weights_file(run.folder, task_file(task))
            if not finished.exists():
                run.reseed()
                source = encoder(config).to(run.device)
                model = trained_model(config, run, source, domain)
                tuned = tune_all(config, run, source, model, task, start)
                run.export({name: x for name, x in tuned.named_parameters() if x.requires_grad}, finished)
            start += config.tuning_steps
    run.export({})


def infusion_steps(config: Config, domain_count: int) -> int:
    """Steps before fine-tuning begins."""
    if config.method != "adapters" or config.knowledge == "none":
        return 0
    return domain_count * config.steps * len(stack_names(config))


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
        self,
        query: tuple[States, Tensor],
        phrase: tuple[States, Tensor],
        masked: tuple[States, Tensor] | None,
        words: list[int],
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
        if self.masked is not None and masked is not None:
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


def infuse_stack(config: Config, run: Run, facts: Facts, infusion: Infusion, states: StateSource, start: int) -> None:
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
        masked = states(batch["masked"]) if config.masked_weight else None
        found = model(states(batch["query"]), states(batch["phrase"]), masked, words)
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


def infusion_losses(config: Config, facts: Facts, batch: dict[str, Any], found: dict[str, Tensor]) -> dict[str, Tensor]:
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


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
