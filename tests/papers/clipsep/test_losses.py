from collections.abc import Callable


def test_two_processes_are_one(two_processes: Callable[..., str]) -> None:
    assert "2 processes agree with 1" in two_processes("losses")
