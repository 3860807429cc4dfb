"""Start the folder of another paper: ``make new PAPER=slug``.

Every file of a paper folder is there and says what belongs in it; what the method has to supply raises a clear error
until it is written, so the folder passes the structure test from the first minute and never pretends to a result.
"""

import re
import sys
from pathlib import Path

FILES = {
    "__init__.py": "",
    "requirements.txt": "",
    "README.md": """# The paper's title

The authors, venue and year, [arXiv 0000.00000](https://arxiv.org/abs/0000.00000).

<!-- verdict:begin (written by make report) -->
Not run yet.
<!-- verdict:end -->

## Results

<!-- results:begin (written by make report) -->
Not run yet.
<!-- results:end -->

## Claims

<!-- claims:begin (written by make report) -->
Not run yet.
<!-- claims:end -->

## Try it

    make predict PAPER={slug} ARGS=--help
    make reproduce PAPER={slug}

## Method

Ten lines, each with the file and function that does it.

## What is different

The handful of differences that matter, and what could not be verified; [DEVIATIONS.md](DEVIATIONS.md) has the rest.

## Data, licences, citation
""",
    "DEVIATIONS.md": """# Deviations

| the paper | here | why |
| --- | --- | --- |

## History of the results

How the settings were chosen, on which data and seeds; how often the final seeds were run, and why.
""",
    "config.py": '''"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass
from typing import Literal

from shared.paper import Variant


@dataclass(frozen=True)
class Config:
    """One run. The defaults are the paper's."""

    data: str | None = None
    """Folder with the paper's datasets; None: the embedded data."""
    split: Literal["test", "validation"] = "test"
    """What is evaluated; settings are chosen on validation (seeds 100 and up)."""
    precision: Literal["no", "fp16", "bf16"] = "no"


EVALUATION = ("split",)  # fields that training does not read: with other values a run is only evaluated again

PRESETS = {{"smoke": Config(), "cpu": Config(), "paper": Config()}}
SEEDS = {{"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0,)}}
VARIANTS = {{"{slug}": Variant("the paper's method", headline=True)}}  # train.py trains the paper's own
''',
    "data.py": '''"""Readers for the paper's datasets in their published layout, and the offline default."""

from pathlib import Path
from typing import Any

from shared import UserError

from .config import Config

LAYOUT = "the datasets, folders and numbers of files that the paper preset expects"


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Compute once what all runs share; describe the data: ``{{"name", "train", "test", "sha256", "scale"}}``.

    Give ``"test_sha256"`` if the test data can change without the training data: runs then are evaluated again, not
    trained again.
    """
    raise UserError("papers/{slug}/data.py has no data yet: write prepare().")


def check(path: Path) -> list[str]:
    """Lines that say what is in ``path``, what is missing, and how much of it there is."""
    raise UserError("papers/{slug}/data.py has no readers yet: write check().")
''',
    "model.py": '"""The architecture, named as in the paper."""\n',
    "build.py": '"""The one place where configuration and weights become a model."""\n',
    "train.py": '''"""Training: an explicit loop that reads like the paper's method section."""

from shared import UserError
from shared.run import Run

from .config import Config


def train(config: Config, run: Run) -> None:
    """Train one variant."""
    raise UserError("papers/{slug}/train.py has no training loop yet.")


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
''',
    "eval.py": '''"""Metrics and figures."""

from pathlib import Path

from shared import UserError
from shared.run import Run

from .config import Config


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Metrics of a trained run; names carry their unit.

    Called on every process of a launch; what it returns on the main one counts. One that leaves the others nothing to
    do begins with ``if not run.accelerator.is_main_process: return {{}}``.

    Those that measure time end in ``_step_ratio`` or ``_total_ratio``: all others have to repeat bit for bit.
    """
    raise UserError("papers/{slug}/eval.py has no metrics yet.")


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """Draw the README's figures into ``target``, from the run folders by (variant, seed)."""
''',
    "predict.py": '''"""The trained model on a user's own input: files in, files out."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from shared import UserError
from shared.support.command_line import command


@dataclass(frozen=True)
class Options:
    """What is done to the user's files, in one line."""

    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Read what the options name, and write what they ask for."""
    raise UserError("papers/{slug}/predict.py is not written yet.")


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {{__package__}}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
''',
    "bench.py": '''"""What ``make bench`` compares of this paper: our code against what one would use without it."""

from collections.abc import Iterator
from typing import Any


def bench() -> Iterator[dict[str, Any]]:
    """Fields of a `ci.bench.Comparison` each, after a check that both sides give the same."""
    yield from ()
''',
    "claims.py": '''"""The paper's claims as comparisons, fixed before the final seeds are run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(title="The paper's title", authors="", venue="", arxiv="", summary="what it is, in half a line")
COLUMNS: tuple[Column, ...] = ()
CLAIMS: tuple[Claim, ...] = ()
REPORTED: tuple[Reported, ...] = ()
''',
}


def new(slug: str) -> list[Path]:
    """Write the folder's files, and its line of environment.yml.

    Raises:
        SystemExit: with one sentence, if the name is no slug or the folder exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        raise SystemExit(
            f"error: PAPER={slug!r} is not a slug: lower-case letters, digits and underscores, e.g. PAPER=pacl."
        )
    folder = Path("papers") / slug
    if folder.exists() or slug == "shared":  # a copy of the folder stands beside one of that name
        raise SystemExit(f"error: {folder if folder.exists() else slug} exists already.")
    environment, last = Path("environment.yml"), "      - -r ci/requirements.txt\n"
    environment.write_text(environment.read_text().replace(last, f"      - -r {folder}/requirements.txt\n{last}"))
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text.format(slug=slug) if name.endswith((".py", ".md")) else text)
    return [*(folder / name for name in FILES), environment]


if __name__ == "__main__":
    slug = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        print(*new(slug), sep="\n")
    except OSError as error:
        sys.exit(f"error: {error}")
    print("Next: `make report` (its row in README.md), config.py and data.py;")
    print(f"`make reproduce PAPER={slug} PRESET=smoke` tells what is still missing.")
