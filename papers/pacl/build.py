"""From a configuration and weights to the model: frozen towers, and the vision embedder on top of them."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from shared.run import Run
from shared.support.weights import load_weights

from .config import Config
from .datasets.scene_features import Scenes
from .model import VisionEmbedder
from .towers.clip import OpenCLIPTowers, Towers
from .towers.miniclip import MiniCLIP, MiniCLIPTowers, trained_mini_clip
from .towers.packaged import UntrainedTowers


def frozen_towers(config: Config, run: Run, scenes: Scenes | None) -> Towers:
    """The image-text model whose patches a run aligns: open_clip's, or the mini-CLIP of the run's seed.

    Args:
        scenes: what the mini-CLIP is trained on; None: open_clip's weights, for photographs.
    """
    if scenes is None:
        return OpenCLIPTowers(config.clip, config.clip_weights).to(run.device)
    return MiniCLIPTowers(trained_mini_clip(config, run, scenes), config.scene_size, scenes.sentences)


def new_embedder(config: Config, towers: Towers) -> VisionEmbedder:
    """The vision embedder for the towers, untrained."""
    return VisionEmbedder(towers.width, towers.joint, config.embedder)


def trained_model(
    config: Config, weights: Path, known: Mapping[str, Tensor] | None = None
) -> tuple[Towers, VisionEmbedder | None]:
    """The frozen towers and the trained embedder of a run; None where no embedder is trained.

    Args:
        weights: what ``train`` left.
        known: sentence embeddings (384,) of texts that were embedded before.

    Raises one of `shared.support.weights.UNREADABLE` if the weights are damaged or do not fit the configuration.
    """
    parts: dict[str, dict[str, Tensor]] = {"clip": {}, "embedder": {}}
    for name, x in load_weights(weights).items():
        part, _, rest = name.partition(".")
        parts[part][rest] = x
    towers: Towers
    if config.data:
        towers = OpenCLIPTowers(config.clip, config.clip_weights)
    elif config.method in ("conse", "ridge"):
        return UntrainedTowers(config.method, parts["clip"], config.scene_size, known), None
    else:
        model = MiniCLIP.shaped_like(parts["clip"])
        model.load_state_dict(parts["clip"])
        towers = MiniCLIPTowers(model, config.scene_size, known)
    if config.method == "clip-patch":
        return towers, None
    embedder = new_embedder(config, towers)
    embedder.load_state_dict(parts["embedder"])
    return towers, embedder.requires_grad_(False).eval()
