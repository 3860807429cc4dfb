"""Zero-shot classification of whole images on twelve sets, read by torchvision from where its datasets unpack.

The paper reports twelve sets. Which ones could not be verified: ImageNet with its shifted variants and fine-grained
sets are recalled, and that is what stands here. None of the twelve is read by unpickling.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import ImageNetInfo
from torch import Tensor
from torchvision import datasets

from shared import UserError
from shared.support.folders import ClassFolders, faults, named, visible
from shared.support.images import UNDECODABLE, decode_image

from .part import Part, faulty, missing

IMAGENETS = {
    "imagenet": "imagenet/val",
    "imagenet_v2": "imagenetv2-matched-frequency-format-val",
    "imagenet_r": "imagenet-r",
    "imagenet_a": "imagenet-a",
    "imagenet_sketch": "imagenet-sketch",
}
_FOLDERS = {
    "caltech101": "caltech101",
    "dtd": "dtd",
    "flowers102": "flowers-102",
    "food101": "food-101",
    "oxford_pets": "oxford-iiit-pet",
    "stanford_cars": "stanford_cars",
    "sun397": "SUN397",
}
SETS = (*IMAGENETS, *_FOLDERS)
LAYOUT = """\
DATA/                         classification sets, unverified which twelve the paper has; those that are there count
  imagenet/val, imagenetv2-matched-frequency-format-val, imagenet-r, imagenet-a, imagenet-sketch
                              a folder a class, named by WordNet number (ImageNet-V2: by class index)
  caltech101, dtd, flowers-102, food-101, oxford-iiit-pet, stanford_cars, SUN397
                              as torchvision's datasets unpack them"""


def folder(name: str) -> str:
    """Folder of a set, below the data's folder."""
    return IMAGENETS[name] if name in IMAGENETS else _FOLDERS[name]


def found(root: Path) -> list[str]:
    """The sets whose folders are below ``root``."""
    return [name for name in SETS if (root / folder(name)).is_dir()]


class Photos:
    """The images of a set with their class numbers, a sequence of (RGB image, class number).

    An image stays as it is stored, whatever its EXIF orientation says, as with torchvision's readers. Raises UserError
    for one that is damaged, or whose class is none of the set's.
    """

    def __init__(self, files: Sequence[str | Path], labels: Sequence[int], classes: int) -> None:
        self.files, self.labels, self.classes = files, labels, classes

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        path, label = Path(self.files[index]), self.labels[index]
        if not 0 <= label < self.classes:
            raise UserError(f"{path} has the class {label}; expected 0 to {self.classes - 1}.")
        try:
            return decode_image(path, turn=False), label
        except (UserError, *UNDECODABLE) as error:
            raise UserError(
                f"{path} is not an image that can be decoded ({error}); unpack the archive again."
            ) from None


def load_set(name: str, root: Path) -> tuple[Photos, list[str]]:
    """The images of a set, and its class names as readable text.

    Raises:
        UserError: if the set is not there in full, lists no image, or a folder is no class of ImageNet.
    """
    try:
        if name in IMAGENETS:
            return _imagenet(root / IMAGENETS[name])
        files, labels, names = _READERS[name](root)
    except UserError:
        raise
    except Exception as error:  # whatever torchvision's readers make of damaged lists
        raise UserError(f"{name}: {root / folder(name)} cannot be read ({error}). Expected:\n{LAYOUT}") from None
    if not len(files):
        raise UserError(f"{name}: {root / folder(name)} lists no images. Expected:\n{LAYOUT}")
    return Photos(files, labels, len(names)), [readable(text) for text in names]


def _imagenet(path: Path) -> tuple[Photos, list[str]]:
    """Folders named by WordNet number or by class index; only the classes that are there compete (ImageNet-R, -A).

    The names are those that CLIP's authors edited, of which two still occur twice.
    """
    from open_clip import IMAGENET_CLASSNAMES  # slow to import, and the offline experiment has no use for it

    data = ClassFolders(path)
    info = ImageNetInfo("imagenet-1k")
    index = {number: i for i, number in enumerate(info.label_names())}
    index |= {str(i): i for i in range(len(index))}
    unknown = next((text for text in data.classes if text not in index), None)
    if unknown is not None:
        raise UserError(
            f"{path / unknown} is no class of ImageNet; expected folders named by WordNet number (n01440764) or "
            "by index."
        )
    files = [file for file, _ in data.samples]
    return Photos(files, data.targets, len(data.classes)), [IMAGENET_CLASSNAMES[index[text]] for text in data.classes]


# -- lists of files, class numbers and class names --------------------------------------------------------------------

_Listed = tuple[Sequence[str | Path], Sequence[int], list[str]]


def _caltech(root: Path) -> _Listed:
    """Its folders; torchvision takes hidden ones for classes and images."""
    place = root / "caltech101" / "101_ObjectCategories"
    names = [
        path.name for path in visible(place.iterdir(), place) if path.is_dir() and path.name != "BACKGROUND_Google"
    ]
    files: list[str | Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = visible((place / name).glob("image_*.jpg"), place)
        if not found:
            raise UserError(f"{place / name} holds no image_*.jpg; unpack the archive again.")
        files += found
        labels += [label] * len(found)
    if not names:
        raise FileNotFoundError("it has no class folders")
    return files, labels, names


def _sun397(root: Path) -> _Listed:
    """Its folders, three deep or four; torchvision stops at hidden ones."""
    place = root / "SUN397"
    names = [line[3:].strip() for line in (place / "ClassName.txt").read_text(encoding="utf-8").splitlines()]
    files = visible(place.rglob("sun_*.jpg"), place)
    return files, [names.index("/".join(path.relative_to(place).parts[1:-1])) for path in files], names


def _listed(read: Callable[..., Any]) -> Callable[[Path], _Listed]:
    """A set whose files torchvision takes from a list."""

    def listed(root: Path) -> _Listed:
        data = read(root, split="test")
        return getattr(data, "_image_files", None) or getattr(data, "_images", []), data._labels, data.classes

    return listed


def _stanford_cars(root: Path) -> _Listed:
    data = datasets.StanfordCars(root, split="test")
    return [file for file, _ in data._samples], [int(label) for _, label in data._samples], data.classes


_READERS: dict[str, Callable[[Path], _Listed]] = {
    "caltech101": _caltech,
    "dtd": _listed(datasets.DTD),
    "flowers102": _listed(datasets.Flowers102),
    "food101": _listed(datasets.Food101),
    "oxford_pets": _listed(datasets.OxfordIIITPet),
    "stanford_cars": _stanford_cars,
    "sun397": _sun397,
}


def readable(text: str) -> str:
    """Class names of the files as words: Faces_easy -> faces easy, /a/abbey -> abbey, /a/apse/indoor -> indoor apse."""
    parts = [part for part in text.split("/") if len(part) > 1]
    return " ".join(reversed(parts)).replace("_", " ").replace("-", " ").lower()


def batch(preprocess: Callable[[Image.Image], Tensor], samples: list[tuple[Image.Image, int]]) -> tuple[Tensor, Tensor]:
    """Preprocessed images (B, 3, H, W) and their class numbers (B,)."""
    images, labels = zip(*samples, strict=True)
    return torch.stack([preprocess(image) for image in images]), torch.tensor(labels)


def check(root: Path) -> list[Part]:
    """How many images of each set are below ``root``, and every file that cannot be used; decodes them all."""
    return [_check(name, root) for name in SETS]


def _check(name: str, root: Path) -> Part:
    if not (root / folder(name)).is_dir():
        return missing(name, f"no {root / folder(name)}")
    try:
        data, names = load_set(name, root)
    except UserError as fault:
        return faulty(name, fault)
    broken = faults(data.__getitem__, len(data), f"decoding the images of {name}")
    usable = len(data) - len(broken)
    line = f"{name}: {len(data):,} images of {len(names):,} classes, {usable:,} usable"
    return Part(name, [line, *named(broken)], usable, bool(broken))
