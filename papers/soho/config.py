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
    code_factor: float = 1.0
    """Factor on the number of codes, for a sweep."""
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
    group: int = 16
    """Photographs of one orientation that are read together, so that little is padded; a divisor of the batch sizes."""
    batch_size: int = 128
    """Images of a batch of pre-training, over all processes."""
    accumulate: int = 2
    """Batches whose gradients are added up for one optimizer step of pre-training."""
    steps: int = 33_000
    """Optimizer steps of pre-training."""
    learning_rate: float = 1e-4
    """Highest rate of AdamW in pre-training, for all but the CNN."""
    trunk_rate: float = 1e-2
    """Highest rate of SGD in pre-training, for the CNN."""
    milestones: tuple[float, ...] = (25 / 40, 35 / 40)
    """Shares of pre-training after which both rates fall to a tenth."""
    clip: float = 10.0
    """Largest norm of the whole gradient in pre-training."""
    tuning_sides: tuple[int, int, int] | None = (400, 800, 1333)
    """Training of a downstream task draws the short side of a photograph between the first two, its long side is the
    third at most; None: sizes as in pre-training."""
    tuning_batch_size: int = 128
    """Images, or pairs of images, of a batch of a downstream task, over all processes."""
    tuning_accumulate: int = 1
    """Batches whose gradients are added up for one optimizer step of a downstream task."""
    tuning_steps: int = 13_000
    """Optimizer steps of a downstream task."""
    tuning_learning_rate: float = 1e-4
    """Highest rate of AdamW in a downstream task."""
    tuning_trunk_rate: float = 1e-2
    """Highest rate of SGD in a downstream task."""
    tuning_milestones: tuple[float, ...] = (12 / 20, 16 / 20)
    """Shares of a downstream task after which both rates fall to a tenth."""
    tuning_clip: float = 4.0
    """Largest norm of the whole gradient in a downstream task."""
    weight_decay: float = 0.01
    """Weight decay of AdamW, decoupled, on norms and biases as well."""
    trunk_decay: float = 1e-4
    """Weight decay of SGD, in its gradient."""
    warmup: int = 1000
    """Steps in which the rates rise from a third."""
    blind: bool = False
    """Control: blank images, so that the text is all there is."""
    precision: Literal["no", "bf16"] = "bf16"
    """Number format of the network in training: float32, or bfloat16 in part."""
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
    short_side=128,
    long_side=256,
    bert=None,
    word_vectors=True,
    width=64,
    layers=2,
    heads=4,
    dropout=0.0,
    codes=128,
    mask_codes=0.3,
    mask_words=0.25,
    group=1,
    batch_size=16,
    accumulate=1,
    steps=1600,
    learning_rate=2e-3,
    trunk_rate=0.05,
    milestones=(0.8, 0.95),
    tuning_sides=None,
    tuning_batch_size=16,
    tuning_steps=1000,
    tuning_learning_rate=1e-3,
    tuning_trunk_rate=0.05,
    tuning_milestones=(0.8, 0.95),
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
        tuning_batch_size=4,
        steps=6,
        tuning_steps=4,
        warmup=2,
        save_every=3,
    ),
    "cpu": CPU,
    "paper": Config(),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0,)}

EVERY = ("smoke", "cpu", "paper")
BEYOND_SMOKE = ("cpu", "paper")  # rows that add no code to the smoke preset
PAPER = ("paper",)  # rows that say the least: their stage of pre-training has a row in the cpu preset
REGIONS = {"regions": True, "dictionary": False}
NO_DICTIONARY = {"dictionary": False}
WRITTEN = {"rule": "written", "mixture": "code", "decay": 0.99}
FROZEN = {"trunk_trained": False}


def _tuned(
    task: str,
    what: str,
    start: str | None,
    changes: dict[str, Any],
    presets: tuple[str, ...] = EVERY,
    headline: bool = False,
) -> Variant:
    return Variant(what, {"task": task, **changes}, presets, start, headline)


VARIANTS = {
    # Pre-training.
    "soho": Variant("pre-training: SOHO, dictionary by the official code", headline=True),
    "written": Variant("pre-training: dictionary by the paper's equation, codes alone", WRITTEN),
    "no-dictionary": Variant("pre-training: no dictionary, no masked codes", NO_DICTIONARY, headline=True),
    "no-mvm": Variant("pre-training: dictionary, no masked codes", {"mask_codes": 0.0}, BEYOND_SMOKE),
    "single-mvm": Variant("pre-training: one position masked, not all of a code", {"grouped": False}),
    "frozen": Variant("pre-training: CNN frozen", FROZEN),
    "regions": Variant("pre-training: boxes of objects in place of the image", REGIONS, headline=True),
    "codes-half": Variant("pre-training: half as many codes", {"code_factor": 0.5}, PAPER),
    "codes-double": Variant("pre-training: twice as many codes", {"code_factor": 2.0}, PAPER),
    "codes-fourfold": Variant("pre-training: four times as many codes", {"code_factor": 4.0}, PAPER),
    # Questions.
    "soho-vqa": _tuned("vqa", "questions, from SOHO", "soho", {}, headline=True),
    "no-dictionary-vqa": _tuned("vqa", "questions, from no dictionary", "no-dictionary", NO_DICTIONARY, headline=True),
    "frozen-vqa": _tuned("vqa", "questions, CNN frozen throughout", "frozen", FROZEN, headline=True),
    "regions-vqa": _tuned("vqa", "questions, from boxes", "regions", REGIONS, headline=True),
    "scratch-vqa": _tuned("vqa", "questions, from scratch", None, NO_DICTIONARY, headline=True),
    "blind-vqa": _tuned("vqa", "questions, from SOHO, blank images", "soho", {"blind": True}),
    "kept-vqa": _tuned("vqa", "questions, from SOHO, dictionary kept", "soho", {"keep_dictionary": True}, BEYOND_SMOKE),
    "written-vqa": _tuned("vqa", "questions, from the paper's equation", "written", WRITTEN, PAPER),
    "no-mvm-vqa": _tuned("vqa", "questions, from no masked codes", "no-mvm", {}, PAPER),
    "single-mvm-vqa": _tuned("vqa", "questions, from single positions masked", "single-mvm", {}, PAPER),
    # Statements about two images, entailment, retrieval.
    **{
        f"{name}-{task.replace('snli-ve', 've')}": _tuned(task, f"{what}, from {source}", start, changes, presets)
        for task, what in (("nlvr2", "statements"), ("snli-ve", "entailment"), ("retrieval", "retrieval"))
        for name, source, start, changes, presets in (
            ("soho", "SOHO", "soho", {}, EVERY),
            ("no-dictionary", "no dictionary", "no-dictionary", NO_DICTIONARY, PAPER),
            ("regions", "boxes", "regions", REGIONS, BEYOND_SMOKE),
            ("scratch", "scratch", None, NO_DICTIONARY, PAPER),
        )
    },
    "speed": Variant("latencies of untrained networks", {"task": "speed"}, ("cpu",)),
}
