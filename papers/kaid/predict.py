"""Classify a sentence, or match two, with the K-PLM and its student, side by side with what each takes.

``make predict PAPER=kaid ARGS="--text 'how much is the loafer ?'"`` prints the likeliest classes and milliseconds
of CPU time. ``--export student.onnx`` writes the student as an ONNX file, and ``--onnx student.onnx`` runs one.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shared import UserError
from shared.support.command_line import can_write, command
from shared.support.weights import load_weights, open_trained_run

from .build import (
    domain_file,
    encoder,
    knowledge_model,
    load_knowledge,
    load_student,
    stored_head,
    wanted_states,
)
from .config import Config
from .data import task_outlines
from .datasets.tasks import Example, Task
from .model import ClassificationHead, KnowledgeModel
from .states import Encoder, LiveStates
from .students.deploy import Classifier, Engine, export_onnx, onnx_engine, seconds
from .tuning.features import features

RUN = Path(__file__).parent / "weights" / "kaid.json"
SHOWN = 3  # classes that are printed
TIMED = 20  # calls whose median time is printed


@dataclass(frozen=True)
class Options:
    """Classify a sentence, or say whether two mean the same."""

    text: str
    """The sentence."""
    other: str | None = None
    """A second sentence, to be matched with the first."""
    task: str | None = None
    """Task of the run, such as cls_products; default: its first one for one sentence, or for two."""
    run: Path | None = None
    """Folder of a trained run of the K-PLM, or the .json beside committed weights; default: this folder's weights."""
    student: Path | None = None
    """Folder of a trained student's run, such as runs/kaid/cpu/3L-kd-kaid/seed0; default: no student."""
    onnx: Path | None = None
    """An exported .onnx file of the task, to run in place of a student."""
    export: Path | None = None
    """File to write: the student's classifier (without a student, the K-PLM's) as ONNX."""
    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Print what the K-PLM says, and what the student or the ONNX file says."""
    if not options.text.strip() or (options.other is not None and not options.other.strip()):
        raise UserError("--text (or --other) is empty; expected a sentence.")
    if options.other is not None and (options.onnx or options.export):
        raise UserError("--onnx and --export are for the classification of one sentence; leave out --other.")
    if options.export:
        can_write(options.export)
    run = options.run or RUN
    with open_trained_run(run, "kaid", Config) as (_, config, weights):
        stored = load_weights(weights)
    if config.tuning == "full":
        raise UserError(f"{run} was trained with --tuning full; predict reads heads on frozen features.")
    domain, task = chosen_task(options, config, stored)
    example = Example(-1, options.text, options.other)
    source = encoder(config).requires_grad_(False)
    file = domain_file(domain)
    with open_trained_run(run, "kaid", Config) as (_, _, weights):
        fitted = stored_head(config, task, source.width, stored, config.shots[-1])
    model = load_knowledge(config, source, None)
    if config.method == "adapters":
        with open_trained_run(run, "kaid", Config, file) as (_, _, adapters):
            model = load_knowledge(config, source, adapters)
    sides = {"K-PLM": (config, source, model, fitted)}
    if options.student is not None:
        with open_trained_run(options.student, "kaid", Config, file) as (_, small, weights):
            student, heads = load_student(small, source, [task], weights)
            sides["student"] = (small, student, knowledge_model(small, student, ()).eval(), heads[task.name])
    answers = {name: answer(*side, example) for name, side in sides.items()}
    if options.onnx is not None:
        answers["ONNX"] = onnx_answer(onnx_engine(options.onnx), source, example)
    tell(task, answers)
    if options.export:
        _, small_encoder, beside, own = list(sides.values())[-1]
        export_onnx(Classifier(small_encoder, beside, own), options.export)
        print(f"Wrote {options.export}.")


def chosen_task(options: Options, config: Config, stored: dict[str, Tensor]) -> tuple[str, Task]:
    """Domain and task: the one that was asked for, or the first of the run's that takes as many sentences.

    Raises:
        UserError: the run has no such task.
    """
    pairs = options.other is not None
    found = {
        task.name: (domain, task)
        for domain, tasks in task_outlines(config).items()
        for task in tasks
        if task.is_matching == pairs and any(name.startswith(f"{task.name}/") for name in stored)
    }
    name = options.task or next(iter(found), "")
    if name not in found:
        sentences = "two sentences" if pairs else "one sentence"
        raise UserError(f"--task is {name or 'not given'}; for {sentences} the run has {', '.join(found) or 'none'}.")
    return found[name]


Answer = Callable[[], np.ndarray]
"""Logits (1, C), from the sentence on: with tokenisation."""


def answer(
    config: Config, source: Encoder, model: KnowledgeModel, fitted: ClassificationHead, example: Example
) -> Answer:
    """The answer of a model in PyTorch."""
    states = LiveStates(source, wanted_states(config, source) if model.stacks else (source.depth,))

    @torch.inference_mode()
    def run() -> np.ndarray:
        return fitted(features(config, model, states, [example])).numpy()

    return run


def onnx_answer(engine: Engine, source: Encoder, example: Example) -> Answer:
    """The answer of an exported model."""

    def run() -> np.ndarray:
        tokens = source.tokens([example.text])
        return engine(tokens["input_ids"], tokens["attention_mask"])

    return run


def tell(task: Task, answers: dict[str, Answer]) -> None:
    """Print a line for each model: its likeliest classes, and the CPU time of a sentence.

    Raises:
        UserError: an exported model is of another task.
    """
    found = {name: run()[0] for name, run in answers.items()}
    for name, logits in found.items():
        if len(logits) != len(task.classes):
            raise UserError(f"{name} has {len(logits)} classes, and the task {task.name} has {len(task.classes)}.")
    taken = seconds(answers, TIMED)
    print(f"{task.name}: {' '.join(task.classes)}")
    for name, logits in found.items():
        shares = torch.from_numpy(logits).softmax(-1)
        best = [f"{task.classes[k]} {100 * shares[k]:.0f} %" for k in shares.argsort(descending=True)[:SHOWN].tolist()]
        print(f"{name:>8} {1000 * taken[name]:7.1f} ms   {', '.join(best)}")


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {__package__}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
