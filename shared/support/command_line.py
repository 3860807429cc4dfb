"""The command line of every command: options, one sentence for an error, exit status."""

import errno
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, get_args, get_origin, get_type_hints

import tyro
from rich.console import Console

from .. import UserError
from . import hub

console = Console(highlight=False, soft_wrap=True)


class Debuggable(Protocol):
    """Options of a command."""

    @property
    def debug(self) -> bool:
        """Show the traceback of an error."""


Options = TypeVar("Options", bound=Debuggable)


def command(
    kind: type[Options], action: Callable[[Options], None], prog: str, arguments: Sequence[str] | None = None
) -> int:
    """Parse the options and do it; see :func:`run_and_explain`."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    return run_and_explain(lambda: action(tyro.cli(kind, args=each_once(given, kind), prog=prog)), "--debug" in given)


def each_once(arguments: Sequence[str], *kinds: type) -> list[str]:
    """The arguments with each option once: ``--query a --query b`` becomes ``--query a b``, as tyro reads it.

    Without this, tyro drops all but the last without a word.

    Args:
        kinds: dataclasses of the options; those of type ``tuple[x, ...]`` take several values.

    Raises:
        UserError: another option is given twice.
    """
    hints = {name: hint for kind in kinds for name, hint in get_type_hints(kind).items()}
    several = {name for name, hint in hints.items() if get_origin(hint) is tuple and get_args(hint)[-1] is Ellipsis}
    groups: dict[str, list[str]] = {"": []}  # what stands before the first option, and each option with its values
    name, repeated = "", False
    for word in arguments:
        option, equals, value = word.partition("=")
        if option.startswith("--") and option != "--":
            name = option[2:].replace("-", "_")
            if name in groups:
                if name not in several:
                    raise UserError(f"{option} is given twice; give it once.")
                repeated = True
            groups.setdefault(name, [option]).extend([value] if equals else [])
        else:
            groups[name].append(word)
    return [word for group in groups.values() for word in group] if repeated else list(arguments)


def run_and_explain(action: Callable[[], None], debug: bool) -> int:
    """Do it; tell a person in one sentence if it does not work out. Returns the exit status."""
    try:
        action()
    except KeyboardInterrupt as error:  # of a run: SIGTERM, answered with a checkpoint
        console.print(
            f"{str(error) or 'Interrupted. What is finished is kept'}; the same command continues from there."
        )
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"error: {explain(error)}", file=sys.stderr, flush=True)
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # a graceful end would wait for the other processes
            os._exit(1)
        return 1
    return 0


def explain(error: BaseException) -> str:
    """One sentence for a person, for any error."""
    if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):  # torch.save hides a full disk
        error = error.__context__
    if named := re.search(r"Original Traceback.*\n\w*Error: \[Errno (\d+)\] (.+): '(.+)'\s*$", str(error), re.DOTALL):
        error = OSError(int(named[1]), named[2].rpartition("\n")[2], named[3])  # one from a loader's worker
    if isinstance(error, UserError):  # one from a loader's worker has the worker's traceback before it
        return str(error).rpartition("UserError: ")[2].strip()
    if reason := hub.failure(error):
        return f"A download is needed, but {reason}; check the network and run the same command again."
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left" in str(error):
        return f"The disk is full ({error}); finished runs are kept: free some space and run the same command again."
    if isinstance(error, PermissionError):
        return f"No permission for {error.filename}: make it readable (an output: writable), or give another path."
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'}: {error.strerror or error}; mend that and run the same command again."
    return f"{type(error).__name__}: {textwrap.shorten(str(error), 300)} (run with --debug to see where)"


def note(text: str) -> None:
    """Tell a person what is no error."""
    print(f"note: {text}", file=sys.stderr)


def can_write(path: Path) -> None:
    """Make the folder of an output file. Raises UserError now, before minutes of work, if it could not be written."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; expected the name of a file to write.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"No permission to write to {path.parent}; choose another folder.")
