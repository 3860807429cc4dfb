"""Every paper's smoke preset through the real command: whole, stopped and resumed, over two processes, copied out.

What only the runner does (killed at random, a full disk, two at once) is in ``tests/shared/test_reproduce.py``.
"""

import importlib
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ci.report import papers
from shared.reproduce import tables, verdicts
from shared.reproduce.tables import measured
from shared.support.weights import load_checkpoint

ROOT = Path(__file__).parents[2]
PAPERS = [folder.name for folder in papers(ROOT)]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
SECONDS = 600  # of one reproduction
pytestmark = pytest.mark.timeout(3 * SECONDS)


def run(command: list[str], folder: Path, **environment: str) -> str:
    """What Python printed, run in ``folder``; it succeeded without a warning."""
    finished = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert finished.returncode == 0 and "Warning" not in finished.stderr, finished.stderr
    return finished.stdout


def export(slug: str, target: Path) -> str:
    return run(["ci/export.py", slug, str(target)], ROOT)


def reproduce(package: str, *arguments: str) -> list[str]:
    return ["-m", "shared.reproduce", package, "--preset", "smoke", *arguments]


def results(out: Path, slug: str) -> dict[str, Any]:
    return json.loads((out / slug / "smoke" / "results" / "smoke.json").read_text())


class Smoke:
    """A whole reproduction in ``work``; the tests below run there, so that its prepared data are theirs, too."""

    def __init__(self, slug: str, work: Path) -> None:
        self.slug, self.package, self.work = slug, f"papers.{slug}", work
        self.config = importlib.import_module(f"{self.package}.config")
        self.claims = importlib.import_module(f"{self.package}.claims")
        self.printed = self.run(reproduce(self.package))
        self.folder = work / "runs" / slug / "smoke"
        self.results = results(work / "runs", slug)
        self.variants = {name: v for name, v in self.config.VARIANTS.items() if "smoke" in v.presets}
        self.own = slug if slug in self.variants else list(self.variants)[-1]
        self.seed = self.config.SEEDS["smoke"][0]
        self.part = ["--variants", self.own, "--seeds", str(self.seed)]

    def run(self, command: list[str], **environment: str) -> str:
        return run(command, self.work, PYTHONPATH=str(ROOT), **environment)

    def metrics(self, variant: str, rows: list[dict[str, Any]]) -> dict[str, float]:
        """All that a run has to repeat exactly."""
        return next(measured(row) for row in rows if (row["variant"], row["seed"]) == (variant, self.seed))

    def files(self, folder: Path, variant: str) -> dict[str, bytes]:
        """What training leaves of a run: weights and log."""
        base = folder / variant / f"seed{self.seed}"
        paths = [*base.glob("checkpoint/*.safetensors"), *base.glob("metrics.jsonl")]
        return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module", params=PAPERS)
def smoke(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    return Smoke(request.param, tmp_path_factory.mktemp(request.param))


# -- a whole reproduction ---------------------------------------------------------------------------------------------


def test_every_variant_and_seed_has_its_metrics(smoke: Smoke) -> None:
    rows = smoke.results["rows"]
    every = [(variant, seed) for variant in smoke.variants for seed in smoke.config.SEEDS["smoke"]]
    assert [(row["variant"], row["seed"]) for row in rows] == every and len(smoke.config.SEEDS["smoke"]) >= 2
    for row in rows:
        assert all(x is None or math.isfinite(x) for x in row["metrics"].values()), row
        assert row["seconds"] > 0 and row["peak_memory_mb"] > 0
    started_from = {variant.start for variant in smoke.variants.values()}
    silent = {row["variant"] for row in rows if not row["metrics"]}
    assert silent <= started_from, "only what others start from may have no metrics"
    for column in smoke.claims.COLUMNS:
        found = any(row["metrics"].get(column.metric) is not None for row in rows)
        assert found == ("smoke" in column.presets), column.metric


def test_results_file_is_what_readmes_are_made_of(smoke: Smoke) -> None:
    assert (smoke.results["schema"], smoke.results["paper"], smoke.results["preset"]) == (1, smoke.slug, "smoke")
    claims = [claim for claim in smoke.claims.CLAIMS if claim.variants <= set(smoke.variants)]
    assert smoke.results["claims"] == [verdicts.judge(claim, smoke.results["rows"]) for claim in claims]
    assert all(claim.text in smoke.printed for claim in claims)
    table = tables.results_table(smoke.results, smoke.config.VARIANTS, smoke.claims.COLUMNS)
    measured = {row["variant"] for row in smoke.results["rows"] if row["metrics"]}
    assert len(table) == 1 + len(measured)
    assert f"Preset `smoke`: {smoke.results['data']['name']}" in tables.caption(smoke.results)
    first = smoke.claims.COLUMNS[0].metric
    assert len({row["metrics"].get(first) for row in smoke.results["rows"]}) > 1


def test_figures_are_drawn(smoke: Smoke) -> None:
    figures = list((smoke.folder / "results").glob("*.png"))
    assert figures and all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 2000 for path in figures)


def test_figures_of_one_variant_alone_are_drawn(smoke: Smoke, tmp_path: Path) -> None:
    """As ``VARIANTS=`` asks for it, whichever it is: here every fourth."""
    draw = importlib.import_module(f"{smoke.package}.eval").figures
    for variant in list(smoke.variants)[1::4]:
        draw({(variant, smoke.seed): smoke.folder / variant / f"seed{smoke.seed}"}, tmp_path / variant)


# -- stopped and resumed ----------------------------------------------------------------------------------------------

# Kills every loop of a run (a phase, or the run that it starts from) once, a step after its first checkpoint. Each
# attempt is a fork of one process, so that the imports are paid for once.
KILLED_ONCE_A_LOOP = """
import importlib, os, sys
from shared.reproduce.train import train_one
from shared.run import Run

package = sys.argv.pop(1)
for module in ("train", "eval"):
    importlib.import_module(f"{package}.{module}")
steps = Run.steps

def killed_once(self, total, *, save_every, start=0, **options):
    killed = self.folder / f"killed-{start}"
    for step in steps(self, total, save_every=save_every, start=start, **options):
        yield step
        if step == min(start + save_every, total - 1) and not killed.exists():
            killed.touch()
            os._exit(9)

Run.steps = killed_once
while (code := os.waitstatus_to_exitcode(os.waitpid(os.fork() or train_one(package), 0)[1])) == 9:
    print("killed", flush=True)
sys.exit(code)
"""


def ways_to_train(smoke: Smoke) -> list[str]:
    """The paper's own variant, and one that starts from another if its own does not."""
    chained = [name for name, variant in smoke.variants.items() if variant.start]
    return [smoke.own, *([] if smoke.own in chained else chained[:1])]


def test_killed_and_resumed_it_ends_the_same(smoke: Smoke, tmp_path: Path) -> None:
    for variant in ways_to_train(smoke):
        out = tmp_path / variant
        options = ["--preset", "smoke", "--variant", variant, "--seed", str(smoke.seed), "--out", str(out)]
        printed = smoke.run(["-c", KILLED_ONCE_A_LOOP, smoke.package, *options], OMP_NUM_THREADS="1")
        loops = list(out.glob("*/seed*/killed-*"))
        assert printed.count("killed\n") == len(loops) >= 1 + bool(smoke.variants[variant].start)
        assert smoke.files(out, variant) == smoke.files(smoke.folder, variant)
        ended, whole = (
            json.loads((folder / variant / f"seed{smoke.seed}" / "result.json").read_text())
            for folder in (out, smoke.folder)
        )
        assert ended["key"] == whole["key"]
        assert smoke.metrics(variant, [ended]) == smoke.metrics(variant, [whole])


# -- over two processes, and elsewhere --------------------------------------------------------------------------------


def test_over_two_processes(smoke: Smoke, tmp_path: Path, launch: list[str]) -> None:
    """As ``accelerate launch`` starts it."""
    launched = [*launch, *reproduce(smoke.package, "--out", str(tmp_path), *smoke.part)]
    smoke.run(launched, ACCELERATE_USE_CPU="true", OMP_NUM_THREADS="1")
    job = tmp_path / smoke.slug / "smoke" / smoke.own / f"seed{smoke.seed}"
    assert len(load_checkpoint(job / "checkpoint" / "state.pt")["random"]) == 2, "there were no two processes"
    found, expected = (x["rows"] for x in (results(tmp_path, smoke.slug), smoke.results))
    assert smoke.metrics(smoke.own, found).keys() == smoke.metrics(smoke.own, expected).keys()


def test_copied_out_it_gives_the_same(smoke: Smoke, tmp_path: Path) -> None:
    """``make export``, then a variant in the copy, with nothing of the repository on the path."""
    copy = tmp_path / "my work"
    exported = export(smoke.slug, copy)
    assert f"-m shared.reproduce {smoke.slug}" in exported and f"cd '{copy}'\n" in exported
    beside = ["shared", "README.md", "constraints.txt", "LICENSE"]
    assert sorted(path.name for path in copy.iterdir()) == sorted([smoke.slug, *beside])
    where = run(["-c", f"import shared, {smoke.slug} as paper; print([shared.__file__, paper.__file__])"], copy)
    assert where == f"{[str(copy / name / '__init__.py') for name in ('shared', smoke.slug)]}\n"

    shutil.copytree(smoke.work / "runs" / smoke.slug / "cache", copy / "runs" / smoke.slug / "cache")
    run(reproduce(smoke.slug, *smoke.part), copy)
    found = results(copy / "runs", smoke.slug)
    assert [row["variant"] for row in found["rows"]] == [smoke.own]
    assert smoke.metrics(smoke.own, found["rows"]) == smoke.metrics(smoke.own, smoke.results["rows"])
    assert found["environment"]["code"] == smoke.results["environment"]["code"]
    assert not (copy / smoke.slug / "results" / "smoke.json").exists()


def test_a_copy_leaves_alone_what_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("precious")
    (tmp_path / "data.csv").chmod(0o444)
    (tmp_path / "link").symlink_to("nowhere")
    export(PAPERS[0], tmp_path)
    assert (tmp_path / "data.csv").stat().st_mode & 0o777 == 0o444
    assert all(path.stat().st_mode & 0o200 for path in (tmp_path / PAPERS[0]).rglob("*"))


def test_a_copy_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    again = subprocess.run(
        [sys.executable, "ci/export.py", PAPERS[0], str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert again.returncode == 1 and again.stderr.startswith(f"error: {tmp_path / 'shared'} exists already")
    assert [path.name for path in tmp_path.iterdir()] == ["shared"]
