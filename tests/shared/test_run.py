"""shared/run.py: a tiny real run that is stopped, killed, spoilt and continued, in one process and in two."""

import argparse
import errno
import io
import json
import math
import multiprocessing as mp
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from safetensors.torch import load_file
from tinypaper import data
from tinypaper.config import Config
from tinypaper.train import train

from shared import UserError
from shared.run import Interrupted, Run
from shared.support import files
from shared.support.command_line import explain
from shared.support.files import write_atomic, write_json
from shared.support.weights import load_checkpoint

CONFIG = Config(steps=20, pause=0)
STOPPED = 17  # exit code of a process that left with Interrupted


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    data.prepare(CONFIG, folder)
    return folder


@pytest.fixture(autouse=True)
def _sigterm() -> Iterator[None]:
    """A Run takes SIGTERM over; pytest gets it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def run_tiny(folder: Path, cache: Path, config: Config = CONFIG, kind: type[Run] = Run) -> None:
    train(config, kind(folder, cache, seed=3, log_every=1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run_tiny(folder, cache)
    return folder


def test_the_scale_of_the_loss_begins_anew_in_every_phase(tmp_path: Path) -> None:
    """As in a run that was killed between two phases."""
    run = Run(tmp_path, tmp_path, seed=0)
    scaler = run.accelerator.scaler = torch.amp.GradScaler("cpu")
    run._scaler = scaler.state_dict()  # as under fp16, which a CPU has not
    scales = []
    for start in (0, 2):
        for _ in run.steps(start + 2, start=start, save_every=9):
            scales.append(scaler.state_dict()["scale"])
            scaler.load_state_dict(scaler.state_dict() | {"scale": 7.0})
    assert scales == [65536.0, 7.0, 65536.0, 7.0]


def assert_same_run(folder: Path, whole: Path) -> None:
    """Weights, optimizer, position, random state and log are equal to the last bit."""
    assert (folder / "checkpoint/model.safetensors").read_bytes() == (
        whole / "checkpoint/model.safetensors"
    ).read_bytes()
    ours, theirs = (load_checkpoint(f / "checkpoint" / "state.pt") for f in (folder, whole))
    assert plain(ours | {"seconds": 0.0}) == plain(theirs | {"seconds": 0.0})
    assert (folder / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def plain(x: Any) -> Any:
    """Tensors as lists, so that ``==`` compares whole checkpoints."""
    if isinstance(x, torch.Tensor):
        return x.tolist()
    if isinstance(x, dict):
        return {key: plain(value) for key, value in x.items()}
    return [plain(value) for value in x] if isinstance(x, list | tuple) else x


def logged_steps(folder: Path) -> list[int]:
    log = folder / "metrics.jsonl"
    return [json.loads(line)["step"] for line in log.read_text().splitlines()] if log.exists() else []


def saved_step(folder: Path) -> int:
    return load_checkpoint(folder / "checkpoint" / "state.pt")["step"]


# -- exact resume -----------------------------------------------------------------------------------------------------


def test_the_tiny_run_depends_on_what_a_checkpoint_must_hold(whole: Path, tmp_path: Path, cache: Path) -> None:
    """Otherwise the tests below would show nothing: dropout draws from the global generator, seeds differ."""
    assert logged_steps(whole) == list(range(20))
    run_tiny(tmp_path / "no dropout", cache, replace(CONFIG, dropout=0.0))
    weights = load_file(whole / "checkpoint" / "model.safetensors")
    others = load_file(tmp_path / "no dropout" / "checkpoint" / "model.safetensors")
    assert sum(x.numel() for x in weights.values()) == 19
    assert not torch.equal(weights["0.weight"], others["0.weight"])


@pytest.mark.parametrize("workers", [0, 2])
def test_two_halves_are_one_run(whole: Path, tmp_path: Path, cache: Path, workers: int) -> None:
    run_tiny(tmp_path, cache, replace(CONFIG, steps=10, workers=workers))
    assert saved_step(tmp_path) == 10
    torch.rand(7), random.random()  # whatever another process would have drawn
    run_tiny(tmp_path, cache, replace(CONFIG, workers=workers))
    assert_same_run(tmp_path, whole)


def test_a_finished_run_is_not_run_again(whole: Path, tmp_path: Path, cache: Path) -> None:
    run_tiny(tmp_path, cache)
    before = (tmp_path / "checkpoint" / "state.pt").stat().st_mtime_ns
    run_tiny(tmp_path, cache)
    assert (tmp_path / "checkpoint" / "state.pt").stat().st_mtime_ns == before
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("torn", ['{"step": 15, "lo', '{"step": 15', "\0\0\0\0", ""])
def test_a_torn_line_of_the_log_is_forgotten(whole: Path, tmp_path: Path, cache: Path, torn: str) -> None:
    run_tiny(tmp_path, cache, replace(CONFIG, steps=10))
    log = tmp_path / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 10, "loss": 0.5}\n' + torn)  # what ran after the last checkpoint
    run_tiny(tmp_path, cache)
    assert_same_run(tmp_path, whole)


def test_seconds_add_up_over_the_pieces(tmp_path: Path, cache: Path) -> None:
    slow, started = replace(CONFIG, pause=0.02), time.monotonic()
    run_tiny(tmp_path, cache, replace(slow, steps=10))
    run = Run(tmp_path, cache, seed=3)
    train(slow, run)
    assert 20 * 0.02 <= run.seconds <= time.monotonic() - started
    assert 50 < run.peak_memory_mb < 100_000


def test_seconds_of_an_earlier_phase_count(tmp_path: Path, cache: Path) -> None:
    model = torch.nn.Linear(1, 1)
    started = time.monotonic()
    run = Run(tmp_path, cache, seed=3)
    for _ in run.steps(2, save_every=2, model=model):
        time.sleep(0.1)
    for _ in run.steps(4, start=2, save_every=2, model=model):
        break
    assert 0.2 <= run.seconds <= time.monotonic() - started  # its own checkpoint does not count twice
    again = Run(tmp_path, cache, seed=3)
    for _ in again.steps(4, start=2, save_every=2, model=model):  # killed before it had a checkpoint
        break
    assert again.seconds >= 0.2


# -- stopped and killed -----------------------------------------------------------------------------------------------


def in_a_process(folder: Path, cache: Path, config: Config, linger: float = 0) -> None:
    torch.set_num_threads(1)
    try:
        run_tiny(folder, cache, config)
    except Interrupted:
        sys.exit(STOPPED)
    time.sleep(linger)  # a kill that comes late is still a kill


def start(*arguments: Any, target: Callable[..., None] = in_a_process) -> Any:
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["shared.run", "torch._dynamo"])
    child = context.Process(target=target, args=arguments)
    child.start()
    return child


def wait_for_lines(folder: Path, count: int) -> None:
    """Until ``count`` steps are in the log; its last line may be half written."""
    log, end = folder / "metrics.jsonl", time.monotonic() + 300
    while not log.exists() or log.read_text().count("\n") < count:
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def test_sigterm_saves_and_leaves(whole: Path, tmp_path: Path, cache: Path) -> None:
    child = start(tmp_path, cache, replace(CONFIG, pause=0.2))
    wait_for_lines(tmp_path, 10)
    child.terminate()
    child.join()
    assert child.exitcode == STOPPED
    step = saved_step(tmp_path)
    assert 9 < step < 20 and logged_steps(tmp_path) == list(range(step))  # not one step is lost
    run_tiny(tmp_path, cache)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("attempt", range(2))
def test_killed_at_any_moment(whole: Path, tmp_path: Path, cache: Path, attempt: int) -> None:
    """``kill -9`` at a random step, the same run killed a second time, then continued to the end."""
    rng = random.Random(attempt)
    for first, last in ((2, 9), (11, 18)):
        child = start(tmp_path, cache, replace(CONFIG, pause=0.01, save_every=3), 600)
        wait_for_lines(tmp_path, rng.randint(first, last))
        time.sleep(rng.uniform(0, 0.01))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
    assert saved_step(tmp_path) >= 6
    run_tiny(tmp_path, cache)
    assert_same_run(tmp_path, whole)


# -- a loss that is no number -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_loss_stops_the_run(
    whole: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    class Spoilt(Run):
        def log(self, step: int, *, loss: torch.Tensor, **rest: Any) -> None:
            super().log(step, loss=loss * value if step == 12 else loss, **rest)

    with pytest.raises(UserError) as stop:
        run_tiny(tmp_path, cache, kind=Spoilt)
    message = str(stop.value)
    assert str(value) in message and "step 12" in message and message.count("'point ") == CONFIG.batch_size
    assert f"{tmp_path / 'checkpoint' / 'state.pt'} (step 7)" in message
    assert saved_step(tmp_path) == 7 and logged_steps(tmp_path) == list(range(12))
    run_tiny(tmp_path, cache)  # once mended, it continues
    assert_same_run(tmp_path, whole)


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_that_may_not_be_read_stays_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "state.pt")


def test_the_arguments_beside_weights_are_plain_values(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=1.0)}, tmp_path / "theirs.pth")
    assert load_checkpoint(tmp_path / "theirs.pth")["args"].lr == 1.0


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "made" / "file"
    write_atomic(path, b"old")

    def fail(file: Any) -> None:
        file.write(b"half of the ne")
        file.flush()
        assert path.read_bytes() == b"old"
        raise OSError("the cable was pulled")

    with pytest.raises(OSError, match="cable"):
        write_atomic(path, fail)
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    with open(path, "rb") as reader:
        write_atomic(path, b"new")
        assert reader.read() == b"old", "who reads while it is written gets one of them whole"
    assert path.read_bytes() == b"new"


class FullDisk(io.FileIO):
    def write(self, content: Any) -> int:
        if self.tell() > 3000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(content)


def full_disk(path: Path, mode: str) -> IO[Any]:
    return FullDisk(path, mode) if mode == "wb" else path.open(mode)


def test_a_full_disk_keeps_the_last_checkpoint_and_is_told(
    whole: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_tiny(tmp_path, cache, replace(CONFIG, steps=10))
    with monkeypatch.context() as patch:
        patch.setattr(files, "open", full_disk, raising=False)
        with pytest.raises((OSError, RuntimeError)) as stop:
            run_tiny(tmp_path, cache)
    assert explain(stop.value).startswith("The disk is full")
    assert saved_step(tmp_path) == 10
    run_tiny(tmp_path, cache)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_has_no_nan(tmp_path: Path, value: float) -> None:
    write_json(tmp_path / "x.json", {"a": 1.5, "b": None})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": value})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1.5, "b": None}


# -- two processes ----------------------------------------------------------------------------------------------------


def test_two_processes_are_one(tmp_path: Path, cache: Path, two_processes: Callable[..., str]) -> None:
    """Same weights as one process with the same whole batch; SIGTERM to one stops both; both continue as they were."""
    for stage in ("whole and stopped", "continued"):
        assert stage in two_processes("run", tmp_path, cache)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
    run_tiny(tmp_path / "one", cache, replace(CONFIG, dropout=0.0))
    one, two = (load_file(tmp_path / name / "checkpoint" / "model.safetensors") for name in ("one", "no dropout"))
    torch.testing.assert_close(two, one)
    with pytest.raises(UserError, match="written by 2 processes and this run has 1"):
        run_tiny(tmp_path / "whole", cache)


def two_phases(folder: Path, *, stop_at: int | None = None) -> torch.Tensor:
    """Four steps that train one tensor, then four that train another from it; ends early after ``stop_at`` steps."""
    run = Run(folder, folder / "cache", seed=0, log_every=1)
    done, first = 0, folder / "first.safetensors"

    def step_of(layer: torch.nn.Linear, optimizer: torch.optim.Optimizer, step: int) -> None:
        nonlocal done
        if done == stop_at:
            raise InterruptedError
        done += 1
        loss = layer(torch.rand(2, 3)).square().mean()
        run.log(step, loss=loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for phase, start, stop in ((0, 0, 4), (1, 4, 8)):
        if phase == 0 and first.exists():
            continue
        run.reseed()
        layer = torch.nn.Linear(3, 2 + phase)
        if phase:
            layer.bias.data[:2] = load_file(first)["bias"]
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
        for step in run.steps(stop, start=start, save_every=2, layer=layer, optimizer=optimizer):
            step_of(layer, optimizer, step)
        if phase == 0:
            run.export(layer.state_dict(), first)
    return layer.bias.detach()


def test_the_progress_of_two_phases_is_that_of_the_whole(tmp_path: Path) -> None:
    told = []
    run = Run(tmp_path, tmp_path, seed=0, progress=lambda done, total, values: told.append((done, total)))
    for start, stop in ((0, 4), (4, 8)):
        assert list(run.steps(stop, start=start, whole=8, save_every=8)) == list(range(start, stop))
    assert told == [(done, 8) for done in range(1, 9)]


@pytest.mark.parametrize("stop_at", range(8))
def test_a_run_of_two_phases_continues_where_it_was(tmp_path: Path, stop_at: int) -> None:
    expected = two_phases(tmp_path / "whole")
    with pytest.raises(InterruptedError):
        two_phases(tmp_path / "stopped", stop_at=stop_at)
    assert torch.equal(two_phases(tmp_path / "stopped"), expected)
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "stopped")]
    assert logs[0] == logs[1]


def killed_between_its_phases(folder: Path) -> None:
    export = Run.export

    def killed(self: Run, weights: Any, path: Path | None = None) -> None:
        export(self, weights, path)
        os._exit(9)

    Run.export = killed  # type: ignore[method-assign]
    two_phases(folder)


def test_killed_between_its_phases_the_first_is_not_run_again(tmp_path: Path) -> None:
    """The first is exported, the second has not begun: what a random moment hardly ever meets."""
    expected = two_phases(tmp_path / "whole")
    child = start(tmp_path / "killed", target=killed_between_its_phases)
    child.join()
    assert child.exitcode == 9
    exported = (tmp_path / "killed" / "first.safetensors").stat().st_mtime_ns
    assert torch.equal(two_phases(tmp_path / "killed"), expected)
    assert (tmp_path / "killed" / "first.safetensors").stat().st_mtime_ns == exported
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1]
