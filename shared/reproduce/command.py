"""The command ``reproduce``: from options to jobs, and from their rows to results file, figures and tables."""

import contextlib
import dataclasses
import difflib
import io
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import tyro
from rich.console import Console
from rich.table import Column, Table

from .. import UserError
from ..paper import load
from ..support.command_line import command, console
from ..support.files import write_atomic, write_json
from ..support.progress import drawn, listen
from .keys import Job, Jobs, cache_folder
from .tables import claims_table, paper_pages, read_results, results_table, same_metrics
from .verdicts import judge


@dataclasses.dataclass(frozen=True)
class Options:
    """Reproduce one paper."""

    paper: tyro.conf.Positional[str]
    """Package of the paper folder: papers.clipsep here, mywork.clipsep where it was copied to."""
    preset: Literal["smoke", "cpu", "paper"] = "cpu"
    """smoke: seconds, for tests; cpu: up to an hour on two cores; paper: the paper's own scale, needs --data."""
    seeds: tuple[int, ...] = ()
    """Seeds to run; default: the preset's."""
    variants: tuple[str, ...] = ()
    """Rows of the results table to run; default: all."""
    jobs: int = 0
    """(variant, seed) runs side by side; 0: one a GPU, else one a core."""
    data: Path | None = None
    """Folder with the paper's datasets; default: the embedded data."""
    out: Path | None = None
    """Write runs and results below this folder instead of runs/ and the paper's own folder."""
    set: tuple[str, ...] = ()
    """Fields of the configuration to change for every variant, such as steps=2000; results then stay below runs/."""
    check_data: bool = False
    """Only say what is in --data, what is missing, and how much of it there is."""
    tracker: Literal["tensorboard", "wandb", "mlflow", "none"] = "tensorboard"
    """Where the values of each run are logged, beside its metrics.jsonl; wandb and mlflow are installed separately."""
    debug: bool = False
    """Show the traceback of an error."""


class Workers(Protocol):
    """Runs functions of ``jobs``: ``pool.ProcessPool`` in children, ``launch.LaunchedProcess`` in this process."""

    is_main: bool

    def call(self, function: str, *arguments: Any) -> Any: ...

    def map(self, pending: Sequence[Job], costs: Mapping[str, float], done: Callable[[Job], None]) -> None: ...

    def close(self) -> None: ...


def reproduce(options: Options, start_workers: Callable[[Options], Workers]) -> None:
    """Run all jobs of a preset that are not done, then write the results file, the figures and the paper's pages."""
    config, claims = load(options.paper, "config"), load(options.paper, "claims")
    offered = tuple(name for name, variant in config.VARIANTS.items() if options.preset in variant.presets)
    variants = chosen("variant", options.variants, offered)
    seeds = tuple(dict.fromkeys(options.seeds)) or config.SEEDS[options.preset]
    if options.jobs < 0:
        raise UserError(
            f"jobs is {options.jobs}, no number of runs side by side; give 1 or more, or 0 for the default."
        )
    data = str(options.data.expanduser()) if options.data else None  # not every shell expands DATA=~/x
    base = overridden(dataclasses.replace(config.PRESETS[options.preset], data=data), options.set)
    slug = options.paper.rpartition(".")[2]
    out = options.out.expanduser() if options.out else None
    runs = (out or Path("runs")) / slug / "+".join([options.preset, *sorted(options.set)])
    check_can_run(options.paper, options.preset, data, seeds)

    with contextlib.closing(start_workers(options)) as workers:
        cache = cache_folder(options.paper, out)
        info = workers.call("prepare", options.paper, base, cache)
        configs = {name: dataclasses.replace(base, **variant.changes) for name, variant in config.VARIANTS.items()}
        jobs = Jobs(options.paper, config, configs, runs, cache, info).of(variants, seeds)
        made = {(job.variant, job.seed): job for job in jobs}
        rows_of = [made[variant, seed] for variant in variants for seed in seeds]
        pending = [job for job in jobs if job.result is None]
        if len(pending) < len(jobs):
            console.print(f"{len(jobs) - len(pending)} of {len(jobs)} runs are done already; {len(pending)} to go.")
        package_folder = Path(config.__file__).parent
        published = read_results(package_folder / "results" / f"{options.preset}.json")
        whole_seeds = 0

        def finished() -> list[dict[str, Any]]:
            return [row for job in rows_of if (row := job.result) is not None]

        def judged(rows: list[dict[str, Any]]) -> dict[str, Any]:
            tested = [claim for claim in claims.CLAIMS if claim.tested(options.preset, variants)]
            return {"rows": rows, "claims": [judge(claim, rows) for claim in tested]}

        def done(_: Job) -> None:
            nonlocal whole_seeds
            unfinished = {job.seed for job in rows_of if job.result is None}
            if whole_seeds < (whole := len(seeds) - len(unfinished)) < len(seeds):
                print_results(judged(finished()), config.VARIANTS, claims)
                console.print(f"After {whole} of {len(seeds)} seeds.\n")
            whole_seeds = len(seeds) - len(unfinished)

        try:
            workers.map(pending, seconds_by_variant(published), done)
        except KeyboardInterrupt:
            if workers.is_main and any(job.result is not None for job in rows_of):
                print_tables(judged(finished()), config.VARIANTS, claims)
            raise
        if not workers.is_main:
            return
        # A partial or redirected reproduction never overwrites what the README publishes.
        whole = not (options.seeds or options.variants or options.set) and options.preset != "smoke"
        whole = whole and (options.data is not None) == (options.preset == "paper")
        publishes = whole and options.out is None
        pages = publishes and options.preset == "cpu"  # what is published of the paper's scale stands beside it
        home = package_folder / "results" if publishes else runs / "results"
        figures = home if not publishes or pages else home / options.preset
        rows = finished()
        compared = compare(rows, published)
        environment = workers.call("environment", options.paper)
        if publishes and published:
            rows = kept(rows, published)
            if rows == published["rows"] and info == published["data"]:
                environment = published["environment"]
        found = {
            "schema": 1,
            "paper": slug,
            "preset": options.preset,
            "environment": environment,
            "data": info,
        } | judged(rows)
        write_json(home / f"{options.preset}.json", found)
        folders = {(job.variant, job.seed): job.folder for job in rows_of}
        workers.call("draw_figures", options.paper, folders, figures)
        if pages:
            for path, text in paper_pages(package_folder, options.paper).items():
                write_atomic(path, text.encode())
        print_tables(found, config.VARIANTS, claims)
        console.print(f"Written to {home}{', README.md and RESULTS.md' if pages else ''}. {compared}")
        if published and options.preset == "cpu":
            console.print(f"The published verdict: {claims.PAPER.conclusion}")


def overridden(config: Any, given: tuple[str, ...]) -> Any:
    """The configuration with fields changed.

    Raises:
        UserError: for an unknown field, one that is given twice, or a value that does not fit.
    """
    fields = [field.name for field in dataclasses.fields(config)]
    if twice := [name for name, count in Counter(text.partition("=")[0] for text in given).items() if count > 1]:
        raise UserError(f"--set gives {twice[0]} twice; give each field of the configuration one value.")
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; fields are: {', '.join(fields)}."
            raise UserError(f"--set {text} names no field of the configuration (name=value){hint}")
        option = [f"--{name.replace('_', '-')}", *value.split(",")]
        if isinstance(getattr(config, name), bool):
            option = [f"--{'no-' * (value.lower() in ('false', '0'))}{name.replace('_', '-')}"]
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                config = tyro.cli(type(config), args=option, default=config)
        except SystemExit:
            kind = type(config).__annotations__[name]
            raise UserError(f"--set {text} has a value that is no {kind}; give one, such as the preset's.") from None
    return config


def check_can_run(package: str, preset: str, data: str | None, seeds: tuple[int, ...]) -> None:
    """Raise UserError for seeds that are none, data that are not there, and the preset paper without data."""
    if data is not None:
        check_folder(Path(data))
    if wrong := [seed for seed in seeds if not 0 <= seed < 2**32]:
        raise UserError(f"seed {wrong[0]} is none; expected 0 to {2**32 - 1}.")
    if preset == "paper" and data is None:
        layout = load(package, "data").LAYOUT
        raise UserError(f"The preset paper needs datasets, DATA=/path or --data /path. Expected there:\n{layout}")


def check_folder(root: Path) -> None:
    """Raise UserError if the folder of the datasets is none."""
    if not root.is_dir():
        raise UserError(f"--data {root} is {'a file' if root.exists() else 'missing'}; expected a folder of datasets.")


def chosen(what: str, wanted: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """The names that are wanted, or all that are known. Raises UserError for an unknown one."""
    if unknown := [w for w in wanted if w not in known]:
        raise UserError(f"There is no {what} {', '.join(unknown)}; there are: {', '.join(known)}.")
    return tuple(dict.fromkeys(wanted)) or known


def seconds_by_variant(published: dict[str, Any] | None) -> dict[str, float]:
    """Mean seconds of a run of each variant in a results file."""
    rows = published["rows"] if published else []
    return {
        name: statistics.fmean(row["seconds"] for row in rows if row["variant"] == name)
        for name in {row["variant"] for row in rows}
    }


def compare(rows: Sequence[dict[str, Any]], published: dict[str, Any] | None) -> str:
    """One sentence: whether runs have the metrics of the published ones."""
    known = {(row["variant"], row["seed"]): row for row in published["rows"]} if published else {}
    both = [(row, known[key]) for row in rows if (key := (row["variant"], row["seed"])) in known]
    differ = [f"{row['variant']} seed {row['seed']}" for row, other in both if not same_metrics(row, other)]
    if not both:
        return "There are no published runs to compare with."
    if not differ:
        return f"All {len(both)} runs equal the published ones."
    named = ", ".join(differ[:5]) + " ..." * (len(differ) > 5)
    return f"{len(differ)} of {len(both)} runs differ from the published ones: {named}."


def kept(rows: Sequence[dict[str, Any]], published: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows, those with the metrics of a published one as published: seconds and memory vary from day to day."""
    known = {(row["variant"], row["seed"]): row for row in published["rows"]}
    before = [known.get((row["variant"], row["seed"])) for row in rows]
    return [old if old is not None and same_metrics(old, row) else row for row, old in zip(rows, before, strict=True)]


# -- what a person sees -----------------------------------------------------------------------------------------------


def print_tables(results: dict[str, Any], variants: dict[str, Any], claims: Any) -> None:
    """Print the results table and the claims."""
    print_results(results, variants, claims)
    for number, text, _, comparison, effect, seeds, verdict in claims_table(results, claims.CLAIMS)[1:]:
        found = f"{verdict.strip('*')}: {effect}, as expected in {seeds} seeds; {comparison}"
        console.print(f"{number}. {text}\n   {found}\n".replace("`", ""))


def print_results(results: dict[str, Any], variants: dict[str, Any], claims: Any) -> None:
    """Print the results table, in as many parts as the terminal is narrow."""
    rows = [
        [cell.replace("`", "").replace(" ± ", "±") for cell in row[:1] + row[2:]]  # descriptions are long
        for row in results_table(results, variants, claims.COLUMNS)
    ]
    names, *columns = zip(*rows, strict=True)
    wide = console if console.is_terminal else Console(width=220)
    while columns:
        shown, free = [names], wide.width - _width(names) - 2  # each column has a blank on either side
        while columns and (len(shown) == 1 or _width(columns[0]) + 2 <= free):
            free -= _width(columns[0]) + 2
            shown.append(columns.pop(0))
        headings, *body = zip(*shown, strict=True)
        table = Table(*(Column(x, width=_width(column)) for x, column in zip(headings, shown, strict=True)), box=None)
        for row in body:
            table.add_row(*row)
        wide.print(table, "")


def _width(column: tuple[str, ...]) -> int:
    """Characters that a column of the table needs: its heading wraps between words."""
    return max(map(len, (*column[0].split(), *column[1:])))


def check_data(options: Options) -> None:
    """Print what a dataset folder holds, what is missing, and counts."""
    data = load(options.paper, "data")
    if options.data is None:
        console.print(f"Give the folder with DATA= or --data. Expected there:\n{data.LAYOUT}", markup=False)
        return
    root = options.data.expanduser()
    check_folder(root)
    with drawn(Console(stderr=True, highlight=False, soft_wrap=True)) as listener:
        listen(listener)
        lines = data.check(root)
    for line in lines:
        console.print(line, markup=False)


def main(start_workers: Callable[[Options], Workers], arguments: list[str] | None = None) -> int:
    return command(
        Options,
        lambda options: check_data(options) if options.check_data else reproduce(options, start_workers),
        "reproduce",
        arguments,
    )
