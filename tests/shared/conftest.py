"""What several tests of the package do: run a script in two processes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def two_processes() -> Callable[..., str]:
    """Runs ``two_process_<name>.py`` of this folder under torchrun on two CPU processes; returns what it printed."""

    def run(name: str, *arguments: str | Path) -> str:
        script = Path(__file__).with_name(f"two_process_{name}.py")
        finished = subprocess.run(
            [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc_per_node",
                "2",
                script,
                *arguments,
            ],
            env={
                **os.environ,
                "ACCELERATE_USE_CPU": "true",
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return run
