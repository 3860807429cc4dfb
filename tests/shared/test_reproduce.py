"""shared/reproduce/: a paper of 19 parameters reproduced, interrupted, killed, changed and broken."""

import contextlib
import errno
import io
import json
import multiprocessing as mp
import os
import random
import re
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import tinypaper.config
import torch

from shared import UserError
from shared.reproduce.command import compare, kept, main, overridden
from shared.reproduce.jobs import make_way
from shared.reproduce.keys import Job, Jobs, code_hash
from shared.reproduce.pool import ProcessPool
from shared.reproduce.train import own_method, train_one
from shared.reproduce.verdicts import judge
from shared.support import progress
from shared.support.command_line import explain
from shared.support.files import write_json

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tinypaper")
IGNORED = shutil.ignore_patterns("__pycache__")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"}
SECONDS = 500  # after which nothing is waited for any more
COMMAND = ["-m", "shared.reproduce", "tinypaper", "--preset", "smoke", "--out", "out"]


def run(
    work: Path,
    *arguments: str,
    command: list[str] = COMMAND,
    limit: Callable[[], None] | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """A command as a person gives it: Python starts anew, here and in the server of its children."""
    return subprocess.run(
        [sys.executable, *command, *arguments],
        cwd=work,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        preexec_fn=limit,
    )


def server() -> Any:
    """Starts processes that have torch, imported once for all tests, and not the paper: each imports its folder's."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["shared.reproduce.jobs", "torch._dynamo"])
    forkserver.ensure_running()
    return context


def run_module(work: Path, *arguments: str, module: str) -> subprocess.CompletedProcess[str]:
    """``python -m <module>`` in a process of the server."""
    child = server().Process(target=as_main, args=(work, module, arguments))
    child.start()
    child.join(SECONDS)
    out, err = ((work / f"{name}.txt").read_text() for name in ("out", "err"))
    return subprocess.CompletedProcess(arguments, child.exitcode, out, err)


def as_main(work: Path, module: str, arguments: tuple[str, ...]) -> None:
    os.chdir(work)
    forget_the_paper()
    sys.path.insert(0, str(work))
    sys.argv[1:] = arguments
    with open("out.txt", "w") as sys.stdout, open("err.txt", "w") as sys.stderr:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def run_here(work: Path, *arguments: str, command: list[str] = COMMAND) -> subprocess.CompletedProcess[str]:
    """The same command in this process, whose jobs are processes of the server."""
    server()
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        forget_the_paper(patch)
        patch.chdir(work)
        patch.syspath_prepend(work)
        answer = signal.getsignal(signal.SIGTERM)
        try:
            status = reproduce([*command[2:], *arguments])
        finally:
            signal.signal(signal.SIGTERM, answer)
            forget_the_paper()
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def forget_the_paper(patch: pytest.MonkeyPatch | None = None) -> None:
    """Its modules are imported anew, from where they then are; ``patch`` brings them back in the end."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tinypaper"]:
        if patch:
            patch.delitem(sys.modules, name)
        else:
            del sys.modules[name]


def start(work: Path) -> subprocess.Popen[str]:
    """The same in the background, as the leader of a process group of its own."""
    return subprocess.Popen(
        [sys.executable, *COMMAND, "--jobs", "2"],
        cwd=work,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell without job control lets what it runs in the background ignore Ctrl-C, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def reproduce(arguments: list[str]) -> int:
    """The command in this process."""
    return main(lambda options: ProcessPool(options.jobs, options.paper), arguments)


def edit(work: Path, name: str, old: str, new: str) -> None:
    path = work / "tinypaper" / name
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} is in {name} {text.count(old)} times"
    path.write_text(text.replace(old, new))


def jobs(work: Path) -> dict[str, Path]:
    """Folders of all jobs that have begun, as ``plain/seed0``."""
    base = work / "out" / "tinypaper" / "smoke"
    return {str(path.relative_to(base)): path for path in sorted(base.glob("*/seed*"))}


def written(work: Path, name: str) -> dict[str, int]:
    """When a file of every job was written, in ns."""
    return {job: (folder / name).stat().st_mtime_ns for job, folder in jobs(work).items()}


def results(work: Path) -> dict[str, Any]:
    return json.loads((work / "out" / "tinypaper" / "smoke" / "results" / "smoke.json").read_text())


def outcome(work: Path) -> dict[str, Any]:
    """All that must be equal between two reproductions: metrics and verdicts, weights and logs of every job."""
    found = results(work)
    rows = [(row["variant"], row["seed"], row["metrics"]) for row in found["rows"]]
    files = {
        job: ((folder / "checkpoint" / "model.safetensors").read_bytes(), (folder / "metrics.jsonl").read_text())
        for job, folder in jobs(work).items()
    }
    return {"rows": rows, "claims": found["claims"], "data": found["data"], "files": files}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with the paper, copied out of any repository."""
    shutil.copytree(TINY, tmp_path / "tinypaper", ignore=IGNORED)
    return tmp_path


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An uninterrupted reproduction and what it printed."""
    work = tmp_path_factory.mktemp("first")
    shutil.copytree(TINY, work / "tinypaper", ignore=IGNORED)
    finished = run(work)
    assert finished.returncode == 0, finished.stderr
    return work, finished.stdout


@pytest.fixture
def done(first: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished reproduction."""
    return shutil.copytree(first[0], tmp_path / "done")


# -- a whole reproduction ---------------------------------------------------------------------------------------------


def test_results_file(first: tuple[Path, str]) -> None:
    from tinypaper.claims import CLAIMS

    work, printed = first
    found = results(work)
    assert list(found) == ["schema", "paper", "preset", "environment", "data", "rows", "claims"]
    assert (found["schema"], found["paper"], found["preset"]) == (1, "tinypaper", "smoke")
    assert list(found["environment"]) == ["cpu", "gpu", "cores", "python", "torch", "code"]
    assert found["environment"]["torch"] == torch.__version__.partition("+")[0]
    assert found["environment"]["code"] == code_hash("tinypaper", "train", "eval")
    assert set(found["data"]) == {"name", "train", "test", "sha256", "scale"}
    every = [(variant, seed) for variant in ("tinypaper", "plain") for seed in (0, 1)]
    assert [(row["variant"], row["seed"]) for row in found["rows"]] == every
    for row in found["rows"]:
        assert list(row) == ["variant", "seed", "metrics", "seconds", "peak_memory_mb"]
        assert 0 < row["metrics"]["error"] < 10 and 0.5 < row["seconds"] < 60 and row["peak_memory_mb"] > 50
    assert len({row["metrics"]["error"] for row in found["rows"]}) == 4
    assert found["claims"] == [judge(claim, found["rows"]) for claim in CLAIMS]
    figure = work / "out" / "tinypaper" / "smoke" / "results" / "figure.txt"
    assert figure.read_text() == "tinypaper 0\ntinypaper 1\nplain 0\nplain 1\n"
    for text in ("plain seed 1: error", "1. Dropout does not help.", found["claims"][0]["verdict"], "Written to"):
        assert text in printed
    assert not (work / "tinypaper" / "results").exists(), "OUT= leaves the paper's folder alone"
    assert [path.name for path in work.rglob("points.safetensors")] == ["points.safetensors"]
    assert (work / "runs" / "tinypaper" / "cache" / "points.safetensors").exists(), "for every OUT="


def test_a_second_run_skips_everything(done: Path) -> None:
    before = results(done), written(done, "result.json"), written(done, "metrics.jsonl")
    again = run_here(done)
    assert again.returncode == 0 and "4 of 4 runs are done already; 0 to go." in again.stdout
    assert (results(done), written(done, "result.json"), written(done, "metrics.jsonl")) == before


def test_changing_a_variant_retrains_that_variant(done: Path) -> None:
    trained, before = written(done, "checkpoint/state.pt"), outcome(done)
    edit(done, "config.py", '{"dropout": 0.0}', '{"dropout": 0.0, "learning_rate": 0.02}')
    again = run_here(done)
    assert again.returncode == 0 and "2 of 4 runs are done already; 2 to go." in again.stdout
    changed = {job for job, time in written(done, "checkpoint/state.pt").items() if time != trained[job]}
    assert changed == {"plain/seed0", "plain/seed1"}
    after = outcome(done)
    assert after["rows"][:2] == before["rows"][:2]
    assert all(new != old for new, old in zip(after["rows"][2:], before["rows"][2:], strict=True))
    assert (jobs(done)["plain/seed0"] / "metrics.jsonl").read_text().count("\n") == 3, "steps 0, 10 and 20, once"


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("eval", ".square().mean())", ".square().mean()) * 2"),
        ("config", '"smoke": Config()', '"smoke": Config(shift=0.5)'),
    ],
)
def test_changing_the_evaluation_keeps_what_is_trained(done: Path, module: str, old: str, new: str) -> None:
    trained, before = written(done, "checkpoint/state.pt"), results(done)["rows"]
    edit(done, f"{module}.py", old, new)
    again = run_here(done)
    assert again.returncode == 0 and "done already" not in again.stdout
    assert written(done, "checkpoint/state.pt") == trained
    for was, now in zip(before, results(done)["rows"], strict=True):
        assert now["metrics"]["error"] != was["metrics"]["error"]
    for folder in jobs(done).values():
        assert json.loads((folder / "config.json").read_text())["config"]["shift"] == 0.5 * (module == "config")


def test_other_data_train_again(done: Path) -> None:
    trained = written(done, "checkpoint/state.pt")
    edit(done, "data.py", "torch.Generator().manual_seed(0)", "torch.Generator().manual_seed(1)")
    assert run_here(done).returncode == 0
    assert all(written(done, "checkpoint/state.pt")[job] != time for job, time in trained.items())


@pytest.mark.parametrize("part", [["--variants", "plain"], ["--seeds", "0"]])
def test_a_part_is_not_published(done: Path, part: list[str]) -> None:
    """Only a whole reproduction writes the paper's own results, without --out."""
    shutil.move(done / "out" / "tinypaper" / "smoke", done / "runs" / "tinypaper" / "cpu")
    (done / "tinypaper" / "README.md").write_text("")
    assert run_here(done, *part, command=["-m", "shared.reproduce", "tinypaper"]).returncode == 0
    assert not (done / "tinypaper" / "results").exists()


@pytest.mark.parametrize("launched", [False, True])
def test_a_finished_run_stays_until_what_replaces_it_is_finished(done: Path, launch: list[str], launched: bool) -> None:
    """And it is back, result and all, when its settings are."""
    finished = written(done, "checkpoint/state.pt"), written(done, "result.json")
    options = (
        '"plain": Variant("without", {"dropout": 0.0}',
        '"plain": Variant("without", {"dropout": 0.0, "batch_size": 100}',
    )
    edit(done, "config.py", *options)
    assert_one_sentence(run_here(done), "A batch of 100 does not fit a dataset of 20 samples")
    edit(done, "config.py", *reversed(options))
    environment = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    again = run(done, command=[*launch, *COMMAND], **environment) if launched else run_here(done)
    assert again.returncode == 0, again.stderr
    assert (written(done, "checkpoint/state.pt"), written(done, "result.json")) == finished


def test_fields_that_are_set_make_runs_of_their_own(done: Path) -> None:
    (done / "tinypaper" / "README.md").write_text("")
    part = ["--variants", "plain", "--seeds", "0"]
    command = ["-m", "shared.reproduce", "tinypaper", "--preset", "cpu", "--set", "steps=5", "pause=0"]
    finished = run_here(done, *part, command=command)
    assert finished.returncode == 0, finished.stderr
    job = done / "runs" / "tinypaper" / "cpu+pause=0+steps=5" / "plain" / "seed0"
    config = json.loads((job / "config.json").read_text())["config"]
    assert (config["steps"], config["pause"], config["dropout"]) == (5, 0, 0)
    assert not (done / "tinypaper" / "results").exists()


@dataclass(frozen=True)
class Fields:
    name: str | None = None
    sizes: tuple[int, ...] = (1,)
    fast: bool = False
    rate: float = 0.5


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("name=a", "rate=1e-3"), Fields("a", rate=0.001)),
        (("sizes=3,4",), Fields(sizes=(3, 4))),
        (("fast=True",), Fields(fast=True)),
        (("fast=false",), Fields()),
    ],
)
def test_what_set_makes_of_a_configuration(given: tuple[str, ...], expected: Fields) -> None:
    assert overridden(Fields(), given) == expected


def test_what_is_equal_to_the_published_is_kept_as_published() -> None:
    def row(variant: str, error: float, seconds: float) -> dict[str, Any]:
        return {"variant": variant, "seed": 0, "metrics": {"error": error, "time_ratio": seconds}, "seconds": seconds}

    published = {"rows": [row("plain", 1.0, 5.0), row("tuned", 2.0, 5.0)]}
    same, other, new = row("plain", 1.0, 6.0), row("tuned", 2.5, 6.0), row("new", 3.0, 6.0)
    assert kept([same, other, new], published) == [published["rows"][0], other, new]
    assert compare([same], published) == "All 1 runs equal the published ones."
    assert compare([same, other, new], published) == "1 of 2 runs differ from the published ones: tuned seed 0."
    assert compare([new], published) == compare([new], None) == "There are no published runs to compare with."


# -- variants that start from another ----------------------------------------------------------------------------------

TUNED = (
    '"plain": Variant("without", {"dropout": 0.0}),',
    '"plain": Variant("without", {"dropout": 0.0}),\n'
    '    "tuned": Variant("goes on", {"dropout": 0.0, "steps": 5}, start="plain"),',
)


def test_a_start_is_trained_first_and_handed_over(work: Path) -> None:
    """Asked for alone, it brings what it starts from, whose row is not asked for."""
    edit(work, "config.py", *TUNED)
    tuned = run_here(work, "--variants", "tuned")
    assert tuned.returncode == 0, tuned.stderr
    assert sorted(jobs(work)) == ["plain/seed0", "plain/seed1", "tuned/seed0", "tuned/seed1"]
    assert [(row["variant"], row["seed"]) for row in results(work)["rows"]] == [("tuned", 0), ("tuned", 1)]
    base = work / "out" / "tinypaper" / "smoke"
    begun, fresh = (
        json.loads((base / variant / "seed1" / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for variant in ("tuned", "plain")
    )
    assert begun < fresh, "it did not go on from there"
    again = run_here(work)
    assert again.returncode == 0 and "4 of 6 runs are done already; 2 to go." in again.stdout
    assert [row["variant"] for row in results(work)["rows"]] == ["tinypaper"] * 2 + ["plain"] * 2 + ["tuned"] * 2


def test_another_start_trains_what_starts_from_it_again(work: Path) -> None:
    edit(work, "config.py", *TUNED)
    assert run_here(work, "--seeds", "0").returncode == 0
    before = written(work, "checkpoint/state.pt")
    edit(work, "config.py", '{"dropout": 0.0}', '{"dropout": 0.0, "learning_rate": 0.02}')
    again = run_here(work, "--seeds", "0")
    assert again.returncode == 0 and "1 of 3 runs are done already; 2 to go." in again.stdout
    after = written(work, "checkpoint/state.pt")
    assert [job for job in after if after[job] != before[job]] == ["plain/seed0", "tuned/seed0"]


def test_killed_and_launched_what_has_a_start_ends_the_same(work: Path, tmp_path: Path, launch: list[str]) -> None:
    edit(work, "config.py", *TUNED)
    part = ["--variants", "tuned", "--seeds", "0"]
    copy = shutil.copytree(work, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"))
    assert run_here(work, *part).returncode == 0
    edit(copy, "config.py", *SLOWER)
    process = start(copy)
    while not (copy / "out" / "tinypaper" / "smoke" / "tuned").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    command, environment = [*launch, *COMMAND], {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    assert run_here(copy, *part).returncode == 0
    ours, theirs = (jobs(folder)["tuned/seed0"] / "checkpoint" / "model.safetensors" for folder in (copy, work))
    assert ours.read_bytes() == theirs.read_bytes()
    shutil.rmtree(copy / "out")
    launched = run(copy, *part, command=command, **environment)
    assert launched.returncode == 0, launched.stderr
    error, other = (results(folder)["rows"][0]["metrics"]["error"] for folder in (work, copy))
    assert error == pytest.approx(other, rel=1e-5)


def test_one_run_with_a_start(work: Path) -> None:
    """``--start FOLDER``; without it, the run to start from is trained first, with the same options."""
    edit(work, "config.py", *TUNED)
    train = ["--preset", "smoke", "--variant", "tuned", "--pause", "0"]
    whole = run_module(work, *train, "--learning-rate", "0.02", module="tinypaper.train")
    assert whole.returncode == 0, whole.stderr
    custom = work / "runs" / "custom"
    described = json.loads((custom / "plain" / "seed0" / "config.json").read_text())
    assert described["config"]["learning_rate"] == 0.02 and described["config"]["steps"] == 30
    weights = (custom / "tuned" / "seed0" / "checkpoint" / "model.safetensors").read_bytes()
    options = ["--learning-rate", "0.02", "--start", "runs/custom/plain/seed0", "--out", "mine"]
    given = run_module(work, *train, *options, module="tinypaper.train")
    assert given.returncode == 0, given.stderr
    assert (work / "mine" / "tuned" / "seed0" / "checkpoint" / "model.safetensors").read_bytes() == weights
    assert not (work / "mine" / "plain").exists()
    none = run_module(work, *train, "--start", "nowhere", module="tinypaper.train")
    assert_one_sentence(none, "--start nowhere is no finished run")


# -- further commands --------------------------------------------------------------------------------------------------

FURTHER = """
import sys
from dataclasses import dataclass
from pathlib import Path

from shared.reproduce.train import train_further
from shared.run import Run


@dataclass(frozen=True)
class Options:
    out: Path
    steps: int = 4
    seed: int = 0
    debug: bool = False


def train(options: Options, run: Run) -> None:
    import torch
    value = torch.nn.Parameter(torch.zeros(()))
    for step in run.steps(options.steps, save_every=2, value=torch.nn.ParameterList([value])):
        value.data += 1
        run.log(step, loss=value)
    run.export({"value": value})


def evaluate(options: Options, run: Run) -> dict[str, float]:
    from shared.support.weights import load_weights
    return {"value": float(load_weights(run.weights)["value"])}


if __name__ == "__main__":
    sys.exit(train_further(__package__, "further", Options))
"""


def test_a_further_command_is_kept_continued_and_makes_way(work: Path) -> None:
    (work / "tinypaper" / "further.py").write_text(FURTHER)
    command = partial(run_module, work, "--out", "far", module="tinypaper.further")
    first = command()
    assert first.returncode == 0, first.stderr
    assert json.loads((work / "far" / "result.json").read_text())["metrics"] == {"value": 4.0}
    before = (work / "far" / "checkpoint" / "state.pt").stat().st_mtime_ns
    assert command().returncode == 0
    assert (work / "far" / "checkpoint" / "state.pt").stat().st_mtime_ns == before
    assert command("--steps", "6").returncode == 0
    assert json.loads((work / "far" / "result.json").read_text())["metrics"] == {"value": 6.0}


def test_other_places_of_the_data_and_workers_are_no_other_run(work: Path) -> None:
    base = tinypaper.config.PRESETS["smoke"]
    first, *others = (
        Jobs(
            "tinypaper", tinypaper.config, {"plain": replace(base, **changes)}, work, work, {"sha256": "", "test": 20}
        ).job("plain", 0, None, None)
        for changes in ({}, {"data": "/elsewhere"}, {"workers": 3}, {"save_every": 2}, {"steps": 31})
    )
    assert [job.train_key == first.train_key for job in others] == [True, True, True, False]
    assert [job.result_key == first.result_key for job in others] == [True, True, True, False]


@pytest.mark.parametrize(
    ("here", "aside", "left_here", "left_aside"),
    [
        ("begun b", "", "", "begun b"),  # days of training, and one option mistyped
        ("begun b", "begun a", "begun a", "begun b"),  # and back
        ("empty b", "begun a", "begun a", ""),
        ("finished b", "", "", "finished b"),
        ("begun b", "finished c", "", "begun b, finished c"),
        ("begun b", "begun b, begun c", "", "begun b, begun c"),
        ("", "finished a", "finished a", ""),
    ],
)
def test_what_makes_way_and_what_comes_back(
    tmp_path: Path, here: str, aside: str, left_here: str, left_aside: str
) -> None:
    job = Job("plain", 0, None, tmp_path / "seed0", tmp_path, "a", "a")
    there = [(job.replaced / content.split()[1], content) for content in aside.split(", ") if content]
    for folder, content in [*there, *([(job.folder, here)] if here else [])]:
        state, key = content.split()
        write_json(folder / "config.json", {"key": key})
        if state != "empty":
            (folder / "checkpoint").mkdir()
        if state == "finished":
            write_json(folder / "result.json", {"key": key})

    def found(folder: Path) -> str:
        state = "finished" if (folder / "result.json").exists() else "begun"
        return f"{state} {json.loads((folder / 'config.json').read_text())['key']}"

    make_way(job)
    assert [found(path) for path in tmp_path.glob("seed*")] == [left_here] * bool(left_here)
    assert ", ".join(sorted(map(found, job.replaced.glob("*")))) == left_aside


# -- stopped, killed, crowded -----------------------------------------------------------------------------------------


SLOWER = ("pause: float = 0.02", "pause: float = 0.06")  # jobs that outlast what the test does meanwhile


def trained(work: Path) -> int:
    """Number of jobs whose first step is logged."""
    return sum((folder / "metrics.jsonl").exists() for folder in jobs(work).values())


def wait_for_training(work: Path, more_than: int = 0) -> None:
    end = time.monotonic() + SECONDS
    while trained(work) <= more_than:
        assert time.monotonic() < end, "no job has begun"
        time.sleep(0.01)


def test_killed_at_random_moments(first: tuple[Path, str], work: Path) -> None:
    """``kill -9`` of the whole process group, twice: what is finished stays, and in the end all is as it was."""
    edit(work, "config.py", *SLOWER)
    chance = random.SystemRandom()
    moments = [chance.uniform(0, 0.6), chance.uniform(0, 2)]
    finished: dict[Path, bytes] = {}
    for seconds in moments:
        process = start(work)
        wait_for_training(work, more_than=trained(work))
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        for path in (work / "out").rglob("*.json"):
            json.loads(path.read_text())  # none is half-written
        finished |= {path: path.read_bytes() for path in (work / "out").glob("*/*/*/seed*/result.json")}
    assert not (work / "out" / "tinypaper" / "smoke" / "results").exists(), "it ended before it was killed"
    last = run_here(work)
    assert last.returncode == 0, last.stderr
    assert outcome(work) == outcome(first[0]), f"killed after {moments}"
    assert all(path.read_bytes() == content for path, content in finished.items()), f"run again after {moments}"
    assert not list((work / "out").glob("*/*/*/seed*/**/*.partial"))


def test_a_full_disk_takes_nothing(done: Path) -> None:
    """A reproduction whose files cannot grow ends with one sentence; what was finished before it stays."""
    shutil.rmtree(jobs(done)["plain/seed1"])
    before = {path: path.read_bytes() for path in (done / "out").rglob("*") if path.is_file()}
    full = run(done, limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000)))
    assert_one_sentence(full, "plain seed 1: ", "File too large", "run the same command again")
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not (jobs(done)["plain/seed1"] / "checkpoint" / "state.pt").exists()


@pytest.mark.parametrize("whole_group", [True, False], ids=["Ctrl-C", "SIGTERM"])
def test_stopped(first: tuple[Path, str], work: Path, whole_group: bool) -> None:
    """Ctrl-C reaches every process, ``kill PID`` the first alone; both keep what is trained so far."""
    edit(work, "config.py", "save_every: int = 7", "save_every: int = 1000")
    edit(work, "config.py", *SLOWER)
    process = start(work)
    wait_for_training(work)
    if whole_group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130 and "Interrupted." in out and err == ""
    assert any((folder / "checkpoint" / "state.pt").exists() for folder in jobs(work).values())
    assert not all((folder / "result.json").exists() for folder in jobs(work).values())
    if whole_group:
        last = run_here(work)
        assert last.returncode == 0, last.stderr
        assert outcome(work) == outcome(first[0])


def test_stopped_before_the_evaluation(first: tuple[Path, str], work: Path) -> None:
    """SIGTERM after the last step, when no checkpoint is left to be saved."""
    killed = "    import os, signal; os.kill(os.getpid(), signal.SIGTERM)\n    run.export("
    edit(work, "train.py", "    run.export(", killed)
    train = ["--variant", "plain", "--preset", "smoke", "--seed", "1"]
    stopped = run_module(work, *train, module="tinypaper.train")
    assert stopped.returncode == 130 and "plain seed 1 stopped before its evaluation" in stopped.stdout
    assert (work / "runs" / "custom" / "plain" / "seed1" / "checkpoint" / "model.safetensors").exists()
    assert not (work / "runs" / "custom" / "plain" / "seed1" / "result.json").exists()


def test_two_at_once(first: tuple[Path, str], work: Path) -> None:
    """Each job is trained once, by one of them."""
    train = '    """Train one variant."""'
    edit(work, "train.py", train, train + '\n    with open("begun", "a") as file:\n        file.write("1 ")')
    both = [start(work), start(work)]
    for process in both:
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
    assert (work / "begun").read_text() == "1 1 1 1 "
    assert outcome(work) == outcome(first[0])
    assert not list((work / "out").rglob("*.partial"))


def test_over_two_processes(first: tuple[Path, str], work: Path, launch: list[str]) -> None:
    """As ``accelerate launch`` starts it; without dropout the numbers are those of one process."""
    edit(
        work,
        "data.py",
        '    """Draw the points."""',
        '    with open("prepared", "a") as file:\n        file.write("1 ")',
    )
    launched = run(
        work, "--variants", "plain", command=[*launch, *COMMAND], ACCELERATE_USE_CPU="true", OMP_NUM_THREADS="1"
    )
    assert launched.returncode == 0, launched.stderr
    assert launched.stdout.count("Written to") == launched.stdout.count("plain seed 1: step 30/30") == 1
    state = torch.load(jobs(work)["plain/seed0"] / "checkpoint" / "state.pt", weights_only=True)
    assert len(state["random"]) == 2, "there were no two processes"
    assert (work / "prepared").read_text() == "1 ", "the main process prepares the data, alone"
    assert results(work)["claims"] == [], "a claim needs both its variants"
    ours, theirs = results(work)["rows"], results(first[0])["rows"][2:]
    for one, other in zip(ours, theirs, strict=True):
        assert (one["variant"], one["seed"]) == (other["variant"], other["seed"])
        assert one["metrics"]["error"] == pytest.approx(other["metrics"]["error"], rel=1e-5)


@pytest.mark.parametrize(
    ("module", "old", "new", "said"),
    [
        ("train", "loss=loss,", "loss=loss / (rank == 0),", "The loss became inf at step 0"),
        ("eval", "load(run.cache)", "load(run.cache / ('' if rank else 'gone'))", "gone/points.safetensors"),
    ],
)
def test_one_of_two_processes_fails(work: Path, launch: list[str], module: str, old: str, new: str, said: str) -> None:
    """It says why and ends the launch; the other, which waits for it, does not."""
    edit(work, f"{module}.py", old, new.replace("rank", "run.accelerator.process_index"))
    command = [*launch, *COMMAND]
    failed = run(work, "--variants", "plain", command=command, ACCELERATE_USE_CPU="true", OMP_NUM_THREADS="1")
    assert failed.returncode != 0 and not (jobs(work)["plain/seed0"] / "result.json").exists()
    told = [line for line in failed.stderr.splitlines() if line.startswith("error: ") and said in line]
    assert told, failed.stderr
    assert module == "eval" or "'point " in told[0], "the samples of the process whose loss it was"


def test_one_run_by_hand(first: tuple[Path, str], work: Path) -> None:
    """``python -m paper.train``: every field of the configuration is an option."""
    one = run(work, "--variant", "plain", "--preset", "smoke", "--seed", "1", command=["-m", "tinypaper.train"])
    assert one.returncode == 0, one.stderr
    row = json.loads(one.stdout[one.stdout.index("{") :])
    assert row["metrics"] == results(first[0])["rows"][3]["metrics"]
    assert (work / "runs" / "custom" / "plain" / "seed1" / "checkpoint" / "model.safetensors").exists()


def test_one_run_of_no_variant(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--variant", "plane"])
    with pytest.raises(SystemExit) as exit:
        train_one("tinypaper")
    assert exit.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: There is no variant plane; there are: tinypaper, plain") and told.count("\n") == 1


def test_the_variant_that_is_trained_without_naming_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the paper's name; in a folder of another name that of the first headline claim."""
    assert own_method("tinypaper") == "tinypaper"
    monkeypatch.syspath_prepend(tmp_path)
    shutil.copytree(TINY, tmp_path / "renamed", ignore=IGNORED)
    path = tmp_path / "renamed" / "claims.py"
    first, last = 'Claim("a", 1, "A.", "nowhere", "error", "plain", "tinypaper"), Claim(', '"plain", headline=True),'
    path.write_text(path.read_text().replace("(Claim(", f"({first}").replace('"plain"),)', f"{last})"))
    assert own_method("renamed") == "tinypaper"


# -- what goes wrong --------------------------------------------------------------------------------------------------


def assert_one_sentence(finished: subprocess.CompletedProcess[str], *words: str) -> None:
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: ") and finished.stderr.count("\n") == 1, finished.stderr
    assert all(word in finished.stderr for word in words), finished.stderr


def test_one_job_that_fails(work: Path) -> None:
    edit(work, "config.py", '    "plain":', '    "wild": Variant("diverges", {"learning_rate": 1e30}),\n    "plain":')
    failed = run_here(work, "--jobs", "1", "--seeds", "0", "0")  # given twice by mistake
    assert_one_sentence(failed, "wild seed 0: The loss became inf at step 1 in ", "'point ", "no checkpoint yet")
    assert (jobs(work)["tinypaper/seed0"] / "result.json").exists(), "what was finished is kept"
    assert "wild/seed0" in jobs(work) and "plain/seed0" not in jobs(work)

    again = run_here(work, "--jobs", "1", "--seeds", "0", "--debug")
    assert again.returncode == 1 and "1 of 3 runs are done already; 2 to go." in again.stdout
    assert "Traceback" in again.stderr and "tinypaper/train.py" in again.stderr
    assert "error: wild seed 0: The loss became inf" in again.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("        raise RuntimeError('out of cheese')", ("tinypaper seed 0: RuntimeError: out of cheese", "--debug")),
        ("        __import__('os').kill(__import__('os').getpid(), 9)", ("tinypaper seed 0", "killed", "JOBS")),
    ],
)
def test_a_job_that_breaks_off(work: Path, line: str, words: tuple[str, ...]) -> None:
    edit(work, "train.py", "        time.sleep(config.pause)", line)
    assert_one_sentence(run_here(work, "--variants", "tinypaper", "--seeds", "0"), *words)


@pytest.mark.parametrize("line", ["undefined_name", "unclosed = ("])
def test_code_that_cannot_be_imported(work: Path, line: str) -> None:
    """What happens all the time to those who change a copy: where it is wrong must be told, and nothing else."""
    with open(work / "tinypaper" / "train.py", "a") as file:
        file.write(f"\n{line}\n")
    failed = run(work)
    assert failed.returncode == 1
    assert "tinypaper/train.py" in failed.stderr and line in failed.stderr
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("error: ") and "tinypaper" in last and "EOFError" not in last


def test_a_field_that_does_not_exist(work: Path) -> None:
    edit(work, "config.py", '"smoke": Config()', '"smoke": Config(stepz=3)')
    assert_one_sentence(run_here(work), "TypeError", "'stepz'")


def test_metrics_without_a_value(work: Path) -> None:
    """None where a metric is not defined; NaN, which JSON has not, stops."""
    edit(work, "eval.py", 'return {"error":', 'return {"nothing": float("nan") if config.dropout else None, "error":')
    failed = run_here(work, "--variants", "plain", "tinypaper", "--seeds", "0", "--jobs", "1")
    assert_one_sentence(failed, "tinypaper seed 0", "nothing came out as NaN")
    assert "plain seed 0: error" in failed.stdout
    assert json.loads((jobs(work)["plain/seed0"] / "result.json").read_text())["metrics"]["nothing"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--preset", "smoke", "--variants", "plane", "odd"],
            "There is no variant plane, odd; there are: tinypaper, plain.",
        ),
        (["--preset", "smoke", "--variants", "large"], "There is no variant large; there are: tinypaper, plain."),
        (["--preset", "smoke", "--jobs", "-1"], "jobs is -1, no number of runs side by side"),
        (
            ["--preset", "paper"],
            "The preset paper needs datasets, DATA=/path or --data /path. Expected there:\nplane/points.csv",
        ),
        (["--preset", "paper", "--data", "/nowhere"], "--data /nowhere is missing; expected a folder of datasets."),
        (["--check-data", "--data", "/nowhere"], "--data /nowhere is missing; expected a folder of datasets."),
        (["--set", "step=3"], "--set step=3 names no field of the configuration (name=value); did you mean steps?"),
        (["--set", "steps=3", "--set", "steps=4"], "--set gives steps twice"),
        (["--seeds", "1", "--preset", "smoke", "--preset", "cpu"], "--preset is given twice"),
        (["--set", "steps=few"], "--set steps=few has a value that is no "),
    ],
)
def test_wrong_options(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(["tinypaper", "--out", str(tmp_path / "out"), *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {message}") and printed.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--preset", "smok"], ("smok", "smoke", "cpu", "paper")), (["--seeds", "one"], ("seeds", "one"))],
)
def test_options_that_do_not_parse(
    arguments: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        reproduce(["tinypaper", *arguments])
    assert exit.value.code == 2
    told = capsys.readouterr().err
    assert all(word in told for word in words) and "Traceback" not in told


def test_check_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(["tinypaper", "--preset", "paper", "--check-data", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: nothing is expected\n"
    assert reproduce(["tinypaper", "--check-data"]) == 0
    assert "Expected there:\nplane/points.csv" in capsys.readouterr().out


def test_check_data_says_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what it found, which can be piped into a file."""
    monkeypatch.setattr(progress, "_listeners", [])
    monkeypatch.setattr("tinypaper.data.check", lambda root: [f"point {i}" for i in progress.track([1, 2], "counting")])
    assert reproduce(["tinypaper", "--check-data", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr() == ("point 1\npoint 2\n", "Counting ...\n")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/runs/a"), "The disk is full (.*); finished runs are kept"),
        (RuntimeError("[enforce fail] No space left on device"), "The disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/runs"), "No permission for /runs: make it readable"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/data/a.csv"), "/data/a.csv: No such file; "),
        (OSError("pulled out"), "A file: pulled out; "),
        (UserError("dog.wav is truncated."), "dog.wav is truncated."),
        (KeyError("sdr_db"), r"KeyError: 'sdr_db' \(run with --debug to see where\)"),
    ],
)  # fmt: skip
def test_every_error_is_one_sentence(error: BaseException, told: str) -> None:
    assert re.match(told, explain(error)) and "\n" not in explain(error)


# -- what a result depends on -----------------------------------------------------------------------------------------


@pytest.fixture
def variation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Hash of the training code of a copy of the paper with one change. Names of folders do not count."""
    monkeypatch.syspath_prepend(tmp_path)
    count = iter(range(100))

    def hashed(name: str = "train.py", old: str = "", new: str = "", module: str = "train") -> str:
        package = f"paper{next(count)}"
        shutil.copytree(TINY, tmp_path / package, ignore=IGNORED)
        path = tmp_path / package / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1) if old else text + new)
        return code_hash(package, module)

    return hashed


def test_hash_does_not_depend_on_the_folder(variation: Callable[..., str]) -> None:
    assert variation() == variation() == code_hash("tinypaper", "train")
    assert variation(module="eval") == code_hash("tinypaper", "eval") != variation()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("train.py", "", "# a comment\n"),
        ("train.py", "        loss = mse_loss(", "        # why\n\n        loss = mse_loss("),
        ("train.py", '"""Training."""', '"""Training, described anew."""'),
        ("train.py", '    """Train one variant."""\n', ""),
        ("train.py", "    train_one(__package__)", "    print('changed')"),
        ("config.py", '"""Seconds a step, so that a test can interrupt."""', '"""Seconds."""'),
        (
            "config.py",
            '"plain": Variant("without", {"dropout": 0.0}),',
            '"plain": Variant("plain"), "more": Variant(""),',
        ),
        ("config.py", "(0, 1, 2)", "(0, 1, 2, 3)"),
        ("data.py", '"""20 points;', '"""Twenty points;'),
        ("claims.py", "", "\nMORE = 1\n"),
        ("eval.py", "", "\nMORE = 1\n"),
        ("__init__.py", "", "# empty\n"),
    ],
)
def test_hash_ignores(variation: Callable[..., str], name: str, old: str, new: str) -> None:
    if old == "(0, 1, 2)":
        old, new = '"smoke": (0, 1)', '"smoke": (0, 1, 2)'
    assert variation(name, old, new) == code_hash("tinypaper", "train")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("train.py", "1 + step / 10", "1 + step / 11"),
        ("train.py", "", "\nMORE = 1\n"),
        ("data.py", "rng.normal(0, 0.1, 4)", "rng.normal(0, 0.2, 4)"),
        ("config.py", "batch_size: int = 8", "batch_size: int = 4"),
    ],
)
def test_hash_follows_the_code(variation: Callable[..., str], name: str, old: str, new: str) -> None:
    assert variation(name, old, new) != code_hash("tinypaper", "train")


def test_hash_ignores_the_words_of_errors(variation: Callable[..., str]) -> None:
    checked = "\ndef checked(x):\n    if x < 0:\n        raise {}\n    return x\n"
    one = variation(new=checked.format('ValueError(f"{x} is too small")'))
    assert one == variation(new=checked.format('ValueError(f"expected more than {x}", x) from None'))
    assert one != variation(new=checked.format('TypeError(f"{x} is too small")'))
    assert one != variation(new=checked.replace("x < 0", "x < 1").format('ValueError(f"{x} is too small")'))


def test_hash_follows_sub_packages_and_their_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    hashes = []
    for name, text in (("whole", ""), ("other", "MORE = 1\n"), ("begun", "")):
        package = shutil.copytree(TINY, tmp_path / name, ignore=IGNORED)
        (package / "parts").mkdir()
        (package / "parts" / "__init__.py").write_text("BEGUN = 1\n" if name == "begun" else "")
        (package / "parts" / "deep.py").write_text(f"from ..config import Config\n{text}")
        with open(package / "train.py", "a") as file:
            file.write("\nfrom .parts.deep import Config as Other\n")
        hashes.append(code_hash(name, "train"))
    assert len(set(hashes)) == 3


def test_hash_follows_shared_code_that_is_imported(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "tinypaper", ignore=IGNORED)
    shutil.copytree(ROOT / "shared", tmp_path / "shared", ignore=shutil.ignore_patterns("__pycache__", "packs"))
    program = "from shared.reproduce import keys; print(keys.__file__, keys.code_hash('tinypaper', 'train'))"

    def hashed() -> str:
        finished = run(tmp_path, command=["-c", program], PYTHONPATH="")
        assert finished.returncode == 0, finished.stderr
        where, found = finished.stdout.split()
        assert where == str(tmp_path / "shared" / "reproduce" / "keys.py")
        return found

    def append(name: str) -> None:
        with open(tmp_path / "shared" / name, "a") as file:
            file.write("\nMORE = 1\n")

    assert hashed() == code_hash("tinypaper", "train")
    for unrelated in ("losses.py", "paper.py", "reproduce/keys.py", "support/figures.py"):
        append(unrelated)
    assert hashed() == code_hash("tinypaper", "train")
    append("loading.py")
    assert hashed() != code_hash("tinypaper", "train")
