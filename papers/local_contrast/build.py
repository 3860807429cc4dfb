"""Configuration and weights to networks: the one place where training, evaluation and prediction get theirs."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from shared.support.weights import load_weights

from .config import Config
from .datasets import DATASETS, Dataset, mni_synth
from .model import LEVELS, MULTIPLE, GlobalHead, LocalHead, RegionProjector, RotationHead, SliceProjector, UNet


def build(config: Config, dataset: Dataset) -> SliceProjector | RegionProjector | UNet:
    """The network of a stage, freshly initialised.

    Stage 1: e and g1 (or the head of rotation prediction). Stage 2: e, d_l and g2. Stage 3: the whole U-Net.
    """
    network = UNet(config.widths, len(dataset.classes), config.batch_norm_momentum)
    if config.stage == "encoder":
        if config.global_loss == "rotation":
            return SliceProjector(network.encoder, RotationHead(config.widths[-1]))
        return SliceProjector(network.encoder, GlobalHead(config.widths[-1], dataset.size // MULTIPLE))
    if config.stage == "decoder":
        channels = config.widths[LEVELS - config.decoder_blocks]
        head = LocalHead(channels, config.region, config.batch_norm_momentum)
        return RegionProjector(network.encoder, network.decoder[: config.decoder_blocks], head)
    return network


def transfer(network: nn.Module, weights: Path) -> None:
    """Begin from an earlier stage: the weights of its encoder and of its decoder blocks.

    Projection heads stay behind, and so do the running statistics of batch normalisation, as in the official code.
    """
    own, given = dict(network.named_parameters()), load_weights(weights)
    with torch.no_grad():
        for name, x in given.items():
            if name in own and name.startswith(("encoder.", "decoder.")):
                own[name].copy_(x)


def segmenter(config: Config, weights: Mapping[str, Tensor]) -> tuple[UNet, Dataset]:
    """The trained U-Net, ready to segment, and the data set whose classes it knows: their number tells which.

    Raises:
        ValueError: if there is no data set of so many classes.
    """
    classes = len(weights["head.2.weight"])
    for dataset in (mni_synth.DATASET, *DATASETS.values()):
        if len(dataset.classes) == classes:
            network = UNet(config.widths, classes)
            network.load_state_dict(weights)
            return network.eval().requires_grad_(False), dataset
    raise ValueError(f"no data set has {classes} classes")


def slice_projector(config: Config, dataset: Dataset, weights: Mapping[str, Tensor]) -> nn.Module:
    """The trained network of stage 1, ready to embed slices."""
    network = build(config, dataset)
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)
