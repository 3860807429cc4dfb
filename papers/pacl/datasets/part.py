"""One part of the data as ``make check-data`` finds it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A source of pairs, a benchmark or a classification set.

    Attributes:
        lines: what is told of it, one line or more.
        usable: samples that can be read; 0 if the part is not there.
        stops: a run that meets it would stop.
    """

    name: str
    lines: list[str]
    usable: int = 0
    stops: bool = False


def missing(name: str, reason: str) -> Part:
    """A part that is not there."""
    return Part(name, [f"{name}: missing, {reason}"])


def faulty(name: str, error: Exception) -> Part:
    """A part that is there, but not whole."""
    fault = str(error).splitlines()[0].removesuffix(" Expected:")
    return Part(name, [f"{name}: {fault.removeprefix(f'{name}: ')}"], stops=True)
