"""Every number that decides a result: whole presets, and variants that change some fields."""

from dataclasses import dataclass, replace
from typing import Literal

from shared.report import Variant


@dataclass(frozen=True)
class Config:
    """Pre-training and fine-tuning of one network. The defaults are the paper's ViT-B (official code)."""

    data: str | None = None
    """Folder with ImageNet-1K (see data.LAYOUT); None: the offline images."""
    source: Literal["digits", "scenes", "scenes-coarse"] = "digits"
    """Which offline images; only without `data`."""
    labels: int = 128
    """Labelled offline images; ImageNet is labelled throughout."""
    image_size: int = 224
    """Pixels, of fine-tuning and testing."""

    encoder: Literal["vit", "swin", "pvtv2", "cmt"] = "vit"
    patch_size: int = 16
    """Pixels of the first patch embedding; the hierarchical encoders halve the resolution once a further stage."""
    widths: tuple[int, ...] = (768,)
    """Channels of each stage; Swin doubles the first."""
    depths: tuple[int, ...] = (12,)
    heads: tuple[int, ...] = (12,)
    mlp_ratios: tuple[int, ...] = (4,)
    """PVTv2's, a stage each."""
    reductions: tuple[int, ...] = (1,)
    """Spatial reduction of the keys in PVTv2 and CMT, a stage each."""

    method: Literal["fastmim", "mae", "simmim", "none"] = "fastmim"
    """none: fine-tuning from scratch."""
    target: Literal["hog", "pixel"] = "hog"
    normalize_target: bool = True
    """HOG: L2 norm of each cell; pixels: mean and variance of each patch."""
    cell: int = 8
    """Pixels of a HOG cell's side."""
    resolutions: tuple[int, ...] = (128,)
    """Pixels of pre-training; more than one: FastMIM-P, one a stage."""
    epochs: tuple[int, ...] = (800,)
    """Of each stage."""
    block: int = 16
    """Pixels of a masked block's side."""
    mask_ratio: float = 0.75
    decoder_width: int = 256
    decoder_depth: int = 1
    discard: int = 0
    """Last encoder blocks left out of pre-training; they start fresh in fine-tuning."""
    load: Literal["all", "first", "last"] = "all"
    """first, last: only that half of the pre-trained blocks is carried into fine-tuning (a control)."""

    batch_size: int = 4096
    """Images behind one step of the optimizer, over all processes."""
    micro_batch_size: int = 512
    """Most images that one process takes at once; the rest of `batch_size` is accumulated."""
    learning_rate: float = 1.5e-4
    """For 256 images; scaled with the batch."""
    warmup_epochs: float = 20
    weight_decay: float = 0.05

    finetune_epochs: int = 100
    finetune_batch_size: int = 1024
    finetune_micro_batch_size: int = 128
    finetune_learning_rate: float = 6e-4
    """For 256 images; scaled with the batch."""
    finetune_min_learning_rate: float = 1e-6
    finetune_warmup_epochs: float = 5
    layer_decay: float = 0.7
    drop_path: float = 0.1
    label_smoothing: float = 0.1
    mixup: float = 0.8
    cutmix: float = 1.0

    precision: Literal["no", "fp16", "bf16"] = "fp16"
    workers: int = 10
    save_every: int = 500


CPU = Config(
    image_size=32,
    patch_size=4,
    widths=(64,),
    depths=(4,),
    heads=(4,),
    cell=2,
    resolutions=(16,),
    epochs=(160,),
    block=4,
    decoder_width=48,
    batch_size=128,
    micro_batch_size=128,
    learning_rate=4e-3,
    warmup_epochs=10,
    finetune_epochs=80,
    finetune_batch_size=64,
    finetune_micro_batch_size=64,
    finetune_learning_rate=8e-3,
    finetune_warmup_epochs=5,
    layer_decay=0.85,
    drop_path=0.0,
    label_smoothing=0.0,
    mixup=0.0,
    cutmix=0.0,
    precision="no",
    workers=0,
    save_every=200,
)
PRESETS = {
    "smoke": replace(CPU, epochs=(2,), finetune_epochs=4, warmup_epochs=1, finetune_warmup_epochs=1, save_every=5),
    "cpu": CPU,
    "paper": Config(),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0,)}

OFFLINE = ("smoke", "cpu")  # sizes in their changes are those of the offline images
VARIANTS = {
    "scratch": Variant("floor: fine-tuning alone", {"method": "none"}),
    "fastmim": Variant("FastMIM: HOG targets at half resolution"),
    "pixel": Variant("the same with pixel targets", {"target": "pixel"}),
    "full": Variant("HOG targets at full resolution, as many images seen", {"resolutions": (32,)}, OFFLINE),
    "full-short": Variant(
        "the same for a quarter of the epochs: about the compute of `fastmim`",
        {"resolutions": (32,), "epochs": (40,)},
        ("cpu",),
    ),
}
