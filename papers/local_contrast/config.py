"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from shared.paper import Variant

ALL = 0  # `labelled`: every volume of the pool


@dataclass(frozen=True)
class Config:
    """One stage of one run. The defaults are the paper's values, as its official code has them."""

    data: str | None = None
    """Folder with ACDC, MSD Prostate or MMWHS, laid out as `make check-data` prints; None: the synthetic MNI-Synth."""
    splits: Literal["mended", "released"] = "mended"
    """Lists of subjects: released are the authors' own, mended are those without their leaks (datasets/lists)."""
    n4: bool = True
    """Correct the bias field before anything else; needs SimpleITK. MNI-Synth keeps its bias fields."""
    subjects: tuple[int, int, int] = (24, 4, 12)
    """Numbers of MNI-Synth's subjects: the pool of training, validation, test."""

    stage: Literal["encoder", "decoder", "segmentation"] = "segmentation"
    """Part of the network that the run trains: stage 1 the encoder, stage 2 decoder blocks, stage 3 all of it."""
    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    """Channels of the U-Net's levels; the bottleneck has as many as the last one."""
    batch_norm_momentum: float = 0.01
    """Share of each batch in the running statistics of batch normalisation."""
    learning_rate: float = 1e-3
    """Learning rate of pre-training, stages 1 and 2."""
    fine_tuning_rate: float = 1e-3
    """Learning rate of segmentation, stage 3, also where it begins from random weights."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Course of the learning rate over a stage; cosine: it falls to zero."""
    precision: Literal["no", "fp16", "bf16"] = "no"
    """Number format of the network in training: no is float32, fp16 and bf16 are mixed precision."""
    workers: int = 4
    """Processes that make training samples; 0: the training process does."""
    save_every: int = 500
    """Optimizer steps between two checkpoints, from which an interrupted run continues."""

    temperature: float = 0.1
    """Temperature tau of the contrastive losses."""
    brightness: float = 0.3
    """Largest change of brightness of a view in pre-training."""
    contrast: float = 0.3
    """Largest change of contrast of a view in pre-training, as a share."""
    global_loss: Literal["none", "r", "d-minus", "d", "rotation"] = "d"
    """Loss of stage 1: G^R, G^D-, G^D, prediction of quarter turns, or no training."""
    partitions: int = 4
    """Number of parts into which a volume is cut, S."""
    slices: int = 12
    """Slices per step of stage 1; two (G^R, rotation), three (G^D-) or four (G^D) times as many images are made."""
    images: int | None = None
    """Images per step of stage 1, the same for every loss; None: as many as --slices makes."""
    encoder_steps: int = 10_001
    """Optimizer steps of stage 1."""

    local_loss: Literal["r", "d"] = "r"
    """Loss of stage 2: L^R or L^D."""
    decoder_blocks: int = 3
    """Number of decoder blocks that stage 2 trains, l."""
    region: Literal[1, 3] = 3
    """Height and width of a region of the local loss, in cells of the feature map."""
    regions: Literal[9, 13] = 13
    """Number of regions that the local loss takes from a feature map."""
    local_slices: int = 10
    """Slices per step of stage 2 with the loss L^R."""
    local_volumes: int = 3
    """Volumes per step of stage 2 with the loss L^D; each gives a slice of every partition."""
    decoder_steps: int = 10_001
    """Optimizer steps of stage 2."""

    labelled: int = 2
    """Labelled volumes that stage 3 trains on: 1, 2, 8, or 0 for all of the pool."""
    batch_size: int = 20
    """Slices per step of stage 3, over all processes."""
    segmentation_loss: Literal["dice", "dice-foreground", "cross-entropy", "weighted-cross-entropy"] = "dice"
    """Loss of stage 3: Dice over all classes or the foreground, or cross-entropy with or without weights of classes."""
    rotations_of_45: bool = True
    """Let the augmentation of stage 3 turn slices by any multiple of 45 degrees, too."""
    elastic_sigma: float = 5.0
    """Standard deviation of the displacements of elastic deformations, in pixels."""
    elastic_share: float = 0.525
    """Share of the slices of stage 3 that are deformed elastically."""
    intensity: bool = True
    """Change contrast or brightness in stage 3, which the paper says and its code does not."""
    mixup: bool = False
    """Mix the slices of a batch of stage 3, and their labels, in pairs."""
    segmentation_steps: int = 10_001
    """Optimizer steps of stage 3."""
    benchmark_steps: int | None = None
    """Steps of stage 3 if every volume is labelled, which takes longer to converge; None: `segmentation_steps`."""
    validate_every: int = 50
    """Steps of stage 3 between two validations; the weights with the best validation Dice are kept."""

    split: Literal["test", "validation"] = "test"
    """Volumes to evaluate on; settings are chosen on the validation volumes, with seeds 100 and up."""

    @property
    def steps_of_fine_tuning(self) -> int:
        """Steps of stage 3 of this run."""
        return self.benchmark_steps if self.labelled == ALL and self.benchmark_steps else self.segmentation_steps


EVALUATION = ("split",)  # fields that training does not read: with other values a run is only evaluated again

CPU = Config(
    n4=False,
    widths=(8, 16, 32, 64, 64),
    batch_norm_momentum=0.1,
    learning_rate=2e-3,
    fine_tuning_rate=5e-3,
    schedule="cosine",
    workers=0,
    save_every=200,
    images=48,
    encoder_steps=1000,
    decoder_steps=400,
    batch_size=8,
    rotations_of_45=False,
    elastic_sigma=2.0,
    segmentation_steps=400,
    benchmark_steps=1200,
    validate_every=100,
)
PRESETS = {
    "smoke": replace(
        CPU,
        subjects=(8, 1, 2),
        widths=(4, 4, 8, 8, 8),
        images=48,
        encoder_steps=6,
        decoder_steps=4,
        segmentation_steps=6,
        benchmark_steps=None,
        validate_every=3,
        save_every=2,
    ),
    "cpu": CPU,
    "paper": Config(),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0, 1, 2, 3, 4)}


def _encoder(global_loss: str) -> dict[str, Any]:
    return {"stage": "encoder", "global_loss": global_loss}


def _decoder(local_loss: str, blocks: int = 3) -> dict[str, Any]:
    return {"stage": "decoder", "local_loss": local_loss, "decoder_blocks": blocks}


def _labelled(count: int, **changes: Any) -> dict[str, Any]:
    return {"stage": "segmentation", "labelled": count, **changes}


PAPER_ONLY = ("paper",)  # what would take the cpu preset too long, or has no place on its maps: l = 1
BEYOND_SMOKE = ("cpu", "paper")  # what adds no code to the smoke preset
VARIANTS = {
    # Stage 1: an encoder a strategy.
    "encoder-none": Variant("stage 1: the encoder as it is initialised", _encoder("none")),
    "encoder-rotation": Variant("stage 1: prediction of quarter turns", _encoder("rotation")),
    "encoder-r": Variant("stage 1: G^R", _encoder("r")),
    "encoder-d-minus": Variant("stage 1: G^D-", _encoder("d-minus")),
    "encoder-d": Variant("stage 1: G^D", _encoder("d")),
    # Stage 2: decoder blocks on top of the encoder of G^D.
    "decoder-r": Variant("stage 2: L^R on G^D, 3 blocks", _decoder("r"), start="encoder-d"),
    "decoder-d": Variant("stage 2: L^D on G^D, 3 blocks", _decoder("d"), start="encoder-d"),
    "decoder-r-1": Variant("stage 2: L^R on G^D, 1 block", _decoder("r", 1), PAPER_ONLY, start="encoder-d"),
    "decoder-r-2": Variant("stage 2: L^R on G^D, 2 blocks", _decoder("r", 2), BEYOND_SMOKE, start="encoder-d"),
    "decoder-r-4": Variant("stage 2: L^R on G^D, 4 blocks", _decoder("r", 4), BEYOND_SMOKE, start="encoder-d"),
    "decoder-r-5": Variant("stage 2: L^R on G^D, 5 blocks", _decoder("r", 5), PAPER_ONLY, start="encoder-d"),
    # Stage 3: the number at the end of a name is that of the labelled volumes.
    "scratch-1": Variant("random initialisation, 1 labelled volume", _labelled(1), BEYOND_SMOKE),
    "scratch-2": Variant("random initialisation, 2", _labelled(2), headline=True),
    "scratch-8": Variant("random initialisation, 8", _labelled(8)),
    "scratch-all": Variant("benchmark: random initialisation, all", _labelled(ALL), BEYOND_SMOKE, headline=True),
    "mixup-2": Variant("random initialisation with mixup, 2", _labelled(2, mixup=True), BEYOND_SMOKE, headline=True),
    "rotation-2": Variant("rotation prediction, 2", _labelled(2), start="encoder-rotation", headline=True),
    "r-1": Variant("G^R, 1", _labelled(1), PAPER_ONLY, start="encoder-r"),
    "r-2": Variant("G^R, 2", _labelled(2), start="encoder-r", headline=True),
    "r-8": Variant("G^R, 8", _labelled(8), PAPER_ONLY, start="encoder-r"),
    "d-minus-2": Variant("G^D-, 2", _labelled(2), BEYOND_SMOKE, start="encoder-d-minus"),
    "d-1": Variant("G^D, 1", _labelled(1), BEYOND_SMOKE, start="encoder-d"),
    "d-2": Variant("G^D, 2", _labelled(2), start="encoder-d", headline=True),
    "d-8": Variant("G^D, 8", _labelled(8), PAPER_ONLY, start="encoder-d"),
    "proposed-1": Variant("proposed: G^D and L^R, 1", _labelled(1), BEYOND_SMOKE, start="decoder-r"),
    "proposed-2": Variant("proposed: G^D and L^R, 2", _labelled(2), start="decoder-r", headline=True),
    "proposed-8": Variant("proposed: G^D and L^R, 8", _labelled(8), start="decoder-r"),
    "d-local-d-2": Variant("G^D and L^D, 2", _labelled(2), BEYOND_SMOKE, start="decoder-d"),
    "proposed-mixup-1": Variant("proposed with mixup, 1", _labelled(1, mixup=True), PAPER_ONLY, start="decoder-r"),
    "proposed-mixup-2": Variant("proposed with mixup, 2", _labelled(2, mixup=True), start="decoder-r", headline=True),
    "proposed-mixup-8": Variant("proposed with mixup, 8", _labelled(8, mixup=True), PAPER_ONLY, start="decoder-r"),
    "blocks-1-2": Variant("proposed with 1 decoder block, 2", _labelled(2), PAPER_ONLY, start="decoder-r-1"),
    "blocks-2-2": Variant("proposed with 2 decoder blocks, 2", _labelled(2), BEYOND_SMOKE, start="decoder-r-2"),
    "blocks-4-2": Variant("proposed with 4 decoder blocks, 2", _labelled(2), BEYOND_SMOKE, start="decoder-r-4"),
    "blocks-5-2": Variant("proposed with 5 decoder blocks, 2", _labelled(2), PAPER_ONLY, start="decoder-r-5"),
}
