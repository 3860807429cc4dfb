"""Segment a user's image with the first and the adapted network side by side.

``make predict PAPER=featreg ARGS="--image photo.jpg --domain night --out folder"`` writes ``labels_source.png`` and
``labels_adapted.png`` (palette images whose pixels are class numbers) and ``overlay.png``: the image, and both label
maps over it with a legend. The image is one of the target domain; ``--transform`` makes an ordinary photograph one.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from shared import UserError
from shared.support.command_line import can_write, command
from shared.support.figures import write_figure
from shared.support.files import write_atomic
from shared.support.images import read_image
from shared.support.weights import committed_weights, open_trained_run, weights_file

from .build import class_count, domain_file, load_adapted, load_source
from .config import Config
from .data import class_names
from .datasets import scenes
from .model import Segmenter
from .pictures import legend, overlaid, palette
from .transforms import ALIGNED, parse, transform

RUN = Path(__file__).parent / "weights" / "featreg.json"
PICTURES = ("labels_source.png", "labels_adapted.png", "overlay.png")


@dataclass(frozen=True)
class Options:
    """Segment an image of a target domain with the first network and with the adapted one."""

    image: Path
    """Photograph or drawing to segment, as the camera of --domain sees it: JPEG, PNG or what else Pillow reads."""
    out: Path
    """Folder to write labels_source.png, labels_adapted.png and overlay.png into."""
    domain: str | None = None
    """Target domain whose adapted network segments the image; without it the first one of the run."""
    transform: bool = False
    """Transform --image to the target domain first; for ordinary photographs."""
    run: Path | None = None
    """Folder of a trained run, or the .json file of committed weights; without it those of the paper."""
    short_side: int | None = None
    """Pixels of the image's short side as the networks see it; None: 96 for models of composed scenes, else its own."""
    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Read the image, write the three pictures, print the share of the image that each class takes."""
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"--out {options.out} is a file; expected a folder.")
    if options.image.resolve() in [(options.out / name).resolve() for name in PICTURES]:
        raise UserError(f"--image {options.image} would be overwritten; give --out another folder.")
    if options.short_side is not None and options.short_side < 16:
        raise UserError(f"--short-side is {options.short_side}; expected 16 pixels or more.")
    image = read_image(options.image)
    config, source, adapted = trained_networks(options.run or RUN)
    domain = chosen_domain(options, adapted)
    for picture in PICTURES:
        can_write(options.out / picture)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    if options.transform:
        pixels = transform(pixels, domain, rounded=config.rounded)
    seen = (255 * pixels).round().byte().permute(1, 2, 0).numpy()
    short_side = options.short_side or (scenes.SIZE if config.data is None else min(image.size))
    networks = {"source": source, "adapted": adapted[domain]}
    labels = {role: segment(network, pixels, short_side) for role, network in networks.items()}
    names = known_names(config, source)
    for role, label in labels.items():
        write_label_map(options.out / f"labels_{role}.png", label, len(names))
    write_figure(side_by_side(seen, labels, names, parse(domain)[0]), options.out / "overlay.png", dpi=100)
    print(f"{'first':>8} {'adapted':>8}   share of the image (%)")
    shares = [100 * np.bincount(label.ravel(), minlength=len(names)) / label.size for label in labels.values()]
    for k, (before, after) in enumerate(zip(*shares, strict=True)):
        if before or after:
            print(f"{before:8.1f} {after:8.1f}   {names[k]}")
    print(f"Wrote {', '.join(PICTURES)} to {options.out}.")


def trained_networks(run: Path) -> tuple[Config, Segmenter, dict[str, Segmenter]]:
    """Configuration, first network, and adapted networks by domain, as many as are there.

    Raises:
        UserError: no finished run there, damaged, or of another version of the code.
    """
    with open_trained_run(run, "featreg", Config) as (_, config, weights):
        source = load_source(config, weights)
    adapted = {}
    for domain in config.domains:
        file = domain_file(domain)
        path = committed_weights(run, file) if run.suffix == ".json" else weights_file(run, file)
        if path.exists():
            with open_trained_run(run, "featreg", Config, file) as (_, _, weights):
                adapted[domain] = load_adapted(source, weights)
    return config, source, adapted


def chosen_domain(options: Options, adapted: dict[str, Segmenter]) -> str:
    """The domain that was asked for, with the parameters of the run.

    Raises:
        UserError: if the run has no network for it, or it has no transformation.
    """
    if not adapted:
        raise UserError(
            f"{options.run or RUN} has the first network alone; give --run an adapted one, such as featreg."
        )
    known = {parse(domain)[0]: domain for domain in adapted}
    name = options.domain or next(iter(known))
    if name not in known:
        raise UserError(f"--domain is {name}; the run has adapted networks for {', '.join(known)}.")
    if options.transform and name == ALIGNED:
        raise UserError(f"--transform has no meaning for {ALIGNED}, images of a user's own; leave it out.")
    return known[name]


@torch.no_grad()
def segment(network: Segmenter, pixels: Tensor, short_side: int) -> np.ndarray:
    """A label map (H, W) uint8 of an image (3, H, W) in [0, 1], which the network sees with the given short side."""
    size = pixels.shape[-2:]
    factor = short_side / min(size)
    smaller = [max(16, round(factor * n)) for n in size]
    seen = F.interpolate(pixels[None], smaller, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    scores = F.interpolate(network(seen)["logits"], size, mode="bilinear", align_corners=False)
    return scores[0].argmax(0).byte().numpy()


def write_label_map(path: Path, label: np.ndarray, classes: int) -> None:
    """Write class numbers (H, W) as a palette PNG."""
    picture = Image.fromarray(label)
    picture.putpalette(palette(classes).tobytes())
    write_atomic(path, lambda file: picture.save(file, "PNG"))


def known_names(config: Config, network: Segmenter) -> Sequence[str]:
    """Names of the classes; numbers if the data that the run was trained on is no longer there."""
    try:
        return class_names(config)
    except UserError:
        return [f"class {k}" for k in range(class_count(network.state_dict()))]


def side_by_side(image: np.ndarray, labels: dict[str, np.ndarray], names: Sequence[str], domain: str) -> Figure:
    """The image, and the label map of either network over it."""
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    axes = figure.subplots(1, 3)
    shown = [image, *(overlaid(image, label, len(names)) for label in labels.values())]
    for axis, x, title in zip(axes, shown, ("image", "first network", f"adapted to {domain}"), strict=True):
        axis.imshow(x)
        axis.set_title(title)
        axis.set_axis_off()
    present = sorted({int(k) for label in labels.values() for k in np.unique(label)})
    figure.legend(handles=legend(names, present), loc="outside lower center", ncols=7, frameon=False)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {__package__}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
