"""A small student: a few of the encoder's layers that learn the K-PLM's logits, hidden states and fused feature."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared import UserError
from shared.loading import Batches
from shared.run import Run
from shared.support.weights import load_weights, weights_file

from ..build import domain_file, head, knowledge_model, load_knowledge, stored_head, student_encoder
from ..config import Config
from ..datasets.tasks import Domain, Example, Task, few_shot, texts_of
from ..losses import attention_loss, hidden_loss, logit_loss
from ..model import ClassificationHead, KnowledgeModel, pair_feature, pool
from ..states import Encoder, LiveStates
from ..tuning.features import features
from ..tuning.finetune import fit_head, warmup_and_decay

LABELLED_SHARE = 0.25  # of the sentences to classify where there are unlabelled ones, too


class Student(nn.Module):
    """The encoder's first few layers and the heads of a domain's tasks; the word embeddings stay as they are."""

    def __init__(self, config: Config, encoder: Encoder, heads: nn.ModuleDict) -> None:
        super().__init__()
        self.encoder, self.heads, self.first = encoder, heads, config.pooling == "first"

    def forward(self, tokens: dict[str, Tensor], counts: dict[str, int]) -> "Outputs":
        """Tokens of sentences, the given number for each task in turn."""
        found = self.encoder.backbone(**tokens, output_hidden_states=True, output_attentions=True)
        states = dict(enumerate(found.hidden_states))
        features = pool(states[self.encoder.depth], tokens["attention_mask"], self.first)
        return Outputs(states, found.attentions, logits(self.heads, features, counts))


@dataclass
class Outputs:
    """Hidden states (B, L, d) by index, attention probabilities (B, h, L, L) by layer, and logits by task."""

    states: dict[int, Tensor]
    attentions: tuple[Tensor, ...]
    logits: dict[str, Tensor]


def logits(heads: nn.ModuleDict, features: Tensor, counts: dict[str, int]) -> dict[str, Tensor]:
    """Logits by task of features (N, d); a matching task has all first sentences before all second ones."""
    found = {}
    for name, part in zip(counts, features.split(list(counts.values())), strict=True):
        half = len(part) // 2
        pairs = heads[name].of_pairs
        found[name] = heads[name](pair_feature(part[:half], part[half:]) if pairs else F.normalize(part, dim=-1))
    return found


class Teacher(nn.Module):
    """The fine-tuned K-PLM of a domain, frozen: encoder, adapters, fusion, heads."""

    def __init__(self, config: Config, encoder: Encoder, model: KnowledgeModel, heads: dict[str, ClassificationHead]):
        super().__init__()
        self.encoder, self.model, self.heads = encoder, model, nn.ModuleDict(heads)

    @torch.no_grad()
    def forward(self, tokens: dict[str, Tensor], counts: dict[str, int]) -> tuple[Outputs, Tensor]:
        """As the student's, and the fused feature (B, L, d) of every token."""
        found = self.encoder.backbone(**tokens, output_hidden_states=True, output_attentions=True)
        states, mask = dict(enumerate(found.hidden_states)), tokens["attention_mask"]
        fused = self.model.tokens(states, mask)
        scores = logits(self.heads, pool(fused, mask, self.model.first), counts)
        return Outputs(states, found.attentions, scores), fused


class Queries:
    """Samples of distillation: a sentence to classify, labelled or not, and a labelled pair to match.

    Args:
        labelled: the labelled examples of the classification and of the matching task, the same that the teacher has.
        unlabelled: sentences; none: labelled examples alone.
    """

    def __init__(self, labelled: dict[str, list[Example]], unlabelled: Sequence[str]) -> None:
        self.labelled, self.unlabelled = labelled, list(unlabelled)

    def __len__(self) -> int:
        return len(self.unlabelled) or max(len(examples) for examples in self.labelled.values())

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """By task, an example; an unlabelled one has the label -100.

        Pairs are always labelled ones: two unlabelled queries almost never match, and a student would learn just that.
        """
        found: dict[str, Any] = {}
        for name, examples in self.labelled.items():
            if not self.unlabelled or examples[0].other is not None or rng.random() < LABELLED_SHARE:
                found[name] = examples[rng.integers(len(examples))]
            else:
                found[name] = Example(-100, self.unlabelled[index])
        return found


def student_tasks(domain: Domain) -> list[Task]:
    """The tasks that need knowledge."""
    return [task for task in domain.tasks if not task.is_control]


def teacher(config: Config, run: Run, domain: Domain, source: Encoder) -> Teacher:
    """The run that this one starts from, as a domain's teacher."""
    assert run.start is not None
    weights = load_weights(run.start_weights)
    adapters = weights_file(run.start, domain_file(domain.name))
    model = load_knowledge(config, source, adapters if adapters.exists() else None)
    heads = {
        task.name: stored_head(config, task, source.width, weights, config.shots[-1]) for task in student_tasks(domain)
    }
    found = Teacher(config, source, model, heads)
    return found.requires_grad_(False).eval().to(run.device)


def distil(config: Config, run: Run, domain: Domain, source: Encoder, start: int) -> Student:
    """Train a domain's student: by its teacher and the labels, or by the labels alone.

    Args:
        start: number of the first step: the domains of a run follow one another.
    """
    if config.tuning == "full" or config.matching == "cross":
        raise UserError(
            "Students learn from heads on frozen features of separate sentences: give --tuning frozen --matching bi."
        )
    run.reseed()
    source.backbone.set_attn_implementation("eager")  # the others keep attention to themselves
    tasks = student_tasks(domain)
    guide = teacher(config, run, domain, source)
    labelled = {task.name: few_shot(task, config.shots[-1], run.seed, 0) for task in tasks}
    unlabelled = domain.queries if config.teacher and config.unlabelled else ()
    dataset = Queries(labelled, unlabelled)
    student = new_student(config, source, guide, tasks, labelled).to(run.device)
    student.eval()  # no dropout: the student is to follow the teacher closely
    trained = [x for x in student.parameters() if x.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.student_learning_rate, weight_decay=config.weight_decay)
    batches = Batches(
        dataset,
        min(config.student_batch_size, len(dataset)),
        seed=run.seed,
        accelerator=run.accelerator,
        workers=config.workers,
        collate=list,
    )
    schedule = warmup_and_decay(optimizer, config.student_steps, config.warmup)
    model, optimizer = run.accelerator.prepare(student, optimizer)
    for step in run.steps(
        start + config.student_steps,
        start=start,
        save_every=config.save_every,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
    ):
        batch = next(batches)
        examples = {name: [sample[name] for sample in batch] for name in labelled}
        texts = {name: texts_of(found) for name, found in examples.items()}
        tokens = source.tokens([text for part in texts.values() for text in part])
        counts = {name: len(part) for name, part in texts.items()}
        guided = guide(tokens, counts) if config.teacher else None
        own = {name: torch.tensor([x.label for x in found], device=run.device) for name, found in examples.items()}
        imitating = step - start < config.student_steps / 2
        parts = distillation_losses(config, model(tokens, counts), guided, own, tokens["attention_mask"], imitating)
        loss = torch.stack(list(parts.values())).sum()
        values = {name: float(x.detach()) for name, x in parts.items()}
        run.log(step, loss=loss, samples=[text for part in texts.values() for text in part], **values)
        optimizer.zero_grad()
        run.accelerator.backward(loss)
        if config.gradient_clip:
            run.accelerator.clip_grad_norm_(trained, config.gradient_clip)
        optimizer.step()
        schedule.step()
    return student


def new_student(
    config: Config, source: Encoder, guide: Teacher, tasks: list[Task], labelled: dict[str, list[Example]]
) -> Student:
    """Some of the encoder's layers, with the teacher's heads; without a teacher, heads fitted to the labels."""
    student = Student(config, student_encoder(config, source), copy.deepcopy(guide.heads))
    student.heads.requires_grad_(True)
    if not config.teacher:
        own = knowledge_model(config, student.encoder, ())
        states = LiveStates(student.encoder, (student.encoder.depth,))
        for task in tasks:
            examples = labelled[task.name]
            with torch.no_grad():
                found = features(config, own, states, examples)
            label = torch.tensor([x.label for x in examples], device=found.device)
            student.heads[task.name] = fit_head(config, head(config, task, source.width).to(found.device), found, label)
    return student


def distillation_losses(
    config: Config,
    found: Outputs,
    guided: tuple[Outputs, Tensor] | None,
    labels: dict[str, Tensor],
    mask: Tensor,
    imitating: bool,
) -> dict[str, Tensor]:
    """Weighted losses by name: of labels where there are any, of the teacher's logits, hidden states and attention.

    Args:
        guided: the teacher's outputs and fused features; None: labels alone.
        imitating: hidden states and attention count, too.
    """
    hard = [
        F.cross_entropy(found.logits[name], label, ignore_index=-100, reduction="sum") / (label >= 0).sum().clamp(min=1)
        for name, label in labels.items()
    ]
    if guided is None:
        return {"labels": torch.stack(hard).mean()}
    outputs, fused = guided
    soft = [
        config.soft_temperature**2
        * logit_loss(found.logits[name], outputs.logits[name], config.soft_temperature, config.soft_loss)
        for name in labels
    ]
    losses = {
        "labels": (1 - config.soft_weight) * torch.stack(hard).mean(),
        "logits": config.soft_weight * torch.stack(soft).mean(),
    }
    if imitating:
        layers = dict(enumerate(config.student_layers, 1))
        last = max(layers)
        targets = {j: fused if config.fused_target and j == last else outputs.states[m] for j, m in layers.items()}
        hidden = [hidden_loss(found.states[j], target, mask, config.hidden_loss) for j, target in targets.items()]
        attention = [
            attention_loss(found.attentions[j - 1], outputs.attentions[m - 1], mask, config.attention_loss)
            for j, m in layers.items()
        ]
        losses["hidden"] = config.hidden_weight * torch.stack(hidden).sum()
        losses["attention"] = config.attention_weight * torch.stack(attention).sum()
    return losses
