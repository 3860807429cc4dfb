"""The one place where a configuration and weights become networks."""

import copy
from pathlib import Path

import torch
from torch import Tensor

from shared import UserError
from shared.support.weights import load_weights

from .backbones.deeplab import DeepLab
from .backbones.fcn8s import FCN8s
from .backbones.lite0 import Lite0
from .backbones.small import SmallNet
from .config import Config
from .model import Segmenter, freeze_batch_norm, set_batch_norm
from .transforms import parse


def first_network(config: Config, classes: int) -> Segmenter:
    """The network before any training here: ImageNet weights where the backbone has them, a new classifier."""
    return _network(config, classes, config.backbone_weights)


def adapted(config: Config, source: Segmenter) -> Segmenter:
    """The network that learns the target domain: what it begins with, and which of its parts are trained.

    By regression, the parts up to the deepest regressed layer, or up to `trained`; those that follow are the source's
    and stay frozen, but let gradients through. By labels, every part.

    Raises:
        UserError: if a layer is not one of the backbone's, or the trained part reaches beyond the regressed layers.
    """
    if config.student == "afresh":
        student = first_network(config, class_count(source.state_dict()))
    else:
        student = copy.deepcopy(source)
    student.requires_grad_(True).train(config.method not in ("featreg", "adabn"))  # dropout is for labels
    set_batch_norm(student, config.bn == "train")
    if config.bn == "frozen":
        freeze_batch_norm(student)
    if config.method == "featreg":
        trained = _trained_parts(config, student)
        for name, part in student.parts.items():
            if name not in trained:
                part.load_state_dict(source.parts[name].state_dict())
                part.requires_grad_(False).eval()
    return student


def _trained_parts(config: Config, student: Segmenter) -> list[str]:
    for layer in (*config.layers, config.trained or config.layers[0]):
        if layer not in student.LAYERS:
            raise UserError(f"{config.backbone} has no layer {layer!r}; it has: {', '.join(student.LAYERS)}.")
    deepest = max(config.layers, key=student.LAYERS.index)
    trained = student.parts_up_to(config.trained or deepest)
    if len(trained) > len(student.parts_up_to(deepest)):
        raise UserError(
            f"--trained {config.trained} is deeper than every regressed layer ({', '.join(config.layers)}), so that no "
            "gradient reaches it. Choose one of those layers, or one before."
        )
    return trained


def class_count(weights: dict[str, Tensor]) -> int:
    """Number of classes of a network with these weights: its last bias has one number a class."""
    return len([x for name, x in weights.items() if name.startswith("parts.logits.") and name.endswith("bias")][-1])


def _network(config: Config, classes: int, weights: str | None) -> Segmenter:
    model: Segmenter
    match config.backbone:
        case "lite0":
            model = Lite0(classes)
        case "small":
            model = SmallNet(classes)
        case "deeplab_resnet101":
            model = DeepLab(classes, weights)
        case "fcn8s_vgg16":
            model = FCN8s(classes, weights)
    return model.to(memory_format=torch.channels_last)


def load_source(config: Config, weights: Path) -> Segmenter:
    """The first network of a run, frozen, from the run's weights."""
    state = load_weights(weights)
    network = _network(config, class_count(state), None)
    network.load_state_dict(state)
    return network.requires_grad_(False).eval()


def load_adapted(source: Segmenter, weights: Path) -> Segmenter:
    """An adapted network, frozen: the first network with the tensors that adaptation changed."""
    network = copy.deepcopy(source)
    network.load_state_dict(source.state_dict() | load_weights(weights))
    return network


def domain_file(domain: str) -> str:
    """Name of the file with the tensors that adaptation to a domain changed."""
    return f"{parse(domain)[0]}.safetensors"
