"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from shared.paper import Variant

ALL = 0  # `labelled`: every volume of the pool


@dataclass(frozen=True)
class Config:
    """One stage of one run. The defaults are the paper's values, as its official code has them."""

    data: str | None = None
    """Folder with ACDC, MSD Prostate or MMWHS (see data.LAYOUT); None: MNI-Synth."""
    splits: Literal["mended", "released"] = "mended"
    """Lists of subjects: the authors' own, or those without their leaks (datasets/lists)."""
    n4: bool = True
    """Correct the bias field before anything else; needs SimpleITK. MNI-Synth keeps its bias fields."""
    subjects: tuple[int, int, int] = (24, 4, 12)
    """Subjects of MNI-Synth: the pool of training, validation, test."""

    stage: Literal["encoder", "decoder", "segmentation"] = "segmentation"
    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    """Channels of the U-Net's levels; the bottleneck has as many as the last one."""
    batch_norm_momentum: float = 0.01
    """Share of a batch in the running statistics of batch normalisation."""
    learning_rate: float = 1e-3
    """Learning rate of stages 1 and 2."""
    fine_tuning_rate: float = 1e-3
    """Learning rate of stage 3, from scratch as well."""
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine: from the learning rate to zero over a stage."""
    precision: Literal["no", "fp16", "bf16"] = "no"
    workers: int = 4
    save_every: int = 500

    temperature: float = 0.1
    """tau of the contrastive losses."""
    brightness: float = 0.3
    """Largest change of brightness of a view in pre-training."""
    contrast: float = 0.3
    """Largest change of contrast of a view in pre-training, as a share."""
    global_loss: Literal["none", "r", "d-minus", "d", "rotation"] = "d"
    """Stage 1: G^R, G^D-, G^D, prediction of quarter turns, or no training."""
    partitions: int = 4
    """S, the parts into which a volume is cut."""
    slices: int = 12
    """Slices a step of stage 1: they make twice (G^R, rotation), three (G^D-) or four (G^D) times as many images."""
    images: int | None = None
    """Images a step of stage 1, the same for every strategy, in place of `slices`."""
    encoder_steps: int = 10_001

    local_loss: Literal["r", "d"] = "r"
    """Stage 2: L^R or L^D."""
    decoder_blocks: int = 3
    """l, the decoder blocks that stage 2 trains."""
    region: Literal[1, 3] = 3
    """Height and width of a region of the local loss."""
    regions: Literal[9, 13] = 13
    """Regions of a map."""
    local_slices: int = 10
    """Slices a step of L^R."""
    local_volumes: int = 3
    """Volumes a step of L^D; each gives a slice of every partition."""
    decoder_steps: int = 10_001

    labelled: int = 2
    """Labelled volumes of stage 3: 1, 2, 8, or 0 for all of the pool."""
    batch_size: int = 20
    """Slices a step of stage 3, over all processes."""
    segmentation_loss: Literal["dice", "dice-foreground", "cross-entropy", "weighted-cross-entropy"] = "dice"
    rotations_of_45: bool = True
    """Let the augmentation of stage 3 turn a slice by any multiple of 45 degrees."""
    elastic_sigma: float = 5.0
    """Pixels, standard deviation of the elastic grid's displacements."""
    elastic_share: float = 0.525
    """Share of the slices that are deformed elastically."""
    intensity: bool = True
    """Change contrast or brightness in stage 3, as the paper says and its code does not."""
    mixup: bool = False
    """Mix the slices of a batch, and their labels, in pairs."""
    segmentation_steps: int = 10_001
    benchmark_steps: int | None = None
    """Steps of stage 3 if every volume is labelled, which takes longer to converge; None: `segmentation_steps`."""
    validate_every: int = 50
    """Steps between two validations; the weights with the best validation Dice are kept."""

    split: Literal["test", "validation"] = "test"
    """Volumes that are evaluated; settings are chosen on validation (seeds 100 and up)."""


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
