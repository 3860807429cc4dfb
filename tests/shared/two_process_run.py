"""Run twice by test_run.py under torchrun: uninterrupted runs and one that stops; then its continuation."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinypaper.config import Config
from tinypaper.train import train

from shared.run import Interrupted, Run
from shared.support.weights import load_checkpoint

CONFIG = Config(steps=20, pause=0)  # with dropout, which is another on each process


class Stopping(Run):
    """The second process alone is asked to stop during step 8; after it all agree to."""

    def log(self, step: int, **values: Any) -> None:
        if step == 8 and self.accelerator.process_index == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        super().log(step, **values)


def main(folder: Path, cache: Path) -> None:
    if (folder / "stopped").exists():
        run = Run(folder / "stopped", cache, seed=3, log_every=1)
        train(CONFIG, run)
        stage = "continued"
    else:
        train(CONFIG, Run(folder / "whole", cache, seed=3, log_every=1))
        train(replace(CONFIG, dropout=0.0), Run(folder / "no dropout", cache, seed=3, log_every=1))
        run = Stopping(folder / "stopped", cache, seed=3, log_every=1)
        try:
            train(CONFIG, run)
            raise AssertionError("SIGTERM did not stop the run")
        except Interrupted:
            assert load_checkpoint(folder / "stopped" / "checkpoint" / "state.pt")["step"] == 9
        stage = "whole and stopped"
    assert run.accelerator.num_processes == 2
    if run.accelerator.is_main_process:
        print(stage)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
