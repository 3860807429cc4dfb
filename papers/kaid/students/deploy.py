"""Teacher, encoder and student for a CPU: int8 weights, ONNX files, and how long a sentence takes."""

import copy
import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared import UserError

from ..model import ClassificationHead, KnowledgeModel
from ..states import Encoder

INPUTS = ("input_ids", "attention_mask")
BLOCK = 5  # calls of one model in a row
Engine = Callable[[Tensor, Tensor], np.ndarray]
"""Logits (B, C) of token ids and mask, (B, L) each."""


class Classifier(nn.Module):
    """Encoder, what stands beside it, and a head, from tokens to logits: what is quantised and exported."""

    def __init__(self, encoder: Encoder, model: KnowledgeModel, head: ClassificationHead) -> None:
        super().__init__()
        self.backbone, self.model, self.head = encoder.backbone, model, head

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B, C) of (B, L) tokens."""
        found = self.backbone(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        feature = self.model(dict(enumerate(found.hidden_states)), attention_mask)
        return self.head(F.normalize(feature, dim=-1))


def eager(classifier: nn.Module) -> Engine:
    """PyTorch without compilation."""

    @torch.inference_mode()
    def run(input_ids: Tensor, mask: Tensor) -> np.ndarray:
        return np.asarray(classifier(input_ids, mask))

    return run


def quantised(classifier: Classifier) -> nn.Module:
    """A copy with int8 weights in every linear layer; activations are quantised as they come."""
    from torch.ao.quantization import quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that torchao will replace it
        return quantize_dynamic(copy.deepcopy(classifier), {nn.Linear}, dtype=torch.qint8)


def export_onnx(classifier: Classifier, path: Path, *, int8: bool = False) -> None:
    """Write an ONNX file that takes any batch and length.

    Raises:
        UserError: the packages onnx and onnxruntime are not installed.
    """
    _onnxruntime()
    example = torch.tensor([[101, 2129, 102], [101, 102, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {name: {0: "batch", 1: "length"} for name in INPUTS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: no branch depends on the input here
        torch.onnx.export(
            classifier.eval(),
            (example, mask),
            str(path),
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_axes={**axes, "logits": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    if int8:
        from onnxruntime.quantization import quantize_dynamic

        whole = path.with_suffix(".float.onnx")
        path.rename(whole)
        logging.disable(logging.WARNING)  # it asks for shapes of activations, which dynamic quantisation does not need
        try:
            quantize_dynamic(whole, path)
        finally:
            logging.disable(logging.NOTSET)
        whole.unlink()


def onnx_engine(path: Path) -> Engine:
    """ONNX Runtime on one thread.

    Raises:
        UserError: the file is not there or is no such model, or onnxruntime is not installed.
    """
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); expected an exported .onnx file.") from None
    except Exception as error:  # onnxruntime has a class for each of its states, all of them private
        raise UserError(
            f"{path} is damaged or no ONNX file ({str(error).splitlines()[0][:80]}); export it again."
        ) from None
    if {x.name for x in session.get_inputs()} != set(INPUTS):
        raise UserError(
            f"{path} is another model's: it has the inputs {', '.join(x.name for x in session.get_inputs())}."
        )

    def run(input_ids: Tensor, mask: Tensor) -> np.ndarray:
        return np.asarray(session.run(None, {"input_ids": input_ids.numpy(), "attention_mask": mask.numpy()})[0])

    return run


def _onnxruntime() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        raise UserError("ONNX files need two more packages: pip install onnx onnxruntime") from None
    return onnxruntime


def engines(classifiers: dict[str, Classifier], folder: Path) -> dict[str, Engine]:
    """Every classifier in four forms: `<name>_fp32`, `_int8`, `_onnx` and `_onnx_int8`. Files go to the folder."""
    found: dict[str, Engine] = {}
    for name, classifier in classifiers.items():
        found[f"{name}_fp32"] = eager(classifier)
        found[f"{name}_int8"] = eager(quantised(classifier))
        for form, int8 in (("onnx", False), ("onnx_int8", True)):
            export_onnx(classifier, folder / f"{name}_{form}.onnx", int8=int8)
            found[f"{name}_{form}"] = onnx_engine(folder / f"{name}_{form}.onnx")
    return found


def seconds(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of a call, on one thread; the calls take turns, so that a busy machine slows all alike.

    Args:
        repeats: calls that are measured; a tenth as many go before them.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for call in calls.values():
            for _ in range(max(1, repeats // 10)):
                call()
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(max(1, repeats // BLOCK)):
            for name, call in calls.items():
                for _ in range(BLOCK):
                    began = time.process_time()
                    call()
                    taken[name].append(time.process_time() - began)
        return {name: float(np.median(x)) for name, x in taken.items()}
    finally:
        torch.set_num_threads(threads)


def latency_ratios(found: dict[str, Engine], length: int, repeats: int) -> dict[str, float]:
    """CPU time of one sentence of `length` tokens, as a share of that of `teacher_fp32`."""
    ids = torch.randint(1000, 2000, (1, length), generator=torch.Generator().manual_seed(length))
    mask = torch.ones_like(ids)
    taken = seconds({name: partial(engine, ids, mask) for name, engine in found.items()}, repeats)
    return {f"{name}_{length}_time_ratio": x / taken["teacher_fp32"] for name, x in taken.items()}


def logits_of(engine: Engine, encoder: Encoder, texts: Sequence[str], batch: int = 32) -> np.ndarray:
    """(N, C)."""
    order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
    parts = []
    for start in range(0, len(order), batch):
        tokens = encoder.tokens([texts[k] for k in order[start : start + batch]])
        parts.append(engine(*(tokens[name] for name in INPUTS)))
    return np.concatenate(parts)[np.argsort(order)]
