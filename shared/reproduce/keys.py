"""Jobs, and the keys that tell whether a result is still valid: made of settings, data and the code that runs."""

import ast
import dataclasses
import hashlib
import importlib.util
import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from .. import UserError
from ..support.code import code_of

# Fields of a Config that change no number, so that an interrupted run goes on with others: data has a hash of its own.
NOT_IN_KEYS = ("data", "workers", "save_every")
# Declarations of rows and claims, and all that reproduces: neither changes what a run computes.
SHARED, NOT_HASHED = "shared", ("shared.paper", "shared.reproduce")


@dataclasses.dataclass(frozen=True)
class Job:
    """One (variant, seed) run: where it writes, what it starts from, and the keys of its training and its result."""

    variant: str
    seed: int
    config: Any
    folder: Path
    cache: Path
    """Folder of the prepared data, which the runs of a paper share."""
    train_key: str
    result_key: str
    start: Path | None = None
    """Folder of the run it starts from."""
    start_key: str | None = None
    """Key of that run's training."""

    @property
    def replaced(self) -> Path:
        """Where runs with other settings, data or code, begun or finished, are kept until this one is finished."""
        return self.folder.with_name(f".{self.folder.name}.replaced")

    @property
    def result(self) -> dict[str, Any] | None:
        """The row of a finished job, or None if it has none for the present configuration, data and code."""
        return stored(self.folder / "result.json", self.result_key)

    def __str__(self) -> str:
        return f"{self.variant} seed {self.seed}"


class Jobs:
    """Makes the jobs of one paper, each together with those it starts from.

    Args:
        package: of the paper.
        module: its ``config``.
        configs: the configuration of each variant.
        runs: folder that receives ``<variant>/seed<seed>/``.
        cache: folder of the prepared data.
        data: what ``prepare`` returned.
    """

    def __init__(
        self,
        package: str,
        module: Any,
        configs: Mapping[str, Any],
        runs: Path,
        cache: Path,
        data: Mapping[str, Any],
    ) -> None:
        self.module, self.configs, self.runs, self.cache, self.data = module, configs, runs, cache, data
        self.code = code_hash(package, "train"), code_hash(package, "eval")
        self.made: dict[tuple[str, int], Job] = {}

    def of(self, variants: Sequence[str], seeds: Sequence[int]) -> list[Job]:
        """The jobs of some variants and seeds, seed by seed; those that others start from stand before them."""
        for seed in seeds:
            for variant in variants:
                self._job(variant, seed)
        return list(self.made.values())

    def _job(self, variant: str, seed: int) -> Job:
        if (variant, seed) not in self.made:
            start = self.module.VARIANTS[variant].start
            first = self._job(start, seed) if start else None
            folder, key = (first.folder, first.train_key) if first else (None, None)
            self.made[variant, seed] = self.job(variant, seed, folder, key)
        return self.made[variant, seed]

    def job(self, variant: str, seed: int, start: Path | None, start_key: str | None) -> Job:
        """One job that starts from the run in ``start``, whose training has the key ``start_key``."""
        config = self.configs[variant]
        settings = {name: x for name, x in plain_values(config).items() if name not in NOT_IN_KEYS}
        # What only evaluation reads, and a further test set, make another result of the same training.
        evaluated = {name: settings.pop(name) for name in self.module.EVALUATION}
        train_key = digest(settings, seed, self.data["sha256"], self.code[0], start_key)
        result_key = digest(train_key, evaluated, self.code[1], self.data["test"], self.data.get("test_sha256"))
        folder = self.runs / variant / f"seed{seed}"
        return Job(variant, seed, config, folder, self.cache, train_key, result_key, start, start_key)


def cache_folder(package: str, out: Path | None = None) -> Path:
    """Where a paper's prepared data are kept for every ``OUT``: ``runs/<slug>/cache``; ``out`` if that is read-only."""
    slug = package.rpartition(".")[2]
    writable = os.access(Path("runs") if Path("runs").exists() else Path("."), os.W_OK)
    return (Path("runs") if writable or out is None else out) / slug / "cache"


def plain_values(config: Any) -> dict[str, Any]:
    """The fields of a dataclass, paths as text."""
    return {name: str(x) if isinstance(x, Path) else x for name, x in dataclasses.asdict(config).items()}


def stored(path: Path, key: str | None) -> dict[str, Any] | None:
    """The content that a run wrote to ``path`` under ``key``; None if there is nothing, or it has another key.

    Raises:
        UserError: if the file is damaged.
    """
    try:
        content = json.loads(path.read_bytes())
        if "key" not in content:
            raise ValueError("it has no key")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it, and the same command makes it again.") from None
    return content if content.pop("key") == key else None


def digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


# -- code -------------------------------------------------------------------------------------------------------------


def code_hash(package: str, *modules: str) -> str:
    """Hash of the code that modules of a paper run: themselves and what they import of the paper and ``shared``.

    Words do not count: docstrings, comments, the arguments of errors; nor do ``if __name__ == "__main__"`` blocks.
    """
    specs = {root: cast(Any, importlib.util.find_spec(root)) for root in (package, SHARED)}
    roots = {root: Path(spec.submodule_search_locations[0]) for root, spec in specs.items()}
    waiting = deque(f"{package}.{m}" for m in modules)
    seen: dict[str, str] = {}
    while waiting:
        name = waiting.popleft()
        home = next((root for root in roots if name.startswith(f"{root}.")), None)
        if home is None or name in seen or any(f"{name}.".startswith(f"{x}.") for x in NOT_HASHED):
            continue
        relative = name.removeprefix(f"{home}.")  # the same code has the same hash wherever the folder stands
        base = roots[home] / relative.replace(".", "/")
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if not path.exists():  # an imported name that is no module
            continue
        tree = code_of(path.read_text())
        if name == f"{package}.config":  # presets and variants are in the keys, value by value
            tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        waiting.append(name.rpartition(".")[0])  # importing a module runs its package
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                parent = name if base.is_dir() else name.rpartition(".")[0]  # a package is its own parent
                module = importlib.util.resolve_name("." * node.level + (node.module or ""), parent)
                waiting.extend([module, *(f"{module}.{alias.name}" for alias in node.names)])
            elif isinstance(node, ast.Import):
                waiting.extend(alias.name for alias in node.names)
        seen[name] = digest(relative, ast.dump(tree))
    return digest(sorted(seen.values()))
