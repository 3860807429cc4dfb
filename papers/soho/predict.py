"""The trained model on a user's own input: files in, files out."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from shared.support.command_line import command
from shared.support.weights import open_trained_run

from .build import build_model
from .config import Config


@dataclass(frozen=True)
class Options:
    """Predict the height of the plane at a point."""

    run: Path = Path(__file__).parent / "weights" / "soho.json"
    """Folder of a trained run, or the description of committed weights; default: the committed ones."""
    point: tuple[float, float] = (0.0, 0.0)
    """Coordinates of the point."""
    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Print the height."""
    with open_trained_run(options.run, "soho", Config) as (_, config, weights):
        model = build_model(config, weights).eval()
    with torch.no_grad():
        print(f"{model(torch.tensor([options.point])).item():.3f}")


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {__package__}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
