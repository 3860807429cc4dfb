"""ADE20K as of the scene parsing challenge 2016: a class of 150 for every pixel, in the published layout."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor

from shared import UserError
from shared.support.folders import visible

from ..data import seeded
from .imagenet import read_image

CLASSES = 150
IGNORED = 255
LAYOUT = """\
DATA/  (the folder ADEChallengeData2016; numbers of images unverified)
  images/training/*.jpg           20,210 images
  images/validation/*.jpg          2,000 images
  annotations/training/*.png      masks of the same names and sizes: 0 nothing, 1 to 150 a class
  annotations/validation/*.png
ADEChallengeData2016.zip from http://sceneparsing.csail.mit.edu."""


class Scenes:
    """The images of one split, in order of their names, with their masks.

    Raises:
        UserError: if a folder, a mask or the image of a mask is missing, or there are no images.
    """

    def __init__(self, root: Path, split: str) -> None:
        images, masks = root / "images" / split, root / "annotations" / split
        for folder in (images, masks):
            if not folder.is_dir():
                raise UserError(f"{folder} is not a folder. Expected:\n{LAYOUT}")
        self.images = visible(images.glob("*.jpg"), images)
        if not self.images:
            raise UserError(f"{images} holds no .jpg images. Expected:\n{LAYOUT}")
        self.masks = [masks / f"{path.stem}.png" for path in self.images]
        present = {path.name for path in visible(masks.iterdir(), masks)}
        missing = [path for path in self.masks if path.name not in present]
        if missing:
            raise UserError(
                f"{missing[0]} is missing (and {len(missing) - 1} more); expected a mask for every image of {images}. "
                "Unpack the archive again."
            )
        bare = sorted({name for name in present if name.endswith(".png")} - {path.name for path in self.masks})
        if bare:
            raise UserError(
                f"{masks / bare[0]} has no image in {images} (and {len(bare) - 1} more); unpack the archive again."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """uint8 image (3, H, W) and classes (H, W), 0 to 149, 255 for what counts as nothing (label 0).

        Raises:
            UserError: if a file cannot be decoded, the sizes differ, or the mask has other values.
        """
        image, path = pil_to_tensor(read_image(self.images[index])), self.masks[index]
        grey = pil_to_tensor(read_image(path))
        mask = grey[0]
        if mask.shape != image.shape[1:]:
            raise UserError(
                f"{path} has {mask.shape[1]} x {mask.shape[0]} pixels, but {self.images[index]} has "
                f"{image.shape[2]} x {image.shape[1]}; expected the same size. Unpack the archive again."
            )
        if not (grey == mask).all() or mask.max() > CLASSES:
            raise UserError(
                f"{path} is no mask of ADE20K (largest value {int(grey.max())}); expected a grey image of labels 0 to "
                f"{CLASSES}. Unpack the archive again."
            )
        return image, mask - 1  # reduce_zero_label: in uint8, 0 becomes 255


class Training:
    """Samples for :class:`shared.loading.Batches`: a part of ``size`` pixels of an image resized at random.

    The shorter side becomes ``scale`` times ``size``, then a random part is cut out, mirrored half of the time and
    distorted in colour. Padding is black, and ignored.
    """

    def __init__(
        self, scenes: Scenes, size: int, scale: tuple[float, float], mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        self.scenes = scenes
        sides = range(max(round(scale[0] * size), 1), round(scale[1] * size) + 1)
        self._transform = v2.Compose(
            [
                v2.RandomShortestSize(list(sides)),
                v2.RandomCrop(size, pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: IGNORED}),
                v2.RandomHorizontalFlip(),
                v2.RandomPhotometricDistort(),
                v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}, scale=True),
                v2.Normalize(mean, std),
                v2.ToPureTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.scenes)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``image`` (3, size, size) float32 normalised, ``target`` (size, size) int64, and ``name``."""
        image, mask = self.scenes[index]
        with seeded(rng):
            image, mask = self._transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
        return {"image": image, "target": mask, "name": str(self.scenes.images[index])}


class Evaluation(Dataset):
    """All images, in order: pairs of (3, H, W) float32, normalised, and classes (H, W) int64."""

    def __init__(self, scenes: Scenes, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.scenes = scenes
        self._transform = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self.scenes[index]
        return self._transform(image), mask.long()
