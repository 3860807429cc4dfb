"""From a configuration to the front end and the network of a variant, and from a file to its trained weights."""

from pathlib import Path

import torch
from torch import Tensor, nn

from shared.support.weights import load_weights

from .audio import Spectrogram
from .config import Config
from .model import BERTSep, CLIPSep, LabelSep, PITSep

UNTRAINED = ("mixture", "half-volume", "ideal-mask")
"""Values of ``Config.model`` that have no network: floors and the ceiling."""


def build_spectrogram(config: Config) -> Spectrogram:
    """The front end, on the CPU."""
    return Spectrogram(config.rate, config.segment, config.n_fft, config.hop, config.bins)


def build_model(config: Config, sentence: Tensor, query_width: int) -> nn.Module:
    """The variant's network with fresh weights, on the CPU.

    Args:
        sentence: text-only embeddings (n_labels, Ds) of the labels; the supervised baselines alone read them.
        query_width: D, the width of a query.
    """
    size = {"channels": config.channels, "num_levels": config.levels, "width": config.width}
    match config.model:
        case "labelsep":
            return LabelSep(len(sentence), query_width, **size)
        case "bertsep":
            return BERTSep(sentence, **size)
        case "pit":
            return PITSep(**size)
        case _:
            return CLIPSep(query_width, **size, fusion=config.fusion, noise_heads=config.noise_heads)


def load_model(config: Config, weights: Path) -> nn.Module:
    """The variant's network with trained weights, on the CPU, in evaluation mode.

    Raises one of ``shared.support.weights.UNREADABLE`` if the weights are damaged or of another network.
    """
    state = load_weights(weights)
    sentence = state.get("label_net.weight", torch.empty(0))  # of the supervised baselines
    query_width = 0 if config.model == "pit" else state["frame_net.weight"].shape[1]
    model = build_model(config, sentence, query_width)
    model.load_state_dict(state)
    return model.eval()
