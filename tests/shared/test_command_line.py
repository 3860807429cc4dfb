"""Options that are given twice."""

import importlib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import tyro

from ci.report import papers
from shared import UserError
from shared.reproduce import command as reproduce
from shared.support.command_line import command, each_once

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Options:
    """Do it."""

    query: tuple[str, ...]
    """Texts."""
    seeds: tuple[int, ...] = ()
    """Seeds."""
    scale: tuple[float, float] = (0.1, 1.0)
    """Range."""
    mask_ratio: float = 0.5
    """Share."""
    debug: bool = False
    """Show the traceback of an error."""


@pytest.mark.parametrize(
    ("line", "query", "seeds"),
    [
        ("--query a b --seeds 1", ("a", "b"), (1,)),
        ("--query a --query b", ("a", "b"), ()),
        ("--query a --seeds 1 --query b c --seeds 2", ("a", "b", "c"), (1, 2)),
        ("--query=a --query=b=c --seeds=-1 --seeds 0", ("a", "b=c"), (-1, 0)),
        ("--query a --mask_ratio 0.25 --query b", ("a", "b"), ()),
    ],
)
def test_all_values_count(line: str, query: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    found: list[Options] = []
    assert command(Options, found.append, "do", line.split()) == 0
    assert (found[0].query, found[0].seeds) == (query, seeds)


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("--query a --mask-ratio 0.1 --mask-ratio 0.2", "--mask-ratio"),
        ("--query a --mask-ratio 0.1 --mask_ratio=0.2", "--mask_ratio"),
        ("--query a --scale 0 1 --scale 0.5 1", "--scale"),
    ],
)
def test_one_value_is_not_chosen_among_several(line: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(Options, lambda options: None, "do", line.split()) == 1
    assert capsys.readouterr().err == f"error: {option} is given twice; give it once.\n"


def options_of_commands() -> list[tuple[type[Any], str, str]]:
    """Every option with several values of every command: its dataclass, name and type of values."""
    modules = [importlib.import_module(f"papers.{folder.name}.predict") for folder in papers(ROOT)]
    configs = [importlib.import_module(f"papers.{folder.name}.config").Config for folder in papers(ROOT)]
    found = []
    for kind in [reproduce.Options, *(module.Options for module in modules), *configs]:
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind) if str(hints[field.name]).endswith(", ...]")]
        found += [(kind, name, hints[name].__args__[0]) for name in names]
    return found


@pytest.mark.parametrize(("kind", "name", "value"), options_of_commands())
def test_every_option_with_several_values_can_be_repeated(kind: type[Any], name: str, value: type[Any]) -> None:
    option = f"--{name.replace('_', '-')}"
    line = ["papers.x"] if kind is reproduce.Options else []
    for field in fields(kind):
        if MISSING is field.default is field.default_factory and field.name not in (name, "paper"):
            line += [f"--{field.name}", "x"]
    first, second = get_args(value)[:2] or ("1", "2")  # a Literal has its choices
    found = tyro.cli(kind, args=each_once([*line, option, first, option, second], kind))
    assert getattr(found, name) == ((first, second) if get_args(value) else (value(first), value(second)))


def test_a_field_is_set_once() -> None:
    with pytest.raises(UserError, match="--set gives seeds twice"):
        reproduce.overridden(Options(("a",)), ("seeds=1", "scale=1,2", "seeds=2"))
