"""One training run: seed, device, progress, metric log, checkpoints with exact resume, time and memory.

The training loop stays in the paper's ``train.py``; a :class:`Run` only carries what every loop needs::

    run = Run(folder, cache, seed=0)
    for step in run.steps(config.steps, save_every=500, model=model, optimizer=optimizer, batches=batches):
        loss = ...
        run.log(step, loss=loss, samples=batch["name"])
        ...
"""

import argparse
import contextlib
import json
import os
import platform
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, broadcast_object_list, gather_object, set_seed
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch.utils.tensorboard import SummaryWriter

from . import UserError

Progress = Callable[[int, int, dict[str, float]], None]
Config = TypeVar("Config")
Network = TypeVar("Network", bound=torch.nn.Module)


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop (SIGTERM) and has saved a checkpoint to continue from."""


class Run:
    """State of one (variant, seed) run in ``folder``.

    Args:
        folder: receives ``metrics.jsonl``, ``tensorboard/`` and ``checkpoint/``.
        cache: folder of what the runs of a preset share, such as embeddings of the frozen towers.
        seed: seeds Python, NumPy and torch (every rank alike; data order has generators of its own).
        precision: ``"no"``, ``"fp16"`` or ``"bf16"`` (accelerate's mixed precision).
        progress: called with (steps done, steps in all, last logged values) as the run goes on.
        log_every: steps between two lines of ``metrics.jsonl``.
    """

    def __init__(
        self,
        folder: Path,
        cache: Path,
        *,
        seed: int,
        precision: str = "no",
        progress: Progress | None = None,
        log_every: int = 10,
    ) -> None:
        self.folder, self.cache = folder, cache
        self.seed = seed
        self.log_every = log_every
        # split_batches: a batch size is the whole batch, however many processes share it.
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision=precision,
            dataloader_config=DataLoaderConfiguration(split_batches=True, non_blocking=True),
        )
        self.device = self.accelerator.device
        self._progress = progress
        self._values: dict[str, float] = {}
        self._stop = False
        self._started = time.monotonic()  # had it run in one piece
        self._tensorboard: SummaryWriter | None = None
        # Of the loss, under fp16.
        self._scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler else {}
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
        if self.device.type == "cuda":  # earlier runs of this process do not count
            torch.cuda.reset_peak_memory_stats()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self.reseed()

    # -- the loop ---------------------------------------------------------------------------------------------------

    def steps(
        self, total: int, *, save_every: int, start: int = 0, whole: int | None = None, **state: Any
    ) -> Iterator[int]:
        """Yield step numbers from the last checkpoint up to ``total``; save every ``save_every`` steps and at the end.

        A run of two phases (pre-training, fine-tuning) has two such loops: the second starts where the first ended,
        with a state of its own, and the first is not entered again once its weights are exported. The scale of the loss
        (fp16) begins anew; generators do with :meth:`reseed`, before the network of a phase is made.

        Args:
            total: number of the step to stop before.
            save_every: steps between two checkpoints.
            start: first step of this loop; a checkpoint of an earlier phase is not restored.
            whole: number of the step at which the last phase ends, for the progress; default: ``total``.
            **state: what a checkpoint holds: objects with ``state_dict`` and ``load_state_dict``, restored in order.

        Raises:
            Interrupted: after a checkpoint, if SIGTERM arrived.
        """
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(self._scaler)
            state["scaler"] = self.accelerator.scaler
        for step in range(self._restore(state, start), total):
            yield step
            done = step + 1
            stop = self._agreed_to_stop()
            if stop or done % save_every == 0 or done == total:
                self._save(done, state)
            if self._progress is not None:
                self._progress(done, whole or total, self._values)
            if stop:
                raise Interrupted(f"stopped after step {done} of {total}")

    def reseed(self, *, per_process: bool = False) -> None:
        """Seed Python, NumPy and torch again, as at the beginning of the run.

        Args:
            per_process: the processes after the first each in their own way, once the network is prepared: what a
                network or a loop draws in training (dropout, drop path, mixup) should differ between them.
        """
        if not per_process:
            set_seed(self.seed)
        elif self.accelerator.process_index > 0:
            set_seed(self.seed, device_specific=True)

    def log(
        self, step: int, *, loss: torch.Tensor, samples: Sequence[str] = (), **values: torch.Tensor | float
    ) -> None:
        """Log a step's values, the loss averaged over processes, and stop the run if it is not a finite number.

        Call it on every process, before the optimizer's step so that no bad gradient is ever applied.

        Raises:
            UserError: on every process, if ``loss`` is NaN or infinite on one; names the step, that process's samples
                and the last good checkpoint.
        """
        value = float(self.accelerator.reduce(loss.detach(), reduction="mean"))
        if not np.isfinite(value):
            suspects = gather_object([] if loss.isfinite() else list(samples))
            raise UserError(
                f"The loss became {value} at step {step} in {self.folder}; the samples were {suspects[:16]}. "
                f"{self._last_good()}: look at those samples, lower the learning rate, or train in full precision."
            )
        if step % self.log_every == 0 and self.accelerator.is_main_process:
            self._values = {"loss": value} | {name: float(x) for name, x in values.items()}
            known = {name: x if np.isfinite(x) else None for name, x in self._values.items()}  # JSON has no NaN
            with open(self.folder / "metrics.jsonl", "a") as log:
                log.write(json.dumps({"step": step} | known) + "\n")
            if self._tensorboard is None:
                self._tensorboard = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step)
            for name, x in self._values.items():
                self._tensorboard.add_scalar(name, x, step)

    @property
    def weights(self) -> Path:
        """Where the trained weights are, once :meth:`export` has written them."""
        return self.folder / "checkpoint" / "model.safetensors"

    def export(self, weights: Mapping[str, torch.Tensor], path: Path | None = None) -> None:
        """Write the trained weights as safetensors, for evaluation and prediction, or those of a phase to ``path``."""
        if self.accelerator.is_main_process:
            tensors = {name: x.detach().cpu().contiguous() for name, x in weights.items()}
            write_atomic(path or self.weights, save(tensors))
        self.accelerator.wait_for_everyone()

    def sync_batch_norm(self, model: Network) -> Network:
        """The model with batch statistics over all processes; GPUs only, as PyTorch has it for nothing else."""
        if self.accelerator.num_processes > 1 and self.device.type == "cuda":
            return cast(Network, torch.nn.SyncBatchNorm.convert_sync_batchnorm(model))
        return model

    # -- what it cost -----------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Wall time in seconds, over all the pieces of an interrupted run up to their last checkpoints."""
        return time.monotonic() - self._started

    @property
    def peak_memory_mb(self) -> float:
        """Peak memory in MB: allocated on the GPU if there is one, else resident in this process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)

    # -- checkpoints ------------------------------------------------------------------------------------------------

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint" / "state.pt"

    def _last_good(self) -> str:
        if not self._checkpoint.exists():
            return "There is no checkpoint yet"
        return f"The last good checkpoint is {self._checkpoint} (step {load_checkpoint(self._checkpoint)['step']})"

    def _save(self, step: int, state: dict[str, Any]) -> None:
        randomness = gather_object([_random_state()])
        if self.accelerator.is_main_process:
            content = {
                "step": step,
                "seconds": self.seconds,
                "random": randomness,
                "state": {name: self._unwrapped(x).state_dict() for name, x in state.items()},
            }
            write_atomic(self._checkpoint, lambda file: torch.save(content, file))
        self.accelerator.wait_for_everyone()

    def _restore(self, state: dict[str, Any], start: int) -> int:
        found = broadcast_object_list([self._checkpoint.exists()])[0]
        step = start
        saved = load_checkpoint(self._checkpoint) if found else None
        if saved is not None:
            self._started = min(self._started, time.monotonic() - saved["seconds"])
        if saved is not None and (saved["step"] > start or start == 0):
            for name, x in state.items():
                self._unwrapped(x).load_state_dict(saved["state"][name])
            randomness = saved["random"]
            if len(randomness) != self.accelerator.num_processes:
                raise UserError(
                    f"{self._checkpoint} was written by {len(randomness)} processes and this run has "
                    f"{self.accelerator.num_processes}; continue with as many, or delete {self.folder} to start again."
                )
            _set_random_state(randomness[self.accelerator.process_index])
            step = saved["step"]
        if self.accelerator.is_main_process:
            _forget_log_from(self.folder / "metrics.jsonl", step)
        return step

    def _unwrapped(self, x: Any) -> Any:
        """The module inside DistributedDataParallel, so that a checkpoint fits any number of processes."""
        return self.accelerator.unwrap_model(x) if isinstance(x, torch.nn.Module) else x

    # -- stopping ---------------------------------------------------------------------------------------------------

    def _on_sigterm(self, *_: object) -> None:
        self._stop = True

    def _agreed_to_stop(self) -> bool:
        """All processes must leave the loop at the same step."""
        flag = torch.tensor(float(self._stop), device=self.device)
        return bool(self.accelerator.reduce(flag, reduction="sum") > 0)


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
        raise UserError(
            f"{path} is not a checkpoint this code can trust ({type(error).__name__}: truncated, or it holds more than "
            "tensors and plain values); delete it to start that run again, or get it again if it was downloaded."
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__}, expected a dictionary; is it another program's file?"
        )
    return content


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights that :meth:`Run.export` wrote. Raises one of `UNREADABLE` if they are damaged, or not finite."""
    with open(path, "rb"):  # safetensors says "No such file" of one that may not be read
        return finite_weights(load_file(path))


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
def trained(
    run: Path, paper: str, kind: Callable[..., Config], file: str = "model.safetensors"
) -> Iterator[tuple[str, Config, Path]]:
    """A finished run's variant, configuration of the paper's ``kind``, and path of its weights ``file``.

    Build the network inside the ``with`` block: that weights do not fit it is told in the same words.

    Raises:
        UserError: if there is no finished run, or it is damaged or of another version of the code; names the file.
    """
    described, weights = run / "config.json", run / "checkpoint" / file
    if not (described.is_file() and weights.is_file()):
        raise UserError(
            f"There is no trained model in {run} (config.json and checkpoint/{file}): `make reproduce PAPER={paper}` "
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


def write_atomic(path: Path, content: bytes | Callable[[Any], object]) -> None:
    """Write a file so that a reader, or a crash, sees the whole old content or the whole new one.

    Args:
        path: the file; its folder is made if need be.
        content: the bytes, or a function that writes them to the binary file it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.partial")  # machines may share storage
    try:
        with open(partial, "wb") as file:
            file.write(content) if isinstance(content, bytes) else content(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically; NaN is refused, as JSON has none."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_atomic(path, text.encode())


def _random_state() -> dict[str, Any]:
    """The state of every global generator, as tensors and plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _forget_log_from(log: Path, step: int) -> None:
    """Drop the lines of ``metrics.jsonl`` from ``step`` on: those steps are about to be run again."""
    if log.exists():
        whole = [line for line in log.read_text().splitlines() if line.endswith("}")]  # a kill may tear the last
        kept = [line + "\n" for line in whole if json.loads(line)["step"] < step]
        write_atomic(log, "".join(kept).encode())
