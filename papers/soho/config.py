"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from shared.paper import Variant

from .visual.dictionary import Rule
from .visual.embedding import Mixture
from .visual.trunk import Name

Task = Literal["pretrain", "vqa", "nlvr2", "snli-ve", "retrieval", "speed"]


@dataclass(frozen=True)
class Config:
    """One run: pre-training, or one downstream task. The defaults are those of the official code."""

    data: str | None = None
    """Folder with COCO, Visual Genome, VQA, NLVR2, SNLI-VE and Flickr30k (see data.LAYOUT); None: composed scenes."""
    task: Task = "pretrain"
    """Stage of the run; "speed" trains nothing and measures latencies."""
    retrieval_set: Literal["coco", "flickr30k"] = "coco"
    """Images and captions of retrieval, with --data."""

    trunk: Name = "resnet18"
    """CNN; the paper's main results have resnet101."""
    trunk_weights: str | None = "imagenet"
    """Weights that a ResNet begins with: torchvision's "imagenet", a file of such a state dict, or None."""
    trunk_trained: bool = True
    """Train the late part of the CNN; its early part is always frozen."""
    regions: bool = False
    """Baseline: features of boxes in place of the whole image, without a dictionary."""
    most_boxes: int = 36
    """Boxes of an image at most, with `regions`."""
    crop: int = 224
    """Pixels of a box after resizing, with `regions`."""
    bert: str | None = "bert-base-uncased"
    """Weights that the Transformer begins with: a BERT of the hub, "minilm" from the package, or None."""
    word_vectors: bool = False
    """Begin word embeddings with the principal components of MiniLM's; without `bert`."""
    width: int = 768
    """Channels of the Transformer, c."""
    layers: int = 3
    """Layers of the Transformer; the paper's main results have 12."""
    heads: int = 12
    dropout: float = 0.1

    dictionary: bool = True
    """Look features up in the visual dictionary."""
    codes: int = 2048
    """Codes of the dictionary, K."""
    rule: Rule = "official"
    """Update of the dictionary: that of the official code, or the one that the paper writes."""
    decay: float = 0.4
    """Share of the past in the dictionary's moving averages, gamma."""
    mixture: Mixture = "gate"
    """Input of the Transformer: a learned mixture of code and feature, their sum, or the code alone."""
    keep_dictionary: bool = False
    """Keep the dictionary, frozen, in downstream tasks; the official code drops it."""
    mask_codes: float = 0.015
    """Probability that an image with one of its texts has a masked code."""
    grouped: bool = True
    """Mask every position of a code; false masks a single one."""
    mask_words: float = 0.15
    """Share of words that are masked."""
    positives_only: bool = True
    """Predict masked words and codes of matched pairs alone; the official code also does of mismatched ones."""

    texts: int = 4
    """Captions, or questions, of an image in a step."""
    length: int = 16
    """Word pieces of a text, with [CLS] and [SEP]; longer ones are cut."""
    short_side: int = 600
    """Pixels of the short side of a photograph."""
    long_side: int = 1000
    """Pixels of the long side of a photograph at most."""
    short_sides: tuple[int, int] | None = None
    """Range of the short side in training, drawn for each photograph; None: always `short_side`."""
    group: int = 16
    """Photographs of one orientation that are read together, so that little is padded; a divisor of `batch_size`."""
    batch_size: int = 128
    """Images of an optimizer step, over all processes."""
    accumulate: int = 2
    """Batches whose gradients are added up for one optimizer step."""
    steps: int = 33_000
    learning_rate: float = 1e-4
    """Highest rate of AdamW, for all but the CNN."""
    weight_decay: float = 0.01
    """Of AdamW, decoupled, on norms and biases as well."""
    trunk_rate: float = 1e-2
    """Highest rate of SGD, for the CNN."""
    trunk_decay: float = 1e-4
    """Of SGD, in its gradient."""
    warmup: int = 1000
    """Steps in which the rates rise from a third."""
    milestones: tuple[float, ...] = (25 / 40, 35 / 40)
    """Shares of the training after which both rates fall to a tenth."""
    clip: float = 10.0
    """Largest norm of the whole gradient."""
    blind: bool = False
    """Control: blank images, so that the text is all there is."""
    precision: Literal["no", "fp16", "bf16"] = "fp16"
    workers: int = 8
    save_every: int = 500

    split: Literal["test", "validation"] = "test"
    """Images that are evaluated; settings are chosen on validation (seeds 100 and up)."""
    candidates: int = 50
    """Candidates of a query of retrieval among scenes; photographs have the published protocols."""
    scenes: int = 4000
    """Composed scenes for training."""
    test_scenes: int = 600
    """Composed scenes for testing, and as many for validation."""
    repeats: int = 10
    """Repeated measurements of a latency."""


EVALUATION = ("split", "candidates", "repeats")  # training does not read these: another value only evaluates again

CPU = Config(
    trunk="lite0",
    trunk_weights=None,
    most_boxes=3,
    crop=64,
    bert=None,
    word_vectors=True,
    width=64,
    layers=2,
    heads=4,
    codes=128,
    mask_codes=0.3,
    mask_words=0.25,
    group=1,
    batch_size=16,
    accumulate=1,
    steps=1200,
    learning_rate=1e-3,
    trunk_rate=1e-2,
    warmup=50,
    precision="no",
    workers=0,
    save_every=200,
)
PRESETS = {
    "smoke": replace(
        CPU,
        trunk="small",
        width=16,
        codes=8,
        layers=1,
        scenes=32,
        test_scenes=12,
        candidates=6,
        batch_size=4,
        steps=6,
        warmup=2,
        save_every=3,
        repeats=1,
    ),
    "cpu": CPU,
    "paper": Config(),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0,)}

VARIANTS = {
    "soho": Variant("pre-training: SOHO", headline=True),
}
