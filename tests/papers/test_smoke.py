"""Every paper's smoke preset through the real command: whole, again, killed, and copied out of the repository."""

import importlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from shared import report

ROOT = Path(__file__).parents[2]
PAPERS = [folder.name for folder in report.papers(ROOT)]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
SECONDS = 600


def command(package: str, out: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "shared.reproduce", package, "--preset", "smoke", "--out", str(out), *arguments]


def reproduce(package: str, out: Path, *arguments: str, folder: Path = ROOT) -> str:
    finished = subprocess.run(
        command(package, out, *arguments), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


class Smoke:
    """A whole reproduction; the tests below share what its data took to prepare."""

    def __init__(self, slug: str, out: Path) -> None:
        self.slug, self.package = slug, f"papers.{slug}"
        self.config = importlib.import_module(f"{self.package}.config")
        self.claims = importlib.import_module(f"{self.package}.claims")
        self.printed = reproduce(self.package, out)
        self.folder = out / slug / "smoke"
        self.results = json.loads((self.folder / "results" / "smoke.json").read_text())
        self.variants = {name: v for name, v in self.config.VARIANTS.items() if "smoke" in v.presets}
        self.own = slug if slug in self.variants else list(self.variants)[-1]
        self.other = next(variant for variant in self.variants if variant != self.own)
        self.seed = self.config.SEEDS["smoke"][0]

    def prepared(self, out: Path) -> Path:
        """``out`` with the cache alone."""
        shutil.copytree(self.folder / "cache", out / self.slug / "smoke" / "cache")
        return out

    def metrics(self, variant: str, results: dict[str, Any] | None = None) -> dict[str, float]:
        """All that a run has to repeat exactly: ratios of measured times are left out."""
        rows = (results or self.results)["rows"]
        found = next(row["metrics"] for row in rows if (row["variant"], row["seed"]) == (variant, self.seed))
        return {name: value for name, value in found.items() if not name.endswith("_ratio")}

    def files(self, folder: Path) -> dict[str, bytes]:
        """What training left of the paper's own variant: weights and log."""
        base = folder / self.own / f"seed{self.seed}"
        return {name: (base / name).read_bytes() for name in ("checkpoint/model.safetensors", "metrics.jsonl")}


@pytest.fixture(scope="module", params=PAPERS)
def smoke(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    return Smoke(request.param, tmp_path_factory.mktemp(request.param))


def test_every_variant_and_seed_has_its_metrics(smoke: Smoke) -> None:
    rows = smoke.results["rows"]
    every = [(variant, seed) for variant in smoke.variants for seed in smoke.config.SEEDS["smoke"]]
    assert [(row["variant"], row["seed"]) for row in rows] == every and len(smoke.config.SEEDS["smoke"]) >= 2
    for row in rows:
        assert row["metrics"] and all(x is None or math.isfinite(x) for x in row["metrics"].values()), row
        assert row["seconds"] > 0 and row["peak_memory_mb"] > 0
    for column in smoke.claims.COLUMNS:
        assert any(row["metrics"].get(column.metric) is not None for row in rows), f"no variant has {column.metric}"


def test_results_file_is_what_readmes_are_made_of(smoke: Smoke) -> None:
    assert (smoke.results["schema"], smoke.results["paper"], smoke.results["preset"]) == (1, smoke.slug, "smoke")
    claims = [claim for claim in smoke.claims.CLAIMS if claim.variants <= set(smoke.variants)]
    assert smoke.results["claims"] == [report.judge(claim, smoke.results["rows"]) for claim in claims]
    assert all(claim.text in smoke.printed for claim in claims)
    table = report.results_table(smoke.results, smoke.config.VARIANTS, smoke.claims.COLUMNS)
    assert len(table) == 1 + len(smoke.variants)
    assert f"Preset `smoke`: {smoke.results['data']['name']}" in report.caption(smoke.results)
    assert len({row["metrics"][smoke.claims.COLUMNS[0].metric] for row in smoke.results["rows"]}) > 1


def test_figures_are_drawn(smoke: Smoke) -> None:
    figures = list((smoke.folder / "results").glob("*.png"))
    assert figures and all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 2000 for path in figures)


def test_the_same_again_gives_the_same(smoke: Smoke, tmp_path: Path) -> None:
    out = smoke.prepared(tmp_path)
    reproduce(smoke.package, out, "--variants", smoke.own, "--seeds", str(smoke.seed))
    again = json.loads((out / smoke.slug / "smoke" / "results" / "smoke.json").read_text())
    assert smoke.metrics(smoke.own, again) == smoke.metrics(smoke.own)
    assert smoke.files(out / smoke.slug / "smoke") == smoke.files(smoke.folder)


def test_killed_and_continued_is_the_same(smoke: Smoke, tmp_path: Path) -> None:
    """``kill -9`` at a random moment of the training, then the same command to the end."""
    out = smoke.prepared(tmp_path)
    job = out / smoke.slug / "smoke" / smoke.own / f"seed{smoke.seed}"
    arguments = ["--variants", smoke.own, "--seeds", str(smoke.seed)]
    process = subprocess.Popen(
        command(smoke.package, out, *arguments),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + SECONDS
    while not (job / "metrics.jsonl").exists():  # the first step
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    time.sleep(random.uniform(0, 1))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (job / "result.json").exists(), "it ended before it was killed"
    reproduce(smoke.package, out, *arguments)
    assert smoke.files(out / smoke.slug / "smoke") == smoke.files(smoke.folder)


def test_copied_out_it_gives_the_same(smoke: Smoke, tmp_path: Path) -> None:
    """``make export``, then two variants in the copy, with nothing of the repository on the path."""
    copy = tmp_path / "work"
    exported = subprocess.run(
        [sys.executable, "ci/export.py", smoke.slug, str(copy)], cwd=ROOT, capture_output=True, text=True
    )
    assert exported.returncode == 0, exported.stderr
    assert f"-m shared.reproduce {smoke.slug}" in exported.stdout
    assert sorted(path.name for path in copy.iterdir()) == sorted([smoke.slug, "shared", "constraints.txt", "LICENSE"])
    imported = subprocess.run(
        [sys.executable, "-c", f"import shared, {smoke.slug} as p; print(shared.__file__); print(p.__file__)"],
        cwd=copy,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert imported.stdout.split() == [str(copy / "shared" / "__init__.py"), str(copy / smoke.slug / "__init__.py")]

    out = smoke.prepared(tmp_path / "out")
    variants = [smoke.other, smoke.own]
    reproduce(smoke.slug, out, "--variants", *variants, "--seeds", str(smoke.seed), folder=copy)
    results = json.loads((out / smoke.slug / "smoke" / "results" / "smoke.json").read_text())
    assert [row["variant"] for row in results["rows"]] == variants
    for variant in variants:
        assert smoke.metrics(variant, results) == smoke.metrics(variant)
    assert results["environment"]["code"] == smoke.results["environment"]["code"]
    assert not (copy / smoke.slug / "results" / "smoke.json").exists()


def test_a_copy_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    again = subprocess.run(
        [sys.executable, "ci/export.py", PAPERS[0], str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert again.returncode == 1 and again.stderr.startswith(f"error: {tmp_path / 'shared'} exists already")
    assert [path.name for path in tmp_path.iterdir()] == ["shared"]
