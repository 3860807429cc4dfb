"""Every setting of a run: presets give all of them, variants change a few."""

from dataclasses import dataclass, replace
from typing import Literal

from shared.paper import Variant


@dataclass(frozen=True)
class Config:
    """Settings of one run; the preset sets those that are not given."""

    # The defaults are the paper's (official code).
    data: str | None = None
    """Folder with VGGSound and MUSIC, laid out as `make check-data` prints; None: the embedded sounds."""
    train_set: Literal["vggsound", "music"] = "vggsound"
    """Dataset to train on, where --data is given; models of music are validated and tested on music, too."""
    clip: str = "ViT-B-32"
    """Image-text model that embeds the queries: a name of open_clip, or "offline" for the packaged towers."""
    clip_weights: str | None = "openai"
    """Weights of --clip: a tag that open_clip knows, or a checkpoint file; None for "offline"."""

    rate: int = 16_000
    """Sampling rate of the sound that the model hears, in Hz."""
    segment: int = 65_535
    """Samples of a training or test segment; the paper's segments last 4.1 s."""
    n_fft: int = 1024
    """Samples of an STFT window."""
    hop: int = 256
    """Samples from one STFT window to the next."""
    bins: int = 256
    """Log-frequency bins of the spectrogram that the network sees."""
    frame_margin: int = 3
    """Video frames at either end of a clip around which no training segment is centred."""

    model: Literal["clipsep", "labelsep", "bertsep", "pit", "mixture", "half-volume", "ideal-mask"] = "clipsep"
    """Network to train, or a floor or ceiling that needs no training (mixture, half-volume, ideal-mask)."""
    train_query: Literal["image", "text", "hybrid"] = "image"
    """Kind of query to train CLIPSep with; hybrid: image queries at even steps, text queries at odd ones."""
    fusion: Literal["late", "early", "middle"] = "late"
    """Place where the query meets the spectrogram: after the U-Net, before it, or at its bottleneck."""
    noise_heads: Literal[0, 2] = 0
    """Noise masks that the network predicts beside the query masks; 2: noise invariant training (CLIPSep-NIT)."""
    channels: int = 32
    """K of the paper: feature maps of the U-Net that a query weighs."""
    levels: int = 7
    """Levels of the U-Net; each halves the bins and the frames."""
    width: int = 64
    """Channels of the U-Net's first level."""

    lambda_: float = 0.1
    """Weight of the penalty on the noise heads' activation (CLIPSep-NIT)."""
    gamma: float = 0.25
    """Level of the noise heads' mean activation below which the penalty is zero (CLIPSep-NIT)."""
    noise_warmup_steps: int = 0
    """Steps with the plain CLIPSep loss before the noise heads join (CLIPSep-NIT)."""

    batch_size: int = 32
    """Mixtures per optimizer step, over all processes."""
    learning_rate: float = 1e-3
    """Learning rate of Adam after the warm-up."""
    steps: int = 200_000
    """Optimizer steps of a run."""
    warmup_steps: int = 5_000
    """Steps in which the learning rate rises linearly from zero."""
    decay_until: int = 100_000
    """Step at which the linear decay of the learning rate ends."""
    decay_floor: float = 0.1
    """Share of the learning rate that is left after the decay."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; a larger gradient is scaled down to it."""
    validate_every: int = 10_000
    """Steps between two validations; the weights with the lowest validation loss are kept."""
    precision: Literal["no", "fp16", "bf16"] = "no"
    """Mixed precision of training; no: float32."""
    workers: int = 8
    """Processes that load training samples; 0: the training process does."""
    save_every: int = 1_000
    """Steps between two checkpoints, from which an interrupted run continues."""

    split: Literal["test", "validation"] = "test"
    """Mixtures to evaluate on; settings are chosen on the validation mixtures, with seeds 100 and up."""
    test_mixtures: int | None = None
    """Number of mixtures to evaluate from each test set, evenly spread over it; None: all."""
    contaminated: float = 0.8
    """Share of the embedded training clips that get an off-screen sound or noise; videos of --data bring their own."""
    views: int = 16
    """Renderings of each embedded picture for the training frames; tests have at most six of their own."""


EVALUATION = ("split",)  # fields that training does not read: with other values a run is only evaluated again

CPU = Config(
    clip="offline",
    clip_weights=None,
    rate=16_000,
    segment=16_383,
    n_fft=1024,
    hop=512,
    bins=64,
    frame_margin=2,
    channels=16,
    levels=4,
    width=16,
    batch_size=8,
    learning_rate=5e-3,
    steps=2000,
    warmup_steps=40,
    decay_until=2000,
    validate_every=2000,
    save_every=400,
    workers=0,
    contaminated=0.0,
)
PRESETS = {
    "smoke": replace(CPU, steps=12, validate_every=6, save_every=5, width=4, test_mixtures=8, views=2),
    "cpu": CPU,
    "paper": Config(),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (1234,)}

NOISY = {"contaminated": 0.8}
NIT = {"noise_heads": 2} | NOISY
BEYOND_SMOKE = ("cpu", "paper")  # variants that run no code which the smoke preset lacks
OFFLINE = ("smoke", "cpu")  # real videos cannot be had with and without noise
VARIANTS = {
    "mixture": Variant("floor: the mixture itself", {"model": "mixture"}, headline=True),
    "half-volume": Variant(
        "floor: the mixture times one half, a mask that knows nothing", {"model": "half-volume"}, headline=True
    ),
    "clipsep": Variant("CLIPSep, trained with image queries", headline=True),
    "clipsep-text": Variant("trained with text queries", {"train_query": "text"}, headline=True),
    "clipsep-hybrid": Variant("trained with image and text queries in turn", {"train_query": "hybrid"}),
    "early-fusion": Variant("CLIPSep, query joined to the input", {"fusion": "early"}),
    "middle-fusion": Variant("CLIPSep, query joined at the bottleneck", {"fusion": "middle"}),
    "labelsep": Variant("supervised: learned label embeddings", {"model": "labelsep"}, headline=True),
    "bertsep": Variant("supervised: fixed sentence embeddings of the labels", {"model": "bertsep"}),
    "pit": Variant("query-free: permutation invariant training", {"model": "pit"}, headline=True),
    "clipsep-noisy": Variant("CLIPSep, trained on clips with off-screen sound", NOISY, OFFLINE, headline=True),
    "clipsep-nit": Variant(
        "CLIPSep with noise invariant training, γ 0.25, trained on clips with off-screen sound", NIT, headline=True
    ),
    "nit-gamma-0.1": Variant("the same, γ 0.1", NIT | {"gamma": 0.1}, BEYOND_SMOKE),
    "nit-gamma-0.5": Variant("the same, γ 0.5", NIT | {"gamma": 0.5}, BEYOND_SMOKE),
    "nit-gamma-1": Variant("the same, γ 1", NIT | {"gamma": 1.0}, BEYOND_SMOKE),
    "nit-clean": Variant("CLIPSep-NIT, trained on clips without off-screen sound", {"noise_heads": 2}, ("cpu",)),
    "ideal-mask": Variant("ceiling: the ideal binary mask", {"model": "ideal-mask"}, headline=True),
}
