"""Complete a user's image: guided by a layout or automatically, or with an object inserted, replaced or removed.

``make predict PAPER=structcomp ARGS="--image photo.jpg --mask hole.png --out folder"`` writes ``completed.png``, the
image with its hole filled, and ``sheet.png``: image, hole, layout and result side by side.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from scipy import ndimage

from shared import UserError
from shared.support.command_line import can_write, command
from shared.support.figures import write_figure
from shared.support.files import write_atomic
from shared.support.images import read_image
from shared.support.weights import committed_weights, open_trained_run, weights_file

from .build import LAYOUT_FILE, load_generator, load_layout_network
from .complete import Completer, as_pixels
from .config import Config
from .data import class_table
from .datasets.items import nearest, read_map
from .figures import SHADES, holed, painted
from .structure.layout import ClassTable, Edit, grown, insertion, removal, replacement

RUN = Path(__file__).parent / "weights" / "structcomp.json"
PICTURES = ("completed.png", "sheet.png")
CONTEXT = 2.0  # side of the square that the network sees, as a factor on the hole's longer side


@dataclass(frozen=True)
class Options:
    """Fill a hole of an image, or insert, replace or remove an object."""

    image: Path
    """A photo: JPEG, PNG, WebP or whatever else Pillow reads."""
    mask: Path
    """An image of the same size: the hole is white. For an edit it is the silhouette of the object."""
    out: Path
    """Folder for completed.png and sheet.png."""
    edit: Literal["complete", "insert", "replace", "remove"] = "complete"
    """Fill the hole, or insert, replace or remove the object whose silhouette --mask is."""
    new_class: str | None = None
    """Class of the object that --edit insert or --edit replace paints, such as bird."""
    label: Path | None = None
    """Layout of the whole image: a PNG of class numbers (see the README), of the same size. Without it the layout
    network imagines one."""
    seed: int = 0
    """Seed of the latent: another one gives another completion."""
    run: Path | None = None
    """Folder of a trained run, or the .json beside committed weights; default: the weights of this folder."""
    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Read the image and its mask, write the two pictures."""
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"--out {options.out} is a file; expected a folder.")
    inputs = [path for path in (options.image, options.mask, options.label) if path]
    if taken := [x for x in inputs if x.resolve() in [(options.out / name).resolve() for name in PICTURES]]:
        raise UserError(f"{taken[0]} would be overwritten; give --out another folder.")
    image = np.array(read_image(options.image))
    chosen = read_mask(options.mask, image.shape[:2])
    completer = trained_completer(options.run or RUN)
    new_class = class_number(options, completer.table)
    label = read_label(options.label, image.shape[:2], completer.table) if options.label else None
    for picture in PICTURES:
        can_write(options.out / picture)
    square, size = window(chosen), completer.config.size
    pixels = image[square]
    filled, guided_by, small_hole = complete_square(
        completer,
        np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS)),
        touched(chosen[square], size),
        None if label is None else nearest(label[square], size).astype(np.int64),
        options,
        new_class,
    )
    shape = pixels.shape[1::-1]
    hole, result = chosen.copy(), image.copy()
    if options.edit != "complete":  # an edit paints a rim around the silhouette, too
        hole[square] |= np.asarray(Image.fromarray(small_hole).resize(shape, Image.Resampling.NEAREST))
    large = np.asarray(Image.fromarray(filled).resize(shape, Image.Resampling.BICUBIC))
    result[square] = np.where(hole[square][..., None], large, pixels)
    write_atomic(options.out / "completed.png", lambda file: Image.fromarray(result).save(file, "PNG"))
    figure = sheet(image, hole, guided_by, small_hole, result, completer.table)
    write_figure(figure, options.out / "sheet.png", dpi=100)
    print(f"Filled {100 * hole.mean():.1f} % of the image. Wrote {', '.join(PICTURES)} to {options.out}.")


def read_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A mask (H, W) bool, True where it is white.

    Raises:
        UserError: if it cannot be read, has another size, or is all black or all white.
    """
    mask = np.array(read_image(path, "--mask").convert("L"))
    if mask.shape != shape:
        raise UserError(
            f"--mask {path} has {mask.shape[1]} x {mask.shape[0]} pixels and --image {shape[1]} x {shape[0]}; expected "
            "the same size."
        )
    hole = mask > 127
    if not hole.any() or hole.all():
        raise UserError(f"--mask {path} is all {'white' if hole.all() else 'black'}; expected white where to paint.")
    return hole


def read_label(path: Path, shape: tuple[int, ...], table: ClassTable) -> np.ndarray:
    """A class map (H, W) uint8.

    Raises:
        UserError: if it cannot be read, has another size, or numbers that are no class.
    """
    if not path.exists():
        raise UserError(f"--label {path} is missing; expected a PNG of class numbers.")
    try:
        label = read_map(path)
    except UserError as error:
        raise UserError(f"--label cannot be used. {error}") from None
    if label.shape != shape:
        raise UserError(
            f"--label {path} has {label.shape[1]} x {label.shape[0]} pixels and --image {shape[1]} x {shape[0]}; "
            "expected the same size."
        )
    if int(label.max()) > table.count:
        raise UserError(f"--label {path} holds the class {label.max()}; expected 0 to {table.count}.")
    return label.astype(np.uint8)


def class_number(options: Options, table: ClassTable) -> int:
    """Number of the class that was asked for; 0 if the edit needs none.

    Raises:
        UserError: if an edit lacks its class, or there is no thing of that name.
    """
    things = table.names[1 : table.things + 1]
    if options.edit not in ("insert", "replace"):
        if options.new_class:
            raise UserError(f"--new-class has no meaning with --edit {options.edit}; leave it out.")
        return 0
    if options.new_class not in things:
        given = f"is {options.new_class}" if options.new_class else "is missing"
        raise UserError(f"--new-class {given}; --edit {options.edit} needs one of: {', '.join(things)}.")
    return 1 + things.index(options.new_class)


def trained_completer(run: Path) -> Completer:
    """Generator and layout network of a trained run.

    Raises:
        UserError: no finished run there, damaged, or one without guidance by layouts.
    """
    with open_trained_run(run, "structcomp", Config) as (variant, config, weights):
        table = class_table(config)
        if config.guidance != "panoptic" or config.method == "probe":
            raise UserError(
                f"{run} is of the variant {variant}, which has no layouts; give --run another, such as structcomp."
            )
        network = load_generator(config, table, weights)
    path = committed_weights(run, LAYOUT_FILE) if run.suffix == ".json" else weights_file(run, LAYOUT_FILE)
    with open_trained_run(run, "structcomp", Config, LAYOUT_FILE):
        layout = load_layout_network(config, table, path)
    return Completer(config, table, network, layout)


def window(hole: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a square around the hole; the whole image if the hole is longer than the image's short side.

    The whole image is squeezed into the network's square then.
    """
    height, width = hole.shape
    ys, xs = np.nonzero(hole)
    longer = int(max(ys.max() - ys.min(), xs.max() - xs.min())) + 1
    side = min(max(round(CONTEXT * longer), 16), height, width)
    if side < longer:
        return slice(0, height), slice(0, width)
    starts = []
    for x, length in ((ys, height), (xs, width)):
        middle = (int(x.min()) + int(x.max()) + 1) // 2
        starts.append(min(max(middle - side // 2, 0), length - side))
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def touched(mask: np.ndarray, size: int) -> np.ndarray:
    """The mask (H, W) bool at (size, size): every pixel of which any part is masked, so that nothing shows through."""
    shares = Image.fromarray(mask.astype(np.float32)).resize((size, size), Image.Resampling.BOX)
    return np.asarray(shares) > 0


def complete_square(
    completer: Completer,
    image: np.ndarray,
    chosen: np.ndarray,
    label: np.ndarray | None,
    options: Options,
    new_class: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The completed square (S, S, 3) uint8, the class map that guided it, and its hole.

    Args:
        image: (S, S, 3) uint8.
        chosen: (S, S) bool, the hole or the silhouette.
        label: (S, S) int64, or None: the layout network says what the image shows.
    """
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()[None] / 127.5 - 1
    generator = torch.Generator().manual_seed(options.seed)
    z = torch.randn(1, completer.config.z_dim, generator=generator)
    missing = torch.from_numpy(chosen).float()[None, None]
    known = None if label is None else torch.from_numpy(label)[None]
    if options.edit != "complete":
        edit = edited_layout(completer, pixels, chosen, known, options, new_class)
        completed = completer.edited(pixels[0], edit, z[0])[None]
        guide, chosen = torch.from_numpy(edit.label)[None], edit.hole
    elif known is not None:
        completed, guide = completer.guided(pixels, missing, known, connected(known, completer.table), z), known
    else:
        completed, guide = completer.automatic(pixels, missing, z)
    return as_pixels(completed[0]), guide[0].numpy(), chosen


def edited_layout(
    completer: Completer,
    pixels: torch.Tensor,
    silhouette: np.ndarray,
    known: torch.Tensor | None,
    options: Options,
    new_class: int,
) -> Edit:
    """The layout of an image (1, 3, S, S) after an edit at a silhouette (S, S); without a layout it is what is seen."""
    seen = known if known is not None else completer.imagined_layout(pixels, torch.zeros_like(pixels[:, :1]))[0]
    label, instances = seen[0].numpy(), connected(seen, completer.table)[0].numpy()
    layout = Edit(silhouette, label, instances)
    if options.edit == "insert":
        return insertion(layout, silhouette, new_class)
    if options.edit == "remove" and known is None:  # a layout that is only seen reaches over the object's outline
        silhouette = grown(silhouette)
    number = int(instances.max()) + 1
    layout = Edit(silhouette, label, np.where(silhouette, number, instances))
    if options.edit == "replace":
        return replacement(layout, number, new_class)
    return removal(layout, number, completer.table)


def connected(label: torch.Tensor, table: ClassTable) -> torch.Tensor:
    """Instances (1, S, S) of a class map without any: the connected parts of each thing class."""
    found, count = np.zeros(label.shape[1:], np.int64), 0
    for thing in range(1, table.things + 1):
        parts, number = ndimage.label(label[0].numpy() == thing)
        found = np.where(parts > 0, parts + count, found)
        count += number
    return torch.from_numpy(found)[None]


def sheet(
    image: np.ndarray,
    hole: np.ndarray,
    layout: np.ndarray,
    small_hole: np.ndarray,
    result: np.ndarray,
    table: ClassTable,
) -> Figure:
    """Image, image with its hole, layout of the square around the hole (the hole's outline in white), result."""
    outlined = painted(layout)
    outlined[small_hole & ~ndimage.binary_erosion(small_hole)] = 255
    figure = Figure(figsize=(14, 4), layout="constrained")
    shown = (("image", image), ("hole", holed(image, hole)), ("layout around the hole", outlined), ("result", result))
    axes = figure.subplots(1, len(shown))
    for axis, (title, picture) in zip(axes, shown, strict=True):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(title)
        axis.set_axis_off()
    classes = [Patch(color=SHADES[k] / 255, label=table.names[k]) for k in np.unique(layout)]
    axes[2].legend(handles=classes, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, fontsize=8, frameon=False)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {__package__}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
