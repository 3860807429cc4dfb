"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from shared.paper import Variant

from .losses import Adversarial
from .networks.frozen import Features
from .structure.layout import Guidance

Role = Literal["image", "semantic", "object", "object_semantic"]


@dataclass(frozen=True)
class Config:
    """One run. Only the paper's abstract could be read: its values are unknown, and those of `paper` are CM-GAN's."""

    data: str | None = None
    """Folder with Places365 and its panoptic annotations (see data.LAYOUT); None: composed scenes."""
    size: int = 512
    """Height and width of images, a power of two."""
    guidance: Guidance = "panoptic"
    """Guidance of the generator: classes and instance boundaries, classes alone, edges of the image, or none."""

    method: Literal["warm", "gan", "probe"] = "gan"
    """Training: reconstruction and the layout network (warm), adversarial training from there (gan), or one
    discriminator against that generator, which stays as it is (probe)."""
    discriminators: tuple[Role, ...] = ("image", "semantic", "object", "object_semantic")
    """Discriminators that judge the generator; a probe has one."""
    shares: tuple[float, ...] = (0.4, 0.2, 0.2, 0.2)
    """Share of each discriminator in the adversarial loss; variants have the same sum."""
    semantic: Literal["fused", "heads"] = "fused"
    """Form of the semantic discriminators: features joined with an encoder that sees the condition, or heads on the
    features alone (vision-aided GAN)."""
    adversarial: Adversarial = "logistic"
    """Adversarial loss: non-saturating, the same with the real target 0.8, or hinge."""
    features: Features = "clip"
    """Frozen features of the semantic discriminators; "random" is EfficientNet-Lite0 without training."""
    clip_model: str = "ViT-B-32-quickgelu"
    """CLIP model of open_clip, for features "clip"."""
    clip_weights: str | None = "openai"
    """Weights of the CLIP model: a tag of open_clip, or a file."""
    feature_size: int = 224
    """Side in pixels of images and crops as EfficientNet-Lite0 sees them."""

    channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512, 512)
    """Channels of the generator at each scale, from the image's size down to 4 pixels."""
    discriminator_channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512, 512)
    """Channels of the image discriminators at each scale."""
    object_channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512)
    """Channels of the object discriminators at each scale, from the crop's size down to 4 pixels."""
    crop_size: int = 128
    """Side in pixels of an instance's crop, a power of two."""
    crops: int = 16
    """Largest number of object crops in an optimizer step, in each process."""
    least_area: float = 0.005
    """Smallest share of the image's pixels at which an instance is cropped."""
    class_projection: bool = False
    """Tell the object discriminator without frozen features the object's class by projection, too."""
    layout_channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512)
    """Channels of the layout network at each scale, from the image's size on."""
    z_dim: int = 512
    """Width of the latent."""
    w_dim: int = 512
    """Width of the mapped latent."""
    latent_scale: float = 1.0
    """Factor on the mapped latent; a small factor suits runs that are too short to learn to ignore the latent."""
    global_dim: int = 512
    """Width of the global code from the image."""
    mapping_layers: int = 8
    """Layers of the mapping network."""
    affine_layers: int = 4
    """Layers of the networks that predict spatial modulation."""
    fourier_from: int = 256
    """Largest resolution at which the encoder has a Fourier convolution."""
    cheap_upsampling: bool = False
    """Upsampling convolutions at the lower resolution, then bilinear interpolation."""
    spatial: bool = True
    """Generator with spatial modulation; without it there is the global stream alone, as in CoModGAN."""

    warm_steps: int = 50_000
    """Steps of reconstruction alone."""
    warm_learning_rate: float = 1e-3
    """Learning rate of the generator in reconstruction."""
    layout_steps: int = 20_000
    """Training steps of the layout network."""
    layout_learning_rate: float = 1e-3
    """Learning rate of the layout network."""
    discriminator_steps: int = 1_000
    """Steps in which the discriminators learn alone."""
    probe_steps: int = 2_000
    """Training steps of a probe's discriminator."""
    steps: int = 500_000
    """Adversarial steps of the generator."""
    learning_rate: float = 1e-3
    """Learning rate of the generator in adversarial training."""
    discriminator_learning_rate: float = 1e-3
    """Learning rate of every discriminator."""
    batch_size: int = 32
    """Images of an optimizer step, over all processes."""
    l1_weight: float = 1.0
    """Weight of the absolute difference inside the hole."""
    perceptual_weight: float = 2.0
    """Weight of the difference between EfficientNet-Lite0 features of completed and real image."""
    r1_gamma: float = 10.0
    """Weight of masked R1, on the discriminators without frozen features."""
    r1_every: int = 16
    """Steps between two masked R1 penalties; each penalty is multiplied by this number."""
    ema: float = 0.998
    """Decay of the moving average of the generator's weights, which is evaluated."""
    precision: Literal["no", "bf16"] = "bf16"
    """Mixed precision of the forward passes."""
    workers: int = 8
    """Processes that read images ahead; 0 reads them in the training process."""
    save_every: int = 2_000
    """Steps between two checkpoints."""

    holes: Literal["mixed", "cmgan"] = "mixed"
    """Holes of training: around objects and random; or CM-GAN's, which take most objects out of the hole again."""
    object_holes: float = 0.65
    """Share of mixed holes that lie around one or two instances."""
    mirror: bool = True
    """Mirror half of the training images."""

    split: Literal["test", "validation", "evaluation"] = "test"
    """Images that are evaluated; settings are chosen on validation (seeds 100 and up); "evaluation" is CM-GAN's set."""
    scenes: int = 1_600
    """Composed scenes for training."""
    test_scenes: int = 400
    """Composed scenes for testing, and as many for validation."""
    edited: int = 200
    """Test images on which each edit is tried; 0 measures neither edits nor the automatic pipeline."""
    evaluator_steps: int = 5_000
    """Training steps of the segmenter and the object classifier that only evaluate."""
    inception: bool = True
    """Fréchet distance, U-IDS and P-IDS in the features of torchvision's Inception-v3, too."""
    lpips: bool = True
    """LPIPS with AlexNet, through torchmetrics."""


EVALUATION = ("split", "edited", "inception", "lpips")  # fields that training does not read

CPU = Config(
    size=64,
    features="lite0",
    feature_size=64,
    channels=(16, 32, 48, 56, 48),
    discriminator_channels=(16, 32, 48, 64, 64),
    object_channels=(24, 48, 64, 64),
    layout_channels=(16, 32, 40, 40, 40),
    crop_size=32,
    crops=8,
    least_area=0.01,
    z_dim=32,
    w_dim=32,
    latent_scale=0.1,
    global_dim=64,
    mapping_layers=2,
    affine_layers=1,
    fourier_from=16,
    cheap_upsampling=True,
    warm_steps=900,
    warm_learning_rate=1e-2,
    layout_steps=500,
    layout_learning_rate=3e-3,
    discriminator_steps=60,
    probe_steps=100,
    steps=200,
    learning_rate=1.5e-3,
    discriminator_learning_rate=2.5e-3,
    batch_size=8,
    r1_gamma=0.2,
    r1_every=8,
    ema=0.98,
    precision="no",
    workers=0,
    save_every=100,
    test_scenes=480,
    evaluator_steps=400,
    inception=False,
    lpips=False,
)
PRESETS = {
    "smoke": replace(
        CPU,
        size=32,
        feature_size=32,
        channels=(8, 12, 16, 16),
        discriminator_channels=(8, 12, 16, 16),
        object_channels=(8, 12, 16),
        crop_size=16,
        crops=4,
        z_dim=8,
        w_dim=8,
        global_dim=16,
        warm_steps=6,
        layout_steps=4,
        discriminator_steps=2,
        probe_steps=6,
        steps=4,
        batch_size=4,
        r1_every=2,
        save_every=3,
        scenes=24,
        test_scenes=48,
        edited=8,
        evaluator_steps=12,
    ),
    "cpu": CPU,
    "paper": Config(),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0,)}

CPU_ONLY, SMALL, LARGE = ("cpu",), ("smoke", "cpu"), ("cpu", "paper")
PAPER_ONLY = ("paper",)
ROLES: dict[str, dict[str, Any]] = {
    "base": {"discriminators": ("image",), "shares": (1.0,), "edited": 0},
    "sem": {"discriminators": ("image", "semantic"), "shares": (0.5, 0.5), "edited": 0},
    "obj": {"discriminators": ("image", "object"), "shares": (0.5, 0.5), "edited": 0},
    "structcomp": {},
}


def _probe(role: Role, **changes: Any) -> dict[str, Any]:
    return {"method": "probe", "discriminators": (role,), "shares": (1.0,)} | changes


RANDOM = {"features": "random"}
VARIANTS = {
    "warm": Variant("reconstruction alone, no discriminator", {"method": "warm"}, headline=True),
    "base": Variant("D_img, a structure-guided CM-GAN", ROLES["base"], start="warm", headline=True),
    "sem": Variant("D_img and D_sem", ROLES["sem"], LARGE, "warm", headline=True),
    "obj": Variant("D_img and D_obj", ROLES["obj"], LARGE, "warm", headline=True),
    "structcomp": Variant("all four discriminators", ROLES["structcomp"], start="warm", headline=True),
    "structcomp-random": Variant(
        "all four, frozen features of random weights", RANDOM | {"edited": 0}, CPU_ONLY, "warm", headline=True
    ),
    "warm-unguided": Variant("reconstruction alone, no guidance", {"method": "warm", "guidance": "none"}),
    "unguided": Variant(
        "D_img and D_sem, no guidance", ROLES["sem"] | {"guidance": "none"}, start="warm-unguided", headline=True
    ),
    "probe-img": Variant("probe: D_img", _probe("image"), CPU_ONLY, "warm"),
    "probe-sem": Variant("probe: D_sem", _probe("semantic"), CPU_ONLY, "warm"),
    "probe-sem-random": Variant("probe: D_sem, random features", _probe("semantic", **RANDOM), CPU_ONLY, "warm"),
    "probe-obj": Variant("probe: D_obj", _probe("object"), CPU_ONLY, "warm"),
    "probe-objsem": Variant("probe: D_obj,sem", _probe("object_semantic"), SMALL, "warm"),
    "probe-objsem-random": Variant(
        "probe: D_obj,sem, random features", _probe("object_semantic", **RANDOM), CPU_ONLY, "warm"
    ),
    **{
        f"{name}-{guidance}": Variant(
            f"{text}, guided by {guidance}", changes | {"guidance": guidance}, PAPER_ONLY, start
        )
        for guidance in ("segmentation", "edge")
        for name, text, changes, start in (
            ("warm", "reconstruction alone", {"method": "warm"}, None),
            ("base", "D_img", ROLES["base"], f"warm-{guidance}"),
            ("structcomp", "all four discriminators", ROLES["structcomp"], f"warm-{guidance}"),
        )
    },
}
