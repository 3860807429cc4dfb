"""Explore a house and write its frames as a recorded house, which the paper preset trains on.

``python -m papers.selfnav.sources.record --scene Darden.glb --out data/unseen/Darden`` needs habitat-sim;
``--house 7 --style real`` records a generated apartment; ``--style web`` makes one for ``web/`` if you have no labelled
pictures with depth and poses.
"""

import csv
import functools
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from shared import UserError
from shared.support.command_line import can_write, command
from shared.support.files import write_atomic, write_json

from ..exploration.explore import explore, nearest_frontier
from ..mapping.projection import Camera
from ..mapping.sparse import Grid
from ..simulator.environment import ObjectNav
from ..simulator.render import Frames
from .habitat import HabitatObjectNav

SIDE, CELL = 480, 0.1  # cells, and metres of a cell, of the map around the start


@dataclass(frozen=True)
class Options:
    """Explore a house and write its frames, poses and labels."""

    out: Path
    """Folder for rgb/, depth/, labels/, poses.csv and intrinsics.json."""
    scene: Path | None = None
    """Scanned house, a .glb of Gibson or HM3D; needs habitat-sim."""
    dataset: Path | None = None
    """Dataset configuration of the scene, a .scene_dataset_config.json, for its semantics."""
    house: int | None = None
    """Seed of a generated apartment, in place of a scene."""
    style: Literal["web", "sim", "real"] = "real"
    """Style of a generated apartment."""
    resolution: int = 128
    """Pixels of a side of a frame."""
    steps: int = 600
    """Actions of the exploration."""
    every: int = 2
    """Actions between two frames that are written."""
    seed: int = 0
    """Seed of the start and of the exploration."""
    debug: bool = False
    """Show the traceback of an error."""


def record(options: Options) -> None:
    """Explore and write."""
    if (options.scene is None) == (options.house is None):
        raise UserError("Give either --scene, a scanned house, or --house, the seed of a generated one.")
    if min(options.resolution, options.steps, options.every) < 1:
        raise UserError("--resolution, --steps and --every have to be 1 or more.")
    if min(options.seed, options.house or 0) < 0:
        raise UserError("--seed and --house have to be 0 or more.")
    can_write(options.out / "poses.csv")
    env: Any
    if options.scene is not None:
        env = HabitatObjectNav(options.scene, dataset=options.dataset, resolution=options.resolution)
        category = env.category
    else:
        env = ObjectNav(options.house or 0, options.style, resolution=options.resolution)
        category = env.house.category
    start, _ = env.reset(seed=options.seed)
    x, y = start["pose"][:2]
    grid = Grid(SIDE, CELL, (float(x) - SIDE * CELL / 2, float(y) - SIDE * CELL / 2))
    frames, _ = explore(env, grid, picker=nearest_frontier, steps=options.steps, every=options.every, seed=options.seed)
    write_house(options.out, frames, category[frames.instance], env.camera)
    print(f"Wrote {len(frames)} frames to {options.out}.")


def write_house(folder: Path, frames: Frames, truth: np.ndarray, camera: Camera) -> None:
    """Write frames, labels (n, H, W) and the camera as :data:`.log.LAYOUT` says."""
    rows = [("frame", "x", "y", "heading")]
    for k in range(len(frames)):
        name = f"{k:05d}"
        rows.append((name, *(repr(float(x)) for x in frames.poses[k])))  # type: ignore[arg-type]
        pictures = {
            "rgb": frames.rgb[k],
            "depth": (1000 * frames.depth[k]).round().astype(np.uint16),
            "labels": truth[k].astype(np.uint8),
        }
        for kind, pixels in pictures.items():
            save = functools.partial(Image.fromarray(pixels).save, format="PNG")
            write_atomic(folder / kind / f"{name}.png", save)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    write_atomic(folder / "poses.csv", table.getvalue().encode())
    write_json(folder / "intrinsics.json", {"fov_degrees": camera.fov, "camera_height": camera.elevation})


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, record, f"python -m {__package__}.record", arguments)


if __name__ == "__main__":
    sys.exit(main())
