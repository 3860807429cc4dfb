"""The loss over processes: each compares its images with the texts of all."""

import os
import subprocess
import sys
from pathlib import Path


def test_two_processes_are_one() -> None:
    script = Path(__file__).with_name("two_process_losses.py")
    finished = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", script],
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
    assert "2 processes agree with 1" in finished.stdout
