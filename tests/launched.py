"""Run by the fixture ``two_processes``: a test's script, as a reproduction is launched over several processes."""

import contextlib
import runpy
import sys
import time
from pathlib import Path

from shared.reproduce.launch import LaunchedProcess


def threads_of_the_group() -> list[str]:
    """Names of the process group's threads (on Linux; elsewhere none is found)."""
    names = []
    for thread in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):  # it has ended
            names.append(thread.read_text().strip())
    return [name for name in names if "gloo" in name]


if __name__ == "__main__":
    _, script, *sys.argv[1:] = sys.argv
    with contextlib.closing(LaunchedProcess("tests")):
        runpy.run_path(script, run_name="__main__")
    end = time.monotonic() + 10  # the kernel lists a thread for a moment after it has ended
    while threads_of_the_group() and time.monotonic() < end:
        time.sleep(0.1)
    assert not threads_of_the_group(), "threads of the process group are left; now and then they abort the interpreter"
