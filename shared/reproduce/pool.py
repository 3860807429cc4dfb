"""Jobs side by side in child processes of this machine."""

import contextlib
import gc
import importlib
import multiprocessing as mp
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from rich.progress import Progress, TaskID

from .. import UserError
from ..support.command_line import console, explain
from ..support.progress import COLUMNS, HEARTBEAT_SECONDS, drawn, listen
from .keys import Job

PROGRESS_SECONDS = 0.25  # between two progress messages of one job
WORK = f"{__package__}.jobs"  # functions of this module run in the children; the parent does not import it, nor torch


class ProcessPool:
    """Runs each job in a child process with one torch thread, and draws a live line a job.

    Args:
        jobs: processes side by side; 0: one a GPU, else one a core.
        package: of the paper.
        tracker: of the logged values, see ``Run``.
    """

    is_main = True

    def __init__(self, jobs: int, package: str, tracker: str = "tensorboard") -> None:
        # One thread a run: numbers then do not depend on the number of cores, nor on what runs beside.
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = "1"
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self.jobs, self.package, self.tracker = jobs, package, tracker
        # A server that has imported torch once forks every job: a job starts in milliseconds.
        self.context = mp.get_context("forkserver")
        # (Without torch._dynamo here, every job spends seconds on it: the optimizers import it.)
        self.context.set_forkserver_preload([f"{package}.train", f"{package}.eval", WORK, "torch._dynamo"])
        # Ctrl-C reaches the whole group; the parent decides. The server and its children inherit this.
        answer = signal.signal(signal.SIGINT, signal.SIG_IGN)
        forkserver.ensure_running()
        signal.signal(signal.SIGINT, answer)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.children: dict[Connection, tuple[Any, str]] = {}

    def close(self) -> None:
        for child, _job in self.children.values():
            child.terminate()  # a run answers SIGTERM with a checkpoint
        for child, _job in self.children.values():
            child.join()

    def call(self, function: str, *arguments: Any) -> Any:
        """Run a function of ``jobs`` in a child and return its result; a bar shows what it tracks."""
        connection = self._start(0, "", function, *arguments)
        with drawn(console) as listener:
            while (message := self._receive(connection))[0] == "tracked":
                listener(*message[1:])
        return message[1]

    def map(self, pending: Sequence[Job], costs: Mapping[str, float], done: Callable[[Job], None]) -> None:
        """Run jobs, each after the one that it starts from.

        Args:
            costs: seconds of a run of each variant, as far as they are known, for the estimate of the time left.
            done: called with each finished job.
        """
        waiting, free = list(pending), deque(range(self.jobs or self.call("devices")))
        running: dict[Connection, tuple[Job, int, TaskID]] = {}
        usual = sum(costs.values()) / len(costs) if costs else 1.0
        cost = {job.folder: costs.get(job.variant, usual) for job in pending}
        finished = 0.0
        started = spoken = time.monotonic()
        with Progress(*COLUMNS, console=console, transient=True, disable=not console.is_terminal) as bars:
            overall = bars.add_task("[bold]all", total=sum(cost.values()), note="")
            while waiting or running:
                unfinished = {job.folder for job in waiting} | {job.folder for job, *_ in running.values()}
                ready = deque(job for job in waiting if job.start not in unfinished)
                while ready and free:
                    job, slot = ready.popleft(), free.popleft()
                    waiting.remove(job)
                    bar = bars.add_task(str(job), total=1.0, note="starting")
                    connection = self._start(slot, f"{job}: ", "run_job", self.package, job, self.tracker)
                    running[connection] = (job, slot, bar)
                for ended in wait(list(running), timeout=1.0):
                    connection = cast(Connection, ended)
                    job, slot, bar = running[connection]
                    kind, *content = self._receive(connection)
                    if kind == "progress":
                        step, total, values = content
                        note = f"step {step}/{total}  loss {values.get('loss', float('nan')):.4f}"
                        bars.update(bar, completed=step / total, note=note)
                    else:
                        free.append(slot)
                        bars.remove_task(bar)
                        del running[connection]
                        finished += cost[job.folder]
                        defined = ((n, x) for n, x in content[0]["metrics"].items() if x is not None)
                        name, value = next(defined, (None, 0.0))
                        found = f"{name} {value:.3f}" if name else "trained"
                        console.print(f"  {job}: {found} in {content[0]['seconds']:.0f} s")
                        done(job)
                parts = {bar: bars.tasks[bars.task_ids.index(bar)] for _, _, bar in running.values()}
                begun = sum(cost[job.folder] * parts[bar].completed for job, _, bar in running.values())
                # (Not rich's own estimate, which is of the last half minute: variants differ in length.)
                share = (finished + begun) / sum(cost.values())
                seconds = (time.monotonic() - started) * (1 - share) / share if share else 0.0
                left = timedelta(seconds=round(seconds)) if share else "?"
                count = len(pending) - len(waiting) - len(running)
                note = f"{count} of {len(pending)} runs, {left} left"
                bars.update(overall, completed=finished + begun, note=note)
                if not console.is_terminal and time.monotonic() - spoken > HEARTBEAT_SECONDS:
                    spoken = time.monotonic()
                    now = ", ".join(f"{part.description} {part.percentage:.0f}%" for part in parts.values())
                    console.print(f"{note}; now {now}")

    def _start(self, slot: int, job: str, function: str, *arguments: Any) -> Connection:
        receiver, sender = self.context.Pipe(duplex=False)
        child = self.context.Process(target=_child, args=(sender, slot, function, arguments))
        try:
            child.start()
        except (EOFError, ConnectionError):  # the server ended as it imported the paper
            raise UserError(f"The code of {self.package} cannot be imported; the traceback above says why.") from None
        sender.close()
        self.children[receiver] = (child, job)
        return receiver

    def _receive(self, connection: Connection) -> tuple[Any, ...]:
        child, job = self.children[connection]
        try:
            message = connection.recv()
        except EOFError:
            child.join()
            self.children.pop(connection)
            reason = (
                "it was killed, often for lack of memory: try fewer jobs (JOBS=, --jobs)"
                if child.exitcode == -9
                else "no message"
            )
            raise UserError(f"{job}a process ended with exit code {child.exitcode} ({reason}).") from None
        if message[0] in ("progress", "tracked"):
            return message
        child.join()
        self.children.pop(connection)
        if message[0] == "error":
            raise UserError(job + message[1]) from Exception(message[2])  # the traceback there, for --debug
        return message


def _child(sender: Connection, slot: int, function: str, arguments: tuple[Any, ...]) -> None:
    """Body of a child process: sends ("progress" or "tracked", ...), then ("done", result) or ("error", ...)."""
    if not cast(Any, mp.parent_process()).is_alive():  # it left while the server was importing
        return
    gc.freeze()  # what the server imported is never garbage; looking for some in it costs half a second a run

    def send(*message: Any) -> None:
        try:
            sender.send(message)
        except BrokenPipeError:  # the parent is gone: stop as if asked to
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        work = importlib.import_module(WORK)
        work.use_device(slot)
        if function == "run_job":
            arguments += (now_and_then(PROGRESS_SECONDS, partial(send, "progress")),)
        else:
            listen(partial(send, "tracked"))
        sender.send(("done", getattr(work, function)(*arguments)))
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    except BaseException as error:
        with contextlib.suppress(BrokenPipeError):
            sender.send(("error", explain(error), traceback.format_exc()))


def now_and_then(seconds: float, tell: Callable[..., None]) -> Callable[[int, int, dict[str, float]], None]:
    """tell(step, total, values) at most once in so many seconds, but always at the last step."""
    last = 0.0

    def report(step: int, total: int, values: dict[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last > seconds or step == total:
            last = time.monotonic()
            tell(step, total, values)

    return report
