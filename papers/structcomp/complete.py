"""Completion with a trained generator: guided, automatic (a layout is made up first), and after an edit."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .config import Config
from .model import Generator
from .networks.unet import LayoutNetwork
from .structure.layout import ClassTable, Edit, boundaries, encode, one_hot


@dataclass(frozen=True)
class Completer:
    """A trained generator, with the layout network if there is one."""

    config: Config
    table: ClassTable
    generator: Generator
    layout: LayoutNetwork | None = None

    @torch.no_grad()
    def guided(self, image: Tensor, hole: Tensor, label: Tensor, instances: Tensor, z: Tensor) -> Tensor:
        """Completed images (N, 3, S, S) in [-1, 1] under a layout that is known everywhere; with stored noise.

        Args:
            image: (N, 3, S, S) in [-1, 1].
            hole: (N, 1, S, S).
            label, instances: (N, S, S) int64.
            z: (N, z_dim).
        """
        guidance = encode(self.config.guidance, image, label, instances, self.table.count)
        return self._completed(image, hole, guidance, z)

    @torch.no_grad()
    def automatic(
        self, image: Tensor, hole: Tensor, z: Tensor, label: Tensor | None = None, instances: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The automatic pipeline: layout network, structure in the hole, completion.

        Args:
            label, instances: the layout outside of the hole, if it is known; what they say inside is not looked at.

        Returns: completed images, and the class map (N, S, S) that guided them.
        """
        label, edges = self.imagined_layout(image, hole, label, instances)
        guidance = torch.cat([one_hot(label, self.table.count), edges], 1)
        return self._completed(image, hole, guidance, z), label

    def _completed(self, image: Tensor, hole: Tensor, guidance: Tensor | None, z: Tensor) -> Tensor:
        """The image that a PNG would hold: the generator's pixels are unbounded, and metrics judge what is shown."""
        return self.generator(image, hole, guidance, z, fixed_noise=True).clamp(-1, 1)

    @torch.no_grad()
    def imagined_layout(
        self, image: Tensor, hole: Tensor, label: Tensor | None = None, instances: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Class map (N, S, S) and boundaries (N, 1, S, S): the layout network's, but for what is known outside."""
        assert self.layout is not None and self.config.guidance == "panoptic"
        classes, boundary = self.layout(image, hole)
        imagined, edges = classes[:, 1:].argmax(1) + 1, (boundary > 0).float()  # never void
        missing = hole[:, 0] > 0
        if label is not None:
            imagined = torch.where(missing, imagined, label)
        if instances is not None:
            edges = torch.where(hole > 0, edges, boundaries(instances, ~missing))
        return imagined, edges

    def edited(self, image: Tensor, edit: Edit, z: Tensor) -> Tensor:
        """The image (3, S, S) after an edit of its layout, with latent z (z_dim,)."""
        hole = torch.from_numpy(np.array(edit.hole)).float()[None, None]
        label, instances = (
            torch.from_numpy(np.array(x)).long()[None].to(image.device) for x in (edit.label, edit.instances)
        )
        return self.guided(image[None], hole.to(image.device), label, instances, z[None].to(image.device))[0]


def as_pixels(image: Tensor) -> np.ndarray:
    """Images (..., 3, S, S) in [-1, 1] as (..., S, S, 3) uint8, as a PNG holds them."""
    return ((image.float() + 1) * 127.5).round().clamp(0, 255).byte().movedim(-3, -1).cpu().numpy()
