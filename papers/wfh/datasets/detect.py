"""Region features of one's own pictures with torchvision's Faster R-CNN, in the layout of the published ones.

``python -m papers.wfh.datasets.detect --images photos --out data/my_imgfeat/photos.h5`` writes the HDF5 file, its JSON,
and beside that folder ``vocabs/`` with the detector's classes. Train with ``--features 1024``: these are not the
published features of 2048 numbers, and their detector knows 90 objects and no attributes.
"""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights, fasterrcnn_resnet50_fpn

from shared import UserError
from shared.support.command_line import can_write, command
from shared.support.files import write_atomic, write_json
from shared.support.images import UNDECODABLE, decode_image
from shared.support.progress import track
from shared.support.weights import UNREADABLE, load_checkpoint

from . import checks
from .detected import ARRAYS

WIDTH = 1024  # numbers of a region's feature
CLASSES = tuple(FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"])
PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Options:
    """Detect regions in a folder of pictures, and write their features."""

    images: Path
    """Folder of pictures; a picture's name without its ending is its identifier."""
    out: Path
    """HDF5 file to write, in a folder whose name ends in _imgfeat."""
    weights: str = "coco"
    """Weights of the detector: torchvision's "coco" (a download), "none", or a file of such a state dict."""
    regions: int = 36
    """Regions of a picture; the surest ones."""
    debug: bool = False
    """Show the traceback of an error."""


def detector(weights: str) -> nn.Module:
    """Faster R-CNN with a ResNet-50 and a feature pyramid.

    Raises:
        UserError: if the weights cannot be read.
    """
    if weights == "coco":
        return fasterrcnn_resnet50_fpn(weights=FasterRCNN_ResNet50_FPN_Weights.DEFAULT).eval()
    network = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
    if weights != "none":
        path = Path(weights)
        try:
            network.load_state_dict(load_checkpoint(path))
        except UserError:
            raise
        except UNREADABLE as error:
            raise UserError(
                f"--weights {path} cannot be used ({checks.first_line(error)}); expected coco, none, or a state "
                "dict of fasterrcnn_resnet50_fpn."
            ) from error
    return network


@torch.no_grad()
def detect(network: Any, picture: Tensor, count: int) -> dict[str, np.ndarray]:
    """The surest regions of a picture (3, H, W) in [0, 1], as the arrays of the published layout, (count, ...) each.

    Boxes are those of the proposals, in pixels of the picture; every proposal has its surest object.
    """
    resized, _ = network.transform([picture])
    maps = network.backbone(resized.tensors)
    proposals, _ = network.rpn(resized, maps)
    pooled = network.roi_heads.box_roi_pool(maps, proposals, resized.image_sizes)
    features = network.roi_heads.box_head(pooled)
    scores, _ = network.roi_heads.box_predictor(features)
    confidence, objects = scores.softmax(-1)[:, 1:].max(-1)  # class 0 is the background
    best = confidence.argsort(descending=True, stable=True)[:count]
    best = best[torch.arange(count) % max(len(best), 1)]  # again from the first, if there are fewer
    height, width = picture.shape[-2:]
    new_height, new_width = resized.image_sizes[0]
    scale = torch.tensor([width / new_width, height / new_height]).repeat(2)
    found = {
        "objects_id": objects[best], "objects_conf": confidence[best], "attrs_id": torch.zeros(count),
        "attrs_conf": torch.zeros(count), "boxes": proposals[0][best] * scale, "features": features[best],
    }  # fmt: skip
    return {name: x.numpy().astype(ARRAYS[name]) for name, x in found.items()}


def write(options: Options) -> None:
    """Detect, and write the HDF5 file, its JSON and the lists of classes.

    Raises:
        UserError: if there are no pictures, or one is damaged; nothing is left half written.
    """
    if options.regions < 1:
        raise UserError(f"--regions is {options.regions}; expected 1 or more.")
    if not options.images.is_dir():
        raise UserError(f"--images {options.images} is no folder; expected one with pictures.")
    paths = sorted(path for path in options.images.iterdir() if path.suffix.lower() in PICTURES)
    if not paths:
        raise UserError(f"--images {options.images} holds no picture ({', '.join(PICTURES)}).")
    if not options.out.parent.name.endswith("_imgfeat") or options.out.suffix != ".h5":
        raise UserError(f"--out {options.out}: expected a name such as data/my_imgfeat/photos.h5.")
    can_write(options.out)
    network = detector(options.weights)
    rows: list[dict[str, np.ndarray]] = []
    described: list[dict[str, Any]] = []
    for path in track(paths, "detecting regions"):
        try:
            picture = torch.from_numpy(np.array(decode_image(path))).permute(2, 0, 1).float() / 255
        except PermissionError:
            raise
        except UNDECODABLE as error:
            raise UserError(f"{path} is damaged or not an image ({error}); remove it or get it again.") from error
        rows.append(detect(network, picture, options.regions))
        described.append({"img_id": path.stem, "img_h": picture.shape[1], "img_w": picture.shape[2]})

    content = io.BytesIO()
    with h5py.File(content, "w") as stored:
        for name in ARRAYS:
            stored[name] = np.stack([row[name] for row in rows])
    write_atomic(options.out, content.getvalue())
    write_json(options.out.with_suffix(".json"), described)
    vocabs = options.out.parent.parent / "vocabs"
    vocabs.mkdir(exist_ok=True)
    write_atomic(vocabs / "objects_vocab.txt", "\n".join(CLASSES[1:]).encode())
    write_atomic(vocabs / "attributes_vocab.txt", b"thing")
    print(f"Wrote {options.out}: {len(paths):,} pictures.")


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, write, f"python -m {__package__}.detect", arguments)


if __name__ == "__main__":
    sys.exit(main())
