"""Lines that say how far a work is."""

import io

import pytest
from rich.console import Console

from shared.support import progress
from shared.support.progress import drawn, heartbeat


def test_lines_of_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    said: list[str] = []
    listener = heartbeat(said.append)
    for done in range(8):
        listener("embedding photographs", 1000 * done, 8000)
        now += 12
    listener("reading lists", 0, 0)
    now += 31
    listener("reading lists", 7, 0)
    assert said == [
        "Embedding photographs ...",
        "Embedding photographs: 3,000 of 8,000",
        "Embedding photographs: 6,000 of 8,000",
        "Reading lists ...",
        "Reading lists: 7 of ?",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_on_a_terminal_and_lines_elsewhere(terminal: bool) -> None:
    printed = io.StringIO()
    with drawn(Console(file=printed, force_terminal=terminal, width=100)) as listener:
        listener("decoding images", 1000, 8000)
        listener("reading lists", 7, 0)
    found = printed.getvalue()
    if terminal:
        assert "reading lists" in found and "7 of ?" in found and "..." not in found
    else:
        assert found == "Decoding images ...\nReading lists ...\n"
