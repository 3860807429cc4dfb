"""Progress of work that is no training loop, such as preparing data: told to whoever listens in this process."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

Item = TypeVar("Item")
SECONDS = 0.25  # between two reports
HEARTBEAT_SECONDS = 30.0  # between two lines where there is no terminal to draw on
COLUMNS = (TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.fields[note]}"))  # of a bar
Listener = Callable[[str, int, int], None]

_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Call ``listener(what, done, total)`` now and then while items are tracked in this process."""
    _listeners[:] = [listener]


def track(items: Sequence[Item] | Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """The items one by one; the listener of this process is told now and then how many are done.

    Args:
        what: the work in a few words, "embedding the frames".
        total: number of items, if they have no length.
    """
    count = len(items) if isinstance(items, Sequence) else total or 0
    told = -SECONDS
    for done, item in enumerate(items):
        if time.monotonic() - told > SECONDS:
            told = time.monotonic()
            for listener in _listeners:
                listener(what, done, count)
        yield item


def heartbeat(say: Callable[[str], object]) -> Listener:
    """A listener that says in a line which work begins, and every half minute how far it is."""
    current, spoken = "", 0.0

    def listener(what: str, done: int, total: int) -> None:
        nonlocal current, spoken
        if what != current:
            say(f"{what[0].upper()}{what[1:]} ...")
        elif time.monotonic() - spoken > HEARTBEAT_SECONDS:
            say(f"{what[0].upper()}{what[1:]}: {done:,} of {f'{total:,}' if total else '?'}")
        else:
            return
        current, spoken = what, time.monotonic()

    return listener


@contextlib.contextmanager
def drawn(console: Console) -> Iterator[Listener]:
    """A listener that draws a bar on a terminal, and elsewhere says lines, see :func:`heartbeat`."""
    with Progress(*COLUMNS, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar, say = bars.add_task("starting", total=None, note=""), heartbeat(console.print)

        def listener(what: str, done: int, total: int) -> None:
            note = f"{done:,} of {f'{total:,}' if total else '?'}"
            bars.update(bar, description=what, completed=done, total=total or None, note=note)
            if not console.is_terminal:
                say(what, done, total)

        yield listener
