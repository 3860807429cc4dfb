"""The three data sets of the paper, and the one that is synthesised here, behind one interface."""

from . import acdc, mmwhs, mni_synth, prostate
from .description import Dataset

DATASETS: dict[str, Dataset] = {x.name: x for x in (acdc.DATASET, prostate.DATASET, mmwhs.DATASET)}
"""Those of the paper, which are found in a folder."""
__all__ = ["DATASETS", "Dataset", "acdc", "mmwhs", "mni_synth", "prostate"]
