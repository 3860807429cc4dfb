"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Literal

from shared.paper import Variant


@dataclass(frozen=True)
class Config:
    """One run. The defaults are the paper's."""

    data: str | None = None
    """Folder with the paper's datasets; None: the embedded data."""
    split: Literal["test", "validation"] = "test"
    """Points to evaluate; settings are chosen on validation (seeds 100 and up)."""
    learning_rate: float = 0.1
    steps: int = 200
    batch_size: int = 16
    """Points of a step, over all processes together."""
    bias: bool = True
    """Whether the plane may leave the origin."""
    workers: int = 0
    save_every: int = 50
    precision: Literal["no", "fp16", "bf16"] = "no"


EVALUATION = ("split",)  # fields that training does not read: with other values a run is only evaluated again

PRESETS = {"smoke": replace(Config(), steps=20), "cpu": Config(), "paper": Config()}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0,)}
VARIANTS = {
    "no-bias": Variant("baseline: a plane through the origin", {"bias": False}, headline=True),
    "soho": Variant("the paper's method", headline=True),  # train.py trains this one by default
}
