"""Variants x seeds of one paper -> trained, evaluated, judged, published.

``python -m shared.reproduce papers.clipsep`` runs every (variant, seed) job of a preset, side by side, skips what is
done, continues what was interrupted, and prints the results table and the verdicts. Under ``accelerate launch`` the
same command runs the jobs one after the other, each over all processes.

A paper folder offers: ``config`` (Config with a ``data`` field, EVALUATION, PRESETS, SEEDS, VARIANTS), ``data``
(LAYOUT, prepare, check), ``train.train(config, run)``, ``eval.evaluate(config, run)``, ``eval.figures(runs, folder)``
and ``claims``. Of a launch over several processes all call ``train`` and ``evaluate`` (what it returns counts on the
main one alone); only the main one calls the others.
"""

import ast
import contextlib
import dataclasses
import gc
import hashlib
import importlib.util
import json
import math
import multiprocessing as mp
import os
import platform
import re
import shutil
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal, cast

import tyro
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table

from . import UserError
from .cli import command, console, explain, note, told
from .report import claims_table, judge, load, paper_readme, results_table

PROGRESS_SECONDS = 0.25  # between two progress messages of one job
HEARTBEAT_SECONDS = 30.0  # between two lines where there is no terminal to draw on
# Fields of a Config that change no number, so that an interrupted run goes on with others: data has a hash of its own.
FREE = ("data", "workers", "save_every")


@dataclasses.dataclass(frozen=True)
class Options:
    """Reproduce one paper."""

    paper: tyro.conf.Positional[str]
    """Package of the paper folder: papers.clipsep here, mywork.clipsep where it was copied to."""
    preset: Literal["smoke", "cpu", "paper"] = "cpu"
    """smoke: seconds, for tests; cpu: minutes on a laptop; paper: the paper's own scale, needs --data."""
    seeds: tuple[int, ...] = ()
    """Seeds to run; default: the preset's."""
    variants: tuple[str, ...] = ()
    """Rows of the results table to run; default: all."""
    jobs: int = 0
    """(variant, seed) runs side by side; 0: one a GPU, else one a core."""
    data: Path | None = None
    """Folder with the paper's datasets; default: the embedded data."""
    out: Path | None = None
    """Write everything below this folder instead of runs/ and the paper's results/ and README.md."""
    check_data: bool = False
    """Only say what is in --data, what is missing, and how much of it there is."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One (variant, seed) run: where it writes, and the keys that tell whether a result is still valid."""

    variant: str
    seed: int
    config: Any
    folder: Path
    train_key: str
    result_key: str

    @property
    def replaced(self) -> Path:
        """Where runs with other settings, data or code, begun or finished, are kept until this one is finished."""
        return self.folder.with_name(f".{self.folder.name}.replaced")

    def __str__(self) -> str:
        return f"{self.variant} seed {self.seed}"


def reproduce(options: Options) -> None:
    """Run all jobs of a preset that are not done, then write the results file, the figures and the README blocks."""
    config, claims = load(options.paper, "config"), load(options.paper, "claims")
    offered = tuple(name for name, variant in config.VARIANTS.items() if options.preset in variant.presets)
    variants = _chosen("variant", options.variants, offered)
    seeds = tuple(dict.fromkeys(options.seeds)) or config.SEEDS[options.preset]
    if options.jobs < 0:
        raise UserError(
            f"jobs is {options.jobs}, no number of runs side by side; give 1 or more, or 0 for the default."
        )
    data = str(options.data.expanduser()) if options.data else None  # not every shell expands DATA=~/x
    base = dataclasses.replace(config.PRESETS[options.preset], data=data)
    slug = options.paper.rpartition(".")[2]
    runs = (options.out.expanduser() if options.out else Path("runs")) / slug / options.preset
    _can_run(options.paper, options.preset, data, seeds)

    workers = _Here() if "WORLD_SIZE" in os.environ else _Processes(options.jobs, options.paper)
    with contextlib.closing(workers):
        info = workers.call(_prepare, options.paper, base, runs / "cache")
        code = _code(options.paper)
        jobs = [
            _job(config, code, runs, name, seed, dataclasses.replace(base, **config.VARIANTS[name].changes), info)
            for name in variants
            for seed in seeds
        ]
        pending = [job for job in jobs if _result(job) is None]
        if len(pending) < len(jobs):
            console.print(f"{len(jobs) - len(pending)} of {len(jobs)} runs are done already; {len(pending)} to go.")
        workers.map(options.paper, pending)
        if not workers.is_main:
            return
        rows = [row for job in jobs if (row := _result(job)) is not None]
        results = {
            "schema": 1,
            "paper": slug,
            "preset": options.preset,
            "environment": workers.call(_environment, options.paper),
            "data": info,
            "rows": rows,
            "claims": [judge(c, rows) for c in claims.CLAIMS if c.variants <= set(variants)],
        }
        # A partial or redirected reproduction never overwrites what the README publishes.
        whole = not options.seeds and not options.variants and options.preset != "smoke"
        whole = whole and (options.data is not None) == (options.preset == "paper")
        package_folder = Path(config.__file__).parent
        published = whole and options.out is None
        readme = published and options.preset == "cpu"  # what is published of the paper's scale stands beside it
        home = package_folder / "results" if published else runs / "results"
        figures = home if not published or readme else home / options.preset
        from .experiment import write_atomic, write_json

        write_json(home / f"{options.preset}.json", results)
        workers.call(_figures, options.paper, {(job.variant, job.seed): job.folder for job in jobs}, figures)
        if readme:
            text = paper_readme(package_folder, options.paper, (package_folder / "README.md").read_text())
            write_atomic(package_folder / "README.md", text.encode())
        _print(results, config.VARIANTS, claims)
        console.print(f"Written to {home}{' and the README' if readme else ''}.")


def _can_run(package: str, preset: str, data: str | None, seeds: tuple[int, ...]) -> None:
    if wrong := [seed for seed in seeds if not 0 <= seed < 2**32]:
        raise UserError(f"seed {wrong[0]} is none; expected 0 to {2**32 - 1}.")
    if preset == "paper" and data is None:
        layout = load(package, "data").LAYOUT
        raise UserError(f"The preset paper needs datasets, DATA=/path or --data /path. Expected there:\n{layout}")


# -- one job ----------------------------------------------------------------------------------------------------------


def _prepare(package: str, config: Any, cache: Path, report: Callable[..., None]) -> dict[str, Any]:
    return load(package, "data").prepare(config, cache)


def _figures(package: str, runs: dict[tuple[str, int], Path], target: Path, report: Callable[..., None]) -> None:
    load(package, "eval").figures(runs, target)


def run_job(package: str, job: Job, report: Callable[..., None]) -> dict[str, Any]:
    """Train (or continue) and evaluate one job; returns its row. A finished job returns its row at once."""
    from accelerate import PartialState

    from .experiment import Interrupted, Run, write_json

    # Another reproduction of the same checkout may be at the same job; ranks of one launch share the folder.
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    lock = job.folder.with_name(f".{job.folder.name}.lock")
    with contextlib.nullcontext() if "WORLD_SIZE" in os.environ else FileLock(lock):
        if os.environ.get("RANK", "0") == "0" and _result(job) is None:
            for torn in job.folder.rglob("*.partial"):  # of a run that was killed as it wrote
                torn.unlink()
            if _written(job.folder / "config.json", job.train_key) is None:
                _make_way(job)
            content = {"variant": job.variant, "seed": job.seed, "config": dataclasses.asdict(job.config)}
            write_json(job.folder / "config.json", content | {"key": job.train_key})
        if "WORLD_SIZE" in os.environ:
            PartialState().wait_for_everyone()  # what was moved back may be finished: all have to see it
        if (row := _result(job)) is not None:
            return row
        run = Run(
            job.folder,
            job.folder.parents[1] / "cache",
            seed=job.seed,
            precision=getattr(job.config, "precision", "no"),
            progress=lambda done, total, values: report(done, total, values),
        )
        run.accelerator.wait_for_everyone()
        load(package, "train").train(job.config, run)
        run.accelerator.free_memory()  # its loaders' workers, and the batches they hold, would stay
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # an evaluation has no checkpoint to wait for
        if run._stop and run.accelerator.num_processes == 1:  # asked after the last step
            raise Interrupted(f"{job} stopped before its evaluation")
        row = {"variant": job.variant, "seed": job.seed}
        metrics = load(package, "eval").evaluate(job.config, run)  # what the main process returns counts
        if run.accelerator.is_main_process:
            if undefined := [name for name, x in metrics.items() if x is not None and not math.isfinite(x)]:
                raise UserError(f"{', '.join(undefined)} came out as NaN or infinite; the weights are in {job.folder}.")
            cost = {"seconds": round(run.seconds, 2), "peak_memory_mb": round(run.peak_memory_mb, 1)}
            row |= {"metrics": metrics} | cost
            write_json(job.folder / "result.json", row | {"key": job.result_key})
            shutil.rmtree(job.replaced, ignore_errors=True)
        run.accelerator.wait_for_everyone()
        return row


def _make_way(job: Job) -> None:
    """Move what another run left out of the job's folder, and back what it had itself left there before."""
    described = job.folder / "config.json"
    if described.exists() and any((job.folder / left).exists() for left in ("checkpoint", "result.json")):
        key = json.loads(described.read_bytes())["key"]
        job.replaced.mkdir(exist_ok=True)
        shutil.rmtree(job.replaced / key, ignore_errors=True)
        job.folder.rename(job.replaced / key)
    shutil.rmtree(job.folder, ignore_errors=True)
    if (job.replaced / job.train_key).exists():
        (job.replaced / job.train_key).rename(job.folder)


def _code(package: str) -> tuple[str, str]:
    """Hashes of what training runs and of what evaluation runs."""
    return code_hash(package, "train"), code_hash(package, "eval")


def _job(
    module: Any, code: tuple[str, str], runs: Path, variant: str, seed: int, config: Any, data: dict[str, Any]
) -> Job:
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in FREE}
    # What only evaluation reads, and a further test set, make another result of the same training.
    evaluated = {name: settings.pop(name) for name in module.EVALUATION}
    train_key = _digest(settings, seed, data["sha256"], code[0])
    result_key = _digest(train_key, evaluated, code[1], data["test"], data.get("test_sha256"))
    return Job(variant, seed, config, runs / variant / f"seed{seed}", train_key, result_key)


def _result(job: Job) -> dict[str, Any] | None:
    """The row of a finished job, or None if it has none for the present configuration, data and code."""
    return _written(job.folder / "result.json", job.result_key)


def _written(path: Path, key: str) -> dict[str, Any] | None:
    """What this module wrote to ``path`` under ``key``; None if there is nothing, or it has another key."""
    try:
        content = json.loads(path.read_bytes())
        if "key" not in content:
            raise ValueError("it has no key")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it, and the same command makes it again.") from None
    return content if content.pop("key") == key else None


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def code_hash(package: str, *modules: str) -> str:
    """Hash of the code that modules of a paper run: themselves and what they import of the paper and ``shared``.

    Docstrings, comments and ``if __name__ == "__main__"`` blocks do not count.
    """
    specs = {root: cast(Any, importlib.util.find_spec(root)) for root in (package, __package__)}
    roots = {root: Path(spec.submodule_search_locations[0]) for root, spec in specs.items()}
    waiting = deque(f"{package}.{m}" for m in modules)
    seen: dict[str, str] = {}
    while waiting:
        name = waiting.popleft()
        home = next((root for root in roots if name.startswith(f"{root}.")), None)
        if home is None or name in seen or name == f"{__package__}.reproduce":
            continue
        relative = name.removeprefix(f"{home}.")  # the same code has the same hash wherever the folder stands
        base = roots[home] / relative.replace(".", "/")
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if not path.exists():  # an imported name that is no module
            continue
        tree = ast.parse(path.read_text())
        tree.body = [node for node in tree.body if not _is_main_block(node)]
        if name == f"{package}.config":  # presets and variants are in the keys, value by value
            tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                parent = name if base.is_dir() else name.rpartition(".")[0]  # a package is its own parent
                module = importlib.util.resolve_name("." * node.level + (node.module or ""), parent)
                waiting.extend([module, *(f"{module}.{alias.name}" for alias in node.names)])
            elif isinstance(node, ast.Import):
                waiting.extend(alias.name for alias in node.names)
            elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                node.body = [statement for statement in node.body if not _is_text(statement)] or [ast.Pass()]
        seen[name] = _digest(relative, ast.dump(tree))
    return _digest(sorted(seen.values()))


def _is_text(node: ast.stmt) -> bool:
    """A docstring, or the sentence below a field."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


# -- where jobs run ---------------------------------------------------------------------------------------------------


class _Processes:
    """Jobs in child processes, one torch thread each; a live line a job. The parent never imports torch."""

    is_main = True

    def __init__(self, jobs: int, package: str) -> None:
        # One thread a run: numbers then do not depend on the number of cores, nor on what runs beside.
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = "1"
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self.jobs, self.package = jobs, package
        # A server that has imported torch once forks every job: a job starts in milliseconds.
        self.context = mp.get_context("forkserver")
        # (Without torch._dynamo here, every job spends seconds on it: the optimizers import it.)
        self.context.set_forkserver_preload([f"{package}.train", f"{package}.eval", "torch._dynamo"])
        # Ctrl-C reaches the whole group; the parent decides. The server and its children inherit this.
        answer = signal.signal(signal.SIGINT, signal.SIG_IGN)
        forkserver.ensure_running()
        signal.signal(signal.SIGINT, answer)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.children: dict[Connection, tuple[Any, str]] = {}

    def close(self) -> None:
        for child, _job in self.children.values():
            child.terminate()  # a run answers SIGTERM with a checkpoint
        for child, _job in self.children.values():
            child.join()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run ``function(*arguments, report)``, which reports nothing, in a child and return its result."""
        return self._receive(self._start(0, function, *arguments))[1]

    def map(self, package: str, pending: list[Job]) -> None:
        waiting, free = deque(pending), deque(range(self.jobs or self.call(_devices)))
        running: dict[Any, tuple[Job, int, TaskID]] = {}
        started = spoken = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.fields[note]}"))
        with Progress(*columns, console=console, transient=True) as bars:
            overall = bars.add_task("[bold]all", total=len(pending), note="")
            while waiting or running:
                while waiting and free:
                    job, slot = waiting.popleft(), free.popleft()
                    bar = bars.add_task(str(job), total=1.0, note="starting")
                    running[self._start(slot, run_job, package, job)] = (job, slot, bar)
                for connection in wait(list(running), timeout=1.0):
                    job, slot, bar = running[connection]
                    kind, *content = self._receive(cast(Connection, connection))
                    if kind == "progress":
                        step, total, values = content
                        note = f"step {step}/{total}  loss {values.get('loss', float('nan')):.4f}"
                        bars.update(bar, completed=step / total, note=note)
                    else:
                        free.append(slot)
                        bars.remove_task(bar)
                        del running[connection]
                        defined = ((n, x) for n, x in content[0]["metrics"].items() if x is not None)
                        name, value = next(defined, ("no metrics", float("nan")))
                        console.print(f"  {job}: {name} {value:.3f} in {content[0]['seconds']:.0f} s")
                parts = [task for task in bars.tasks if task.id != overall]
                done = len(pending) - len(waiting) - len(running) + sum(part.completed for part in parts)
                # (Not rich's own estimate, which is of the last half minute: variants differ in length.)
                seconds = (time.monotonic() - started) * (len(pending) - done) / done if done else 0.0
                left = timedelta(seconds=round(seconds)) if done else "?"
                note = f"{done:.1f}/{len(pending)} runs, {left} left"
                bars.update(overall, completed=done, note=note)
                if not console.is_terminal and time.monotonic() - spoken > HEARTBEAT_SECONDS:
                    spoken = time.monotonic()
                    now = ", ".join(f"{part.description} {part.percentage:.0f}%" for part in parts)
                    console.print(f"{note}; now {now}")

    def _start(self, slot: int, function: Callable[..., Any], *arguments: Any) -> Connection:
        receiver, sender = self.context.Pipe(duplex=False)
        child = self.context.Process(target=_child, args=(sender, slot, function, arguments))
        try:
            child.start()
        except (EOFError, ConnectionError):  # the server ended as it imported the paper
            raise UserError(f"The code of {self.package} cannot be imported; the traceback above says why.") from None
        sender.close()
        job = next((f"{argument}: " for argument in arguments if isinstance(argument, Job)), "")
        self.children[receiver] = (child, job)
        return receiver

    def _receive(self, connection: Connection) -> tuple[Any, ...]:
        child, job = self.children[connection]
        try:
            message = connection.recv()
        except EOFError:
            child.join()
            self.children.pop(connection)
            reason = (
                "it was killed, often for lack of memory: try fewer jobs (JOBS=, --jobs)"
                if child.exitcode == -9
                else "no message"
            )
            raise UserError(f"{job}a process ended with exit code {child.exitcode} ({reason}).") from None
        if message[0] == "progress":
            return message
        child.join()
        self.children.pop(connection)
        if message[0] == "error":
            raise UserError(job + message[1]) from Exception(message[2])  # the traceback there, for --debug
        return message


class _Here:
    """Jobs one after the other in this process: alone, or one of several that ``accelerate launch`` started."""

    def __init__(self) -> None:
        # DistributedDataParallel imports this, and its functions keep the group of that moment as their default: the
        # group's threads would then outlive its end, and now and then abort the interpreter as it leaves.
        import torch.distributed.nn
        from accelerate import PartialState

        # Without cpu=True every process of a launch on CPUs believes it is alone. A day: the others wait while the main
        # process embeds a whole dataset.
        self.state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))
        self.is_main = self.state.is_main_process
        console.quiet = not self.is_main

    def close(self) -> None:
        if isinstance(sys.exception(), Exception):  # others may wait in a collective for ever; `told` ends this process
            return
        gc.collect()  # the group's threads end with the last DistributedDataParallel that refers to it
        self.state.destroy_process_group()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        from accelerate.utils import broadcast_object_list

        if function is not _prepare:  # only the main process is here
            return function(*arguments, print)
        return broadcast_object_list([function(*arguments, print) if self.is_main else None])[0]

    def map(self, package: str, pending: list[Job]) -> None:
        for job in pending:

            def tell(step: int, total: int, values: dict[str, float], job: Job = job) -> None:
                console.print(f"{job}: step {step}/{total} loss {values.get('loss', float('nan')):.4f}")

            self.state.wait_for_everyone()  # nothing is written before each process knows what is to do
            run_job(package, job, _now_and_then(HEARTBEAT_SECONDS, tell))


def _child(sender: Connection, slot: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Body of a child process: sends ("progress", ...), then ("done", result) or ("error", text, traceback)."""
    if not cast(Any, mp.parent_process()).is_alive():  # it left while the server was importing
        return
    gc.freeze()  # what the server imported is never garbage; looking for some in it costs half a second a run
    import torch

    torch.set_num_threads(1)
    if (gpus := torch.cuda.device_count()) > 0:
        torch.cuda.set_device(slot % gpus)

    def tell(*progress: Any) -> None:
        try:
            sender.send(("progress", *progress))
        except BrokenPipeError:  # the parent is gone: stop as if asked to
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        sender.send(("done", function(*arguments, _now_and_then(PROGRESS_SECONDS, tell))))
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    except BaseException as error:
        with contextlib.suppress(BrokenPipeError):
            sender.send(("error", explain(error), traceback.format_exc()))


def _now_and_then(seconds: float, tell: Callable[..., None]) -> Callable[[int, int, dict[str, float]], None]:
    """tell(step, total, values) at most once in so many seconds, but always at the last step."""
    last = 0.0

    def report(step: int, total: int, values: dict[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last > seconds or step == total:
            last = time.monotonic()
            tell(step, total, values)

    return report


def _devices(report: Callable[..., None]) -> int:
    """One job a GPU, else one a core this process may use."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return torch.cuda.device_count() or cores


# -- the end ----------------------------------------------------------------------------------------------------------


def processor() -> str:
    """The name of the processor, for tables that hold timings."""
    info = Path("/proc/cpuinfo")
    named = re.search(r"^model name[ \t]*:[ \t]*(.+)", info.read_text(), re.MULTILINE) if info.exists() else None
    return named[1].strip() if named else platform.processor() or platform.machine()


def _environment(package: str, report: Callable[..., None]) -> dict[str, Any]:
    from importlib.metadata import version

    from torch import cuda

    return {
        "cpu": processor(),
        "gpu": f"{os.environ.get('WORLD_SIZE', 1)} x {cuda.get_device_name()}" if cuda.is_available() else None,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "code": code_hash(package, "train", "eval"),
    }


def _print(results: dict[str, Any], variants: dict[str, Any], claims: Any) -> None:
    """The results table, in as many parts as the terminal is narrow, and the claims."""
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
    for number, text, _, comparison, effect, seeds, verdict in claims_table(results, claims.CLAIMS)[1:]:
        found = f"{verdict.strip('*')}: {effect}, as expected in {seeds} seeds; {comparison}"
        console.print(f"{number}. {text}\n   {found}\n".replace("`", ""))


def _width(column: tuple[str, ...]) -> int:
    """Characters that a column of the table needs: its heading wraps between words."""
    return max(map(len, (*column[0].split(), *column[1:])))


def _chosen(what: str, wanted: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [w for w in wanted if w not in known]:
        raise UserError(f"There is no {what} {', '.join(unknown)}; there are: {', '.join(known)}.")
    return tuple(dict.fromkeys(wanted)) or known


@dataclasses.dataclass(frozen=True)
class One:
    """Where a run starts from."""

    preset: Literal["smoke", "cpu", "paper"] = "cpu"
    """Whose values the options below have unless they are given."""
    variant: str | None = None
    """Row of the results table; default: the paper's own method."""
    seed: int = 0
    """Seed of the run."""
    out: Path = Path("runs/custom")
    """Folder for the run, which replaces one with other options there; apart from what `make reproduce` writes."""
    debug: bool = False
    """Show the traceback of an error."""


def train_one(package: str) -> None:
    """``python -m papers.<slug>.train``: one run in this process; also under ``accelerate launch``."""
    module = load(package, "config")
    prog, description = f"python -m {package}.train", "Train and evaluate one variant with one seed."
    one, _ = tyro.cli(One, return_unknown_args=True, add_help=False)

    def run() -> None:
        (variant,) = _chosen("variant", (one.variant or package.rpartition(".")[2],), tuple(module.VARIANTS))
        start = dataclasses.replace(module.PRESETS[one.preset], **module.VARIANTS[variant].changes)
        whole = dataclasses.make_dataclass("Whole", [("run", One, one), ("config", type(start), start)])
        config: Any = tyro.cli(whole, prog=prog, description=description, config=(tyro.conf.OmitArgPrefixes,)).config
        _can_run(package, one.preset, config.data, (one.seed,))
        with contextlib.closing(_Here()) as workers:
            info = workers.call(_prepare, package, config, one.out / "cache")
            job = _job(module, _code(package), one.out, variant, one.seed, config, info)
            workers.map(package, [job])
            if workers.is_main:
                console.print_json(data=_result(job))
                note(f"weights, log and result are in {job.folder}.")

    sys.exit(told(run, one.debug))


def check_data(options: Options) -> None:
    """Print what a dataset folder holds, what is missing, and counts."""
    data = load(options.paper, "data")
    if options.data is None:
        raise UserError(f"DATA= is not set. Expected there:\n{data.LAYOUT}")
    for line in data.check(options.data.expanduser()):
        console.print(line, markup=False)


def main(arguments: list[str] | None = None) -> int:
    return command(
        Options,
        lambda options: check_data(options) if options.check_data else reproduce(options),
        "reproduce",
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
