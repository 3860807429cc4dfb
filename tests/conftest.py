"""Tests run side by side, one process a core; those that share what is expensive to make stay in one process."""

import os

import pytest
from xdist.scheduler import LoadScopeScheduling

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported; the commands that tests start inherit it
    os.environ.setdefault("OMP_NUM_THREADS", "1")


class ByFixture(LoadScopeScheduling):
    """What stays together: a paper's own tests, the tests of one paper's smoke reproduction, the tests of a file."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file.endswith("test_smoke.py"):
            return f"{file}[{test.partition('[')[2]}"
        folder = file.rpartition("/")[0]
        return folder if folder.startswith("tests/papers/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFixture:
    return ByFixture(config, log)  # type: ignore[arg-type]
