"""The one place where a configuration and weights become networks."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from shared import UserError
from shared.support.weights import load_weights

from .config import Config
from .exploration.global_policy import GlobalPolicy
from .mapping.sparse import Grid
from .model import PotentialNet, Segmenter
from .simulator.furniture import CATEGORIES
from .simulator.house import LENGTH, WIDTH

CLASSES = len(CATEGORIES)
LOCAL_CHANNELS = 8  # of the explorer's maps, besides the classes


def segmenter(config: Config) -> Segmenter:
    """The segmenter, freshly initialised."""
    return Segmenter(1 + CLASSES, config.widths)


def potential_net(config: Config) -> PotentialNet:
    """PONI's network, freshly initialised."""
    return PotentialNet(CLASSES, config.policy_widths)


def explorer(config: Config) -> GlobalPolicy:
    """The learned global policy, freshly initialised; it sees half of the map's side at a time."""
    goals = CLASSES if config.reward == "goal" else 0
    return GlobalPolicy(LOCAL_CHANNELS + CLASSES, config.map_cells // 2, goals)


def load_part(network: nn.Module, name: str, weights: Path) -> nn.Module:
    """A network with its part of a run's weights: ``segmenter``, ``potential`` or ``explorer``; frozen, in eval mode.

    Raises:
        UserError: if the run has no such part.
    """
    part = {key.removeprefix(f"{name}."): x for key, x in load_weights(weights).items() if key.startswith(f"{name}.")}
    if not part:
        raise UserError(f"{weights} holds no {name}; start from a run that has one.")
    network.load_state_dict(part)
    return network.requires_grad_(False).eval()


def load_segmenter(config: Config, weights: Path) -> Segmenter:
    """The trained segmenter of a run of any stage."""
    network = segmenter(config)
    load_part(network, "segmenter", weights)
    return network


def named(**networks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of several networks in one dictionary, as :func:`load_part` finds them."""
    return {f"{name}.{key}": x for name, state in networks.items() for key, x in state.items()}


def grid_of(config: Config) -> Grid:
    """The map, with the apartment in its middle."""
    half = config.map_cells * config.cell / 2
    return Grid(config.map_cells, config.cell, (LENGTH / 2 - half, WIDTH / 2 - half))
