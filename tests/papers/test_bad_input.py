"""Every reader of every paper against every kind of bad input: one sentence that names the file, and nothing lost.

The readers, what damages their files, and the command lines are rows of ``bad_input.py`` of every paper and of shared:
`tests.damage` says which.
"""

import argparse
import ast
import contextlib
import functools
import importlib
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from ci.report import papers
from shared.support import progress
from shared.support.command_line import run_and_explain
from tests.damage import FOLDER, Command, Damage, Kind, Reader, contents, locked, may_read, unprivileged

ROOT = Path(__file__).parents[2]
KINDS, KINDS_OF_A_RUN = 10, 5  # of damage, a reader
PLACES = {folder.name: f"tests/papers/{folder.name}/bad_input.py" for folder in papers(ROOT)}
PLACES["shared"] = "tests/shared/bad_input.py"


def rows(owner: str) -> ModuleType:
    """Of a paper, or of shared."""
    place = PLACES[owner]
    assert (ROOT / place).exists(), f"{place} is missing: write what tests/damage.py says at its top"
    found = importlib.import_module(place.removesuffix(".py").replace("/", "."))
    for table in ("READERS", "TABLE") if owner == "shared" else ("READERS", "TABLE", "COMMANDS"):
        assert getattr(found, table, None), f"{place} has no row in {table}: tests/damage.py says at its top what it is"
    names = {name for table in ("READERS", "COMMANDS", "CHECKPOINTS") for name in getattr(found, table, ())}
    assert {name for name in names if name.split()[0] != owner} == set(), f"names in {place} begin with {owner!r}"
    assert {reader for reader, *_ in found.TABLE} <= found.READERS.keys(), f"TABLE of {place} has an unknown reader"
    return found


FOUND: dict[str, ModuleType] = {}
for owner in PLACES:
    with contextlib.suppress(Exception):  # test_rows_are_there tells; the other papers are tested none the less
        FOUND[owner] = rows(owner)


def every(table: str) -> dict[str, Any]:
    return {name: row for found in FOUND.values() for name, row in getattr(found, table, {}).items()}


READERS: dict[str, Reader] = every("READERS")
COMMANDS: dict[str, Command] = every("COMMANDS")
TABLE = [row for found in FOUND.values() for row in found.TABLE]


@pytest.mark.parametrize("owner", PLACES)
def test_rows_are_there(owner: str) -> None:
    assert rows(owner)


@pytest.mark.parametrize("name", READERS)
def test_whole_example_is_read(tmp_path: Path, name: str) -> None:
    """From a folder with spaces and characters of other scripts in its name, through a symbolic link."""
    (tmp_path / FOLDER).mkdir()
    READERS[name].build(tmp_path / FOLDER)
    (tmp_path / "link to données").symlink_to(FOLDER)
    READERS[name].read(tmp_path / FOLDER)
    found = READERS[name].read(tmp_path / "link to données")
    if alike := READERS[name].alike:
        (tmp_path / "alike").mkdir()
        READERS[alike].build(tmp_path / "alike")
        assert found is not None and type(found) is type(READERS[alike].read(tmp_path / "alike"))


def test_no_row_is_there_twice() -> None:
    rows = [row[:3] for row in TABLE]
    assert [row for row in rows if rows.count(row) > 1] == []


@pytest.mark.parametrize("name", READERS)
def test_enough_kinds_a_reader(name: str) -> None:
    """Its own, or those of a reader of the same class."""
    damaged = READERS[name].alike or name
    least = KINDS_OF_A_RUN if name.endswith("--run") else KINDS
    lacking = least - len({kind for reader, kind, *_ in TABLE if reader == damaged})
    assert lacking <= 0, f"{damaged!r} needs {lacking} more kinds of damage, in TABLE of {PLACES[damaged.split()[0]]}"


@pytest.mark.parametrize(
    ("reader", "path", "kind"),
    [pytest.param(reader, path, kind, id=f"{reader}: {Path(path).name}, {name}") for reader, name, path, kind in TABLE],
)
def test_bad_input_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reader: str, path: str, kind: Kind
) -> None:
    root = tmp_path / FOLDER
    root.mkdir()
    READERS[reader].build(root)
    READERS[reader].read(root)
    kind.damage(root / path)
    before = contents(tmp_path)
    capsys.readouterr()
    with unprivileged():
        if kind.damage is locked and may_read(root / path):
            pytest.skip("this user may read everything")
        status = run_and_explain(lambda: READERS[reader].read(root), debug=False)
    printed = capsys.readouterr().err
    assert status == 1 and printed.startswith("error: ")
    assert "Traceback" not in printed and "--debug" not in printed, printed
    assert printed.count("\n") == 1 or "Expected" in printed.splitlines()[0], printed  # a layout, below the sentence
    assert (kind.named or str(root / path)) in printed, printed
    assert re.search(kind.said, printed.replace("\n", " ")), printed
    assert before.items() <= contents(tmp_path).items()


@pytest.mark.parametrize(
    ("reader", "path", "kind"),
    [
        pytest.param(reader, path, kind, id=f"{reader}: {Path(path).name}, {name}")
        for reader, name, path, kind in TABLE
        if READERS[reader].check
    ],
)
def test_check_data_tells_whatever_it_finds(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
    path: str,
    kind: Kind,
) -> None:
    """`make check-data` lists what is wrong, or ends with one sentence.

    It opens every file, and says how far it is; or it counts the samples, and tells what keeps it from that.
    """
    root, check, count = tmp_path / FOLDER, READERS[reader].check, READERS[reader].count
    assert check is not None
    root.mkdir()
    READERS[reader].build(root)
    told: list[str] = []
    monkeypatch.setattr(progress, "_listeners", [lambda what, done, total: told.append(what)])
    whole = check(root)
    assert told
    kind.damage(root / path)
    counted: list[int] = []
    with unprivileged():
        if kind.damage is locked and may_read(root / path):
            pytest.skip("this user may read everything")
        if count is not None:
            run_and_explain(lambda: counted.append(count(root)), debug=False)
        capsys.readouterr()
        status = run_and_explain(lambda: print(*check(root), sep="\n"), debug=False)
    printed = capsys.readouterr()
    assert "--debug" not in printed.err, printed.err
    assert status == 0 or printed.err.startswith("error: ")
    if counted:
        assert f" {counted[0]:,} " in printed.out, printed.out
    else:
        found = " ".join([line for line in printed.out.splitlines() if line not in whole] + [printed.err])
        assert (kind.named or Path(path).name) in found, found
        assert count is not None or re.search(kind.said, found), found


# -- the command line -------------------------------------------------------------------------------------------------


def example(folder: Path, command: Command) -> Path:
    """All that a command reads, and older files where it writes."""
    root = folder / FOLDER
    root.mkdir()
    for reader, below in command.builds.items():
        (root / below).mkdir(exist_ok=True)
        READERS[reader].build(root / below)
    for name in (*command.computed, *command.spared):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("computed before")
    return root


@pytest.mark.parametrize("name", COMMANDS)
def test_command_writes_what_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    root = example(tmp_path, COMMANDS[name])
    before = contents(root)
    status = COMMANDS[name].run(root)
    printed = capsys.readouterr()
    assert status == 0 and printed.out, printed.err
    after = contents(root)
    assert after.keys() == before.keys()
    changed = {path for path in after if after[path] != before[path]}
    assert changed == {str(root / path) for path in COMMANDS[name].computed} and all(after[path] for path in changed)


@pytest.mark.parametrize(
    ("command", "path", "damage"),
    [
        pytest.param(command, path, damage, id=f"{name}: {Path(path).name}, {damage.__name__}")
        for name, command in COMMANDS.items()
        for path, kinds in command.files.items()
        for damage in kinds
    ],
)
def test_command_ends_with_one_sentence_and_keeps_what_was_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Command, path: str, damage: Damage
) -> None:
    root = example(tmp_path, command)
    damage(root / path)
    before = contents(tmp_path)
    with unprivileged():
        if damage is locked and may_read(root / path):
            pytest.skip("this user may read everything")
        status = command.run(root)
    printed = capsys.readouterr()
    assert status == 1 and printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert "Traceback" not in printed.err and "--debug" not in printed.err and Path(path).name in printed.err
    assert contents(tmp_path) == before


# -- nothing is unpickled ---------------------------------------------------------------------------------------------


class Malicious:
    """Makes a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


CHECKPOINTS: dict[str, tuple[Reader, str]] = {
    **every("CHECKPOINTS"),
    **{
        f"{reader}: {Path(path).name}": (READERS[reader], path)
        for reader, path in dict.fromkeys((reader, path) for reader, _, path, _ in TABLE)
        if Path(path).suffix in (".safetensors", ".pt", ".pth")
    },
}


FORMS: dict[str, Callable[[object, Path], object]] = {
    "zip": torch.save,
    "plain": functools.partial(torch.save, _use_new_zipfile_serialization=False),
    "bare": lambda content, path: path.write_bytes(pickle.dumps(content, 2)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", CHECKPOINTS)
def test_a_malicious_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, form: str
) -> None:
    root, marker = tmp_path / FOLDER, tmp_path / "executed"
    reader, path = CHECKPOINTS[place]
    root.mkdir()
    reader.build(root)
    evil = {
        "args": argparse.Namespace(x=Malicious(marker)),
        "model": Malicious(marker),
        "head.bias": Malicious(marker),
        "step": 1,
        "state": {},
    }
    FORMS[form](evil, root / path)
    assert run_and_explain(lambda: reader.read(root), debug=False) == 1
    printed = capsys.readouterr().err
    assert Path(path).name in printed and "--debug" not in printed
    assert "trusted" not in printed  # torch's advice to unpickle it after all
    assert not marker.exists()
    with contextlib.suppress(RuntimeError):  # a bare pickle is none of torch's, which it finds out too late
        torch.load(shutil.copy(root / path, tmp_path / "evil.pt"), weights_only=False)
    assert marker.exists(), "the file does nothing even where it is unpickled: the test shows nothing"


def unpickling(path: Path) -> Iterator[str]:
    """Calls and imports by which a file could be unpickled."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from (m for m in modules if m.partition(".")[0] in ("pickle", "dill", "joblib", "shelve"))
        elif isinstance(node, ast.Call):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if ast.unparse(node.func) == "torch.load" and options.get("weights_only") != "True":
                yield ast.unparse(node)
            if options.get("allow_pickle") == "True" or options.get("weights_only") == "False":
                yield ast.unparse(node)


def test_no_code_unpickles() -> None:
    sources = [path for folder in ("shared", "papers") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 50
    assert {str(path.relative_to(ROOT)): found for path in sources if (found := list(unpickling(path)))} == {}
