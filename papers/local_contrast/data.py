"""Volumes as slices: MNI-Synth by default, or ACDC, MSD Prostate or MMWHS from a folder.

``python -m papers.local_contrast.data --write DIR`` writes MNI-Synth as NIfTI files in ACDC's layout. The offline run
reads its subjects from such files, through ACDC's reader.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared import UserError
from shared.loading import cache_file
from shared.support.command_line import command
from shared.support.files import write_atomic
from shared.support.progress import track

from . import volumes
from .config import CPU, Config
from .datasets import DATASETS, Dataset, acdc, mmwhs, mni_synth, nifti, prostate, splits
from .volumes import Grid, normalise

LAYOUT = "\n".join([acdc.LAYOUT, prostate.LAYOUT, mmwhs.LAYOUT])
KINDS = ("images", "labels")  # arrays of a prepared volume


@dataclass(frozen=True)
class Slices:
    """A prepared volume, as the network sees it."""

    subject: str
    images: Tensor
    """(Q, H, W) float32."""
    labels: Tensor
    """(Q, H, W) int64."""


def find(root: Path) -> tuple[Dataset, Path]:
    """The data set in a folder, and the folder that its reader wants.

    Raises:
        UserError: if there is none, or more than one.
    """
    found = [(x, folder) for x in DATASETS.values() if (folder := x.folder(root)) is not None]
    if len(found) != 1:
        have = " and ".join(x.title for x, _ in found) or "none of the paper's data sets"
        raise UserError(f"{root} has {have}; expected one of them a folder:\n{LAYOUT}")
    return found[0]


def dataset_of(config: Config) -> Dataset:
    """The data set of a run."""
    return find(Path(config.data))[0] if config.data else mni_synth.DATASET


def split_of(config: Config, seed: int) -> splits.Split:
    """Subjects of a run: pre-training, labelled, validation, test."""
    if config.data is None:
        return splits.synthetic_split(config.subjects, config.labelled, seed)
    return splits.split(dataset_of(config).name, config.labelled, seed, released=config.splits == "released")


def check(root: Path) -> list[str]:
    """Read every subject of a data set's lists: how many are whole, which are missing, what is wrong with others.

    Raises:
        UserError: if there is no data set, or more than one.
    """
    dataset, folder = find(root)
    missing, faults = [], []
    subjects = splits.subjects(dataset.name)
    for name in track(subjects, "reading the subjects"):
        try:
            if any(path.exists() or path.is_symlink() for path in dataset.files(folder, name)):
                dataset.read(folder, name)
            else:
                missing.append(name)
        except UserError as error:
            faults.append(str(error))
    lines = [f"{dataset.title}: {len(subjects) - len(missing) - len(faults)} of {len(subjects)} subjects are whole"]
    lines += [f"missing: {', '.join(missing)}"] if missing else []
    return lines + faults


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Read, normalise and resample every volume, once for all runs; describe the data.

    Returns: ``{"name", "train", "test", "sha256", "scale"}`` for the results file; items are volumes.

    Raises:
        UserError: if ``config.data`` does not hold what LAYOUT says, or a file of it is bad.
    """
    dataset, subjects = dataset_of(config), subjects_of(config)
    path = stored_file(config, cache)
    if not path.exists():
        root = volumes_folder(config, cache)
        arrays: dict[str, np.ndarray] = {}
        for name in track(subjects, "preparing the volumes"):
            images, labels = slices_of(dataset, dataset.read(root, name), config.n4, dataset.files(root, name)[0])
            arrays |= {f"{name}_{kind}": x for kind, x in zip(KINDS, (images, labels), strict=True)}
        write_atomic(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
    split = split_of(config, 0)
    listed = "" if config.data is None else splits.text(dataset.name)
    return {
        "name": dataset.title,
        "train": len(split.pretraining),
        "test": len(split.test),
        "sha256": hashlib.sha256(path.read_bytes() + listed.encode()).hexdigest(),
        "scale": f"{dataset.size} x {dataset.size} px of {dataset.resolution:g} mm, U-Net of widths "
        f"{', '.join(map(str, config.widths))}, {config.encoder_steps} steps of stage 1, {config.decoder_steps} of "
        f"stage 2, {config.segmentation_steps} of stage 3 (benchmark: "
        f"{config.benchmark_steps or config.segmentation_steps}) with {config.batch_size} slices, learning rates "
        f"{config.learning_rate:g} and {config.fine_tuning_rate:g}",
    }


def subjects_of(config: Config) -> list[str]:
    """Every subject that some run of these settings reads."""
    if config.data is None:
        return [f"{k:03}" for k in range(sum(config.subjects))]
    return splits.subjects(dataset_of(config).name)


def load(config: Config, cache: Path, subjects: Sequence[str]) -> list[Slices]:
    """Prepared volumes, from what :func:`prepare` left."""
    with np.load(stored_file(config, cache)) as content:
        images, labels = ([torch.from_numpy(content[f"{name}_{kind}"]) for name in subjects] for kind in KINDS)
        return [Slices(name, x, y.long()) for name, x, y in zip(subjects, images, labels, strict=True)]


def native(config: Config, cache: Path, subject: str) -> tuple[np.ndarray, Grid, Sequence[float]]:
    """A subject's labels (X, Y, Z) as they were drawn, their place in the slices, and their spacing in mm."""
    dataset = dataset_of(config)
    volume = dataset.read(volumes_folder(config, cache), subject)
    assert volume.labels is not None
    return volume.labels, Grid.of(volume, dataset.size, dataset.resolution), volume.spacing


def slices_of(dataset: Dataset, volume: nifti.Volume, n4: bool, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (Q, H, W) float32 and labels (Q, H, W) uint8 of a volume with labels; ``path`` is for messages."""
    assert volume.labels is not None
    grid = Grid.of(volume, dataset.size, dataset.resolution)
    try:
        image = normalise(volumes.correct_bias(volume) if n4 else volume.image)
    except UserError as error:
        raise UserError(f"{path} cannot be used. {error}") from None
    return grid.slices(image, order=1).astype(np.float32), grid.slices(volume.labels, order=0)


def volumes_folder(config: Config, cache: Path) -> Path:
    """Where the reader finds the volumes; those of MNI-Synth are synthesised first, if need be."""
    if config.data:
        return find(Path(config.data))[1]
    folder = cache_file(cache, "mni-synth.", mni_synth, *config.subjects)
    if not folder.exists():
        begun = folder.with_name(f"{folder.name}{os.getpid()}.partial")
        shutil.rmtree(begun, ignore_errors=True)
        mni_synth.write_subjects(begun, sum(config.subjects))
        try:
            begun.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(begun)
    return folder / "training"


def stored_file(config: Config, cache: Path) -> Path:
    """The prepared volumes: another file for other settings, code, or sizes of the files read."""
    modules = (sys.modules[__name__], volumes, nifti, mni_synth)
    if config.data is None:
        return cache_file(cache, "volumes.npz", *modules, *config.subjects)
    dataset, root = find(Path(config.data))
    paths = [path for name in subjects_of(config) for path in dataset.files(root, name)]
    sizes = [path.stat().st_size if path.exists() else None for path in paths]
    return cache_file(cache, "volumes.npz", *modules, dataset.name, config.n4, *sizes)


@dataclass(frozen=True)
class Options:
    """Write MNI-Synth as NIfTI files in ACDC's layout."""

    write: Path
    """Folder to write training/patientNNN/ into; it must not hold a training folder yet."""
    subjects: int = sum(CPU.subjects)
    """Number of subjects to write."""
    pixels: int = 64
    """Pixels along each side of a slice, which is 128 mm wide."""
    debug: bool = False
    """Show the traceback of an error."""


def write_synthetic(options: Options) -> None:
    """Write the subjects. Raises UserError if the folder has some already, or the numbers make no sense."""
    if (options.write / "training").exists():
        raise UserError(f"{options.write} has a training folder already; give --write another folder.")
    if options.subjects < 1 or options.pixels < 32:
        raise UserError(f"--subjects {options.subjects} --pixels {options.pixels}: expected 1 or more, and 32 or more.")
    mni_synth.write_subjects(options.write, options.subjects, options.pixels)
    print(f"Wrote {options.subjects} subjects to {options.write / 'training'}; licences are in NOTICE.txt.")


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, write_synthetic, f"python -m {__package__}.data", arguments)


if __name__ == "__main__":
    sys.exit(main())
