"""A segmentation network as a sequence of named layers, each of which can be regressed."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn


class Segmenter(nn.Module, ABC):
    """Layers by name, the deepest last. The classifier is what follows ``last``; its output is ``logits``.

    Attributes:
        LAYERS: what :meth:`stages` yields, in order.
        SUPERVISED: outputs that cross-entropy trains.
        parts: modules in order of depth. "last_linear" and "logits_0.75", say, are further outputs of the parts "last"
            and "logits".
    """

    LAYERS: ClassVar[tuple[str, ...]] = ("stem", "stride4", "stride8", "stride16", "last_linear", "last", "logits")
    SUPERVISED: ClassVar[tuple[str, ...]] = ("logits",)
    parts: nn.ModuleDict
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # The source's constants for both domains: estimating them anew would be an adaptation by itself.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @abstractmethod
    def stages(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each layer's name and output (B, C_l, H_l, W_l) for normalised images (B, 3, H, W)."""

    def forward(self, images: Tensor, layers: Sequence[str] = ("logits",)) -> dict[str, Tensor]:
        """The outputs of some layers, by name; nothing beyond the deepest of them is computed.

        Args:
            images: (B, 3, H, W), RGB in [0, 1].
        """
        pixels = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        found: dict[str, Tensor] = {}
        for name, output in self.stages(pixels):
            if name in layers:
                found[name] = output
            if len(found) == len(layers):
                break
        return found

    def part_of(self, layer: str) -> str:
        """The part whose output a layer is."""
        return layer if layer in self.parts else layer.partition("_")[0]

    def parts_up_to(self, layer: str) -> list[str]:
        """The parts that a layer's output depends on."""
        names = list(self.parts)
        return names[: names.index(self.part_of(layer)) + 1]


def set_batch_norm(model: nn.Module, training: bool) -> None:
    """Make every batch normalisation use, and update, the statistics of a batch, or its running ones."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(training)


def freeze_batch_norm(model: nn.Module) -> None:
    """Train no scale and no offset of a batch normalisation."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
