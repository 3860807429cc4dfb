"""Transfer to object detection and instance segmentation: Mask R-CNN on an encoder, trained and tested on COCO 2017.

``python -m papers.fastmim.transfer.detect --data /datasets/coco --run runs/fastmim/paper/swin-b/seed0`` writes
``box_ap_percent`` and ``mask_ap_percent`` to ``result.json`` in ``--out``; ``--checkpoint fine-tuned.pth`` takes a file
of the authors instead of ``--run``. ``accelerate launch -m papers.fastmim.transfer.detect ...`` uses several GPUs. The
same command continues an interrupted run.

The numbers are those of the authors' mmdetection configuration (Swin-B, 36 epochs, steps at 27 and 33, 1000 steps of
warm-up, 1024 pixels, scale jitter 0.1 to 2.0, AdamW 6e-5, weight decay 0.05 but for bias tables and norms, drop path
0.2, from the fine-tuned classifier). What deviates:

* The detector is torchvision's Mask R-CNN on a simple feature pyramid of the last map, for all encoders; the paper's is
  mmdetection's on the maps of all of Swin's stages, with BatchNorm and a box head of four convolutions.
* No copy-paste augmentation: torchvision has it in its reference scripts only.
* Boxes that a crop cuts are clipped, not fitted to the mask again.
* Swin's windows grow with the image (see pyramid.py).
* Batch size 16 is mmdetection's habit: the authors have 4 images a GPU, and do not say how many GPUs.
* No biases are decayed; theirs are, but for those of norms.
* Tested with the longer side at 1024 pixels; theirs is at most 1666, the shorter at most 1024.

Every process, and each of its ``--workers`` in time, holds a copy of COCO's annotations as Python objects: have memory
for processes times workers of them, or ask for fewer workers.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from pycocotools import mask as run_length
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN

from shared import UserError
from shared.reproduce.train import train_further
from shared.run import Run
from shared.support.weights import load_weights

from ..data import normalisation
from ..datasets import coco
from . import finetune

STRIDES = (4, 8, 16, 32, 64)  # the last for the proposals of large objects alone


@dataclass(frozen=True, kw_only=True)
class Options(finetune.Options):
    """Fine-tune Mask R-CNN on COCO 2017 (DATA/annotations, DATA/train2017, DATA/val2017), and test it."""

    data: Path
    """Folder of COCO 2017 with annotations/, train2017/ and val2017/."""
    out: Path = Path("runs/custom/fastmim-coco")
    image_size: int = 1024
    learning_rate: float = 6e-5
    warmup_steps: int = 1000
    layer_decay: float = 1.0
    drop_path: float = 0.2
    epochs: int = 36
    """Passes over the training images."""
    milestones: tuple[int, ...] = (27, 33)
    """Epochs after which the learning rate falls to a tenth."""
    scale: tuple[float, float] = (0.1, 2.0)
    """Smallest and largest scale of a training image; at 1 its longer side has `image_size` pixels."""


def train(options: Options, run: Run) -> None:
    """Fine-tune the encoder in a Mask R-CNN. Raises UserError for whatever the user can mend."""
    if not 0 < options.scale[0] <= options.scale[1]:
        raise UserError(f"--scale is {options.scale}; expected two numbers, smallest first, such as 0.1 2.0.")
    instances, tested = coco.Instances(options.data, "train"), coco.Instances(options.data, "val")
    if instances.categories != tested.categories:
        raise UserError(f"{instances.path} and {tested.path} list different categories; download them again.")
    dataset = coco.Training(instances, options.image_size, options.scale)
    model = build_detector(options, len(instances.categories))
    per_epoch = len(dataset) // options.batch_size

    def learning_rate(step: int) -> float:
        warmth = min((step + 1) / max(options.warmup_steps, 1), 1.0)
        return options.learning_rate * warmth * 0.1 ** sum(step >= m * per_epoch for m in options.milestones)

    finetune.finetune(options, run, model, dataset, coco.collate, options.epochs * per_epoch, learning_rate)


def evaluate(options: Options, run: Run) -> dict[str, float]:
    """``box_ap_percent`` and ``mask_ap_percent`` on the validation images; only the main process returns them."""
    instances = coco.Instances(options.data, "val")
    model = build_detector(options, len(instances.categories))
    model.load_state_dict(load_weights(run.weights))
    return average_precisions(model.to(run.device).eval(), instances, run, options.workers)


def build_detector(options: Options, categories: int) -> MaskRCNN:
    """Mask R-CNN for so many categories and the background, on images resized and padded to ``image_size``."""
    config, backbone = finetune.load_backbone(options, STRIDES)
    encoder: Any = backbone.encoder
    tables = {name for name, _ in encoder.named_parameters() if name.endswith("relative_position_bias_table")}
    encoder.no_weight_decay = encoder.no_weight_decay | tables  # unlike in pre-training and fine-tuning
    mean, std = normalisation(config)
    return MaskRCNN(
        backbone,
        categories + 1,
        min_size=options.image_size,
        max_size=options.image_size,
        size_divisible=options.image_size,  # encoders take squares of one size
        image_mean=list(mean),
        image_std=list(std),
    )


@torch.no_grad()
def average_precisions(
    model: nn.Module | Callable[[list[Tensor]], list[dict[str, Tensor]]],
    instances: coco.Instances,
    run: Run,
    workers: int = 0,
) -> dict[str, float]:
    """Box and mask AP of COCO over a whole split, in percent, of a detector as torchvision has them.

    All processes detect, the main one compares; the others return nothing.

    ``model`` maps a list of images (3, H, W) in [0, 1] to dictionaries of boxes (N, 4), labels (N,), scores (N,) and
    masks (N, 1, H, W) in [0, 1], in pixels of the images.
    """
    boxes: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    for image_id, image in finetune.share(coco.Evaluation(instances), run, workers):
        (found,) = model([image.to(run.device)])
        corners = found["boxes"].cpu()
        corners[:, 2:] -= corners[:, :2]
        solid = (found["masks"][:, 0] > 0.5).byte().cpu().numpy()
        scores, labels = found["scores"].tolist(), found["labels"].tolist()
        for box, mask, score, label in zip(corners.tolist(), solid, scores, labels, strict=True):
            one = {"image_id": int(image_id), "category_id": instances.categories[label - 1], "score": score}
            boxes.append(one | {"bbox": box})
            masks.append(one | {"segmentation": run_length.encode(np.asfortranarray(mask))})
    boxes, masks = gather_object(boxes), gather_object(masks)
    if not run.accelerator.is_main_process:
        return {}
    return {
        "box_ap_percent": coco.average_precision(instances, boxes, "bbox"),
        "mask_ap_percent": coco.average_precision(instances, masks, "segm"),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    return train_further(__package__.rpartition(".")[0], "transfer.detect", Options, finetune.MAY_CHANGE, arguments)


if __name__ == "__main__":
    sys.exit(main())
