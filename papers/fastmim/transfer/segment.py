"""Transfer to semantic segmentation: a light head on an encoder, trained and tested on ADE20K.

``python -m papers.fastmim.transfer.segment --data /datasets/ADEChallengeData2016 --run RUN`` writes ``miou_percent`` to
``result.json`` in ``--out``; RUN is the folder of a trained run, such as ``runs/fastmim/paper/fastmim/seed0``.
``--checkpoint fine-tuned.pth`` takes a file of the authors instead of ``--run``. ``accelerate launch -m
papers.fastmim.transfer.segment ...`` uses several GPUs. The same command continues an interrupted run.

The numbers are those of the authors' mmsegmentation configuration (ViT-B, images resized to 0.5 to 2.0 times the crop
of 512 pixels, 160,000 steps of 16 images, AdamW 3e-4, weight decay 0.05, layer decay 0.75, drop path 0.1, 1500 steps of
warm-up with a linear decay after them, windows at a stride of 341 in testing, single scale, from the fine-tuned
classifier). What deviates:

* The head adds up the maps of a simple feature pyramid and has one 3x3 and one 1x1 convolution; the paper's is UPerNet
  on maps of four blocks, with an auxiliary head.
* ViT has its absolute positions, stretched; the paper's has BEiT's relative positions and layer scale besides.
* Positions and class token are not decayed; theirs are, as their list of exceptions misses the names.
* Crops that show almost a single class are not drawn again, and padding is black instead of the mean colour.
* The longer side of an image has no bound; theirs is four times that of the shorter.
* Swin's windows grow with the image (see pyramid.py).
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torchmetrics.classification import MulticlassJaccardIndex
from torchvision.transforms.v2.functional import resize

from shared import UserError
from shared.reproduce.train import train_further
from shared.run import Run
from shared.support.weights import load_weights

from ..data import normalisation
from ..datasets import ade20k
from . import finetune
from .pyramid import Backbone

STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class Options(finetune.Options):
    """Fine-tune a segmentation network on ADE20K (DATA/images, DATA/annotations), and test it."""

    data: Path
    """Folder ADEChallengeData2016 with images/ and annotations/."""
    out: Path = Path("runs/custom/fastmim-ade20k")
    image_size: int = 512
    """Side of the training crops and of the windows in testing, in pixels."""
    learning_rate: float = 3e-4
    warmup_steps: int = 1500
    layer_decay: float = 0.75
    drop_path: float = 0.1
    steps: int = 160_000
    """Optimizer steps of training."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Smallest and largest scale of a training image; at 1 its shorter side has `image_size` pixels."""
    test_stride: int = 341
    """Pixels from one window to the next window in testing."""


class Segmenter(nn.Module):
    """Images (B, 3, S, S) -> logits (B, classes, S, S): the pyramid's maps, up-sampled and added, two convolutions.

    In training it takes the classes (B, S, S), too, and gives the loss: cross entropy, 0 for ignored pixels, averaged
    over all of them (as mmsegmentation does), so that an image without any class does no harm.
    """

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        width = backbone.out_channels
        self.backbone = backbone
        self.fuse = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), LayerNorm2d(width), nn.GELU())
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        finest, *coarser = self.backbone(images).values()
        for level in coarser:
            finest = finest + _enlarged(level, finest.shape[-2:])
        logits = _enlarged(self.head(self.fuse(finest)), images.shape[-2:])
        if targets is None:
            return logits
        loss = F.cross_entropy(logits.float(), targets, ignore_index=ade20k.IGNORED, reduction="sum")
        return {"cross_entropy": loss / targets.numel()}


def _enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def train(options: Options, run: Run) -> None:
    """Fine-tune the encoder with a fresh head. Raises UserError for whatever the user can mend."""
    if not 0 < options.scale[0] <= options.scale[1]:
        raise UserError(f"--scale is {options.scale}; expected two numbers, smallest first, such as 0.5 2.0.")
    if not 0 < options.test_stride <= options.image_size:
        raise UserError(
            f"--test-stride is {options.test_stride}; expected 1 to the crop's {options.image_size} pixels."
        )
    scenes = ade20k.Scenes(options.data, "training")
    ade20k.Scenes(options.data, "validation")  # says now what evaluation would miss
    model, mean, std = build_segmenter(options)
    dataset = ade20k.Training(scenes, options.image_size, options.scale, mean, std)

    def learning_rate(step: int) -> float:
        warmth = min((step + 1) / max(options.warmup_steps, 1), 1.0)
        return options.learning_rate * warmth * (1 - step / options.steps)

    finetune.finetune(options, run, model, dataset, None, options.steps, learning_rate)


def build_segmenter(options: Options) -> tuple[Segmenter, tuple[float, ...], tuple[float, ...]]:
    """The network with a fresh head, and the mean and standard deviation that its images are normalised with."""
    config, backbone = finetune.load_backbone(options, STRIDES)
    return Segmenter(backbone, ade20k.CLASSES), *normalisation(config)


def evaluate(options: Options, run: Run) -> dict[str, float]:
    """``miou_percent`` of a trained run on the validation images."""
    model, mean, std = build_segmenter(options)
    model.load_state_dict(load_weights(run.weights))
    predict = partial(slide, model.to(run.device).eval(), size=options.image_size, stride=options.test_stride)
    scenes = ade20k.Evaluation(ade20k.Scenes(options.data, "validation"), mean, std)
    return mean_iou(predict, scenes, run, options.workers)


@torch.no_grad()
def slide(model: Callable[[Tensor], Tensor], image: Tensor, *, size: int, stride: int) -> Tensor:
    """The class of every pixel, (H, W) int64, of an image (3, H, W) of any size.

    The image is resized, its shorter side to ``size``; square windows of that side, ``stride`` pixels apart, the last
    one flush with the edge, cover it, and their logits are averaged, then resized to (H, W).
    """
    scaled = resize(image, [size], antialias=True)
    height, width = scaled.shape[1:]
    total: Tensor | None = None
    for top in _starts(height, size, stride):
        for left in _starts(width, size, stride):
            logits = model(scaled[None, :, top : top + size, left : left + size])
            if total is None:
                total = logits.new_zeros((1, logits.shape[1], height, width))
                count = logits.new_zeros((height, width))
            total[..., top : top + size, left : left + size] += logits
            count[top : top + size, left : left + size] += 1
    assert total is not None
    return _enlarged(total / count, image.shape[-2:])[0].argmax(0)


def _starts(length: int, size: int, stride: int) -> list[int]:
    return [min(start, length - size) for start in range(0, length - size + stride, stride)]


@torch.no_grad()
def mean_iou(
    predict: Callable[[Tensor], Tensor], scenes: ade20k.Evaluation, run: Run, workers: int = 0
) -> dict[str, float]:
    """Mean IoU over the classes, in percent; intersections and unions are those of the whole split, at full size.

    ``predict`` maps an image (3, H, W) to classes (H, W). Classes that occur neither in the masks nor in the
    predictions do not count.
    """
    jaccard = MulticlassJaccardIndex(ade20k.CLASSES, ignore_index=ade20k.IGNORED).to(run.device)
    for image, classes in finetune.share(scenes, run, workers):
        jaccard.update(predict(image.to(run.device))[None], classes.to(run.device)[None])
    return {"miou_percent": 100 * float(jaccard.compute())}  # adds up over all processes


def main(arguments: Sequence[str] | None = None) -> int:
    return train_further(__package__.rpartition(".")[0], "transfer.segment", Options, finetune.MAY_CHANGE, arguments)


if __name__ == "__main__":
    sys.exit(main())
