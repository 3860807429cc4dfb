"""One training run: seed, device, progress, metric log, checkpoints with exact resume, time and memory.

The training loop stays in the paper's ``train.py``; a :class:`Run` only carries what every loop needs::

    run = Run(folder, cache, seed=0)
    for step in run.steps(config.steps, save_every=500, model=model, optimizer=optimizer, batches=batches):
        loss = ...
        run.log(step, loss=loss, samples=batch["name"])
        ...
"""

import hashlib
import importlib.util
import json
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, broadcast_object_list, gather_object, set_seed
from safetensors.torch import save

from . import UserError
from .support.files import write_atomic
from .support.weights import load_checkpoint, weights_file

Tracker = Literal["tensorboard", "wandb", "mlflow", "none"]
Progress = Callable[[int, int, dict[str, float]], None]
Network = TypeVar("Network", bound=torch.nn.Module)


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop (SIGTERM) and has saved a checkpoint to continue from."""


class Run:
    """State of one (variant, seed) run in ``folder``.

    Args:
        folder: receives ``metrics.jsonl``, ``checkpoint/`` and what the tracker writes.
        cache: folder of what the runs of a preset share, such as embeddings of the frozen towers.
        start: folder of the finished run that this one starts from, if its variant has a start.
        seed: seeds Python, NumPy and torch (every rank alike; data order has generators of its own).
        precision: ``"no"``, ``"fp16"`` or ``"bf16"`` (accelerate's mixed precision).
        tracker: accelerate's tracker of the logged values: "tensorboard", "wandb", "mlflow" or "none".
        progress: called with (steps done, steps in all, last logged values) as the run goes on.
        log_every: steps between two lines of ``metrics.jsonl``.
    """

    def __init__(
        self,
        folder: Path,
        cache: Path,
        *,
        seed: int,
        start: Path | None = None,
        precision: str = "no",
        tracker: Tracker = "tensorboard",
        progress: Progress | None = None,
        log_every: int = 10,
    ) -> None:
        self.folder, self.cache, self.start = folder, cache, start
        self.seed = seed
        self.log_every = log_every
        self.tracker = tracker
        if tracker != "none" and importlib.util.find_spec(tracker) is None:  # accelerate would leave it out silently
            raise UserError(
                f"--tracker {tracker} needs the package {tracker}: pip install {tracker}, or choose another."
            )
        # split_batches: a batch size is the whole batch, however many processes share it.
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision=precision,
            log_with=None if tracker == "none" else tracker,
            project_dir=folder,
            dataloader_config=DataLoaderConfiguration(split_batches=True, non_blocking=True),
        )
        self.device = self.accelerator.device
        self._progress = progress
        self._values: dict[str, float] = {}
        self.asked_to_stop = False
        self._started = time.monotonic()  # had it run in one piece
        # The scale of the loss under fp16, as each phase begins with it.
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
            if not self.accelerator.trackers:
                self._start_tracker(step)
            self.accelerator.log(self._values, step)

    def _start_tracker(self, step: int) -> None:
        """Start accelerate's tracker at a step; a continued run goes on in the same place."""
        variant, seed = self.folder.absolute().parts[-2:]
        place = hashlib.sha256(str(self.folder.absolute()).encode()).hexdigest()[:16]
        options = {
            "tensorboard": {"purge_step": step},
            "wandb": {"name": f"{variant}-{seed}", "id": place, "resume": "allow", "dir": str(self.folder)},
            "mlflow": {"run_name": f"{variant}-{seed}"},
        }
        # TensorBoard takes the project for the name of a folder.
        project = "tensorboard" if self.tracker == "tensorboard" else self.folder.absolute().parts[-4]
        self.accelerator.init_trackers(project, init_kwargs=options)

    def close(self) -> None:
        """Let the tracker write what it holds."""
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self.accelerator.trackers.clear()

    @property
    def weights(self) -> Path:
        """Where the trained weights are, once :meth:`export` has written them."""
        return weights_file(self.folder)

    @property
    def start_weights(self) -> Path:
        """The trained weights of the run that this one starts from.

        Raises:
            UserError: if this run starts from nothing, or that run left no weights.
        """
        if self.start is None:
            raise UserError(f"The run in {self.folder} starts from no other; give the folder of one with --start.")
        if not weights_file(self.start).is_file():
            raise UserError(f"{weights_file(self.start)} is missing: finish that run first, or give another --start.")
        return weights_file(self.start)

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
        self.asked_to_stop = True

    def _agreed_to_stop(self) -> bool:
        """All processes must leave the loop at the same step."""
        flag = torch.tensor(float(self.asked_to_stop), device=self.device)
        return bool(self.accelerator.reduce(flag, reduction="sum") > 0)


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
