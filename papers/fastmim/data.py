"""Images for pre-training, fine-tuning and testing, and how they are augmented.

One interface for ImageNet and for the offline sources, digits and scenes, whose readers are in ``datasets/``.
"""

import hashlib
import json
import math
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torch.utils.data import Dataset
from torchvision import transforms

from shared import UserError
from shared.loading import cache_file
from shared.offline import cutouts, packs
from shared.offline import scenes as composer
from shared.support.files import write_atomic

from .config import SCENES, SHORT, Config
from .datasets import digits, imagenet, scenes
from .datasets.imagenet import Photos

LAYOUT = imagenet.LAYOUT
check = imagenet.check

SHIFT = 2  # pixels of the full-size digit
CROP = (0.2, 1.0)  # share of the image's area that a pre-training crop shows (official code)
LABELLED_CROP = (0.5, 1.0)  # of scenes, so that the object stays in the picture
LOG_RATIO = math.log(4 / 3)
WEIGHED = 1000  # one photograph of so many is known by its size, too
ENLARGED = 256 / 224  # shorter side of a test photo before its centre is cut out
BICUBIC = transforms.InterpolationMode.BICUBIC

Images = Tensor | Photos
"""uint8 (N, 3, S, S) in memory, or files."""


@dataclass(frozen=True)
class Data:
    """Images and labels of training, validation and testing."""

    source: str
    """"digits", "scenes", "scenes-coarse" or "imagenet": decides the augmentation."""
    pretrain: Images
    train_images: Images
    train_labels: Tensor
    """int64 (N,), as all labels."""
    validation_images: Images
    """For choosing settings; their labels are never trained on. ImageNet has none: its val is the test set."""
    validation_labels: Tensor
    tests: dict[str, tuple[Images, Tensor]]
    """Test sets by name; the first is the headline."""
    classes: list[str]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Make the offline images, once for all runs (half a minute on one core), or list ImageNet's; describe the data.

    Both offline sources are made, as variants of a preset may use either. ImageNet is listed anew every time, as its
    folders may have changed.

    Returns: ``{"name", "train", "test", "sha256", "scale"}`` for the results file.

    Raises:
        UserError: if ``config.data`` does not hold ImageNet's layout.
    """
    if config.data:
        found = (train, labels), (val, val_labels), _ = imagenet.read(Path(config.data))
        write_atomic(_list(config, cache), json.dumps(found, default=lambda photos: photos.paths).encode())
        paths = train.paths + val.paths
        names = [
            f"{Path(path).relative_to(config.data)} {label}\n"
            for path, label in zip(paths, labels + val_labels, strict=True)
        ]
        sizes = [f"{os.stat(path).st_size}\n" for path in paths[::WEIGHED]]
        return {
            "name": "ImageNet-1K",
            "train": len(train),
            "test": len(val),
            "sha256": hashlib.sha256("".join(names + sizes).encode()).hexdigest(),  # not of 150 GB of files
            "scale": f"{config.image_size} px, {sum(config.epochs)} epochs in batches of {config.batch_size}",
        }
    digest, train_count, test_count = hashlib.sha256(), 0, 0
    for source in (digits, scenes):
        path = stored_file(source, cache)
        if not path.exists():
            arrays = source.build()
            write_atomic(path, partial(np.savez_compressed, allow_pickle=False, **arrays))
        digest.update(path.read_bytes())
        stored = _stored(source, cache)
        train_count += min(config.unlabelled, len(stored["pretrain"]))
        test_count += sum(len(x) for name, x in stored.items() if name.endswith(("test", "unseen")))
    return {
        "name": "handwritten digits of scikit-learn, and scenes composed of the embedded cut-outs",
        "train": train_count,
        "test": test_count,
        "sha256": digest.hexdigest(),
        "scale": f"digits of {config.image_size} px, {config.labels} labelled, scenes of {SCENES['image_size']} px, "
        f"{SCENES['labels']} labelled; ViT of {sum(config.depths)} blocks of {config.widths[0]} channels; pre-training "
        f"of {sum(config.epochs)} epochs ({sum(SHORT['epochs'])} for other encoders and scenes) in batches of "
        f"{config.batch_size}, fine-tuning of {config.finetune_epochs}",
    }


def load(config: Config, cache: Path) -> Data:
    """Read what :func:`prepare` left: the offline images, or the list of ImageNet's.

    Raises:
        UserError: if there are not ``config.labels`` labelled images, or less than one a class is asked for, or a
            validation split of ImageNet.
    """
    if config.split == "test":
        return _all(config, cache)
    if config.data:
        raise UserError("split is validation, but ImageNet's val is what is tested on; leave split as it is.")
    data = _all(config, cache)
    return replace(data, tests={"validation": (data.validation_images, data.validation_labels)})


def _all(config: Config, cache: Path) -> Data:
    if config.data:
        (train, labels), (val, val_labels), classes = json.loads(_list(config, cache).read_bytes())
        photos, test = Photos(train), (Photos(val), torch.tensor(val_labels))
        none = (Photos([]), torch.empty(0, dtype=torch.int64))
        mean, std = imagenet.MEAN, imagenet.STD
        return Data("imagenet", photos, photos, torch.tensor(labels), *none, {"val": test}, classes, mean, std)
    if config.source == "digits":
        stored = _stored(digits, cache)
        pretrain, labels_ = stored["pretrain"], stored["pretrain_labels"]
        cut = len(pretrain) - digits.VALIDATION
        train_images, train_labels = _first(pretrain[:cut], labels_[:cut], config.labels, len(digits.CLASSES))
        return Data(
            source="digits",
            pretrain=pretrain[: config.unlabelled],
            train_images=train_images,
            train_labels=train_labels,
            validation_images=pretrain[cut:],
            validation_labels=labels_[cut:],
            tests={"test": (stored["test"], stored["test_labels"])},
            classes=digits.CLASSES,
            mean=digits.MEAN,
            std=digits.STD,
        )
    stored = _stored(scenes, cache)
    task = "coarse" if config.source == "scenes-coarse" else "fine"
    classes = list(scenes.KINDS) if task == "coarse" else scenes.fine_classes()
    pairs = {name: (x, stored[f"{name}_labels"]) for name, x in stored.items() if f"{name}_labels" in stored}
    train_images, train_labels = _first(*pairs[f"{task}_train"], config.labels, len(classes))
    tests: dict[str, tuple[Images, Tensor]] = {"new_backgrounds": pairs[f"{task}_test"]}
    if task == "coarse":
        tests["new_objects"] = pairs["coarse_unseen"]
    return Data(
        source=config.source,
        pretrain=stored["pretrain"][: config.unlabelled],
        train_images=train_images,
        train_labels=train_labels,
        validation_images=pairs[f"{task}_validation"][0],
        validation_labels=pairs[f"{task}_validation"][1],
        tests=tests,
        classes=classes,
        mean=scenes.MEAN,
        std=scenes.STD,
    )


def normalisation(config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the data that a run was trained on, a channel each."""
    source = imagenet if config.data else digits if config.source == "digits" else scenes
    return source.MEAN, source.STD


class Unlabelled:
    """Pre-training samples for :class:`shared.loading.Batches`: an augmented view of ``size`` pixels, no label."""

    def __init__(self, data: Data, size: int) -> None:
        self.images = data.pretrain
        self._view = _view(data, data.pretrain, size, CROP)

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``image`` (3, R, R) float32 normalised, and ``name``."""
        return {"image": self._view(index, rng), "name": _name(self.images, index)}


class Labelled:
    """Fine-tuning samples: an augmented view of ``size`` pixels and its label.

    ImageNet gets RandAugment and random erasing (the paper's recipe); mixup and cutmix need a batch and are not here.
    """

    def __init__(self, data: Data, size: int) -> None:
        self.images, self.labels = data.train_images, data.train_labels
        self._view: _View = (
            _Recipe(data, self.images, size)
            if isinstance(self.images, Photos)
            else _view(data, self.images, size, LABELLED_CROP)
        )

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``image`` (3, R, R) float32 normalised, ``label`` int64 () and ``name``."""
        return {"image": self._view(index, rng), "label": self.labels[index], "name": _name(self.images, index)}


class Evaluation(Dataset):
    """Images as they are tested, in order, for a DataLoader: pairs of (3, R, R) float32 normalised and label.

    Photos: shorter side to 256/224 of R, bicubic, then the centre (official code); others: resized to R, bicubic.
    """

    def __init__(self, data: Data, images: Images, labels: Tensor, size: int) -> None:
        self.images = images if isinstance(images, Photos) else _resized(images, size)
        self.labels, self._normal = labels, _Normal(data)
        self._photo = transforms.Compose(
            [transforms.Resize(round(size * ENLARGED), BICUBIC), transforms.CenterCrop(size), transforms.PILToTensor()]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        return self._normal(image if isinstance(image, Tensor) else self._photo(image)), self.labels[index]


def _name(images: Images, index: int) -> str:
    return images.path(index) if isinstance(images, Photos) else f"image {index}"


# -- augmentation -----------------------------------------------------------------------------------------------------


class _Normal:
    """uint8 (3, H, W) -> (x / 255 - mean) / std."""

    def __init__(self, data: Data) -> None:
        mean, std = (torch.tensor(x).view(3, 1, 1) for x in (data.mean, data.std))
        self.factor, self.offset = 1 / (255 * std), -mean / std

    def __call__(self, image: Tensor) -> Tensor:
        return torch.addcmul(self.offset, image, self.factor)


class _Shifts:
    """Digits moved by up to two pixels of their full size, the border reflected; all moves are resized beforehand."""

    def __init__(self, data: Data, images: Tensor, size: int) -> None:
        side, self._normal = images.shape[-1], _Normal(data)
        padded = pad(images.float(), (SHIFT,) * 4, mode="reflect").byte()
        moves = range(2 * SHIFT + 1)
        self._moved = [_resized(padded[..., y : y + side, x : x + side], size) for y in moves for x in moves]

    def __call__(self, index: int, rng: np.random.Generator) -> Tensor:
        return self._normal(self._moved[int(rng.integers(len(self._moved)))][index])


class _Crops:
    """A random part of the image, resized, and mirrored half of the time.

    torchvision's RandomResizedCrop and RandomHorizontalFlip, with a generator of their own and in a third of the time.
    """

    def __init__(self, data: Data, images: Images, size: int, scale: tuple[float, float]) -> None:
        self.size, self.scale, self._normal = size, scale, _Normal(data)
        # Scenes are kept as Pillow images, whose resizing of single images is the fastest.
        self._decoded = (
            [Image.fromarray(x) for x in images.permute(0, 2, 3, 1).contiguous().numpy()]
            if isinstance(images, Tensor)
            else images
        )

    def __call__(self, index: int, rng: np.random.Generator) -> Tensor:
        image = self._decoded[index]
        view = image.crop(crop_box(*image.size, rng, self.scale))
        pixels = np.asarray(view.resize((self.size, self.size), Image.Resampling.BICUBIC))
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        return self._normal(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))


def crop_box(
    width: int, height: int, rng: np.random.Generator, scale: tuple[float, float]
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a part with a share of the area in `scale` and an aspect ratio of 3/4 to 4/3.

    The distribution of torchvision's RandomResizedCrop, but for very long images, where a part that still does not
    fit after ten tries is replaced by the central square.
    """
    for area, ratio in zip(rng.uniform(*scale, 10), np.exp(rng.uniform(-LOG_RATIO, LOG_RATIO, 10)), strict=True):
        w, h = round((width * height * area * ratio) ** 0.5), round((width * height * area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return x, y, x + w, y + h
    side = min(width, height)
    x, y = (width - side) // 2, (height - side) // 2
    return x, y, x + side, y + side


class _Recipe:
    """The paper's fine-tuning augmentation of photos (official code: rand-m9-mstd0.5-inc1, erasing 0.25)."""

    def __init__(self, data: Data, photos: Photos, size: int) -> None:
        self.photos = photos
        self._transform = create_transform(
            size,
            is_training=True,
            color_jitter=0.0,  # RandAugment takes its place
            auto_augment="rand-m9-mstd0.5-inc1",
            interpolation="bicubic",
            re_prob=0.25,
            re_mode="pixel",
            re_count=1,
            mean=data.mean,
            std=data.std,
        )

    def __call__(self, index: int, rng: np.random.Generator) -> Tensor:
        photo = self.photos[index]
        with seeded(rng):
            return self._transform(photo)


_View = _Shifts | _Crops | _Recipe


def _view(data: Data, images: Images, size: int, scale: tuple[float, float]) -> _View:
    if data.source == "digits":
        assert isinstance(images, Tensor)
        return _Shifts(data, images, size)
    return _Crops(data, images, size, scale)


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[None]:
    """Lets timm's and torchvision's transforms, which draw from the CPU's global generators, depend on `rng` alone."""
    generator = torch.default_generator  # torch.manual_seed would reseed the GPU's as well
    before = random.getstate(), np.random.get_state(), generator.get_state()
    random.seed(int(rng.integers(2**63)))
    np.random.seed(int(rng.integers(2**32)))
    generator.manual_seed(int(rng.integers(2**63)))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        generator.set_state(before[2])


def _resized(images: Tensor, size: int) -> Tensor:
    """uint8 (N, 3, S, S) -> uint8 (N, 3, size, size), bicubic with antialiasing."""
    if images.shape[-1] == size:
        return images.contiguous()
    return interpolate(images.float(), (size, size), mode="bicubic", antialias=True).round().clamp(0, 255).byte()


# -- what prepare leaves ----------------------------------------------------------------------------------------------


def _first(images: Tensor, labels: Tensor, count: int, classes: int) -> tuple[Tensor, Tensor]:
    """The first images of a list in which the classes take turns."""
    if not classes <= count <= len(labels):
        raise UserError(
            f"labels is {count}; there are {len(labels)} images with labels, and {classes} classes need one each."
        )
    return images[:count], labels[:count]


def _list(config: Config, cache: Path) -> Path:
    """Where ImageNet's images are listed: listing a million files takes minutes, and every process needs them."""
    return cache_file(cache, "imagenet.json", config.data)


def _stored(source: ModuleType, cache: Path) -> dict[str, Tensor]:
    with np.load(stored_file(source, cache)) as content:
        return {name: torch.from_numpy(content[name]) for name in content.files}


def stored_file(source: ModuleType, cache: Path) -> Path:
    """The prepared images of one source."""
    return cache_file(cache, f"{source.__name__.rpartition('.')[2]}.npz", source, cutouts, packs, composer)
