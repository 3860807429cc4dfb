"""The machine that a table of timings names."""

import platform
import re
from pathlib import Path


def processor() -> str:
    """The name of the processor."""
    info = Path("/proc/cpuinfo")
    named = re.search(r"^model name[ \t]*:[ \t]*(.+)", info.read_text(), re.MULTILINE) if info.exists() else None
    return named[1].strip() if named else platform.processor() or platform.machine()
