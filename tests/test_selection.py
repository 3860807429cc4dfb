"""tests/conftest.py: what ``make test PAPER=`` runs."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import paper_of

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("test", "paper"),
    [
        ("tests/papers/clipsep/test_model.py::test_shapes[pacl]", "clipsep"),
        ("tests/papers/fastmim/transfer/test_segment.py::test_learns", "fastmim"),
        ("tests/papers/test_smoke.py::test_over_two_processes[pacl]", "pacl"),
        ("tests/papers/test_bad_input.py::test_bad_input_is_named[clipsep --run: config.json, text]", "clipsep"),
        ("tests/papers/test_bad_input.py::test_bad_input_is_named[shared clip: clip.pt, text]", "shared"),
        ("tests/papers/test_bad_input.py::test_no_code_unpickles", ""),
        ("tests/test_structure.py::test_results_are_whole[clipsep]", "clipsep"),
        ("tests/shared/test_run.py::test_two_halves_are_one_run[2]", "2"),
    ],
)
def test_which_paper_a_test_concerns(test: str, paper: str) -> None:
    assert paper_of(test) == paper


def test_make_asks_for_one_paper() -> None:
    def planned(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "-n", "test", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"MAKEFLAGS": ""})

    assert "-m pytest --paper clipsep -x" in planned("PAPER=clipsep", "ARGS=-x").stdout
    assert "-m pytest" in planned().stdout and "--paper" not in planned().stdout
