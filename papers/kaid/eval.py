"""Accuracy on the tasks with and without knowledge of their terms, the cost of acquisition, speed of students."""

import json
import time
from collections.abc import Sequence

import numpy as np
import torch

from shared.run import Run
from shared.support.weights import load_weights, weights_file

from . import metrics
from .acquisition.acquire import acquire
from .acquisition.check import precision_percents
from .acquisition.triples import write_triples
from .build import (
    domain_file,
    encoder,
    head,
    knowledge_model,
    load_knowledge,
    load_student,
    state_source,
    stored_head,
    task_file,
    wanted_states,
)
from .config import Config
from .data import domains, states_file
from .datasets.offline import corpus
from .datasets.tasks import Domain, Example, Task, few_shot, texts_of, withheld_groups
from .figures import figures as figures
from .states import Encoder, LiveStates
from .students.deploy import Classifier, engines, latency_ratios, logits_of
from .tuning.features import TaskModel, features
from .tuning.overlap import overlap_logits

LENGTHS = (8, 32)  # tokens of a sentence whose time is measured
ENCODED = 200  # lines of the corpus that the encoder's time is measured on
Predictions = dict[int, list[np.ndarray]]
"""Logits (N, C) of the evaluated examples, a draw each, by the number of labels."""


@torch.no_grad()
def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Metrics of the variant; every process computes them, the main one's count.

    Returns: of acquisition see :func:`acquisition`, of students :func:`students`; of all others for every task
        `<task>_accuracy_percent`, `_f1_percent` and for matching `_auc_percent`, with the main number of labels;
        `_covered_` and `_uncovered_` of examples whose terms the knowledge has or lacks; `_<labels>_` of every number
        of labels; means over tasks `knowledge_percent` (those that need knowledge), `control_percent`, and so on.
    """
    if config.method == "acquire":
        return acquisition(config, run)
    if config.method == "student":
        return students(config, run)
    found: dict[str, float] = {}
    source = None if config.method == "overlap" else encoder(config).requires_grad_(False).to(run.device)
    for number, domain in enumerate(domains(config, run.cache)):
        for task in domain.tasks:
            predictions = predict_task(config, run, source, domain, task)
            found |= task_metrics(config, task, predictions, run.seed)
            if number < config.distilled_domains and not task.is_control:
                examples = task.splits[config.split]
                best = predictions[config.shots[-1]][0].argmax(1)
                found[f"distilled_{task.name}_percent"] = accuracy(best, examples)
    return found | means(found)


def predict_task(config: Config, run: Run, source: Encoder | None, domain: Domain, task: Task) -> Predictions:
    """Logits of a task's evaluated examples for every number of labels and draw."""
    examples = task.splits[config.split]
    if source is None:
        return {
            shots: [
                overlap_logits(few_shot(task, shots, run.seed, draw), examples, len(task.classes))
                for draw in range(config.draws)
            ]
            for shots in config.shots
        }
    weights = weights_file(run.folder, domain_file(domain.name)) if config.method == "adapters" else None
    model = load_knowledge(config, source, weights).to(run.device)
    if config.tuning == "full":
        own = encoder(config).to(run.device)
        tuned = TaskModel(config, own, model, head(config, task, own.width), wanted_states(config, own)).to(run.device)
        tuned.load_state_dict(load_weights(weights_file(run.folder, task_file(task))), strict=False)
        return {config.shots[-1]: [tuned.eval()(examples).cpu().numpy()]}
    states = state_source(config, source, states_file(config, run.cache))
    of_examples = features(config, model, states, examples)
    stored = load_weights(run.weights)
    predictions: Predictions = {}
    for shots in config.shots:
        for draw in range(config.draws):
            fitted = stored_head(config, task, source.width, stored, shots, draw).to(run.device)
            predictions.setdefault(shots, []).append(fitted(of_examples).cpu().numpy())
    return predictions


# -- metrics of tasks -------------------------------------------------------------------------------------------------


def task_metrics(config: Config, task: Task, predictions: Predictions, seed: int) -> dict[str, float]:
    """Means over draws, see `evaluate`; the main number of labels is the second, or the only one."""
    examples = task.splits[config.split]
    main = config.shots[1] if config.shots[1] in predictions else config.shots[-1]
    withheld = withheld_groups(task, seed)
    groups = {"": np.ones(len(examples), bool)}
    if any(example.group is not None for example in examples):
        is_withheld = np.array([example.group in withheld for example in examples])
        groups |= {"covered_": ~is_withheld, "uncovered_": is_withheld}
    if any(example.is_name for example in examples):
        is_name = np.array([example.is_name for example in examples])
        groups |= {"names_": is_name, "nouns_": ~is_name}
    found: dict[str, float] = {}
    for shots, logits in predictions.items():
        for group, chosen in groups.items():
            if shots == main:
                found |= {f"{task.name}_{group}{k}": x for k, x in _measured(task, logits, examples, chosen).items()}
            if not group:
                name = f"{task.name}_{shots}_accuracy_percent"
                found[name] = _measured(task, logits, examples, chosen)["accuracy_percent"]
    return found


def _measured(
    task: Task, logits: Sequence[np.ndarray], examples: Sequence[Example], chosen: np.ndarray
) -> dict[str, float]:
    label = np.array([example.label for example in examples])[chosen]
    measure = metrics.matching if task.is_matching else metrics.classification
    return metrics.mean([measure(x[chosen], label) for x in logits])


CONTROLS = ("cls_amazon", "cls_film")


def means(found: dict[str, float]) -> dict[str, float]:
    """Means of accuracy over the tasks that need knowledge (also of each kind and group), and over the controls."""
    kinds = {
        "knowledge": lambda task: task not in CONTROLS,
        "classification": lambda task: task not in CONTROLS and task.startswith("cls_"),
        "matching": lambda task: task.startswith("mat_"),
        "control": lambda task: task in CONTROLS,
    }
    result: dict[str, float] = {}
    suffix = "_accuracy_percent"
    tasks = [
        key.removesuffix(suffix)
        for key in found
        if key.endswith(suffix) and f"{key.removesuffix(suffix)}_f1_percent" in found
    ]
    whole = [task for task in tasks if not task.endswith(("_covered", "_uncovered", "_names", "_nouns"))]
    for kind, belongs in kinds.items():
        own = [task for task in whole if belongs(task)]
        for group in ("", "_covered", "_uncovered"):
            values = [found[f"{task}{group}{suffix}"] for task in own if f"{task}{group}{suffix}" in found]
            if values:
                result[f"{kind}{group}_percent"] = float(np.mean(values))
    for shots in sorted({key.split("_")[-3] for key in found if key.endswith(suffix)}):
        values = [
            found[f"{task}_{shots}{suffix}"]
            for task in whole
            if kinds["knowledge"](task) and f"{task}_{shots}{suffix}" in found
        ]
        if shots.isdigit() and values:
            result[f"knowledge_{shots}_percent"] = float(np.mean(values))
    if distilled := [x for key, x in found.items() if key.startswith("distilled_")]:
        result["distilled_percent"] = float(np.mean(distilled))
    return result


def accuracy(best: np.ndarray, examples: Sequence[Example]) -> float:
    return 100 * float(np.mean(best == np.array([example.label for example in examples])))


# -- acquisition ------------------------------------------------------------------------------------------------------


def acquisition(config: Config, run: Run) -> dict[str, float]:
    """Mine the corpus for triples (kept as triples.tsv in the run's folder) and check a sample of each rule's.

    Returns: `triples_count`; `<rule>_precision_percent` and `precision_percent` of pairs that the taxonomy knows,
        `shuffled_precision_percent` of the same pairs with shuffled tails; `acquisition_time_ratio`, CPU time as a
        share of that of encoding the same text once, and the latter's own, `encoding_time_ratio`.
    """
    lines = corpus()[:: config.mined_share]
    found = acquire(lines)
    write_triples(run.folder / "triples.tsv", found.triples)
    told = {
        "triples": len(found.triples),
        "phrases": found.phrases,
        "labels": 0,
        "by_rule": {rule: len(triples) for rule, triples in found.by_rule.items()},
        "dropped": found.dropped,
        "cpu_seconds": found.seconds,
    }
    (run.folder / "acquisition.json").write_text(json.dumps(told, indent=1))
    source = encoder(config)
    sample = [lines[k] for k in np.random.default_rng(run.seed).permutation(len(lines))[:ENCODED]]
    began = time.process_time()
    LiveStates(source, (source.depth,))(sample)
    encoding = (time.process_time() - began) * len(lines) / len(sample)
    return {
        "triples_count": float(len(found.triples)),
        **precision_percents(found, run.seed),
        "acquisition_time_ratio": found.seconds / encoding,
        "encoding_time_ratio": 1.0,
    }


# -- students ---------------------------------------------------------------------------------------------------------


def students(config: Config, run: Run) -> dict[str, float]:
    """Accuracy of the students on the tasks that need knowledge, with all labels of distillation.

    Returns: `distilled_<task>_percent`, `distilled_percent`, and of each group of terms; with `deploy`, for teacher,
        encoder and student in each form `<form>_accuracy_percent` on the first domain's classification, and
        `<form>_<tokens>_time_ratio`, see :func:`.students.deploy.latency_ratios`.
    """
    found: dict[str, float] = {}
    groups: dict[str, list[float]] = {"covered": [], "uncovered": []}
    source = encoder(config).requires_grad_(False).to(run.device)
    chosen = domains(config, run.cache)[: config.distilled_domains]
    for domain in chosen:
        student, fitted = load_student(config, source, domain.tasks, weights_file(run.folder, domain_file(domain.name)))
        student.to(run.device)
        model = knowledge_model(config, student, ()).eval()
        states = LiveStates(student, (student.depth,))
        for task in domain.tasks:
            if task.is_control:
                continue
            examples = task.splits[config.split]
            best = fitted[task.name].to(run.device)(features(config, model, states, examples)).argmax(1).cpu().numpy()
            found[f"distilled_{task.name}_percent"] = accuracy(best, examples)
            withheld = withheld_groups(task, run.seed)
            for group, values in groups.items():
                own = [k for k, x in enumerate(examples) if (x.group in withheld) == (group == "uncovered")]
                if own:
                    values.append(accuracy(best[own], [examples[k] for k in own]))
    found |= means(found) | {f"distilled_{group}_percent": float(np.mean(x)) for group, x in groups.items() if x}
    if config.deploy and run.accelerator.is_main_process:
        found |= deployed(config, run, chosen[0], source)
    return found


def deployed(config: Config, run: Run, domain: Domain, source: Encoder) -> dict[str, float]:
    """Accuracy and time of the domain's classification in every form, see `students`."""
    task = next(task for task in domain.tasks if not task.is_matching)
    examples = task.splits[config.split]
    found: dict[str, float] = {}
    forms = engines(classifiers(config, run, domain, task, source), run.folder / "onnx")
    for name, engine in forms.items():
        best = logits_of(engine, source, texts_of(examples)).argmax(1)
        found[f"{name}_accuracy_percent"] = accuracy(best, examples)
    for length in LENGTHS:
        found |= latency_ratios(forms, length, config.timed_calls)
    return found


def classifiers(config: Config, run: Run, domain: Domain, task: Task, source: Encoder) -> dict[str, Classifier]:
    """Teacher, plain encoder (with the teacher's head: it is for its time) and student of a task, on the CPU."""
    assert run.start is not None
    fitted = stored_head(config, task, source.width, load_weights(run.start_weights), config.shots[-1])
    adapters = weights_file(run.start, domain_file(domain.name))
    student, heads = load_student(config, source, domain.tasks, weights_file(run.folder, domain_file(domain.name)))
    plain = knowledge_model(config, source, ())
    found = {
        "teacher": Classifier(source, load_knowledge(config, source, adapters if adapters.exists() else None), fitted),
        "encoder": Classifier(source, plain, fitted),
        "student": Classifier(student, knowledge_model(config, student, ()), heads[task.name]),
    }
    return {name: classifier.cpu().eval() for name, classifier in found.items()}
