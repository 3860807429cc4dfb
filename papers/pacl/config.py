"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Literal

from shared.paper import Variant

Parser = Literal["lexicon", "spacy"]
"""What finds the nouns of a caption."""


@dataclass(frozen=True)
class Config:
    """One run of PACL. The defaults are the paper's where a source gives them; the README says which it does not."""

    data: str | None = None
    """Folder with image-text pairs and benchmarks (see data.LAYOUT); None: composed scenes."""
    clip: str = "ViT-B-16"
    """Image-text model: a ViT of open_clip, or "mini-clip", trained here on composed scenes, which takes no other. A
    checkpoint file of OpenAI's weights needs the name with "-quickgelu" ("ViT-B-16-quickgelu")."""
    clip_weights: str | None = "openai"
    """open_clip tag or checkpoint file."""

    method: Literal["pacl", "clip-patch", "conse", "ridge"] = "pacl"
    """clip-patch: no training, the patch tokens through CLIP's own projection; conse, ridge: no mini-CLIP either, the
    cells of the packaged towers (only of composed scenes)."""
    pooling: Literal["pairwise", "diagonal", "mean", "sigmoid"] = "pairwise"
    """Which text weighs an image's patches: that of the pair compared (the equations), the image's own, or none."""
    weighting: Literal["dot", "cos"] = "dot"
    """Similarity inside the softmax over patches; mean and sigmoid pooling have none."""
    attn_scale: float = 1.0
    """Factor of that similarity; not of the sigmoid, whose factor is always 10."""
    embedder: Literal["residual", "linear"] = "residual"
    noun_prompts: float = 0.5
    """Probability of a noun in a prompt instead of the caption."""
    noun_parser: Parser = "lexicon"
    """What finds the nouns: the embedded lexicon, or spaCy where it is installed."""

    batch_size: int = 4096
    """Of all processes together; the mini-CLIP's, too."""
    epochs: int = 10
    learning_rate: float = 5e-4
    weight_decay: float = 0.2
    logit_scale: float | None = None
    """1 / temperature of the contrastive loss; None: CLIP's own."""
    chunk: int | None = 256
    """Texts whose patch weights are in memory at a time."""
    precision: Literal["no", "fp16", "bf16"] = "bf16"
    workers: int = 8
    save_every: int = 500

    split: Literal["test", "validation"] = "test"
    """What is evaluated; settings are chosen on validation (seeds 100 and up)."""
    stride: int | None = 4
    """Pixels between two patches at inference, only of ViTs; None: the patch size."""
    short_side: int = 448
    """Pixels of a test image, its ratio kept."""
    window: int = 224
    """Pixels of a sliding window: 53 x 53 tokens of a ViT at stride 4."""
    window_stride: int = 112
    upsampling: Literal["upsample-softmax", "softmax-upsample"] = "upsample-softmax"
    scale: float | None = None
    """Factor of the cosines in the softmax over classes; None: CLIP's logit scale."""
    entropy: float = 1.5
    """Nats above which a pixel is background, where a set has one."""

    scenes: int = 1600
    """Offline training scenes."""
    test_scenes: int = 200
    scene_size: int = 224
    """Pixels at which the image tower sees a scene."""
    mini_components: int = 256
    """Principal components of the image tower's features."""
    mini_width: int = 128
    mini_joint: int = 128
    """Width of the joint space."""
    mini_steps: int = 250
    mini_learning_rate: float = 1e-3


CPU = Config(
    clip="mini-clip",
    clip_weights=None,
    batch_size=128,
    epochs=40,
    learning_rate=5e-3,
    chunk=None,
    precision="no",
    workers=0,
    save_every=100,
    stride=None,
    short_side=224,
)
PRESETS = {
    "smoke": replace(
        CPU, scenes=48, test_scenes=12, batch_size=16, epochs=24, save_every=20, mini_steps=6, mini_components=32
    ),
    "cpu": CPU,
    "paper": Config(),
}
# Fields that training does not read: with other values a run is only evaluated again.
EVALUATION = ("split", "stride", "short_side", "window", "window_stride", "upsampling", "scale", "entropy")
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0,)}

VARIANTS = {
    "clip-patch": Variant(
        "frozen patch tokens through CLIP's own projection, the floor", {"method": "clip-patch"}, headline=True
    ),
    "conse": Variant(
        "no training: each cell of the packaged CNN by its ImageNet class names", {"method": "conse"}, ("smoke", "cpu")
    ),
    "ridge": Variant(
        "no training: texts as the packaged CNN's classifier weights, by ridge regression",
        {"method": "ridge"},
        ("smoke", "cpu"),
        headline=True,
    ),
    "meanpool": Variant("the embedder trained with uniform weights, the baseline", {"pooling": "mean"}, headline=True),
    "pacl": Variant("PACL, weights from the text of each pair (the equations)", headline=True),
    "pacl-diagonal": Variant(
        "weights from the image's own text (third-party codes)", {"pooling": "diagonal"}, headline=True
    ),
    "cos-10": Variant("weights from ten times the cosine", {"weighting": "cos", "attn_scale": 10.0}),
    "cos-10-diagonal": Variant(
        "the same with the image's own text", {"weighting": "cos", "attn_scale": 10.0, "pooling": "diagonal"}
    ),
    "sigmoid": Variant(
        "weights sigmoid(10 cos) of the own text, summed (NMS05)", {"pooling": "sigmoid"}, headline=True
    ),
    "linear": Variant("one linear layer as embedder", {"embedder": "linear"}),
    "captions-only": Variant("no noun prompts for PACL (its mini-CLIP has them)", {"noun_prompts": 0.0}, headline=True),
}
