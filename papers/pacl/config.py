"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Literal

from shared.paper import Variant

Parser = Literal["lexicon", "spacy"]
"""Finds the nouns of a caption."""


@dataclass(frozen=True)
class Config:
    """One run of PACL. The defaults are the paper's where a source gives them; DEVIATIONS.md lists the others."""

    data: str | None = None
    """Folder with image-text pairs and benchmarks (see `make check-data PAPER=pacl`); default: composed scenes."""
    pairs: str | None = None
    """Name of a dataset on the Hugging Face hub whose image-text pairs take the place of those below `data`."""
    clip: str = "ViT-B-16"
    """Image-text model: a ViT of open_clip, or "mini-clip", which is trained here on composed scenes. A checkpoint file
    of OpenAI's weights needs the name with "-quickgelu" ("ViT-B-16-quickgelu")."""
    clip_weights: str | None = "openai"
    """Weights of the image-text model: an open_clip tag or a checkpoint file."""

    method: Literal["pacl", "clip-patch", "conse", "ridge"] = "pacl"
    """Way to compare patches with texts. pacl trains an embedder. clip-patch projects the patch tokens with CLIP's own
    projection. conse and ridge read the cells of the packaged image tower (composed scenes only)."""
    pooling: Literal["pairwise", "diagonal", "mean", "sigmoid"] = "pairwise"
    """Weights of an image's patches: by the text of each pair (pairwise, the equations), by the image's own text
    (diagonal, sigmoid), or uniform (mean)."""
    weighting: Literal["dot", "cos"] = "dot"
    """Similarity of patch and text inside the softmax over patches, for pairwise and diagonal pooling."""
    attn_scale: float = 1.0
    """Factor of the similarity inside the softmax over patches, for pairwise and diagonal pooling."""
    embedder: Literal["residual", "linear"] = "residual"
    """Vision embedder: a residual network of two layers, or its linear skip branch alone."""
    noun_prompts: float = 0.5
    """Probability that a training text is a noun of the caption in a prompt, instead of the caption."""
    noun_parser: Parser = "lexicon"
    """Tool that finds the nouns of captions: the embedded lexicon, or spaCy where it is installed."""

    batch_size: int = 4096
    """Image-text pairs per optimizer step, over all processes; the mini-CLIP is trained with as many."""
    epochs: int = 10
    """Passes over the training pairs."""
    learning_rate: float = 5e-4
    """Highest learning rate of AdamW; a cosine lowers it to zero."""
    weight_decay: float = 0.2
    """Weight decay of AdamW, for every parameter of the embedder."""
    logit_scale: float | None = None
    """Factor of the compatibilities in the contrastive loss, 1 / temperature; default: CLIP's own."""
    chunk: int | None = 256
    """Number of texts whose patch weights are in memory at a time; None: all texts of the batch."""
    precision: Literal["no", "fp16", "bf16"] = "bf16"
    """Number format of the towers and the embedder in training: no is float32, fp16 and bf16 are mixed precision."""
    workers: int = 8
    """Processes that read training pairs, for each training process."""
    save_every: int = 500
    """Optimizer steps between two checkpoints."""

    split: Literal["test", "validation"] = "test"
    """Scenes that are evaluated; settings are chosen on validation, with seeds from 100 on."""
    stride: int | None = 4
    """Pixels between two patches of a ViT at inference; None: the patch size."""
    short_side: int = 448
    """Pixels of the shorter side of a test image."""
    window: int = 224
    """Pixels of a sliding window; 224 give 53 x 53 tokens of a ViT-B/16 at stride 4."""
    window_stride: int = 112
    """Pixels between two sliding windows."""
    upsampling: Literal["upsample-softmax", "softmax-upsample"] = "upsample-softmax"
    """Order of upsampling and the softmax over classes."""
    scale: float | None = None
    """Factor of the cosines in the softmax over classes; None: CLIP's logit scale."""
    entropy: float = 1.5
    """Entropy over the classes, in nats, above which a pixel is background, in sets that have one."""

    scenes: int = 1600
    """Number of composed training scenes."""
    test_scenes: int = 200
    """Number of composed scenes in each test set."""
    scene_size: int = 224
    """Side of a composed scene as the image tower sees it, in pixels."""
    mini_components: int = 256
    """Number of principal components of the image tower's features that the mini-CLIP sees."""
    mini_width: int = 128
    """Width of the mini-CLIP's patch tokens."""
    mini_joint: int = 128
    """Width of the mini-CLIP's joint space."""
    mini_steps: int = 250
    """Training steps of the mini-CLIP."""
    mini_learning_rate: float = 1e-3
    """Highest learning rate of the mini-CLIP."""


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
