"""Let a trained network fill in a picture, and name what is on it.

``python -m papers.fastmim.predict --image photo.jpg --out picture.png``

The picture shows what pre-training is about: the image at the low resolution, what is left of it once random blocks
have the colour of the mask token, the HOG features (or pixels) that the network predicts there, and the true ones. The
classes are those of the same run after fine-tuning, from the whole image at full resolution.

* Any size and shape: the largest square in the middle is used; networks trained on ImageNet classify the middle
  224/256 of it, as in evaluation.
* Phone photos are turned upright; transparent images are put on white; grey, palette and CMYK images become RGB.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import center_crop, pil_to_tensor

from shared import UserError
from shared.support.command_line import can_write, command, note
from shared.support.figures import write_figure
from shared.support.folders import visible
from shared.support.images import read_image

from . import pictures
from .build import official_classifier, trained_classifier, trained_network
from .config import Config
from .data import ENLARGED, normalisation
from .datasets import digits, scenes

COMMITTED = Path(__file__).parent / "weights" / "fastmim.json"


@dataclass(frozen=True)
class Options:
    """Predict the HOG features of masked parts of an image, and its class."""

    image: Path
    """Photo or drawing to fill in and to classify: JPEG, PNG, WebP or any other file that Pillow reads."""
    out: Path | None = None
    """File (.png, .pdf or .svg) for a picture of the masked image, the prediction and the target; default: none."""
    run: Path | None = None
    """Folder of a trained run, or the .json file beside committed weights; default: weights/fastmim.json here."""
    checkpoint: Path | None = None
    """File (.pth) with a fine-tuned ViT-B, Swin-B, PVTv2-B2 or CMT-S of the authors, to classify in place of --run."""
    mask_seed: int = 0
    """Seed of the random choice of the masked blocks."""
    mask_ratio: float | None = None
    """Share of the image's blocks that is masked, in (0, 1]; default: the share of the run's training."""
    top: int = 5
    """Number of most probable classes to print."""
    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Read the image, print its classes, draw the picture if there is one to draw."""
    _check(options)
    image = read_image(options.image)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pretraining = None
    if options.checkpoint:
        config, classifier = official_classifier(options.checkpoint)
    else:
        run = options.run or COMMITTED
        config, classifier = trained_classifier(run)
        if options.out and config.method == "fastmim" and not config.checkpoint:
            _, pretraining = trained_network(run)
    if options.out and not pretraining:
        published = options.checkpoint or config.checkpoint
        which = "the authors' weights bring" if published else f"a run with method {config.method} has"
        note(f"{which} no FastMIM decoder to draw the predictions of, so {options.out} is not written.")

    names = class_names(config, classifier.head.out_features)
    with torch.no_grad():
        logits = classifier.to(device)(network_input(image, config, config.image_size, classify=True)[None].to(device))
    shares, classes = logits[0].softmax(0).sort(descending=True)
    for share, k in zip(shares[: options.top].tolist(), classes[: options.top].tolist(), strict=True):
        print(f"{100 * share:5.1f} %  {names[k]}")

    if options.out and pretraining:
        size = config.resolutions[-1]
        noise = torch.rand(1, (size // config.block) ** 2, generator=torch.Generator().manual_seed(options.mask_seed))
        low = network_input(image, config, size).to(device)
        with torch.no_grad():
            prediction = pretraining.to(device)(low[None], noise.to(device), options.mask_ratio or config.mask_ratio)
        figure = pictures.reconstruction(pretraining, low[None], prediction, *normalisation(config))
        write_figure(figure, options.out, dpi=150)
        print(f"Wrote {options.out}.")


# -- the image --------------------------------------------------------------------------------------------------------


def network_input(image: Image.Image, config: Config, size: int, classify: bool = False) -> Tensor:
    """The middle of an RGB image as (3, size, size) float32, normalised as in training.

    With ``classify``, of a network trained on photos, cropped as in evaluation: 256/224 of ``size``, then its middle.
    """
    square = center_crop(image, [min(image.size)])
    wide = round(size * ENLARGED) if classify and config.data else size
    middle = center_crop(square.resize((wide, wide), Image.Resampling.BICUBIC), [size])
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in normalisation(config))
    return (pil_to_tensor(middle) / 255 - mean) / std


def class_names(config: Config, count: int) -> list[str]:
    """Names of the ``count`` classes of a run; numbers, if ImageNet's folders are not at hand."""
    names: Sequence[str] = ()
    if config.data:
        train = Path(config.data) / "train"
        names = [folder.name for folder in visible(train.glob("*/"), train)]
    elif config.source == "digits":
        names = digits.CLASSES
    else:
        names = scenes.KINDS if config.source == "scenes-coarse" else scenes.fine_classes()
    return list(names) if len(names) == count else [f"class {k}" for k in range(count)]


# -- the command line -------------------------------------------------------------------------------------------------


def _check(options: Options) -> None:
    """Say what is wrong with the command line before anything is read."""
    if options.run and options.checkpoint:
        raise UserError("--run and --checkpoint are both given; give the one whose model is to be used.")
    if options.top < 1:
        raise UserError(f"--top is {options.top}; expected a number of classes to print, such as 5.")
    if options.mask_ratio is not None and not 0 < options.mask_ratio <= 1:
        raise UserError(f"--mask-ratio is {options.mask_ratio}; expected a share of blocks in (0, 1], such as 0.75.")
    if not -(2**63) <= options.mask_seed < 2**63:
        raise UserError(f"--mask-seed is {options.mask_seed}; expected a number of 64 bits, such as 0.")
    if options.out:
        if options.out.suffix not in (".png", ".pdf", ".svg"):
            raise UserError(f"--out {options.out} has no suffix of a picture; name it .png, .pdf or .svg.")
        if options.out.resolve() == options.image.resolve():
            raise UserError("--image and --out are one file; give --out a name of its own.")
        can_write(options.out)


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {__package__}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
