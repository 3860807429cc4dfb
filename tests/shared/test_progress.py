"""Lines that say how far a work is."""

import pytest

from shared.support import progress
from shared.support.progress import heartbeat


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
