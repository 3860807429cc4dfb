"""COCO 2017: objects with boxes and masks, read from the published layout, and its average precision."""

import io
import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor

from shared import UserError

from ..data import seeded
from .imagenet import read_image

LAYOUT = """\
DATA/                                     (numbers of images unverified)
  annotations/instances_train2017.json    boxes and masks of 80 categories
  annotations/instances_val2017.json
  train2017/*.jpg                         118,287 images
  val2017/*.jpg                             5,000 images
From https://cocodataset.org: 2017 Train images, 2017 Val images, 2017 Train/Val annotations."""


class Instances:
    """The images of one split, in order of their ids, and what is annotated in them.

    Labels count from 1, the categories in order of their ids (COCO's 80 have gaps up to 90); 0 is the background.

    Raises:
        UserError: if a file or folder is missing or damaged, an annotation is incomplete, or there are no objects.
    """

    def __init__(self, root: Path, split: str) -> None:
        self.path = root / "annotations" / f"instances_{split}2017.json"
        self.folder = root / f"{split}2017"
        if not self.path.is_file():
            raise UserError(f"{self.path} is missing. Expected:\n{LAYOUT}")
        if not self.folder.is_dir():
            raise UserError(f"{self.folder} is not a folder. Expected:\n{LAYOUT}")
        try:
            with redirect_stdout(io.StringIO()):  # pycocotools tells what it does
                self.coco = COCO(str(self.path))
                self._check()
                if 0 in self.coco.anns:  # pycocotools takes the id 0 for "no match" and loses the object
                    for number, annotation in enumerate(self.coco.dataset["annotations"], 1):
                        annotation["id"] = number
                    self.coco.createIndex()
        except (ValueError, KeyError, AssertionError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{self.path} is no file of COCO instances ({type(error).__name__}: {error}); expected JSON of images, "
                "annotations (image_id, category_id, bbox, segmentation, area, iscrowd) and categories. Download it "
                "again."
            ) from error
        self.ids = sorted(self.coco.imgs)
        if not self.ids:
            raise UserError(f"{self.path} lists no images; expected those of {self.folder}. Download it again.")
        if not any(self.objects(i) for i in self.ids):
            raise UserError(f"{self.path} lists no objects; expected boxes and masks. Download it again.")
        self.categories = sorted(self.coco.cats)

    def _check(self) -> None:
        for name in ("images", "annotations", "categories"):
            if name not in self.coco.dataset:
                raise KeyError(name)
        for image in self.coco.dataset["images"]:
            _ = image["height"], image["width"]
            if not isinstance(image["file_name"], str):
                raise ValueError(f"image {image['id']} has the file_name {image['file_name']!r}")
        for name, known in (("images", self.coco.imgs), ("annotations", self.coco.anns)):
            if len(known) < len(self.coco.dataset[name]):
                raise ValueError(f"{name} has an id twice")
        for annotation in self.coco.dataset["annotations"]:
            where = f"annotation {annotation.get('id')}"
            for name in ("area", "bbox", "iscrowd", "segmentation"):
                if name not in annotation:
                    raise ValueError(f"{where} has no {name}")
            if len(annotation["bbox"]) != 4:
                raise ValueError(f"{where} has a bbox of {len(annotation['bbox'])} numbers, expected 4")
            numbers = [*annotation["bbox"], annotation["area"]]
            if not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers):
                raise ValueError(f"{where} has a bbox and area of {numbers}, expected finite numbers")
            if annotation["iscrowd"] not in (0, 1) or not isinstance(annotation["id"], int):
                raise ValueError(f"{where} has an id that is no number, or iscrowd other than 0 and 1")
            if annotation["image_id"] not in self.coco.imgs or annotation["category_id"] not in self.coco.cats:
                raise ValueError(f"{where} is of an image or category that the file does not list")

    def objects(self, image_id: int) -> list[dict[str, Any]]:
        """The annotations to train on: no crowds, at least a pixel wide and high."""
        found = self.coco.imgToAnns.get(image_id, [])
        return [x for x in found if not x["iscrowd"] and min(x["bbox"][2:]) >= 1]

    def name(self, image_id: int) -> str:
        """The image's path."""
        return str(self.folder / self.coco.imgs[image_id]["file_name"])

    def image(self, image_id: int) -> Tensor:
        """uint8 (3, H, W). Raises UserError if it cannot be decoded or has another size than the annotations say."""
        listed = self.coco.imgs[image_id]
        pixels = pil_to_tensor(read_image(Path(self.name(image_id))))
        if pixels.shape[1:] != (listed["height"], listed["width"]):
            raise UserError(
                f"{self.name(image_id)} has {pixels.shape[2]} x {pixels.shape[1]} pixels, but {self.path} says "
                f"{listed['width']} x {listed['height']}; replace the image with the original file."
            )
        return pixels

    def target(self, image_id: int) -> dict[str, Tensor]:
        """``boxes`` (N, 4) in pixels from corner to corner, ``masks`` (N, H, W) uint8, ``labels`` (N,) int64."""
        listed = self.coco.imgs[image_id]
        size = (listed["height"], listed["width"])
        objects = self.objects(image_id)
        boxes = torch.tensor([x["bbox"] for x in objects], dtype=torch.float32).reshape(-1, 4)
        try:
            masks = [self._mask(x, size) for x in objects]
        except Exception as error:  # whatever pycocotools makes of a damaged polygon or run-length code
            raise UserError(
                f"{self.path}: the segmentation of an object in {listed['file_name']} cannot be read ({error}); "
                "download the file again."
            ) from error
        boxes[:, 2:] += boxes[:, :2]
        return {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),
            "masks": tv_tensors.Mask(torch.from_numpy(np.stack(masks)) if masks else torch.zeros((0, *size)).byte()),
            "labels": torch.tensor([self.categories.index(x["category_id"]) + 1 for x in objects], dtype=torch.int64),
        }

    def _mask(self, annotation: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
        """uint8 (H, W). What pycocotools would draw from memory that is not its own is a ValueError."""
        outline = annotation["segmentation"]
        if isinstance(outline, dict):
            if tuple(outline["size"]) != size:
                raise ValueError(f"its size is {outline['size']}, and the image's {list(size)}")
            if isinstance(outline["counts"], list) and sum(outline["counts"]) != math.prod(size):
                raise ValueError(f"it counts {sum(outline['counts'])} of {math.prod(size)} pixels")
        for points in () if isinstance(outline, dict) else outline:
            if len(points) % 2 or not (np.abs(np.array(points, float)) <= 2 * max(size)).all():
                raise ValueError(f"{points[:6]} are no points in the image")
        return self.coco.annToMask(annotation)


class Training:
    """Samples for :class:`shared.loading.Batches`: a part of ``size`` pixels of an image resized at random.

    The longer side becomes ``scale`` times ``size`` (scale jitter), then a random part is cut out, padded with black
    where the image is smaller; mirrored half of the time. Images without objects are left out.
    """

    def __init__(self, instances: Instances, size: int, scale: tuple[float, float]) -> None:
        self.instances = instances
        self.ids = [i for i in instances.ids if instances.objects(i)]
        self._transform = v2.Compose(
            [
                v2.ScaleJitter((size, size), scale),
                v2.RandomCrop(size, pad_if_needed=True),
                v2.RandomHorizontalFlip(),
                v2.SanitizeBoundingBoxes(min_size=1),
                v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
                v2.ToPureTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.ids)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``image`` (3, size, size) float32 in [0, 1], ``target`` as :meth:`Instances.target`, and ``name``."""
        image_id = self.ids[index]
        image = tv_tensors.Image(self.instances.image(image_id))
        with seeded(rng):
            image, target = self._transform(image, self.instances.target(image_id))
        return {"image": image, "target": target, "name": self.instances.name(image_id)}


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Lists of images, targets and names; images differ in their number of objects."""
    return {key: [sample[key] for sample in samples] for key in samples[0]}


class Evaluation(Dataset):
    """All images as they are, in order: pairs of the id and (3, H, W) float32 in [0, 1]."""

    def __init__(self, instances: Instances) -> None:
        self.instances = instances

    def __len__(self) -> int:
        return len(self.instances.ids)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        image_id = self.instances.ids[index]
        return image_id, self.instances.image(image_id).float() / 255


def average_precision(instances: Instances, found: Sequence[dict[str, Any]], kind: str) -> float:
    """COCO's AP over IoU 0.50 to 0.95, in percent, of ``kind`` bbox or segm.

    ``found`` has a dictionary an object, as COCO's results format wants it: image_id, category_id, score and bbox
    (x, y, width, height) or segmentation (run-length code).
    """
    if not found:
        return 0.0
    with redirect_stdout(io.StringIO()):
        evaluation = COCOeval(instances.coco, instances.coco.loadRes(list(found)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * float(evaluation.stats[0])
