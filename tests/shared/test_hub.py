"""shared/support/hub.py: the hub's client is silent, and its errors are a few words."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import errors

from shared.support import hub
from shared.support.command_line import explain

ROOT = Path(__file__).parents[2]
# Every request is refused at once, and the client's pauses before each retry are left out.
UNREACHABLE = """
import sys, time
time.sleep = lambda seconds: None
from shared.clip import load_clip
from shared.support.command_line import run_and_explain
sys.exit(run_and_explain(lambda: load_clip(sys.argv[1], pretrained=sys.argv[2] or None), debug=False))
"""


def answered(kind: type[errors.HfHubHTTPError]) -> errors.HfHubHTTPError:
    """An error without its response, which versions of the hub's client make with different libraries."""
    error = kind.__new__(kind)
    error.args = ("no\nluck",)
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.LocalEntryNotFoundError("An error happened"), "the Hugging Face hub cannot be reached"),
        (errors.OfflineModeIsEnabled("offline"), "the Hugging Face hub cannot be reached"),
        (ConnectionError("Couldn't reach 'owls' on the Hub (LocalEntryNotFoundError)"), "cannot be reached"),
        (answered(errors.RepositoryNotFoundError), "nothing of that name"),
        (answered(errors.GatedRepoError), "accepted its terms"),
        (answered(errors.RemoteEntryNotFoundError), "no such file"),
        (answered(errors.HfHubHTTPError), "answered with no luck"),
    ],
)
def test_errors_of_the_hub_are_told_in_a_few_words(error: Exception, reason: str) -> None:
    wrapped = RuntimeError("Failed to download weights")
    wrapped.__cause__ = FileNotFoundError("Failed to download file")
    wrapped.__cause__.__context__ = error
    for raised in (error, wrapped):
        assert reason in (hub.failure(raised) or "")
        told = explain(raised)
        assert told.startswith("A download is needed, but the Hugging Face hub") and "\n" not in told


@pytest.mark.parametrize("error", [FileNotFoundError("a.csv"), ConnectionError("reset by peer"), ValueError("3")])
def test_other_errors_are_none_of_the_hub(error: Exception) -> None:
    assert hub.failure(error) is None


def test_nothing_is_logged_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("huggingface_hub.utils._http")
    with pytest.raises(ValueError, match="three"), hub.quiet():
        logger.error("Retrying in 1s")
        raise ValueError("three")
    assert not caplog.records
    logger.error("afterwards")
    assert [record.message for record in caplog.records] == ["afterwards"]


@pytest.mark.parametrize(("name", "pretrained"), [("ViT-B-32", "openai"), ("hf-hub:nobody/nothing", "")])
def test_without_a_network_one_line_is_printed(name: str, pretrained: str, tmp_path: Path) -> None:
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment |= {"NO_PROXY": "*", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", UNREACHABLE, name, pretrained]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.returncode == 1 and found.stdout == "", found.stdout
    assert found.stderr.count("\n") == 1 and found.stderr.startswith("error: "), found.stderr
    assert f"{name} is not on this machine, and the Hugging Face hub cannot be reached" in found.stderr
