"""Checkpoints and weights: read without unpickling, checked, and opened together with their configuration."""

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .. import UserError

Config = TypeVar("Config")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of tensors and plain values; nothing in it is ever executed.

    An ``argparse.Namespace``, which many training scripts leave beside their weights, is a plain value, too.

    Raises:
        UserError: if the file is truncated, holds anything but tensors and plain values, or is no dictionary of them.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError):  # torch reports damage as OSError, too
        raise
    except Exception as error:
        advice = "it is truncated or damaged; delete it to start that run again, or get it again if it was downloaded"
        if "weights_only" in str(error):
            advice = (
                "it holds more than tensors and plain values, which would have to be unpickled; save its weights "
                "alone, as torch.save(model.state_dict(), ...) does, or as .safetensors"
            )
        raise UserError(f"{path} is not a checkpoint this code can trust: {advice}.") from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__}, expected a dictionary; is it another program's file?"
        )
    return content


def weights_file(run: Path, name: str = "model.safetensors") -> Path:
    """Where a run keeps its trained weights, or those of a phase."""
    return run / "checkpoint" / name


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights that :meth:`Run.export` wrote, those in half precision as float32.

    Raises one of `UNREADABLE` if they are damaged, or not finite.
    """
    with open(path, "rb"):  # safetensors says "No such file" of one that may not be read
        weights = finite_weights(load_file(path))
    return {name: x.float() if x.dtype == torch.float16 else x for name, x in weights.items()}


def finite_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights as they are; ValueError if one is NaN or infinite."""
    if bad := next((name for name, x in weights.items() if not x.isfinite().all()), None):
        raise ValueError(f"{bad} is NaN or infinite")
    return weights


# What a file makes of the code that reads it and builds a network from it, if it is not what it should be.
UNREADABLE = (
    OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, SafetensorError,
)  # fmt: skip


@contextlib.contextmanager
def open_trained_run(
    run: Path, paper: str, kind: Callable[..., Config], file: str = "model.safetensors"
) -> Iterator[tuple[str, Config, Path]]:
    """A finished run's variant, configuration of the paper's ``kind``, and path of its weights ``file``.

    Build the network inside the ``with`` block: weights that do not fit it are reported in the same words.

    Args:
        run: folder of a run, or the ``.json`` file beside a paper's committed weights (``weights/<variant>.json``).

    Raises:
        UserError: if there is no finished run, or it is damaged or of another version of the code; names the file.
    """
    committed = run.suffix == ".json"
    described = run if committed else run / "config.json"
    weights = committed_weights(run, file) if committed else weights_file(run, file)
    if not (described.is_file() and weights.is_file()):
        raise UserError(
            f"There is no trained model in {run} ({described.name} and {weights.name}): `make reproduce PAPER={paper}` "
            f"(in a copy `python -m shared.reproduce {paper}`) makes one in runs/{paper}/, or give another with --run."
        )
    path = described
    try:
        content = json.loads(described.read_text())
        config = kind(**{name: tuple(x) if isinstance(x, list) else x for name, x in content["config"].items()})
        variant, path = content["variant"], weights
        yield variant, config, weights
    except UNREADABLE as error:
        reason = str(error).split("\n")[0].rstrip(":")
        raise UserError(
            f"{path} cannot be read ({reason}): it is damaged, or of another version of this code; make it again, or "
            "give another run with --run."
        ) from error


def committed_weights(described: Path, file: str = "model.safetensors") -> Path:
    """The committed copy of a run's weights ``file`` beside its description ``<variant>.json``.

    ``model.safetensors`` is ``<variant>.safetensors``, any other ``<variant>-<file>``.
    """
    return described.with_name(
        f"{described.stem}.safetensors" if file == "model.safetensors" else f"{described.stem}-{file}"
    )
