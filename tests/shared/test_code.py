"""shared/support/code.py: which changes of a source are changes of its code, and which of its words alone."""

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from shared.loading import cache_file
from shared.support.code import code_of

SOURCE = '''
"""Doubles."""

FACTOR: int = 2
"""By which it multiplies."""


class TooSmall(ValueError):
    """Is raised."""


def double(x: int) -> int:
    """Twice x."""
    if x < 0:  # why
        raise TooSmall(f"{x} is below zero") from None
    problems = [ValueError("odd", x)]
    return FACTOR * x + len(problems)


if __name__ == "__main__":
    print(double(2))
'''


def code(old: str = "", new: str = "") -> str:
    assert SOURCE.count(old) == 1 or not old
    return ast.dump(code_of(SOURCE.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Doubles."""', ""),
        ('"""By which it multiplies."""', '"""A number."""'),
        ('    """Is raised."""', "    pass"),
        ('    """Twice x."""\n', ""),
        ("  # why", ""),
        ('f"{x} is below zero"', '"Expected zero or more.", x'),
        (" from None", ""),
        ('"odd", x', '"odd"'),
        ("print(double(2))", "print(double(3))"),
    ],
)
def test_words_are_no_code(old: str, new: str) -> None:
    assert code(old, new) == code()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("= 2\n", "= 3\n"),
        ("FACTOR:", "NUMBER:"),
        ("(ValueError):", "(TypeError):"),
        ("x < 0", "x < 1"),
        ("raise TooSmall", "raise KeyError"),
        ("problems = [ValueError", "problems = [TypeError"),
        ("    return FACTOR * x + len(problems)", "    return FACTOR * x"),
        ('__name__ == "__main__"', '__name__ != "__main__"'),
    ],
)
def test_all_else_is(old: str, new: str) -> None:
    assert code(old, new) != code()


def test_what_calls_no_error_keeps_its_arguments() -> None:
    one, other = (ast.dump(code_of(f"x = mean_squared_error(a, {b})\nwarn('text', {b})")) for b in "bc")
    assert one != other


def test_prepared_data_have_another_name_after_another_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def module(name: str, text: str) -> ModuleType:
        (tmp_path / f"{name}.py").write_text(text)
        return importlib.import_module(name)

    first, worded, changed = (
        cache_file(tmp_path, "sounds.npy", module(f"prepares{k}", text), "clips", 3)
        for k, text in enumerate((SOURCE, SOURCE.replace("Doubles.", "Others."), SOURCE.replace("= 2\n", "= 3\n")))
    )
    assert first == worded != changed and first.parent == tmp_path
    assert first.name.startswith("sounds-") and first.suffix == ".npy"
    assert cache_file(tmp_path, "a.b.npy", 1) != cache_file(tmp_path, "a.b.npy", 2)
    assert cache_file(tmp_path, "a.b.npy", 1).name.startswith("a.b-")
