"""Segment a user's image by words: ``make predict PAPER=pacl ARGS="--image photo.jpg --names owl,tree --out folder"``.

Writes ``labels.png`` (a palette image whose pixels are class numbers: 0 the first name, 1 the second, and so on; with
``--background`` 0 is background and the first name 1), ``overlay.png`` (the image with its classes in colour, and a
legend) and ``heatmaps.png`` (the probability map of every name).
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from torch import nn

from shared import UserError
from shared.support.command_line import can_write, command, note
from shared.support.figures import write_figure
from shared.support.files import write_atomic
from shared.support.images import read_image
from shared.support.weights import open_trained_run

from .build import trained_model
from .config import Config
from .segment import Windows, class_embeddings
from .texts.prompts import PACL_TEMPLATES
from .towers.clip import Towers

WEIGHTS = Path(__file__).parent / "weights" / "pacl.json"  # a published row
MOST = 255  # classes that a palette image can number beside the background
PICTURES = ("labels.png", "overlay.png", "heatmaps.png")
VALUES = 2**25  # probabilities that are in memory at a time; of more, the maps are coarser than the image


@dataclass(frozen=True)
class Options:
    """Segment an image into classes that are given by name."""

    image: Path
    """Photo or drawing to segment: JPEG, PNG, WebP or any other file that Pillow reads."""
    out: Path
    """Folder for the three pictures: labels.png, overlay.png and heatmaps.png."""
    names: str | None = None
    """Names of the classes to look for, separated by commas: "dog, grass"."""
    names_file: Path | None = None
    """Text file with a class name on each line, in place of --names."""
    run: Path | None = None
    """Folder of a trained run, or the .json file beside committed weights; default: weights/pacl.json here."""
    background: bool = False
    """Label a pixel as background if its distribution over the names has a large entropy (see --entropy)."""
    entropy: float | None = None
    """Entropy over the names, in nats, above which --background labels a pixel so; default: the run's (1.5 in the
    paper)."""
    scale: float | None = None
    """Factor of the cosines in the softmax over the names: larger ones make the probabilities sharper; default: the
    run's."""
    stride: int | None = None
    """Pixels between two patches of a ViT, fewer for finer maps (the mini-CLIP has no choice); default: the run's."""
    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Read the image and the names, write the three pictures, print the share of the image that each class takes."""
    names = class_names(options)
    _check(options)
    image = read_image(options.image)
    run = options.run or WEIGHTS
    with open_trained_run(run, "pacl", Config):  # is there one? Only then is the folder for the pictures made
        pass
    for name in PICTURES:
        can_write(options.out / name)
    config, towers, embedder = open_model(run)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    towers, embedder = towers.to(device), embedder.to(device) if embedder is not None else None
    scale = options.scale or config.scale or towers.logit_scale
    threshold = options.entropy if options.entropy is not None else config.entropy
    if options.background and threshold >= math.log(len(names)):
        note(
            f"no pixel can be background: the entropy of {len(names)} names is at most ln {len(names)} = "
            f"{math.log(len(names)):.2f} nats, and the threshold {threshold:g}; give more names or a smaller --entropy."
        )
    windows = Windows(
        towers,
        embedder,
        image,
        device,
        short_side=config.short_side,
        window=config.window,
        window_stride=config.window_stride,
        stride=options.stride or config.stride,
    )
    finest = min(1.0, math.sqrt(VALUES / (len(names) * image.width * image.height)))
    labels, probability = windows.segment(
        class_embeddings(towers, names, PACL_TEMPLATES),
        scale=scale,
        order=config.upsampling,
        entropy_threshold=threshold if options.background else None,
        size=(math.ceil(finest * image.height), math.ceil(finest * image.width)),
    )
    shown = ["background", *names] if options.background else names
    maps = probability.cpu().numpy()
    palette = colours(len(shown), options.background)
    picture = Image.fromarray(labels.cpu().numpy().astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST)
    classes = np.asarray(picture)
    picture.putpalette(palette.tobytes())
    write_atomic(options.out / "labels.png", lambda file: picture.save(file, "PNG"))
    write_figure(overlay(image, classes, shown, palette), options.out / "overlay.png", dpi=100)
    write_figure(heatmaps(image, maps, names), options.out / "heatmaps.png", dpi=100)
    for k in np.argsort(-np.bincount(classes.ravel(), minlength=len(shown)), kind="stable"):
        share = float((classes == k).mean())
        if share > 0:
            print(f"{100 * share:5.1f} %  {shown[k]}")
    print(f"Wrote labels.png, overlay.png and heatmaps.png to {options.out}.")


# -- what is asked for ------------------------------------------------------------------------------------------------


def class_names(options: Options) -> list[str]:
    """The names of the command line or of its file, without surrounding spaces.

    Raises:
        UserError: both or neither given, a file that cannot be read, no name, a name twice, or too many.
    """
    if (options.names is None) == (options.names_file is None):
        raise UserError("Give the class names either with --names (owl,tree,sky) or with --names-file, one a line.")
    if options.names_file is not None:
        try:
            found = options.names_file.read_text(encoding="utf-8-sig").splitlines()  # editors add a mark
        except UnicodeDecodeError as error:
            raise UserError(f"--names-file {options.names_file} is not text in UTF-8 ({error.reason}).") from None
        except OSError as error:
            raise UserError(f"--names-file {options.names_file} cannot be read ({error.strerror}).") from None
    else:
        found = str(options.names).split(",")
    names = [name.strip() for name in found if name.strip()]
    where = f"--names-file {options.names_file}" if options.names_file else f"--names {options.names!r}"
    if not names:
        raise UserError(f"{where} holds no class name; expected some, such as owl,tree,sky.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{where} holds {twice!r} twice; every class needs a name of its own.")
    if options.background and "background" in names:
        raise UserError(f"{where} holds 'background', which --background adds itself; leave one of them away.")
    if len(names) > MOST:
        raise UserError(f"{where} holds {len(names)} class names; a palette image numbers at most {MOST}.")
    return names


def _check(options: Options) -> None:
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"--out {options.out} is a file; expected a folder.")
    if options.image.resolve() in [(options.out / name).resolve() for name in PICTURES]:
        raise UserError(f"--image {options.image} would be overwritten; give --out another folder.")
    if options.stride is not None and options.stride < 1:
        raise UserError(f"--stride is {options.stride}; expected a number of pixels from 1 on.")
    if options.scale is not None and not 0 < options.scale < math.inf:
        raise UserError(f"--scale is {options.scale}; expected a positive factor, such as 100.")
    if options.entropy is not None and not 0 <= options.entropy < math.inf:
        raise UserError(f"--entropy is {options.entropy}; expected nats from 0 on, such as 1.5.")
    if options.entropy is not None and not options.background:
        raise UserError("--entropy is the threshold of --background; give both.")


def open_model(run: Path) -> tuple[Config, Towers, nn.Module | None]:
    """Configuration, frozen towers and embedder of a finished run.

    Raises:
        UserError: no finished run there, damaged, or of another version of the code.
    """
    with open_trained_run(run, "pacl", Config) as (_, config, weights):
        return config, *trained_model(config, weights)


# -- the pictures -----------------------------------------------------------------------------------------------------


def colours(count: int, background: bool) -> np.ndarray:
    """(count, 3) uint8, all different; the first one black if it is the background."""
    named = count - background
    shades = [*colormaps["tab20"].colors, *colormaps["tab20b"].colors]  # type: ignore[attr-defined]
    if named > len(shades):
        shades = colormaps["hsv"](np.arange(named) / named)[:, :3].tolist()
    found = np.rint(255 * np.array([shade[:3] for shade in shades[:named]])).astype(np.uint8).reshape(-1, 3)
    return np.concatenate([np.zeros((int(background), 3), np.uint8), found])


def overlay(image: Image.Image, classes: np.ndarray, names: Sequence[str], palette: np.ndarray) -> Figure:
    """The image with half-transparent classes, and a legend of those that occur."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    axis = figure.subplots()
    axis.imshow((0.5 * np.asarray(image) + 0.5 * palette[classes]).astype(np.uint8))
    axis.set_axis_off()
    present = np.unique(classes)
    handles = [Patch(color=palette[k] / 255, label=_plain(names[k])) for k in present]
    axis.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def heatmaps(image: Image.Image, maps: np.ndarray, names: Sequence[str]) -> Figure:
    """The image, and the probability map of every name on one scale."""
    columns = min(4, len(names) + 1)
    rows = -(-(len(names) + 1) // columns)
    figure = Figure(figsize=(3 * columns, 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    axes.flat[0].imshow(image)
    colour = ScalarMappable(Normalize(float(maps.min()), float(maps.max())), "inferno")
    for axis, name, heat in zip(axes.flat[1:], names, maps, strict=False):
        axis.imshow(heat, cmap=colour.cmap, norm=colour.norm)
        axis.set_title(_plain(name), fontsize=9)
    figure.colorbar(colour, ax=axes, shrink=0.6, label="probability")
    return figure


def _plain(name: str) -> str:
    """For matplotlib, which takes what stands between dollars for a formula."""
    return name.replace("$", r"\$")


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {__package__}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
