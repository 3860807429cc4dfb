"""The one place where a configuration and weights become networks."""

from pathlib import Path

import torch
from torch import Tensor, nn

from shared.support.weights import load_weights

from .config import Config
from .model import Generator
from .networks.discriminators import Discriminator, FeatureHeads, SemanticDiscriminator
from .networks.frozen import Features, FrozenFeatures
from .networks.unet import LayoutNetwork
from .structure.layout import ClassTable, guidance_channels

FAST = torch.channels_last  # memory format of weights: a third of the time less on a CPU, and what GPUs prefer
CALIBRATED = 64  # real images whose statistics normalise frozen features
LAYOUT_FILE = "layout.safetensors"
"""Name of the layout network's weights beside those of the generator."""


def generator(config: Config, table: ClassTable) -> Generator:
    """The generator before any training."""
    return Generator(
        config.size,
        guidance_channels(config.guidance, table.count),
        config.channels,
        z_dim=config.z_dim,
        w_dim=config.w_dim,
        latent_scale=config.latent_scale,
        global_dim=config.global_dim,
        mapping_layers=config.mapping_layers,
        affine_layers=config.affine_layers,
        fourier_from=config.fourier_from,
        cheap_upsampling=config.cheap_upsampling,
        spatial=config.spatial,
    ).to(memory_format=FAST)


def discriminators(config: Config, table: ClassTable, frozen: FrozenFeatures | None) -> nn.ModuleDict:
    """The discriminators of a configuration by role, before any training.

    Args:
        frozen: features of the semantic ones; None if there is none.
    """
    condition = 1 + guidance_channels(config.guidance, table.count)
    made: dict[str, nn.Module] = {}
    for role in config.discriminators:
        is_object = is_of_objects(role)
        size, channels, inputs, group = (
            (config.crop_size, config.object_channels, 4 + condition, 0)
            if is_object
            else (config.size, config.discriminator_channels, 3 + condition, 4)
        )
        if not is_semantic(role):
            classes = table.things if is_object and config.class_projection else None
            made[role] = Discriminator(size, inputs, channels, group=group, classes=classes)
        else:
            assert frozen is not None
            if config.semantic == "heads":
                made[role] = FeatureHeads(frozen.shapes)
            else:
                made[role] = SemanticDiscriminator(size, inputs, channels, frozen.shapes, group=group)
    return nn.ModuleDict(made).to(memory_format=FAST)


def is_of_objects(role: str) -> bool:
    """Whether a discriminator judges crops of objects."""
    return role.startswith("object")


def is_semantic(role: str) -> bool:
    """Whether a discriminator reads frozen features."""
    return role in ("semantic", "object_semantic")


def frozen_features(config: Config, kind: Features, images: Tensor, seed: int) -> FrozenFeatures:
    """Frozen features, normalised on real images (N, 3, H, W); random weights are those of the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features = FrozenFeatures(kind, config.feature_size, model=config.clip_model, weights=config.clip_weights)
    return features.to(images.device).to(memory_format=FAST).calibrate(images)


def load_generator(config: Config, table: ClassTable, weights: Path) -> Generator:
    """A trained generator, frozen."""
    network = generator(config, table)
    network.load_state_dict(load_weights(weights))
    return network.requires_grad_(False).eval()


def layout_network(config: Config, table: ClassTable) -> LayoutNetwork:
    """The layout network before any training."""
    return LayoutNetwork(table.count, config.layout_channels).to(memory_format=FAST)


def load_layout_network(config: Config, table: ClassTable, weights: Path) -> LayoutNetwork:
    """A trained layout network, frozen."""
    network = layout_network(config, table)
    network.load_state_dict(load_weights(weights))
    return network.requires_grad_(False).eval()


def load_discriminator(config: Config, table: ClassTable, frozen: FrozenFeatures | None, weights: Path) -> nn.Module:
    """The discriminator of a probe, frozen."""
    networks = discriminators(config, table, frozen)
    networks.load_state_dict(load_weights(weights))
    return networks.requires_grad_(False).eval()
