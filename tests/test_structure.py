"""Every paper folder is built alike, stands on `shared` alone, and says nothing its results do not hold."""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci import new, overview
from ci.report import papers, rebuilt
from shared.reproduce import tables, verdicts

ROOT = Path(__file__).parents[1]
PAPERS = papers(ROOT)
FILES = [
    "README.md",
    "config.py",
    "data.py",
    "model.py",
    "build.py",
    "train.py",
    "eval.py",
    "predict.py",
    "claims.py",
    "requirements.txt",
    "bench.py",
    "DEVIATIONS.md",
]
INTERFACE = {
    "config": ["Config", "EVALUATION", "PRESETS", "SEEDS", "VARIANTS"],
    "data": ["LAYOUT", "prepare", "check"],
    "train": ["train"],
    "eval": ["evaluate", "figures"],
    "claims": ["PAPER", "COLUMNS", "CLAIMS", "REPORTED"],
}
by_paper = pytest.mark.parametrize("folder", PAPERS, ids=lambda folder: folder.name)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(level, module) of every import statement of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def structure_faults(folder: Path, package: str) -> list[str]:
    faults = [f"{name} is missing" for name in FILES if not (folder / name).exists()]
    for path in folder.rglob("*.py"):
        depth = len(path.relative_to(folder).parts)  # as many dots as lead to the folder and not out of it
        faults += [
            f"{path.name} imports {'.' * level}{module}"
            for level, module in imports(path)
            if level > depth or module.startswith("papers")
        ]
    for module, names in INTERFACE.items():
        loaded = importlib.import_module(f"{package}.{module}")
        faults += [f"{module}.py has no {name}" for name in names if not hasattr(loaded, name)]
    config = importlib.import_module(f"{package}.config")
    for path in folder.rglob("*.py"):
        depth = len(path.relative_to(folder).parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.level, node.module) == (depth, "config"):
                faults += [
                    f"{path.name} imports {alias.name}: a number of config.py is in a run's keys only as a field"
                    for alias in node.names
                    if isinstance(getattr(config, alias.name), (int, float, str))
                ]
    for name, variant in config.VARIANTS.items():
        if variant.start and not set(variant.presets) <= set(config.VARIANTS[variant.start].presets):
            faults.append(f"{name} starts from {variant.start}, which not all of its presets have")
    faults += [f"no preset {p}" for p in ("smoke", "cpu", "paper") if p not in config.PRESETS or p not in config.SEEDS]
    return faults


@by_paper
def test_folder_has_the_files_and_names_of_every_paper(folder: Path) -> None:
    assert structure_faults(folder, f"papers.{folder.name}") == []


@by_paper
def test_the_readme_reads_in_two_minutes(folder: Path) -> None:
    """A conclusion of a few sentences without numbers, and some 700 to 900 words beside the generated tables."""
    paper = importlib.import_module(f"papers.{folder.name}.claims").PAPER
    assert not re.search(r"(?<!\w)\d", paper.conclusion), "a number enters a README through results alone"
    assert 3 <= len(re.findall(r"[.!?](?= |$)", paper.conclusion)) <= 5
    text = re.sub(r"<!-- (\w+):begin .*?<!-- \1:end -->", "", (folder / "README.md").read_text(), flags=re.DOTALL)
    assert 500 <= len(text.split()) <= 1000
    claims = importlib.import_module(f"papers.{folder.name}.claims")
    config = importlib.import_module(f"papers.{folder.name}.config")
    assert 1 <= sum(variant.headline for variant in config.VARIANTS.values()) <= 9
    assert 1 <= sum(column.headline for column in claims.COLUMNS) <= 4
    assert any(claim.headline and not claim.control for claim in claims.CLAIMS)


@by_paper
def test_the_pages_say_what_is_declared_of_datasets_and_official_code(folder: Path) -> None:
    """Names count by their letters and digits. A paper without official code is a reconstruction, and says why."""
    paper = importlib.import_module(f"papers.{folder.name}.claims").PAPER
    readme = (folder / "README.md").read_text()
    layout = importlib.import_module(f"papers.{folder.name}.data").LAYOUT
    said = re.sub(r"[\W_]", "", f"{layout} {readme} {(folder / 'DEVIATIONS.md').read_text()}".lower())
    assert [name for name in paper.datasets if re.sub(r"[\W_]", "", name.lower()) not in said] == []
    linked = re.search(r"Official\s+code:\s+\[", readme)
    assert bool(paper.reconstruction) != bool(linked), (
        "README.md links official code, or PAPER.reconstruction says why not"
    )


def test_make_new_writes_a_folder_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "environment.yml", tmp_path)
    new.new("freshpaper")
    monkeypatch.syspath_prepend(tmp_path / "papers")
    assert structure_faults(tmp_path / "papers" / "freshpaper", "freshpaper") == []
    pages = tables.paper_pages(tmp_path / "papers" / "freshpaper", "freshpaper")
    assert [path.name for path, text in pages.items() if not path.exists() or path.read_text() != text] == [
        "RESULTS.md"
    ]
    command = [sys.executable, "-m", "shared.reproduce", "freshpaper", "--preset", "smoke"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path / "papers", env=environment, capture_output=True, text=True)
    assert ran.returncode == 0 and "A plane needs a bias." in ran.stdout, ran.stderr
    assert (tmp_path / "environment.yml").read_text().count("- -r papers/freshpaper/requirements.txt\n") == 1
    with pytest.raises(SystemExit, match="exists already"):
        new.new("freshpaper")


def test_shared_imports_no_paper() -> None:
    found = [(p.name, m) for p in (ROOT / "shared").rglob("*.py") for _, m in imports(p) if m.startswith("papers")]
    assert found == []


@by_paper
def test_requirements_name_what_the_folder_imports(folder: Path) -> None:
    """Third-party imports of the folder are in its requirements.txt or in those of shared, and in environment.yml."""
    from importlib.metadata import packages_distributions

    assert f"- -r papers/{folder.name}/requirements.txt\n" in (ROOT / "environment.yml").read_text()
    files = [*folder.glob("requirements*.txt"), ROOT / "shared" / "requirements.txt"]  # those of an optional extra, too
    required = "".join(path.read_text() for path in files)
    names = {line.split(">")[0].split("=")[0].strip().lower().replace("_", "-") for line in required.splitlines()}
    distributions = packages_distributions()
    missing = set()
    for path in folder.rglob("*.py"):
        for level, module in imports(path):
            top = module.partition(".")[0]
            if level or top in sys.stdlib_module_names or top == "shared":
                continue
            if not {d.lower().replace("_", "-") for d in distributions.get(top, [top])} & names:
                missing.add(f"{path.name}: {top}")
    assert missing == set()


def test_report_needs_no_package_of_a_single_paper() -> None:
    """`make reproduce` of one paper ends with a report on all, where that paper's packages alone are installed."""
    from importlib.metadata import packages_distributions

    def required(path: Path) -> set[str]:
        return {re.split("[>=; ]", x)[0].lower().replace("_", "-") for x in path.read_text().splitlines()}

    alone = set().union(*(required(folder / "requirements.txt") for folder in PAPERS))
    alone -= required(ROOT / "shared/requirements.txt") | {""}
    names = {d.lower().replace("_", "-"): top for top, found in packages_distributions().items() for d in found}
    tops = {names[distribution] for distribution in alone if distribution in names}
    assert "skfmm" in tops
    parts = [f"papers.{folder.name}.{part}" for folder in PAPERS for part in ("claims", "config")]
    script = f"import sys\nfor x in {sorted(tops)}: sys.modules[x] = None\nimport {', '.join(parts)}, ci.report"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_docstring_or_help_text_opens_with_of_or_what() -> None:
    """A text below a field is the help of an option, and is read beside its name alone."""
    opened = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("shared", "papers", "ci")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if node.value.value.split()[:1] in (["Of"], ["What"])
    ]
    assert opened == []


def test_generated_blocks_equal_results() -> None:
    """Every README says exactly what the committed results files say."""
    stale = [str(path) for path, text in rebuilt(ROOT).items() if not path.exists() or path.read_text() != text]
    assert stale == [], "run `make report`"
    shown, found = overview.shown(ROOT / overview.PICTURE), overview.drawn_from(overview.judged(ROOT))
    assert shown == found, f"{overview.PICTURE} shows other results, or was drawn by other code: run `make report`"


@by_paper
def test_results_are_whole(folder: Path) -> None:
    """Every variant has every seed, the claims follow from the rows, and their variants have five seeds or more."""
    path = folder / "results" / "cpu.json"
    if not path.exists():
        pytest.skip("not run yet")
    results = json.loads(path.read_text())
    config = importlib.import_module(f"papers.{folder.name}.config")
    claims = importlib.import_module(f"papers.{folder.name}.claims")
    seeds = {
        v: [r["seed"] for r in results["rows"] if r["variant"] == v]
        for v, x in config.VARIANTS.items()
        if "cpu" in x.presets
    }
    assert all(s == list(config.SEEDS["cpu"]) for s in seeds.values()), seeds
    judged = [claim for claim in claims.CLAIMS if claim.tested("cpu", seeds)]
    assert results["claims"] == [verdicts.judge(claim, results["rows"]) for claim in judged]
    assert all(c["n"] >= 5 for c in results["claims"])


def test_make_tells_what_is_wrong_in_one_sentence() -> None:
    environment = os.environ | {"MAKEFLAGS": ""}
    run = subprocess.run(
        ["make", "reproduce", "PAPER=clipsepp"], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert run.returncode != 0 and "clipsep" in run.stderr and "Traceback" not in run.stderr
    options = ["SEEDS=0,7", "VARIANTS=clipsep,pit", "JOBS=3", "OUT=/tmp/a b", "DATA=/d"]
    planned = subprocess.run(
        ["make", "-n", "reproduce", "PAPER=clipsep", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert "exec .venv/bin/python -m shared.reproduce" in planned.stdout, "SIGTERM to make has to reach it"
    for expected in ("--seeds 0 7", "--variants clipsep pit", "--jobs 3", '--out "/tmp/a b"', '--data "/d"'):
        assert expected in planned.stdout
    helped = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert helped.returncode == 0 and "make reproduce" in helped.stdout
