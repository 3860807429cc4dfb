"""The paper's claims as comparisons, fixed before the final seeds were run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(
    title="Contrastive learning of global and local features for medical image segmentation with limited annotations",
    authors="Krishna Chaitanya, Ertunc Erdil, Neerav Karani, Ender Konukoglu",
    venue="NeurIPS 2020",
    arxiv="2006.10511",
    datasets=("ACDC", "MSD Prostate", "MMWHS"),
    summary="segmentation with one or two labelled volumes, after contrastive pre-training of slices and regions",
    conclusion=(
        "On synthesised brains, pre-training on unlabelled volumes helps where labels are few: clearly with one "
        "labelled volume, less with two, and not measurably with eight. What the paper adds to plain contrastive "
        "learning does not show: SimCLR and even the prediction of rotations help as much with two volumes, and the "
        "local loss adds nothing that five label sets can tell from zero. Mixup lowers the Dice here, and two volumes "
        "stay far from the benchmark. The subjects stem from three real scans and the network is small: build on the "
        "pre-training, but measure on your own volumes whether its structure is worth more than SimCLR."
    ),
)

OFFLINE = ("smoke", "cpu")
ACDC = ("paper",)  # the data set that the preset names first
COLUMNS = (
    Column("dice_percent", "Dice (%)", 1, headline=True),
    Column("hd95_mm", "HD95 (mm)", 1, headline=True),
    Column("dice_lateral_ventricle_percent", "Dice, ventricle", 1, presets=OFFLINE),
    Column("dice_thalamus_percent", "Dice, thalamus", 1, presets=OFFLINE),
    Column("dice_putamen_percent", "Dice, putamen", 1, presets=OFFLINE),
    Column("dice_hippocampus_percent", "Dice, hippocampus", 1, presets=OFFLINE),
    Column("dice_right_ventricle_percent", "Dice, RV", 1, presets=ACDC),
    Column("dice_myocardium_percent", "Dice, myocardium", 1, presets=ACDC),
    Column("dice_left_ventricle_percent", "Dice, LV", 1, presets=ACDC),
    Column("partition_percent", "partition found (%)", 1),
    Column("region_percent", "region found (%)", 1),
)

_TABLE = "ablation table, from memory, unverified"
CLAIMS = (
    Claim(
        "global-over-scratch", 1, "Pre-training slices with the volumes' structure (G^D) helps: 2 labelled volumes.",
        "abstract", "dice_percent", "d-2", "scratch-2",
    ),
    Claim(
        "global-over-scratch-1", 1, "The same, 1 labelled volume.", "abstract", "dice_percent", "d-1", "scratch-1",
    ),
    Claim(
        "structure-over-simclr", 1, "That structure helps beyond plain contrastive learning (G^D over G^R).",
        "abstract", "dice_percent", "d-2", "r-2",
    ),
    Claim(
        "negatives-over-simclr", 1, "Leaving out negatives of the same partition helps by itself (G^D- over G^R).",
        _TABLE, "dice_percent", "d-minus-2", "r-2",
    ),
    Claim(
        "positives-over-negatives", 1, "Positives from other volumes help on top (G^D over G^D-).",
        _TABLE, "dice_percent", "d-2", "d-minus-2",
    ),
    Claim(
        "slices-by-position", 1, "After G^D a slice's nearest slice of another subject is of its partition.",
        "control", "partition_percent", "encoder-d", "encoder-none", control=True,
    ),
    Claim(
        "local-on-top", 2, "Pre-training regions (L^R) helps on top of G^D: 2 labelled volumes.", "abstract",
        "dice_percent", "proposed-2", "d-2", headline=True,
    ),
    Claim(
        "local-on-top-1", 2, "The same, 1 labelled volume.", "abstract", "dice_percent", "proposed-1", "d-1",
    ),
    Claim(
        "local-volumes-on-top", 2, "So does the local loss between volumes (L^D).", _TABLE,
        "dice_percent", "d-local-d-2", "d-2",
    ),
    Claim(
        "few-labels-1", 3, "The whole pre-training helps with 1 labelled volume.", "abstract",
        "dice_percent", "proposed-1", "scratch-1", headline=True,
    ),
    Claim(
        "few-labels-2", 3, "The same, 2 labelled volumes.", "abstract", "dice_percent", "proposed-2", "scratch-2",
        headline=True,
    ),
    Claim(
        "few-labels-8", 3, "The same, 8 labelled volumes.", "abstract", "dice_percent", "proposed-8", "scratch-8",
    ),
    Claim(
        "gain-shrinks", 3, "The gain is larger with 2 labelled volumes than with 8.", _TABLE,
        "dice_percent", "proposed-2", "proposed-8", minus_a="scratch-2", minus_b="scratch-8",
    ),
    Claim(
        "labels-are-few", 3, "Labels are what is missing: with all of them the baseline is far better.", "control",
        "dice_percent", "scratch-all", "scratch-2", margin=5.0, control=True,
    ),
    Claim(
        "baseline-learns", 3, "The baseline learns from more labels: 8 against 2.", "control",
        "dice_percent", "scratch-8", "scratch-2", control=True,
    ),
    Claim(
        "over-rotation", 4, "It beats a self-supervised pretext task: prediction of rotations.", "abstract",
        "dice_percent", "proposed-2", "rotation-2",
    ),
    Claim(
        "over-mixup", 4, "It beats mixup alone.", "abstract", "dice_percent", "proposed-2", "mixup-2",
    ),
    Claim(
        "within-8-percent", 5, "With mixup, two labelled volumes come within 8 % of the benchmark's Dice.", "abstract",
        "dice_percent", "proposed-mixup-2", "scratch-all", margin=0.92, relation="ratio",
    ),
    Claim(
        "mixup-on-top", 5, "Mixup helps on top of the pre-training.", "abstract",
        "dice_percent", "proposed-mixup-2", "proposed-2",
    ),
)  # fmt: skip

_MEMORY = "recollection of the paper's table"


def _reported(variant: str, labelled: str, acdc: str, prostate: str, mmwhs: str, headline: bool = False) -> Reported:
    value = f"{acdc} / {prostate} / {mmwhs}"
    return Reported(variant, f"Dice (%), ACDC / Prostate / MMWHS, {labelled} labelled", value, _MEMORY, False, headline)


REPORTED = (
    _reported("scratch-1", "1", "61.4", "48.9", "45.1"),
    _reported("scratch-2", "2", "70.2", "55.0", "63.7", headline=True),
    _reported("scratch-8", "8", "84.4", "63.6", "78.7"),
    _reported("scratch-all", "all", "91.2", "69.7", "78.7", headline=True),
    _reported("r-1", "1", "63.1", "52.1", "50.0"),
    _reported("r-2", "2", "72.9", "58.0", "65.9", headline=True),
    _reported("r-8", "8", "84.7", "65.4", "78.5"),
    _reported("d-1", "1", "69.1", "57.9", "55.3"),
    _reported("d-2", "2", "78.4", "60.0", "68.6", headline=True),
    _reported("d-8", "8", "87.0", "67.7", "79.3"),
    _reported("proposed-1", "1", "72.5", "57.9", "56.9"),
    _reported("proposed-2", "2", "78.9", "61.9", "69.4", headline=True),
    _reported("proposed-8", "8", "87.2", "68.4", "79.4"),
    _reported("proposed-mixup-1", "1", "75.7", "58.8", "61.7"),
    _reported("proposed-mixup-2", "2", "82.6", "62.6", "71.0", headline=True),
    _reported("proposed-mixup-8", "8", "88.6", "68.4", "79.4"),
)
