"""Comparisons of ``make bench``: infusion on cached hidden states, and a student in int8."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .build import encoder, knowledge_model, student_encoder, wanted_states
from .config import PRESETS
from .model import ClassificationHead
from .states import LiveStates
from .students.deploy import Classifier, eager, export_onnx, onnx_engine

TEXTS = [f"where can I find a good number {k} ?" for k in range(64)]


def bench() -> Iterator[dict[str, Any]]:
    yield infusion_step()
    yield student_in_int8()


def infusion_step() -> dict[str, Any]:
    """A step of the adapters on cached hidden states, against one that encodes its texts."""
    config = PRESETS["cpu"]
    source = encoder(config).requires_grad_(False)
    live = LiveStates(source, wanted_states(config, source))
    torch.manual_seed(0)
    model = knowledge_model(config, source, ("relations",)).eval()
    cached = live(TEXTS)

    def step(states: tuple[dict[int, Tensor], Tensor]) -> Tensor:
        model.zero_grad()
        loss = model(*states).square().mean()
        loss.backward()
        return loss.detach()

    return {
        "name": "infusion step, MiniLM with two adapters",
        "detail": "64 sentences, forward and backward; reference: the encoder computes the hidden states anew",
        "ours": lambda: step(cached),
        "reference": lambda: step(live(TEXTS)),
        "per": len(TEXTS),
        "unit": "sentence",
    }


def student_in_int8() -> dict[str, Any]:
    """A sentence through the student in int8 by ONNX Runtime, against the teacher in PyTorch."""
    config = PRESETS["cpu"]
    source = encoder(config).requires_grad_(False)
    student = student_encoder(config, source)
    head = ClassificationHead(source.width, 11, dense=False)
    teacher = eager(Classifier(source, knowledge_model(config, source, ("relations",)), head).eval())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        export_onnx(Classifier(student, knowledge_model(config, student, ()), head), path, int8=True)
        engine = onnx_engine(path)
    tokens = source.tokens(TEXTS[:1])
    inputs = tokens["input_ids"], tokens["attention_mask"]
    return {
        "name": "a sentence, student of 3 layers in int8 (ONNX Runtime)",
        "detail": "batch 1, one thread; reference: teacher of 6 layers with adapters, fp32, PyTorch",
        "ours": lambda: engine(*inputs),
        "reference": lambda: teacher(*inputs),
        "per": 1,
        "unit": "sentence",
    }
