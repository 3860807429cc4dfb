"""The paper's claims as comparisons, fixed before the final seeds were run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(
    title="Contrastive learning of global and local features for medical image segmentation with limited annotations",
    authors="Krishna Chaitanya, Ertunc Erdil, Neerav Karani, Ender Konukoglu",
    venue="NeurIPS 2020",
    arxiv="2006.10511",
    summary="segmentation of volumes from one or two labelled ones, after contrastive pre-training of slices and regions",
)

OFFLINE = ("smoke", "cpu")
COLUMNS = (
    Column("dice_percent", "Dice (%)", 1, headline=True),
    Column("hd95_mm", "HD95 (mm)", 1, headline=True),
    Column("dice_lateral_ventricle_percent", "ventricle", 1, presets=OFFLINE),
    Column("dice_thalamus_percent", "thalamus", 1, presets=OFFLINE),
    Column("dice_putamen_percent", "putamen", 1, presets=OFFLINE),
    Column("dice_hippocampus_percent", "hippocampus", 1, presets=OFFLINE),
    Column("partition_percent", "partition found (%)", 1),
    Column("region_percent", "region found (%)", 1),
)
