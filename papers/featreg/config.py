"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from shared.paper import Variant

from .losses import Alignment, Convention

Backbone = Literal["lite0", "small", "deeplab_resnet101", "fcn8s_vgg16"]


@dataclass(frozen=True)
class Config:
    """One run. Only the paper's abstract and introduction could be read: its values are unknown, and these are ours."""

    data: str | None = None
    """Folder with PASCAL VOC or two aligned sets of images (see `make check-data`); None: composed scenes."""
    dataset: Literal["voc", "aligned"] = "voc"
    """Dataset to read below --data: PASCAL VOC, or two aligned sets of images of your own."""
    sbd: bool = False
    """Train on SBD's images beside VOC's, 10,582 in all; with --pairs new, SBD's images are the pairs alone."""

    method: Literal["source", "featreg", "adabn", "pseudo", "labelcopy", "supft"] = "featreg"
    """Way to adapt the first network: by regression between feature maps (featreg), by new batch statistics (adabn), or
    by cross-entropy with its own predictions (pseudo), the source's labels (labelcopy) or true labels (supft). With
    source it is evaluated unadapted."""
    domains: tuple[str, ...] = ("camera", "negative", "night", "lowcontrast")
    """Target domains, each with an adapted network of its own: transformations such as "night:gamma=3", or "time2"."""
    rounded: bool = True
    """Round the images of a target domain to 8 bits per channel."""
    pairs: Literal["same", "new"] = "same"
    """Images whose pairs adapt the network: the same that the first network was trained on, or new ones."""
    shift: float = 0.0
    """Pixels by which a target image of training is misaligned, in a random direction."""
    rotation: float = 0.0
    """Degrees by which a target image of training is at most rotated."""
    labelled: int | None = None
    """Number of target images with labels, for --method supft; None: all."""

    backbone: Backbone = "deeplab_resnet101"
    """Network: EfficientNet-Lite0, a small one for tests, DeepLab with ResNet-101, or FCN-8s with VGG-16."""
    backbone_weights: str | None = "imagenet"
    """Weights that the first network begins with: torchvision's "imagenet", a file of such a state dict, or None."""
    student: Literal["source", "afresh"] = "source"
    """Weights that an adapted network begins with: the first network's, trained (source) or untrained (afresh)."""
    layers: tuple[str, ...] = ("last",)
    """Layers whose feature maps are regressed, by name; "last" is the last feature map before the classifier."""
    layer_weights: tuple[float, ...] = ()
    """Weights of the regressed layers, as many as --layers; without them all are 1."""
    layer_scaling: bool = True
    """Divide the distance of each layer by the mean square of the source's map, so that layers count alike."""
    l2: Convention = "mean"
    """Divisor of the squared distance: number of elements, twice the batch (Caffe), or two (TensorFlow)."""
    alignment: Alignment = "none"
    """Tolerance of misaligned feature maps: none, 3 x 3 maxima of both maps, or the best shift by one cell."""
    trained: str | None = None
    """Deepest layer that the regression trains; None: the deepest regressed one. Later layers stay frozen."""
    bn: Literal["frozen", "train"] = "frozen"
    """Batch normalisation in the adaptation: statistics stay (frozen), or are those of each batch (train)."""
    cache_teacher: bool = False
    """Compute the feature maps of the first network once, for whole images and, with --mirror, mirrored ones."""

    source_bn: Literal["frozen", "train"] = "frozen"
    """Batch normalisation as the first network is trained: statistics stay (frozen), or are those of each batch."""
    source_steps: int = 20_000
    """Optimizer steps of the first network's training."""
    source_learning_rate: float = 2.5e-4
    """Learning rate at the beginning of the first network's training; it falls polynomially."""
    steps: int = 6_667
    """Optimizer steps of the adaptation to one target domain."""
    learning_rate: float = 2.5e-4
    """Learning rate at the beginning of an adaptation; it falls polynomially."""
    batch_size: int = 8
    """Images per optimizer step, over all processes."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Optimizer of all networks."""
    momentum: float = 0.9
    """Momentum of the optimizer SGD."""
    weight_decay: float = 5e-4
    """Weight decay of the optimizer."""
    power: float = 0.9
    """Exponent of the polynomial decay of the learning rates."""
    head_factor: float = 10.0
    """Factor on the learning rate of the classifier; on that of its biases it is twice as large."""
    shrink_labels: bool = True
    """Take the cross-entropy at the resolution of the network's output, instead of that of the labels."""
    crop: int | None = 321
    """Side of the random square that training sees of an image, in pixels; None: whole images."""
    scales: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5)
    """Factors on the size of training images, one drawn for each image; only with --crop."""
    mirror: bool = True
    """Mirror half of the training images."""
    precision: Literal["no", "fp16", "bf16"] = "no"
    """Number format of the networks in training: no is float32, fp16 and bf16 are mixed precision."""
    workers: int = 8
    """Processes that load training images; 0: the training process does."""
    save_every: int = 1_000
    """Optimizer steps between two checkpoints, from which an interrupted run continues."""

    split: Literal["test", "validation"] = "test"
    """Images to evaluate on; settings are chosen on the validation images, with seeds 100 and up."""
    scenes: int = 400
    """Number of composed scenes with source labels; there are as many again for new pairs."""
    test_scenes: int = 200
    """Number of composed scenes for testing; there are half as many for validation."""


EVALUATION = ("split",)  # fields that training does not read: with other values a run is only evaluated again

CPU = Config(
    backbone="lite0",
    bn="train",
    source_bn="train",
    source_steps=400,
    source_learning_rate=2e-3,
    steps=40,
    learning_rate=2e-3,
    batch_size=16,
    optimizer="adam",
    weight_decay=0.0,
    head_factor=1.0,
    shrink_labels=False,
    crop=None,
    cache_teacher=True,
    save_every=100,
    workers=0,
)
PRESETS = {
    "smoke": replace(
        CPU,
        backbone="small",
        scenes=16,
        test_scenes=12,
        batch_size=8,
        source_steps=40,
        steps=6,
        save_every=4,
        domains=("camera", "night"),
    ),
    "cpu": CPU,
    "paper": Config(),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0,)}

SCENES = ("smoke", "cpu")  # rows that need composed scenes
CPU_ONLY = ("cpu",)  # the same, and they add no code to the smoke preset
ONE = {"domains": ("camera",)}
FROZEN = ONE | {"bn": "frozen", "learning_rate": 1e-3}
SMALL = {"backbone": "small", "domains": ("negative", "camera")}
SHIFTS = (4, 8, 16)  # pixels of misalignment
LAYERS = ("stride4", "stride8", "stride16", "last", "logits")


def _shifted(pixels: int) -> dict[str, Any]:
    return ONE | {"shift": float(pixels), "rotation": 3.0}


VARIANTS = {
    "noadapt": Variant("first network, trained on source images; not adapted", {"method": "source"}, headline=True),
    "adabn": Variant("new batch statistics from target images", {"method": "adabn"}, start="noadapt", headline=True),
    "pseudo": Variant(
        "trained with the first network's predictions on the source images",
        {"method": "pseudo"},
        start="noadapt",
        headline=True,
    ),
    "featreg": Variant("feature regression, pairs of the labelled source images", start="noadapt", headline=True),
    "featreg-new": Variant(
        "feature regression, pairs of images without any label", {"pairs": "new"}, SCENES, "noadapt", headline=True
    ),
    "supft": Variant(
        "supervised fine-tuning, target labels of the source images",
        {"method": "supft"},
        start="noadapt",
        headline=True,
    ),
    "supft-new": Variant(
        "supervised fine-tuning, target labels of new images",
        {"method": "supft", "pairs": "new"},
        SCENES,
        "noadapt",
        headline=True,
    ),
    "noadapt-small": Variant("first network, small and from scratch", SMALL | {"method": "source"}, CPU_ONLY),
    "featreg-small": Variant("feature regression of the small network", SMALL, CPU_ONLY, "noadapt-small"),
    "supft-small": Variant(
        "supervised fine-tuning of the small network", SMALL | {"method": "supft"}, CPU_ONLY, "noadapt-small"
    ),
    "supft-8": Variant(
        "supervised fine-tuning, 8 labelled images", ONE | {"method": "supft", "labelled": 8}, SCENES, "noadapt"
    ),
    "scratch-t": Variant(
        "supervised on target images from the first network's own beginning",
        ONE | {"method": "supft", "student": "afresh", "steps": 200},
        CPU_ONLY,
        "noadapt",
    ),
    "featreg-afresh": Variant(
        "featreg of a new network, as the paper's first version has it",
        ONE | {"student": "afresh", "steps": 120},
        CPU_ONLY,
        "noadapt",
    ),
    "featreg-frozen": Variant("featreg, batch normalisation frozen", FROZEN, CPU_ONLY, "noadapt"),
    "supft-frozen": Variant("supft, batch normalisation frozen", FROZEN | {"method": "supft"}, CPU_ONLY, "noadapt"),
    **{
        f"layer-{layer}": Variant(f"featreg of {layer} alone", ONE | {"layers": (layer,)}, CPU_ONLY, "noadapt")
        for layer in LAYERS
        if layer != "last"
    },
    "layer-all": Variant("featreg of all five layers, scaled", ONE | {"layers": LAYERS}, SCENES, "noadapt"),
    "layer-all-unscaled": Variant(
        "the same, unscaled", ONE | {"layers": LAYERS, "layer_scaling": False}, CPU_ONLY, "noadapt"
    ),
    **{
        f"{name}-shift{pixels}": Variant(
            f"{what}, target images off by {pixels} pixels and up to 3 degrees",
            _shifted(pixels) | changes,
            presets,
            "noadapt",
        )
        for name, what, changes in (
            ("featreg", "featreg", {}),
            ("labelcopy", "source labels copied", {"method": "labelcopy"}),
        )
        for pixels in SHIFTS
        for presets in [SCENES if pixels == 8 else CPU_ONLY]
    },
    **{
        f"{alignment}-shift8": Variant(
            f"featreg with alignment by {alignment}, off by 8 pixels",
            _shifted(8) | {"alignment": alignment},
            SCENES,
            "noadapt",
        )
        for alignment in ("maxpool", "search")
    },
}
