"""Explore a house with the committed weights and label what is seen.

``make predict PAPER=selfnav ARGS="--house 7 --out found"`` explores a generated apartment; ``--folder recorded``
labels a user's own posed RGB-D frames (see data.LAYOUT). Both write ``map.png`` (the top-down semantic map with the
walk), ``mesh.ply`` (voxels coloured by class, with class numbers) and ``walk.gif`` (frames, their labels, the walk).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from shared import UserError
from shared.support.command_line import can_write, command
from shared.support.files import write_atomic
from shared.support.weights import open_trained_run

from .build import grid_of, load_segmenter
from .config import Config
from .data import House, environment_of, whole
from .exploration.explore import explore, nearest_frontier
from .houses import own_labels, top_down
from .labelling.mesh import COLOURS, voxel_mesh, write_ply
from .mapping.sparse import Grid
from .mapping.voxels import Voxels
from .model import Segmenter
from .navigation.potentials import FIRST_CLASS, FLOOR, WALL
from .pairs import voxels_of
from .perception import full_size, probabilities
from .simulator.furniture import CATEGORIES
from .sources.log import read_house

RUN = Path(__file__).parent / "weights" / "selfnav.json"
WRITTEN = ("map.png", "mesh.ply", "walk.gif")
CELL = 0.05  # metres of a cell of the written map
SHOWN = 240  # pixels of a side in the animation
COLOUR_NAMES = ("red", "green", "turquoise", "blue", "purple", "orange")  # of the categories, in COLOURS


@dataclass(frozen=True)
class Options:
    """Explore a generated apartment, or label recorded frames, and write map, mesh and animation."""

    out: Path
    """Folder for map.png, mesh.ply and walk.gif."""
    house: int | None = None
    """Seed of a generated apartment in the real style; the committed weights know the furniture of seeds below 24."""
    folder: Path | None = None
    """Recorded house in place of a generated one: rgb/, depth/, poses.csv and intrinsics.json."""
    steps: int = 360
    """Actions of the exploration of a generated apartment."""
    run: Path | None = None
    """Folder of a trained run, or the .json beside committed weights; default: the weights of this folder."""
    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Read or explore, label, write, and print how many voxels each category has."""
    if (options.house is None) == (options.folder is None):
        raise UserError("Give either --house, the seed of an apartment, or --folder, a recorded house.")
    if options.house is not None and options.house < 0:
        raise UserError(f"--house is {options.house}; expected 0 or more.")
    if options.steps < 12:
        raise UserError(f"--steps is {options.steps}; expected 12 or more.")
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"--out {options.out} is a file; expected a folder.")
    config, network = trained_segmenter(options.run or RUN)
    house = found_house(options, config)
    for name in WRITTEN:
        can_write(options.out / name)
    voxels = voxels_of(config, house)
    labelled = own_labels(config, house, voxels, network, torch.device("cpu"))
    seen = np.zeros(voxels.shape, bool)
    seen.ravel()[voxels.index[voxels.index >= 0]] = True
    write_ply(options.out / "mesh.ply", *voxel_mesh(seen, labelled.voxel_labels, voxels.origin, voxels.size))
    plan, grid = semantic_map(labelled.voxel_labels, voxels)
    picture = with_walk(plan, grid, house.frames.poses, 3 * grid.size)
    write_atomic(options.out / "map.png", lambda file: picture.save(file, "PNG"))
    write_animation(options.out / "walk.gif", network, house, plan, grid)
    counts = np.bincount(labelled.voxel_labels.ravel(), minlength=1 + len(CATEGORIES))
    for name, colour, count, objects in zip(
        CATEGORIES, COLOUR_NAMES, counts[1:], _objects(labelled.instances, labelled.voxel_labels), strict=True
    ):
        print(f"{count:7d} voxels in {objects:3d} objects   {name} ({colour})")
    print(f"Wrote {', '.join(WRITTEN)} to {options.out}.")


def trained_segmenter(run: Path) -> tuple[Config, Segmenter]:
    """Configuration and segmenter of a run of any stage.

    Raises:
        UserError: no finished run there, damaged, or of another version of the code.
    """
    with open_trained_run(run, "selfnav", Config) as (_, config, weights):
        return config, load_segmenter(config, weights)


def found_house(options: Options, config: Config) -> House:
    """The recorded frames, or those of an exploration."""
    if options.folder is not None:
        if not options.folder.is_dir():
            raise UserError(
                f"--folder {options.folder} is no folder; expected one of rgb/, depth/, poses.csv and intrinsics.json."
            )
        frames, truth, camera = read_house(options.folder, config.resolution)
        return House(options.folder.name, frames, truth, camera)
    number = options.house or 0
    env = environment_of(config, number, "unseen")
    frames, _ = explore(
        env, grid_of(config), picker=nearest_frontier, steps=options.steps, every=config.frame_every, seed=number
    )
    return whole(config, "unseen", number, frames)


def _objects(instances: np.ndarray, labels: np.ndarray) -> list[int]:
    return [len(np.unique(instances[(labels == 1 + k) & (instances > 0)])) for k in range(len(CATEGORIES))]


def semantic_map(labels: np.ndarray, voxels: Voxels) -> tuple[np.ndarray, Grid]:
    """(M, M, 3) uint8, row = y: floor light, walls dark, categories in their colours; and the map's grid."""
    extent = max(voxels.shape[:2]) * voxels.size
    size = int(np.ceil(extent / CELL))
    grid = Grid(size, CELL, (float(voxels.origin[0]), float(voxels.origin[1])))
    plan = top_down(labels, voxels, grid, len(CATEGORIES))
    picture = np.full((size, size, 3), 255, np.uint8)
    picture[plan[FLOOR]] = 225
    picture[plan[WALL]] = 90
    for k, where in enumerate(plan[FIRST_CLASS:]):
        picture[where] = COLOURS[1 + k]
    return picture, grid


def with_walk(plan: np.ndarray, grid: Grid, poses: np.ndarray, side: int) -> Image.Image:
    """The map with y up, ``side`` pixels a side, with a black line along poses (n, 3) and a dot where it ends."""
    picture = Image.fromarray(plan[::-1]).resize((side, side), Image.Resampling.NEAREST)
    middle = (grid.cells(poses) + 0.5) * side / grid.size
    points = [(float(column), float(side - row)) for row, column in middle]
    draw = ImageDraw.Draw(picture)
    draw.line(points, fill=(0, 0, 0), width=2)
    x, y = points[-1]
    draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(0, 0, 0))
    return picture


def write_animation(path: Path, network: Segmenter, house: House, plan: np.ndarray, grid: Grid) -> None:
    """A GIF of the frames, of the network's labels for them, and of the walk so far on the finished map."""
    predicted = full_size(probabilities(network, house.frames.rgb, torch.device("cpu"))).argmax(1)
    pictures = []
    for k, (rgb, label) in enumerate(zip(house.frames.rgb, predicted, strict=True)):
        overlaid = np.where((label > 0)[..., None], (rgb // 3 + COLOURS[label] // 3 * 2), rgb).astype(np.uint8)
        pair = Image.fromarray(np.concatenate([rgb, overlaid], 1)).resize((2 * SHOWN, SHOWN), Image.Resampling.NEAREST)
        picture = Image.new("RGB", (3 * SHOWN, SHOWN))
        picture.paste(pair, (0, 0))
        picture.paste(with_walk(plan, grid, house.frames.poses[: k + 1], SHOWN), (2 * SHOWN, 0))
        pictures.append(picture)
    write_atomic(
        path,
        lambda file: pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=120, loop=0),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {__package__}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
