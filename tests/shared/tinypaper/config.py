"""A paper of 19 parameters, for the tests of what carries every paper."""

from dataclasses import dataclass

from shared.paper import Variant


@dataclass(frozen=True)
class Config:
    """One run."""

    data: str | None = None
    """Unused: the data are drawn."""
    batch_size: int = 8
    learning_rate: float = 0.01
    dropout: float = 0.2
    steps: int = 30
    save_every: int = 7
    workers: int = 0
    pause: float = 0.02
    """Seconds a step, so that a test can interrupt."""
    shift: float = 0.0
    """Of the points that are tested."""


EVALUATION = ("shift",)
PRESETS = {"smoke": Config(), "cpu": Config(), "paper": Config()}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1), "paper": (0,)}
VARIANTS = {
    "tinypaper": Variant("with dropout"),
    "plain": Variant("without", {"dropout": 0.0}),
    "large": Variant("only at full size", {"batch_size": 16}, presets=("paper",)),
}
