"""Jobs one after the other in this process, which is alone or one of several that ``accelerate launch`` started."""

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch

# DistributedDataParallel imports this, and its functions keep the group of that moment as their default: the group's
# threads would then outlive its end, and now and then abort the interpreter as it leaves.
import torch.distributed.nn
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from ..run import Tracker
from ..support.command_line import console
from ..support.progress import HEARTBEAT_SECONDS, heartbeat, listen
from . import jobs
from .keys import Job
from .pool import now_and_then


class LaunchedProcess:
    """This process and those that were launched with it, which run every job together.

    Args:
        package: of the paper.
        tracker: of the logged values, see ``Run``.
    """

    def __init__(self, package: str, tracker: Tracker = "tensorboard") -> None:
        self.package, self.tracker = package, tracker
        # Without cpu=True every process of a launch on CPUs believes it is alone. A day: the others wait while the main
        # process embeds a whole dataset.
        self.state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))
        self.is_main = self.state.is_main_process
        console.quiet = not self.is_main
        if not torch.cuda.is_available():
            torch.set_num_threads(1)  # as `make reproduce` does: with more, the numbers depend on the machine

    def close(self) -> None:
        if isinstance(sys.exception(), Exception):  # others may wait in a collective for ever
            return
        gc.collect()  # the group's threads end with the last DistributedDataParallel that refers to it
        self.state.destroy_process_group()

    def call(self, function: str, *arguments: Any) -> Any:
        """Run a function of ``jobs`` on the main process. All call it for ``prepare``, and all have its result."""
        listen(heartbeat(console.print))
        work = getattr(jobs, function)
        if function != "prepare":
            return work(*arguments)
        return broadcast_object_list([work(*arguments) if self.is_main else None])[0]

    def map(self, pending: Sequence[Job], costs: Mapping[str, float], done: Callable[[Job], None]) -> None:
        """Run jobs in the order given, over all processes; ``done`` is called with each finished one."""
        for job in pending:
            self.run(job)
            if self.is_main:
                done(job)

    def run(self, job: Job, **modules: str) -> dict[str, Any]:
        """Run one job over all processes, see ``jobs.run_job``; returns its row."""

        def tell(step: int, total: int, values: dict[str, float]) -> None:
            console.print(f"{job}: step {step}/{total} loss {values.get('loss', float('nan')):.4f}")

        self.state.wait_for_everyone()  # nothing is written before each process knows what is to do
        return jobs.run_job(self.package, job, self.tracker, now_and_then(HEARTBEAT_SECONDS, tell), **modules)
