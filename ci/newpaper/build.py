"""The one place where configuration and weights become a model."""

from pathlib import Path

from shared.support.weights import load_weights

from .config import Config
from .model import Plane


def build_model(config: Config, weights: Path | None = None) -> Plane:
    """The network of a variant, untrained or with the weights of a file."""
    model = Plane(config.bias)
    if weights is not None:
        model.load_state_dict(load_weights(weights))
    return model
