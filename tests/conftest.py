"""How tests run: side by side, one process a core, those of one paper alone if asked; and scripts in two processes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported; the commands that tests start inherit it
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("FORCE_COLOR", None)  # what commands print is read here

# torchrun asks for this machine's name otherwise, which not every machine can look up.
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc_per_node", "2")


TESTS = Path(__file__).parent


def paper_of(nodeid: str) -> str:
    """The paper that a test concerns: its folder below tests/papers/, or the first word of its row; "" for none."""
    file, _, test = nodeid.partition("::")
    folder, below, _ = file.partition("tests/papers/")[2].partition("/")
    return folder if below else re.split(r"\W", test.partition("[")[2])[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--paper", help="slug of a paper: its folder and its rows of the tests of all papers, alone")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Folders of which nothing concerns the paper are not even imported."""
    paper = config.getoption("--paper")
    elsewhere = collection_path.parent in (TESTS, TESTS / "papers") and collection_path.name not in ("papers", paper)
    return True if paper and collection_path.is_dir() and elsewhere else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if paper := config.getoption("--paper"):
        others = [item for item in items if paper_of(item.nodeid) != paper]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


class ByFixture(LoadScopeScheduling):
    """What stays together: a paper's own tests, one paper's tests in a file of all papers, the tests of a file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.endswith(("test_smoke.py", "test_bad_input.py")):
            return f"{file}[{paper_of(nodeid)}"
        folder = file.rpartition("/")[0]
        return folder if folder.startswith("tests/papers/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFixture:
    return ByFixture(config, log)  # type: ignore[arg-type]


@pytest.fixture
def launch() -> list[str]:
    """Options of Python before a script, or ``-m`` and a module, to run in two processes as accelerate starts them."""
    return list(LAUNCH)


@pytest.fixture
def two_processes(request: pytest.FixtureRequest) -> Callable[..., str]:
    """Runs ``two_process_<name>.py`` beside the test under torchrun on two CPU processes; returns what it printed."""

    def run(name: str, *arguments: str | Path) -> str:
        script = request.path.with_name(f"two_process_{name}.py")
        command = [sys.executable, *LAUNCH, Path(__file__).with_name("launched.py")]
        environment = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        finished = subprocess.run(
            [*command, script, *arguments], env=os.environ | environment, capture_output=True, text=True, timeout=500
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return run
