"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from shared.paper import Variant


@dataclass(frozen=True)
class Config:
    """Pre-training and fine-tuning of one network. The defaults are the paper's ViT-B (official code)."""

    data: str | None = None
    """Folder with ImageNet-1K, which `make check-data PAPER=fastmim` describes; default: the offline images."""
    source: Literal["digits", "scenes", "scenes-coarse"] = "digits"
    """Offline images to train and test on; with `data`, ImageNet takes their place."""
    unlabelled: int = 1300
    """Largest number of offline images to pre-train on; all of ImageNet's are used."""
    labels: int = 128
    """Number of labelled offline images to fine-tune on; all of ImageNet's are used."""
    image_size: int = 224
    """Side of an image in fine-tuning and testing, in pixels."""
    split: Literal["test", "validation"] = "test"
    """Images to evaluate on. Choose settings on validation, with seeds from 100 on; ImageNet has only test images."""

    encoder: Literal["vit", "swin", "pvtv2", "cmt"] = "vit"
    """Architecture of the encoder."""
    patch_size: int = 16
    """Pixels of a token's side after the first patch embedding (CMT: always 4); every further stage doubles it."""
    widths: tuple[int, ...] = (768,)
    """Channels of each stage of the encoder; Swin takes those of its first stage and doubles them."""
    depths: tuple[int, ...] = (12,)
    """Number of blocks in each stage of the encoder."""
    heads: tuple[int, ...] = (12,)
    """Number of attention heads in each stage of the encoder."""
    mlp_ratios: tuple[int, ...] = (4,)
    """Width of the MLPs as a multiple of the tokens' width, for each stage of PVTv2."""
    reductions: tuple[int, ...] = (1,)
    """Spatial reduction of the keys, for each stage of PVTv2 and CMT."""

    method: Literal["fastmim", "mae", "simmim", "none"] = "fastmim"
    """Method of pre-training; none fine-tunes from scratch."""
    checkpoint: str | None = None
    """Pre-trained ViT-B or Swin-B of the authors (.pth), to fine-tune instead of pre-training here. A run knows the
    file by its path: give another file another name."""
    target: Literal["hog", "pixel"] = "hog"
    """Features of the masked blocks that FastMIM predicts."""
    normalize_target: bool = True
    """Normalise the target: HOG cells by their L2 norm, pixels by the mean and variance of their patch."""
    cell: int = 8
    """Side of a HOG cell, in pixels."""
    resolutions: tuple[int, ...] = (128,)
    """Side of an image in pre-training, in pixels; one for each stage of FastMIM-P, which has several."""
    epochs: tuple[int, ...] = (800,)
    """Epochs of pre-training, one number for each of its stages (see `resolutions`)."""
    block: int = 16
    """Side of a masked block, in pixels."""
    mask_ratio: float = 0.75
    """Share of the blocks that is masked."""
    decoder_width: int = 256
    """Channels of the pre-training decoder."""
    decoder_depth: int = 1
    """Number of blocks in the pre-training decoder."""
    discard: int = 0
    """Number of last encoder blocks left out of pre-training; they start fresh in fine-tuning."""
    load: Literal["all", "first", "last"] = "all"
    """Pre-trained blocks to carry into fine-tuning: all, or a half, rounded down (a control)."""
    compared_steps: tuple[str, ...] = ()
    """Variants whose pre-training steps are timed beside this variant's in evaluation. Their settings are not in this
    row's key: delete its result.json after you change one."""

    batch_size: int = 4096
    """Images per optimizer step of pre-training, over all processes."""
    stage_batch_sizes: tuple[int, ...] = ()
    """Images per optimizer step for each stage of FastMIM-P; default: `batch_size` in every stage."""
    micro_batch_size: int = 512
    """Largest number of images that a process passes through the network at once; gradients of more are accumulated."""
    learning_rate: float = 1.5e-4
    """Peak learning rate of pre-training for a batch of 256 images; other batches scale it in proportion."""
    warmup_epochs: float = 20
    """Epochs of pre-training in which the learning rate rises from zero to its peak."""
    weight_decay: float = 0.05
    """Weight decay of AdamW, in pre-training and in fine-tuning."""

    finetune_epochs: int = 100
    """Epochs of fine-tuning."""
    finetune_batch_size: int = 1024
    """Images per optimizer step of fine-tuning, over all processes."""
    finetune_micro_batch_size: int = 128
    """Largest number of images that a process passes through the network at once in fine-tuning."""
    finetune_learning_rate: float = 6e-4
    """Peak learning rate of fine-tuning for a batch of 256 images; other batches scale it in proportion."""
    finetune_min_learning_rate: float = 1e-6
    """Learning rate at the end of fine-tuning."""
    finetune_warmup_epochs: float = 5
    """Epochs of fine-tuning in which the learning rate rises from zero to its peak."""
    layer_decay: float = 0.7
    """Factor on the learning rate of fine-tuning from one encoder block to the block before it."""
    drop_path: float = 0.1
    """Probability that fine-tuning leaves out the last encoder block for an image; it falls to 0 at the first block."""
    label_smoothing: float = 0.1
    """Share of each label that fine-tuning spreads over all classes."""
    mixup: float = 0.8
    """Parameter alpha of mixup in fine-tuning; 0 switches it off."""
    cutmix: float = 1.0
    """Parameter alpha of cutmix in fine-tuning; 0 switches it off."""

    precision: Literal["no", "fp16", "bf16"] = "fp16"
    """Number format of the network in training: no is float32, fp16 and bf16 are mixed precision."""
    workers: int = 10
    """Processes that read images, for each training process."""
    save_every: int = 500
    """Optimizer steps between two checkpoints."""


# Fields that training does not read: with other values a run is only evaluated again.
EVALUATION = ("split", "compared_steps")

CPU = Config(
    labels=64,
    image_size=32,
    patch_size=4,
    widths=(48,),
    depths=(3,),
    heads=(2,),
    cell=2,
    resolutions=(16,),
    epochs=(12,),
    block=4,
    decoder_width=32,
    batch_size=12,
    micro_batch_size=32,
    learning_rate=128e-3,
    warmup_epochs=1.2,
    finetune_epochs=80,
    finetune_batch_size=32,
    finetune_micro_batch_size=64,
    finetune_learning_rate=32e-3,
    finetune_warmup_epochs=10,
    layer_decay=0.85,
    drop_path=0.0,
    label_smoothing=0.0,
    mixup=0.0,
    cutmix=0.0,
    precision="no",
    workers=0,
    save_every=400,
)
PRESETS = {
    "smoke": replace(
        CPU,
        unlabelled=64,
        batch_size=32,
        learning_rate=32e-3,
        finetune_epochs=3,
        finetune_warmup_epochs=1,
        save_every=5,
    ),
    "cpu": CPU,
    "paper": Config(),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0,)}


def _split(total: int, parts: int) -> tuple[int, ...]:
    """``total`` in parts of nearly equal size, the larger ones first."""
    return tuple(total // parts + (k < total % parts) for k in range(parts))


OFFLINE, PAPER = ("smoke", "cpu"), ("paper",)  # sizes in their changes are those of the offline images, or ImageNet's
CPU_ONLY = ("cpu",)  # rows that run no code which the smoke preset does not run
SCRATCH = {"method": "none"}
# The hierarchical encoders end at a stride of 8, so their mask blocks are 8 pixels.
# Every method, target, encoder and single resolution was tried with several learning rates on validation images and
# has the one that did best (those of SHORT at 12 epochs); the rows on blocks, decoders and stages have FastMIM's.
MEDIUM, SLOW, SLOWER = {"learning_rate": 85e-3}, {"learning_rate": 43e-3}, {"learning_rate": 21e-3}
SHORT: dict[str, Any] = {"epochs": (8,), "warmup_epochs": 0.8}  # costly steps, and no row to compare with that has more
SWIN = SLOWER | SHORT | {
    "encoder": "swin", "patch_size": 2, "widths": (24,), "depths": (2, 2, 2), "heads": (2, 4, 4), "block": 8,
}  # fmt: skip
PVT = SLOW | SHORT | {
    "encoder": "pvtv2", "patch_size": 2, "widths": (24, 48, 64), "depths": (1, 2, 1), "heads": (1, 2, 4),
    "mlp_ratios": (4, 4, 4), "reductions": (4, 2, 1), "block": 8,
}  # fmt: skip
CMT = SHORT | {
    "encoder": "cmt", "widths": (24, 48), "depths": (2, 2), "heads": (1, 2), "reductions": (2, 1), "block": 8,
}  # fmt: skip
SCENES: dict[str, Any] = SLOW | SHORT | {
    "source": "scenes-coarse", "image_size": 48, "patch_size": 6, "resolutions": (24,), "block": 6, "cell": 3,
    "labels": 70, "finetune_batch_size": 35,
}  # fmt: skip
SWIN_B = {
    "encoder": "swin", "patch_size": 4, "widths": (128,), "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32), "block": 32,
    "decoder_depth": 4, "epochs": (400,), "warmup_epochs": 10, "batch_size": 2048, "micro_batch_size": 256,
    "finetune_learning_rate": 1e-3, "layer_decay": 0.8,
}  # fmt: skip
# Decoders of the parser's defaults; the authors published no commands for these two.
PVT_B2 = {
    "encoder": "pvtv2", "patch_size": 4, "widths": (64, 128, 320, 512), "depths": (3, 4, 6, 3), "heads": (1, 2, 5, 8),
    "mlp_ratios": (8, 8, 4, 4), "reductions": (8, 4, 2, 1), "block": 32, "decoder_depth": 4,
}  # fmt: skip
CMT_S = {
    "encoder": "cmt", "widths": (64, 128, 256, 512), "depths": (3, 3, 16, 3), "heads": (1, 2, 4, 8),
    "reductions": (8, 4, 2, 1), "block": 32, "decoder_depth": 4,
}  # fmt: skip
FULL_B = {"resolutions": (224,), "micro_batch_size": 128}
SIMMIM_B = FULL_B | {
    "method": "simmim", "block": 32, "mask_ratio": 0.6, "batch_size": 2048, "learning_rate": 0.5e-4,
}  # fmt: skip
VARIANTS = {
    "scratch": Variant("floor: fine-tuning alone", SCRATCH | {"layer_decay": 1.0}, headline=True),
    "fastmim": Variant(
        "FastMIM: HOG targets at half resolution",
        {"compared_steps": ("simmim", "mae", "full", "discard")},
        headline=True,
    ),
    "pixel": Variant("pixel targets at half resolution", MEDIUM | {"target": "pixel"}, OFFLINE, headline=True),
    "mid": Variant(
        "HOG at three quarters of the resolution, as many images seen", {"resolutions": (24,)}, CPU_ONLY, headline=True
    ),
    "full": Variant(
        "HOG at full resolution, as many images seen", MEDIUM | {"resolutions": (32,)}, CPU_ONLY, headline=True
    ),
    "full-short": Variant(
        "HOG at full resolution, 5 of 12 epochs: about the compute of `fastmim`",
        MEDIUM | {"resolutions": (32,), "epochs": (5,), "warmup_epochs": 0.5},
        CPU_ONLY,
        headline=True,
    ),
    "pixel-full": Variant("pixels at full resolution", {"target": "pixel", "resolutions": (32,)}, CPU_ONLY),
    "mae": Variant(
        "MAE at full resolution: tokens dropped, decoder of 2 blocks",
        SLOWER | {"method": "mae", "resolutions": (32,), "decoder_depth": 2},
        OFFLINE,
        headline=True,
    ),
    "simmim": Variant(
        "SimMIM at full resolution: tokens replaced, L1 loss on pixels",
        SLOW | {"method": "simmim", "resolutions": (32,), "block": 8, "mask_ratio": 0.6},
        OFFLINE,
        headline=True,
    ),
    "discard": Variant("last block left out of pre-training", {"discard": 1}, OFFLINE),
    "first-block": Variant(
        "only the first of three blocks, and what is outside of blocks, kept after pre-training",
        {"load": "first"},
        CPU_ONLY,
    ),
    "last-block": Variant(
        "only the last of three blocks, and what is outside of blocks, kept after pre-training",
        {"load": "last"},
        CPU_ONLY,
    ),
    "decoder-0": Variant("no decoder blocks", {"decoder_width": 48, "decoder_depth": 0}, CPU_ONLY),
    "decoder-4": Variant("decoder of 4 blocks of 96 channels", {"decoder_width": 96, "decoder_depth": 4}, CPU_ONLY),
    "progressive": Variant(
        "FastMIM-P: 16, 24, then 32 pixels, as many images seen",
        {"resolutions": (16, 24, 32), "epochs": _split(CPU.epochs[0], 3)},
        CPU_ONLY,
    ),
    "swin-scratch": Variant("Swin, fine-tuning alone", SWIN | SCRATCH, OFFLINE),
    "swin": Variant("FastMIM with Swin", SWIN, OFFLINE),
    "pvtv2-scratch": Variant("PVTv2, fine-tuning alone", PVT | SCRATCH, CPU_ONLY),
    "pvtv2": Variant("FastMIM with PVTv2", PVT, OFFLINE),
    "cmt-scratch": Variant("CMT, fine-tuning alone", CMT | SCRATCH, CPU_ONLY),
    "cmt": Variant("FastMIM with CMT", CMT, OFFLINE),
    "scenes-scratch": Variant("scenes, 7 kinds of object, fine-tuning alone", SCENES | SCRATCH, CPU_ONLY),
    "scenes": Variant("FastMIM on scenes, 7 kinds of object", SCENES, OFFLINE),
    "pixel-b": Variant("pixel targets at 128 pixels", {"target": "pixel"}, PAPER),
    "full-b": Variant("HOG at 224 pixels", FULL_B, PAPER),
    "pixel-full-b": Variant("pixels at 224 pixels", FULL_B | {"target": "pixel"}, PAPER),
    "discard-b": Variant("last two blocks left out of pre-training (a number of our own)", {"discard": 2}, PAPER),
    "swin-b": Variant("FastMIM with Swin-B, 400 epochs in batches of 2048", SWIN_B, PAPER),
    "pvtv2-b2": Variant("FastMIM with PVTv2-B2", PVT_B2, PAPER),
    "cmt-s": Variant("FastMIM with CMT-S", CMT_S, PAPER),
    "mae-b": Variant(
        "MAE at 224 pixels, 1600 epochs",
        {
            "method": "mae",
            "resolutions": (224,),
            "epochs": (1600,),
            "warmup_epochs": 40,
            "decoder_width": 512,
            "decoder_depth": 8,
            "micro_batch_size": 128,
        },
        PAPER,
    ),
    "simmim-b": Variant("SimMIM at 224 pixels, batches of 2048", SIMMIM_B, PAPER),
    "simmim-swin-b": Variant(
        "SimMIM with Swin-B at 192 pixels, batches of 2048",
        SWIN_B | SIMMIM_B | {"resolutions": (192,), "epochs": (800,), "warmup_epochs": 20},
        PAPER,
    ),
    "progressive-b": Variant(
        "FastMIM-P: 128, 160, then 192 pixels (a schedule of our own)",
        {
            "resolutions": (128, 160, 192),
            "epochs": (400, 200, 200),
            "stage_batch_sizes": (4096, 4096, 2048),
            "micro_batch_size": 256,
        },
        PAPER,
    ),
}
