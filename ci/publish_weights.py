"""``python -m ci.publish_weights papers.clipsep clipsep-nit 0``: commit the trained weights of a published row.

The weights of the run in ``runs/`` are copied to ``papers/<slug>/weights/<variant>.safetensors``, beside them
``<variant>.json`` with the configuration and the metrics of that row of ``results/cpu.json``. ``predict`` uses both.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save

from shared import UserError
from shared.paper import load
from shared.reproduce.tables import read_results, same_metrics
from shared.support.files import write_atomic, write_json
from shared.support.weights import committed_weights, load_weights

LARGEST = 2 * 2**20  # bytes of all weights of a paper


def publish(
    package: str, variant: str, seed: int, half: bool = False, runs: Path = Path("runs"), files: Sequence[str] = ()
) -> list[Path]:
    """Write a run's weights and their description below the paper's folder; returns what was written.

    Args:
        files: names of the files of weights that are published; default: all that the run has.

    Raises:
        UserError: if the run is not finished, lacks one of the files, has other metrics than the published row, or the
            weights are too large.
    """
    home = Path(load(package, "config").__file__).parent
    run = runs / home.name / "cpu" / variant / f"seed{seed}"
    results = read_results(home / "results" / "cpu.json")
    try:
        described = json.loads((run / "config.json").read_text())
        row = json.loads((run / "result.json").read_text())
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: make reproduce PAPER={home.name} VARIANTS={variant}") from None
    rows = results["rows"] if results else []
    published = next((row for row in rows if (row["variant"], row["seed"]) == (variant, seed)), None)
    if published is None or not same_metrics(row, published):
        raise UserError(f"{run} is not the published row {variant}, seed {seed}: reproduce the whole paper first.")
    found = {path.name: path for path in sorted((run / "checkpoint").glob("*.safetensors"))}
    if missing := [name for name in files if name not in found]:
        raise UserError(f"{run} has no weights {', '.join(missing)}; it has {', '.join(found)}.")
    target = home / "weights" / f"{variant}.json"
    contents = {}
    for name in files or found:
        weights = load_weights(found[name])
        if half:
            weights = {key: x.half() if x.dtype == torch.float32 else x for key, x in weights.items()}
        contents[committed_weights(target, name)] = save(weights)
    others = [path for path in target.parent.glob("*.safetensors") if path not in contents]
    size = sum(map(len, contents.values())) + sum(path.stat().st_size for path in others)
    if size > LARGEST:
        raise UserError(
            f"{target.parent} would hold {size} bytes, at most {LARGEST} are meant; give --half or --files."
        )
    for path, content in contents.items():
        write_atomic(path, content)
    described = {key: described[key] for key in ("variant", "seed", "config")}
    write_json(target, described | {"metrics": published["metrics"]})
    return [*contents, target]


def main() -> None:
    parser = argparse.ArgumentParser(description="Commit the trained weights of a published row of the results.")
    parser.add_argument("package", help="package of the paper, such as papers.clipsep")
    parser.add_argument("variant", help="row of the results table")
    parser.add_argument("seed", type=int, help="seed of the run")
    parser.add_argument("--half", action="store_true", help="store the weights in half precision")
    parser.add_argument("--files", nargs="+", default=(), help="only these files of weights; default: all of the run")
    arguments = parser.parse_args()
    try:
        paths = publish(arguments.package, arguments.variant, arguments.seed, arguments.half, files=arguments.files)
        print(*paths, sep="\n")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
