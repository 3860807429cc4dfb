"""``python -m ci.publish_weights papers.clipsep clipsep-nit 0``: commit the trained weights of a published row.

The weights of the run in ``runs/`` are copied to ``papers/<slug>/weights/<variant>.safetensors``, beside them
``<variant>.json`` with the configuration and the metrics of that row of ``results/cpu.json``. ``predict`` uses both.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import save

from shared import UserError
from shared.paper import load
from shared.reproduce.tables import read_results
from shared.support.files import write_atomic, write_json
from shared.support.weights import committed_weights, load_weights

LARGEST = 2 * 2**20  # bytes of all weights of a paper


def publish(package: str, variant: str, seed: int, half: bool = False, runs: Path = Path("runs")) -> list[Path]:
    """Write a run's weights and their description below the paper's folder; returns what was written.

    Raises:
        UserError: if the run is not finished, has other metrics than the published row, or the weights are too large.
    """
    home = Path(load(package, "config").__file__).parent
    run = runs / home.name / "cpu" / variant / f"seed{seed}"
    results = read_results(home / "results" / "cpu.json")
    try:
        described = json.loads((run / "config.json").read_text())
        metrics = json.loads((run / "result.json").read_text())["metrics"]
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: make reproduce PAPER={home.name} VARIANTS={variant}") from None
    rows = results["rows"] if results else []
    published = next((row["metrics"] for row in rows if (row["variant"], row["seed"]) == (variant, seed)), None)
    measured_again = {name: x for name, x in (published or {}).items() if not name.endswith("_ratio")}
    # Another processor may round the last digits of a metric differently.
    if published is None or not all(_alike(metrics.get(name), value) for name, value in measured_again.items()):
        raise UserError(f"{run} is not the published row {variant}, seed {seed}: reproduce the whole paper first.")
    target = home / "weights" / f"{variant}.json"
    written = []
    for path in sorted((run / "checkpoint").glob("*.safetensors")):
        weights = load_weights(path)
        if half:
            weights = {name: x.half() if x.dtype == torch.float32 else x for name, x in weights.items()}
        written.append(committed_weights(target, path.name))
        write_atomic(written[-1], save(weights))
    write_json(target, {key: described[key] for key in ("variant", "seed", "config")} | {"metrics": published})
    if (size := sum(path.stat().st_size for path in target.parent.glob("*.safetensors"))) > LARGEST:
        raise UserError(f"{target.parent} holds {size} bytes of weights, at most {LARGEST} are meant; give --half.")
    return [*written, target]


def _alike(found: float | None, published: float | None) -> bool:
    if found is None or published is None:
        return found is published
    return math.isclose(found, published, rel_tol=1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description="Commit the trained weights of a published row of the results.")
    parser.add_argument("package", help="package of the paper, such as papers.clipsep")
    parser.add_argument("variant", help="row of the results table")
    parser.add_argument("seed", type=int, help="seed of the run")
    parser.add_argument("--half", action="store_true", help="store the weights in half precision")
    arguments = parser.parse_args()
    try:
        print(*publish(arguments.package, arguments.variant, arguments.seed, arguments.half), sep="\n")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
