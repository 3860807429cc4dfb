"""Run by the fixture ``two_processes``: a test's script, as a reproduction is launched over several processes."""

import runpy
import sys
from pathlib import Path

from shared.reproduce import _Here

if __name__ == "__main__":
    _, script, *sys.argv[1:] = sys.argv
    with _Here():
        runpy.run_path(script, run_name="__main__")
    # A thread of the process group that is left would now and then abort the interpreter as it leaves.
    threads = [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")]  # none but on Linux
    assert not any("gloo" in name for name in threads), threads
