"""Every paper's smoke preset through the real command: whole, twice at once, killed, out of disk, copied out."""

import importlib
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci.report import papers
from shared.reproduce import tables, verdicts
from shared.support.weights import load_checkpoint

ROOT = Path(__file__).parents[2]
PAPERS = [folder.name for folder in papers(ROOT)]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
SECONDS = 600  # of one reproduction
KILLS = 2  # of one reproduction
STARTED: list[subprocess.Popen[str]] = []
pytestmark = pytest.mark.timeout(3 * SECONDS)


def command(package: str, out: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "shared.reproduce", package, "--preset", "smoke", "--out", str(out), *arguments]


def reproduce(package: str, out: Path, *arguments: str, folder: Path = ROOT) -> str:
    finished = subprocess.run(
        command(package, out, *arguments), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def start(
    package: str, out: Path, *arguments: str, most: int | None = None, stdout: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    """The same in the background, as the leader of a process group; files cannot grow beyond ``most`` bytes."""

    def limit() -> None:
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    process = subprocess.Popen(
        command(package, out, *arguments),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=limit,
    )
    STARTED.append(process)
    return process


def kill_what_runs_on() -> None:
    for process in STARTED:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    STARTED.clear()


@pytest.fixture(autouse=True)
def _nothing_runs_on() -> Iterator[None]:
    """After a test that failed."""
    yield
    kill_what_runs_on()


class Smoke:
    """A whole reproduction, by two that meet; the tests below share what its data took to prepare."""

    def __init__(self, slug: str, out: Path) -> None:
        self.slug, self.package = slug, f"papers.{slug}"
        self.config = importlib.import_module(f"{self.package}.config")
        self.claims = importlib.import_module(f"{self.package}.claims")
        self.folder = out / slug / "smoke"
        first = start(self.package, out, stdout=subprocess.PIPE)
        end = time.monotonic() + SECONDS
        while not list(self.folder.glob("*/seed*/result.json")) and first.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        second = start(self.package, out)
        self.printed, told = first.communicate(timeout=SECONDS)
        assert first.returncode == 0 and "Warning" not in told, told
        _, told = second.communicate(timeout=SECONDS)
        assert second.returncode == 0, told
        self.results = json.loads((self.folder / "results" / "smoke.json").read_text())
        self.variants = {name: v for name, v in self.config.VARIANTS.items() if "smoke" in v.presets}
        self.own = slug if slug in self.variants else list(self.variants)[-1]
        self.other = next(variant for variant in self.variants if variant != self.own)
        self.seed = self.config.SEEDS["smoke"][0]
        self.log = Path(self.own) / f"seed{self.seed}" / "metrics.jsonl"

    def prepared(self, out: Path) -> Path:
        """``out`` with the cache alone."""
        shutil.copytree(self.folder / "cache", out / self.slug / "smoke" / "cache")
        return out

    def metrics(self, variant: str, seed: int, results: dict[str, Any] | None = None) -> dict[str, float]:
        """All that a run has to repeat exactly: ratios of measured times (their names say so) are left out."""
        rows = (results or self.results)["rows"]
        found = next(row["metrics"] for row in rows if (row["variant"], row["seed"]) == (variant, seed))
        return {name: value for name, value in found.items() if not name.endswith(("_step_ratio", "_total_ratio"))}

    def files(self, folder: Path, variant: str, seed: int | None = None) -> dict[str, bytes]:
        """What training left of a run, if it trains: weights and log."""
        base = folder / variant / f"seed{self.seed if seed is None else seed}"
        files = [*base.glob("checkpoint/*.safetensors"), *base.glob("metrics.jsonl")]
        return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="module", params=PAPERS)
def smoke(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    try:
        return Smoke(request.param, tmp_path_factory.mktemp(request.param))
    finally:
        kill_what_runs_on()


def test_every_variant_and_seed_has_its_metrics(smoke: Smoke) -> None:
    rows = smoke.results["rows"]
    every = [(variant, seed) for variant in smoke.variants for seed in smoke.config.SEEDS["smoke"]]
    assert [(row["variant"], row["seed"]) for row in rows] == every and len(smoke.config.SEEDS["smoke"]) >= 2
    for row in rows:
        assert row["metrics"] and all(x is None or math.isfinite(x) for x in row["metrics"].values()), row
        assert row["seconds"] > 0 and row["peak_memory_mb"] > 0
    for column in smoke.claims.COLUMNS:
        found = any(row["metrics"].get(column.metric) is not None for row in rows)
        assert found == ("smoke" in column.presets), column.metric


def test_results_file_is_what_readmes_are_made_of(smoke: Smoke) -> None:
    assert (smoke.results["schema"], smoke.results["paper"], smoke.results["preset"]) == (1, smoke.slug, "smoke")
    claims = [claim for claim in smoke.claims.CLAIMS if claim.variants <= set(smoke.variants)]
    assert smoke.results["claims"] == [verdicts.judge(claim, smoke.results["rows"]) for claim in claims]
    assert all(claim.text in smoke.printed for claim in claims)
    table = tables.results_table(smoke.results, smoke.config.VARIANTS, smoke.claims.COLUMNS)
    assert len(table) == 1 + len(smoke.variants)
    assert f"Preset `smoke`: {smoke.results['data']['name']}" in tables.caption(smoke.results)
    assert len({row["metrics"][smoke.claims.COLUMNS[0].metric] for row in smoke.results["rows"]}) > 1


def test_figures_are_drawn(smoke: Smoke) -> None:
    figures = list((smoke.folder / "results").glob("*.png"))
    assert figures and all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 2000 for path in figures)


def test_figures_of_one_variant_alone_are_drawn(smoke: Smoke, tmp_path: Path) -> None:
    """As ``VARIANTS=`` asks for it, whichever it is: here every fourth."""
    draw = importlib.import_module(f"{smoke.package}.eval").figures
    for variant in list(smoke.variants)[1::4]:
        draw({(variant, smoke.seed): smoke.folder / variant / f"seed{smoke.seed}"}, tmp_path / variant)


def test_two_that_meet_train_each_job_once(smoke: Smoke) -> None:
    """That the results are those of one alone is seen below: of the killed one and of the copy."""
    logs = list(smoke.folder.glob("*/seed*/metrics.jsonl"))
    assert smoke.folder / smoke.log in logs
    for log in logs:
        steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
        assert steps == sorted(set(steps)), f"two runs wrote {log}"


def test_a_full_disk_takes_nothing(smoke: Smoke, tmp_path: Path) -> None:
    """A reproduction whose files cannot grow ends with one sentence; what was finished before it stays."""
    folder = shutil.copytree(smoke.folder, tmp_path / smoke.slug / "smoke")
    for variant in (smoke.other, smoke.own):
        shutil.rmtree(folder / variant / f"seed{smoke.seed}")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}
    full = start(smoke.package, tmp_path, most=8_000)
    _, told = full.communicate(timeout=SECONDS)
    assert full.returncode == 1 and told.startswith("error: ") and "Traceback" not in told, told
    assert all(path.read_bytes() == content for path, content in before.items())


def test_killed_at_random_moments_it_ends_the_same(smoke: Smoke, tmp_path: Path) -> None:
    """``kill -9`` of a whole reproduction, several times: nothing finished is lost, and in the end all is as it was."""
    out = smoke.prepared(tmp_path)
    folder = out / smoke.slug / "smoke"
    jobs = len(smoke.results["rows"])
    chance = random.SystemRandom()
    moments = sorted((chance.uniform(0, jobs - 1), chance.uniform(0, 3)) for _ in range(KILLS))
    finished: dict[Path, bytes] = {}
    for count, seconds in moments:
        process = start(smoke.package, out)
        end = time.monotonic() + SECONDS
        while len(list(folder.glob("*/seed*/result.json"))) < count and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for path in folder.rglob("*.json"):
            json.loads(path.read_text())  # none is half-written
        assert all(path.read_bytes() == content for path, content in finished.items()), f"lost after {moments}"
        finished |= {path: path.read_bytes() for path in folder.glob("*/seed*/result.json")}
    reproduce(smoke.package, out)
    assert all(path.read_bytes() == content for path, content in finished.items()), f"run again after {moments}"
    results = json.loads((folder / "results" / "smoke.json").read_text())
    for row in results["rows"]:
        job = (row["variant"], row["seed"])
        assert smoke.metrics(*job, results) == smoke.metrics(*job), f"{job} after {moments}"
        assert smoke.files(folder, *job) == smoke.files(smoke.folder, *job), f"{job} after {moments}"
    assert not list(folder.glob("*/seed*/**/*.partial"))


KILLED_AFTER_A_PHASE = """
import os, sys
from shared.run import Run
from shared.reproduce.train import train_one
export = Run.export
def killed(self, weights, path=None):
    export(self, weights, path)
    if path is not None:
        os._exit(9)
Run.export = killed
train_one(sys.argv.pop(1))
"""


def test_killed_between_its_phases_it_ends_the_same(smoke: Smoke, tmp_path: Path) -> None:
    """Pre-training is exported, fine-tuning has not begun: what a random moment hardly ever meets."""
    if len(list(smoke.folder.glob(f"{smoke.own}/seed{smoke.seed}/checkpoint/*.safetensors"))) == 1:
        pytest.skip("it has one phase")
    out = smoke.prepared(tmp_path)
    folder = out / smoke.slug / "smoke"
    options = ["--preset", "smoke", "--variant", smoke.own, "--seed", str(smoke.seed), "--out", str(folder)]
    command = [sys.executable, "-c", KILLED_AFTER_A_PHASE, smoke.package, *options]
    environment = ENVIRONMENT | {"OMP_NUM_THREADS": "1"}
    assert subprocess.run(command, cwd=ROOT, env=environment, timeout=SECONDS).returncode == 9
    (phase,) = folder.glob(f"{smoke.own}/seed{smoke.seed}/checkpoint/*.safetensors")
    exported = phase.stat().st_mtime_ns
    reproduce(smoke.package, out, "--variants", smoke.own, "--seeds", str(smoke.seed))
    assert smoke.files(folder, smoke.own) == smoke.files(smoke.folder, smoke.own)
    assert phase.stat().st_mtime_ns == exported, "it was trained again"


def test_over_two_processes(smoke: Smoke, tmp_path: Path, launch: list[str]) -> None:
    """As ``accelerate launch`` starts it; a launch is one run after the other, each over all processes."""
    out = smoke.prepared(tmp_path)
    environment = ENVIRONMENT | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    options = ["--variants", smoke.own, "--seeds", str(smoke.seed)]
    command = [sys.executable, *launch, "-m", "shared.reproduce", smoke.package, "--preset", "smoke", "--out", str(out)]
    launched = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert launched.returncode == 0, launched.stderr
    job = out / smoke.slug / "smoke" / smoke.own / f"seed{smoke.seed}"
    assert len(load_checkpoint(job / "checkpoint" / "state.pt")["random"]) == 2, "there were no two processes"
    results = json.loads((out / smoke.slug / "smoke" / "results" / "smoke.json").read_text())
    own = (smoke.own, smoke.seed)
    assert smoke.metrics(*own, results).keys() == smoke.metrics(*own).keys()


def test_copied_out_it_gives_the_same(smoke: Smoke, tmp_path: Path) -> None:
    """``make export``, then two variants in the copy, with nothing of the repository on the path."""
    copy = tmp_path / "my work"
    exported = subprocess.run(
        [sys.executable, "ci/export.py", smoke.slug, str(copy)], cwd=ROOT, capture_output=True, text=True
    )
    assert exported.returncode == 0, exported.stderr
    assert f"-m shared.reproduce {smoke.slug}" in exported.stdout and f"cd '{copy}'\n" in exported.stdout
    assert sorted(path.name for path in copy.iterdir()) == sorted([smoke.slug, "shared", "constraints.txt", "LICENSE"])
    imported = subprocess.run(
        [sys.executable, "-c", f"import shared, {smoke.slug} as p; print(shared.__file__); print(p.__file__)"],
        cwd=copy,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert imported.stdout.splitlines() == [
        str(copy / "shared" / "__init__.py"),
        str(copy / smoke.slug / "__init__.py"),
    ]

    out = smoke.prepared(tmp_path / "out")
    variants = [smoke.other, smoke.own]
    reproduce(smoke.slug, out, "--variants", *variants, "--seeds", str(smoke.seed), folder=copy)
    results = json.loads((out / smoke.slug / "smoke" / "results" / "smoke.json").read_text())
    assert [row["variant"] for row in results["rows"]] == variants
    for variant in variants:
        assert smoke.metrics(variant, smoke.seed, results) == smoke.metrics(variant, smoke.seed)
    assert results["environment"]["code"] == smoke.results["environment"]["code"]
    assert not (copy / smoke.slug / "results" / "smoke.json").exists()


def test_a_copy_leaves_alone_what_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("precious")
    (tmp_path / "data.csv").chmod(0o444)
    (tmp_path / "link").symlink_to("nowhere")
    subprocess.run([sys.executable, "ci/export.py", PAPERS[0], str(tmp_path)], cwd=ROOT, check=True)
    assert (tmp_path / "data.csv").stat().st_mode & 0o777 == 0o444
    assert all(path.stat().st_mode & 0o200 for path in (tmp_path / PAPERS[0]).rglob("*"))


def test_a_copy_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    again = subprocess.run(
        [sys.executable, "ci/export.py", PAPERS[0], str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert again.returncode == 1 and again.stderr.startswith(f"error: {tmp_path / 'shared'} exists already")
    assert [path.name for path in tmp_path.iterdir()] == ["shared"]
