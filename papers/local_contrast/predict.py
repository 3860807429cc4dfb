"""Segment a user's NIfTI volume: ``make predict PAPER=local_contrast ARGS="--image brain.nii.gz --out labels.nii.gz"``.

Writes a label map in the grid of the image, with its affine, and beside it a PNG with the labels on some slices.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from shared import UserError
from shared.support.command_line import can_write, command, note
from shared.support.figures import write_figure
from shared.support.weights import load_weights, open_trained_run

from . import figures
from .build import segmenter
from .config import Config
from .datasets import Dataset, nifti
from .segment import label_volume
from .volumes import Grid, correct_bias, normalise

COMMITTED = Path(__file__).with_name("weights") / "proposed-8.json"
SUFFIXES = (".nii", ".nii.gz")
PICTURED = 24  # slices in the picture


@dataclass(frozen=True)
class Options:
    """Segment a NIfTI volume with a trained U-Net."""

    image: Path
    """NIfTI volume to segment, slices along any axis; the committed weights need a T1 image of a brain."""
    out: Path
    """Label map to write, .nii or .nii.gz; a picture of it is written beside it, .png."""
    channel: int | None = None
    """Channel to take from a 4-D --image, counted from 0; without it the image has to be 3-D."""
    run: Path | None = None
    """Folder of a trained run of stage 3; without it the committed weights of the paper."""
    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Read the volume, write the label map and the picture, print the volume of each class."""
    _check(options)
    given = nifti.read_image(options.image, channel=options.channel)
    with open_trained_run(options.run or COMMITTED, "local_contrast", Config) as (_, config, weights):
        if config.stage != "segmentation":
            raise UserError(f"{options.run} was trained in stage {config.stage}; expected a run of stage segmentation.")
        network, dataset = segmenter(config, load_weights(weights))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    picture = options.out.with_name(options.out.name.removesuffix(".gz").removesuffix(".nii") + ".png")
    for path in (options.out, picture):
        can_write(path)

    volume = nifti.canonical(given) if dataset.canonical else given
    grid = Grid.of(volume, dataset.size, dataset.resolution)
    _tell_what_is_cut(options.image, grid)
    try:
        image = normalise(correct_bias(volume) if config.n4 else volume.image)
    except UserError as error:
        raise UserError(f"{options.image} cannot be used. {error}") from None
    slices = grid.slices(image, order=1).astype(np.float32)
    labels = label_volume(network.to(device), torch.from_numpy(slices).to(device), grid)

    in_file = nifti.as_in_file(labels, given.affine) if dataset.canonical else labels
    nifti.write(options.out, in_file, given.affine, like=options.image)
    write_figure(montage(slices, grid.slices(labels, order=0), dataset), picture, dpi=100)
    millilitres = math.prod(volume.spacing) / 1000
    for k, name in enumerate(dataset.classes[1:], 1):
        print(f"{int((labels == k).sum()) * millilitres:8.2f} ml  {k} {name}")
    print(f"Wrote {options.out} and {picture}.")


def _check(options: Options) -> None:
    if not options.out.name.endswith(SUFFIXES):
        raise UserError(f"--out {options.out} is no name of a NIfTI file; expected one that ends in .nii or .nii.gz.")
    if options.out.resolve() == options.image.resolve():
        raise UserError(f"--out {options.out} would overwrite the image; give another name.")
    if options.channel is not None and options.channel < 0:
        raise UserError(f"--channel is {options.channel}; expected a number from 0 on.")


def _tell_what_is_cut(image: Path, grid: Grid) -> None:
    """Say so if the network sees much less, or much more, than the slices of the image."""
    height, width = (n * grid.resolution for n in grid.resampled)
    side = grid.size * grid.resolution
    if max(height, width) > 1.25 * side or min(height, width) < 0.75 * side:
        note(
            f"the slices of {image} are {width:.0f} x {height:.0f} mm, and the network was trained on their central "
            f"{side:.0f} x {side:.0f} mm; the rest is background. Crop the image around the structures if need be."
        )


def montage(slices: np.ndarray, labels: np.ndarray, dataset: Dataset) -> Figure:
    """Evenly spread slices (Q, H, W) with their labels in colour, and a legend of the classes."""
    chosen = np.unique(np.linspace(0, len(slices) - 1, min(PICTURED, len(slices))).round().astype(int))
    columns = min(6, len(chosen))
    figure, axes = figures.grid(-(-len(chosen) // columns), columns)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, k in zip(axes.flat, chosen, strict=False):
        figures.paint(axis, slices[k], labels[k])
    colours = figures.CLASS_COLOURS / 255
    handles = [Patch(color=colours[k], label=name) for k, name in enumerate(dataset.classes) if k]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), fontsize=7, frameon=False)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {__package__}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
