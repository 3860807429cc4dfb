"""Zero-shot classification of whole images on twelve sets, read by torchvision from where its datasets unpack.

The paper reports twelve sets. Which ones could not be verified: ImageNet with its shifted variants and fine-grained
sets are recalled, and that is what stands here. None of the twelve is read by unpickling.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import ImageNetInfo
from torch import Tensor
from torchvision import datasets

from shared import UserError
from shared.support.images import UNDECODABLE

IMAGENETS = {
    "imagenet": "imagenet/val",
    "imagenet_v2": "imagenetv2-matched-frequency-format-val",
    "imagenet_r": "imagenet-r",
    "imagenet_a": "imagenet-a",
    "imagenet_sketch": "imagenet-sketch",
}
_TORCHVISION: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "caltech101": ("caltech101", lambda root: datasets.Caltech101(root)),
    "dtd": ("dtd", lambda root: datasets.DTD(root, split="test")),
    "flowers102": ("flowers-102", lambda root: datasets.Flowers102(root, split="test")),
    "food101": ("food-101", lambda root: datasets.Food101(root, split="test")),
    "oxford_pets": ("oxford-iiit-pet", lambda root: datasets.OxfordIIITPet(root, split="test")),
    "stanford_cars": ("stanford_cars", lambda root: datasets.StanfordCars(root, split="test")),
    "sun397": ("SUN397", lambda root: datasets.SUN397(root)),
}
SETS = (*IMAGENETS, *_TORCHVISION)
LAYOUT = """\
DATA/                         classification sets, unverified which twelve the paper has; those that are there count
  imagenet/val, imagenetv2-matched-frequency-format-val, imagenet-r, imagenet-a, imagenet-sketch
                              a folder a class, named by WordNet number (ImageNet-V2: by class index)
  caltech101, dtd, flowers-102, food-101, oxford-iiit-pet, stanford_cars, SUN397
                              as torchvision's datasets unpack them"""


def folder(name: str) -> str:
    """Folder of a set, below the data's folder."""
    return IMAGENETS[name] if name in IMAGENETS else _TORCHVISION[name][0]


def found(root: Path) -> list[str]:
    """The sets whose folders are below ``root``."""
    return [name for name in SETS if (root / folder(name)).is_dir()]


def load_set(name: str, root: Path) -> tuple[Any, list[str]]:
    """A sequence of (PIL image, class number), and the class names as readable text.

    Raises:
        UserError: if the set is not there in full, lists no image, or a folder is no class of ImageNet.
    """
    try:
        if name in IMAGENETS:
            return _imagenet(root / IMAGENETS[name])
        data = _TORCHVISION[name][1](root)
    except UserError:
        raise
    except Exception as error:  # whatever torchvision's readers make of damaged lists
        raise UserError(f"{name}: {root / folder(name)} cannot be read ({error}). Expected:\n{LAYOUT}") from None
    if not len(data):
        raise UserError(f"{name}: {root / folder(name)} lists no images. Expected:\n{LAYOUT}")
    names = [readable(text) for text in (data.categories if name == "caltech101" else data.classes)]
    return Photos(data, len(names)), names


class Photos:
    """The RGB images of a set of torchvision's, with their class numbers.

    Raises UserError for one that is damaged, or whose class is none of the set's.
    """

    def __init__(self, data: Any, classes: int) -> None:
        self.data, self.classes = data, classes

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        try:
            image, label = self.data[index]
            pixels = image.convert("RGB")
        except UNDECODABLE as error:
            raise UserError(
                f"{self._path(index)} is not an image that can be decoded ({error}); unpack the archive again."
            ) from None
        if not 0 <= label < self.classes:
            raise UserError(f"{self._path(index)} has the class {label}; expected 0 to {self.classes - 1}.")
        return pixels, label

    def _path(self, index: int) -> Any:
        for name in ("samples", "_samples", "_image_files", "_images"):  # as torchvision's classes call them
            if hasattr(self.data, name):
                found = getattr(self.data, name)[index]
                return found[0] if isinstance(found, tuple) else found
        name = f"{self.data.categories[self.data.y[index]]}/image_{self.data.index[index]:04d}.jpg"  # Caltech101
        return Path(self.data.root) / "101_ObjectCategories" / name


def _imagenet(path: Path) -> tuple[Any, list[str]]:
    """Folders named by WordNet number or by class index; only the classes that are there compete (ImageNet-R, -A).

    The names are those that CLIP's authors edited, of which two still occur twice.
    """
    from open_clip import IMAGENET_CLASSNAMES  # slow to import, and the offline experiment has no use for it

    data = datasets.ImageFolder(str(path))
    info = ImageNetInfo("imagenet-1k")
    index = {number: i for i, number in enumerate(info.label_names())}
    index |= {str(i): i for i in range(len(index))}
    unknown = next((text for text in data.classes if text not in index), None)
    if unknown is not None:
        raise UserError(
            f"{path / unknown} is no class of ImageNet; expected folders named by WordNet number (n01440764) or "
            "by index."
        )
    return Photos(data, len(data.classes)), [IMAGENET_CLASSNAMES[index[text]] for text in data.classes]


def readable(text: str) -> str:
    """Class names of the files as words: Faces_easy -> faces easy, /a/abbey -> abbey, /a/apse/indoor -> indoor apse."""
    parts = [part for part in text.split("/") if len(part) > 1]
    return " ".join(reversed(parts)).replace("_", " ").replace("-", " ").lower()


def batch(preprocess: Callable[[Image.Image], Tensor], samples: list[tuple[Image.Image, int]]) -> tuple[Tensor, Tensor]:
    """Preprocessed images (B, 3, H, W) and their class numbers (B,)."""
    images, labels = zip(*samples, strict=True)
    return torch.stack([preprocess(image) for image in images]), torch.tensor(labels)


def check(root: Path) -> list[str]:
    """How many images of each set are below ``root``."""
    lines = []
    for name in SETS:
        if not (root / folder(name)).is_dir():
            lines.append(f"{name}: missing, no {root / folder(name)}")
            continue
        try:
            data, names = load_set(name, root)
            lines.append(f"{name}: {len(data):,} images of {len(names):,} classes")
        except UserError as fault:
            lines.append(str(fault).splitlines()[0].removesuffix(" Expected:"))
    return lines
