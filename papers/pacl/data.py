"""Data for training and testing: the paper's datasets below ``config.data``, or composed scenes.

The readers are :mod:`.datasets.pairs`, :mod:`.datasets.benchmarks`, :mod:`.datasets.classification` and
:mod:`.datasets.scene_features`.
"""

import hashlib
from pathlib import Path
from typing import Any

from shared import UserError
from shared.clip import describe_weights

from .config import PRESETS, Config
from .datasets import benchmarks, classification, pairs
from .datasets.part import Part
from .datasets.scene_features import prepare_scenes

LAYOUT = "\n".join([pairs.LAYOUT, benchmarks.LAYOUT, classification.LAYOUT])


def check(root: Path) -> list[str]:
    """List the paper's data below ``root``: what is there, how much of it can be used, what is missing.

    The last lines name the weights that the preset paper needs, and what can be done now.

    Raises:
        UserError: if nothing of it is there.
    """
    folders = [benchmark.labels for benchmark in benchmarks.BENCHMARKS.values()]
    folders += [*pairs.SOURCES, str(pairs.COCO), *map(classification.folder, classification.SETS)]
    if not any((root / Path(folder).parts[0]).exists() for folder in folders):
        raise UserError(
            f"{root} has no pairs, benchmark or classification set of PACL's data. Expected there:\n{LAYOUT}"
        )
    sources = pairs.check(root)
    tests = [*benchmarks.check(root), *classification.check(root)]
    lines = [line for part in (*sources, *tests) for line in part.lines]
    paper = PRESETS["paper"]
    weights = describe_weights(paper.clip, str(paper.clip_weights))
    return [*lines, weights, what_now(sources, tests, paper.batch_size)]


def what_now(sources: list[Part], tests: list[Part], batch_size: int) -> str:
    """One line: whether there is enough to train, what will be evaluated, and what would stop a run."""
    if stops := [part.name for part in (*sources, *tests) if part.stops]:
        return f"A run would stop at {', '.join(stops)}: mend or take away the files that are named above."
    count, ready = sum(part.usable for part in sources), [part.name for part in tests if part.usable]
    train = "Nothing to train on"
    if count:
        enough = count >= batch_size
        train = "Enough to train" if enough else f"Too few pairs to train in batches of {batch_size:,} (--batch-size)"
    return f"{train}; {', '.join(ready) or 'nothing'} will be evaluated."


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Index the paper's data, or compose and embed the scenes, once for all runs; describe the data.

    Returns: ``{"name", "train", "test", "sha256", "scale"}`` for the results file; ``test`` counts what is evaluated.

    Raises:
        UserError: if ``config.data`` does not hold what LAYOUT says, or options are given that need it, or its absence.
    """
    if config.data is None:
        if config.pairs is not None:
            raise UserError(f"--pairs {config.pairs} needs the folder of the benchmarks, too; give it with --data.")
        if config.clip != "mini-clip":
            raise UserError(f"--clip {config.clip} needs photographs, --data; the composed scenes have the mini-clip.")
        return prepare_scenes(config, cache)
    if config.split == "validation":
        raise UserError("--split validation is for the composed scenes alone; leave it out, or leave out --data.")
    if config.clip == "mini-clip":
        raise UserError(
            "--clip mini-clip is for the composed scenes alone; give PRESET=paper (--preset paper) with --data, or "
            "another --clip, such as ViT-B-16."
        )
    if config.method in ("conse", "ridge"):
        raise UserError(f"--method {config.method} is for the composed scenes alone; choose another, or no --data.")
    found = pairs.read(Path(config.data), cache, hub=config.pairs)
    tests = benchmarks.found(Path(config.data))
    weights = {name: sum(path.stat().st_size for path in test.pairs[0]) for name, test in tests.items()}
    counts = [f"{name} {len(test)} {weights[name]}" for name, test in tests.items()]
    counts += classification.found(Path(config.data))
    class_names = [path.read_text() for path in sorted(benchmarks.NAMES.glob("*.txt"))]
    return {
        "name": ", ".join(found.sources),
        "train": len(found),
        "test": sum(len(test) for test in tests.values()),
        "sha256": found.sha256,  # covers the index, not terabytes of files
        "test_sha256": hashlib.sha256("\n".join(counts + class_names).encode()).hexdigest(),
        "scale": f"{config.clip}, batch of {config.batch_size}, {config.epochs} epochs",
    }
