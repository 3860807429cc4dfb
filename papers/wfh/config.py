"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from shared.paper import Variant

Sampling = Literal["gumbel", "soft", "hard"]
Task = Literal["pretrain", "retrieval", "vqa", "nlvr2", "snli-ve"]


@dataclass(frozen=True)
class Config:
    """One run: pre-training, or one downstream task. The defaults are those of U-VisualBERT's released configuration.

    Numbers of the hallucinator are this reproduction's own.
    """

    data: str | None = None
    """Folder with region features and annotations (see data.LAYOUT); None: composed scenes."""
    task: Task = "pretrain"
    """Stage of the run."""
    retrieval_set: Literal["coco", "flickr30k"] = "coco"
    """Images and captions of retrieval, with --data; the other set is tested as well."""

    bert: str | None = "bert-base-uncased"
    """Weights that the Transformer begins with: a BERT of the hub, "minilm" from the package, or None."""
    word_vectors: bool = False
    """Begin word embeddings with the principal components of MiniLM's; without `bert`."""
    width: int = 768
    """Channels of the Transformer."""
    layers: int = 12
    """Layers of the Transformer."""
    heads: int = 12
    """Heads of attention."""
    dropout: float = 0.1
    initializer_range: float = 0.02
    """Standard deviation of initial weights; BERT's fits 768 channels."""
    regions: int = 36
    """Regions of an image at most."""
    features: int = 2048
    """Numbers of a region's feature; composed scenes have those of EfficientNet-Lite0."""
    length: int = 30
    """Word pieces of a caption, with [CLS] and [SEP]; longer ones are cut."""
    passage_length: int = 67
    """Word pieces of two segments of running text, with [CLS] and both [SEP]."""
    tag_length: int = 50
    """Word pieces of an image's tags; the rest is cut."""

    objective: Literal["uvb", "wfh", "paired"] = "wfh"
    """Pre-training: U-VisualBERT's, with hallucinations, or with aligned pairs of images and captions."""
    text_match: bool = False
    """Matching on text alone, of two captions of one image; running text always has matching."""
    whole_words: bool = False
    """Mask all pieces of a word of a caption together; running text is always masked so."""
    mask_rate: float = 0.15
    """Share of words, tags and regions that are masked."""
    joint_mask_rate: float = 0.9
    """Probability that the tag of a masked region is masked, where the first coin spares it."""
    attribute_rate: float = 0.15
    """Probability that a tag is the name of the attribute in place of the object's."""

    vocabulary: Literal["kmeans", "random", "none"] = "kmeans"
    """Visual words: centres of k-means, noise (control), or none, for free regression (control)."""
    visual_words: int = 1024
    """Visual words, K."""
    vocabulary_regions: int = 100_000
    """Regions that k-means sees at most."""
    hallucinator_layers: int = 2
    """Layers of the hallucinator's own Transformer."""
    sampling: Sampling = "gumbel"
    """Weights of the visual words in training: drawn, softmax, or one drawn word."""
    temperature: float = 1.0
    """Temperature of the drawn weights."""
    stop_gradient: bool = True
    """Keep the losses on hallucinations from training the hallucinator."""
    shuffle: Literal["no", "yes", "words"] = "no"
    """Control: hallucinations of another caption, for all losses, or for masked words alone without matching."""
    region_weight: float = 1.0
    """Weight of a region's object, attribute and feature, beside the official code's 1 / 0.15."""
    tag_weight: float = 1.0
    """Weight of the tags' supervision of the hallucinator, lambda 1."""
    word_weight: float = 1.0
    """Weight of masked words beside hallucinations, lambda 2."""
    match_weight: float = 1.0
    """Weight of matching captions with hallucinations, lambda 3."""
    regression_weight: float = 0.1
    """Weight of the regression to a region's feature in the tags' supervision, beta."""
    hallucinator_warmup: float = 0.1
    """Share of pre-training, at its beginning, in which captions see no hallucinations yet."""

    batch_size: int = 32
    """Images, or texts, of a batch of pre-training, over all processes."""
    steps: int = 611_240
    """Optimizer steps of pre-training."""
    step_factor: float = 1.0
    """Factor on the steps of pre-training, for the comparison at equal compute."""
    learning_rate: float = 6e-5
    """Highest rate of BertAdam in pre-training."""
    warmup: float = 0.02
    """Share of pre-training in which the rate rises."""
    clip_norm: float = 1.0
    """Largest norm of the whole gradient."""
    weight_decay: float = 0.01
    """Weight decay of BertAdam."""

    tuning_batch_size: int = 32
    """Texts of a batch of a downstream task, over all processes."""
    tuning_steps: int = 110_000
    """Optimizer steps of a downstream task."""
    tuning_learning_rate: float = 5e-5
    """Highest rate of BertAdam in a downstream task."""
    tuning_warmup: float = 0.1
    """Share of a downstream task in which the rate rises."""
    validate_every: int = 5000
    """Steps between two validations; the weights with the best validation score are kept."""
    validation_queries: int = 1000
    """Images, or texts, of a validation at most."""
    validation_pool: int = 1000
    """Images of a pool in a validation of retrieval."""
    pairs: int | None = None
    """Images with captions for the fine-tuning of retrieval; None: all there are."""
    precision: Literal["no", "fp16", "bf16"] = "fp16"
    """Mixed precision of the forward passes."""
    workers: int = 8
    """Processes that read samples ahead; 0 reads them in the training process."""
    save_every: int = 1000
    """Steps between two checkpoints."""

    split: Literal["test", "validation"] = "test"
    """Images that are evaluated; settings are chosen on validation (seeds 100 and up)."""
    pool: int = 1000
    """Images of a pool, within which an image or a caption is searched for."""
    scenes: int = 800
    """Composed scenes of each of the two corpora of pre-training."""
    tuning_scenes: int = 400
    """Composed scenes for downstream tasks."""
    test_scenes: int = 300
    """Composed scenes of each domain for testing, and half as many for validation."""


EVALUATION = ("split", "pool")  # training does not read these: another value only evaluates again

CPU = Config(
    bert=None,
    word_vectors=True,
    width=64,
    layers=2,
    heads=4,
    initializer_range=0.125,
    dropout=0.0,
    regions=4,
    region_weight=0.1,
    features=320,
    length=24,
    passage_length=48,
    tag_length=8,
    visual_words=96,
    hallucinator_layers=1,
    steps=1200,
    learning_rate=1e-3,
    warmup=0.05,
    tuning_batch_size=16,
    tuning_steps=800,
    tuning_learning_rate=5e-4,
    validate_every=200,
    validation_queries=120,
    validation_pool=60,
    pairs=200,
    precision="no",
    workers=0,
    save_every=200,
    pool=60,
    scenes=2000,
)
PRESETS = {
    "smoke": replace(
        CPU,
        width=16,
        layers=1,
        visual_words=8,
        batch_size=8,
        steps=8,
        tuning_batch_size=4,
        tuning_steps=4,
        validate_every=2,
        validation_queries=6,
        validation_pool=6,
        pairs=16,
        save_every=3,
        pool=6,
        scenes=32,
        tuning_scenes=16,
        test_scenes=12,
    ),
    "cpu": CPU,
    "paper": Config(),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0,)}

EVERY = ("smoke", "cpu", "paper")
BEYOND_SMOKE = ("cpu", "paper")  # rows that add no code to the smoke preset
BEYOND_CPU = ("smoke", "paper")  # rows that would take the cpu preset too long
PAPER_ONLY = ("paper",)  # both
UVB: dict[str, Any] = {"objective": "uvb"}
LONG = 2.65  # updates of U-VisualBERT in the compute of one with hallucinations (measured on the cpu preset)

_PRETRAINING: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "uvb": ("U-VisualBERT", UVB, EVERY),
    "uvb-long": ("U-VisualBERT in the compute of WFH", UVB | {"step_factor": LONG}, BEYOND_SMOKE),
    "uvb-match": ("U-VisualBERT with matching on text alone", UVB | {"text_match": True}, EVERY),
    "wfh": ("WFH as reconstructed from the abstract", {}, EVERY),
    "shuffled": ("hallucinations of other captions", {"shuffle": "yes"}, BEYOND_SMOKE),
    "shuffled-words": ("hallucinations of other captions, masked words alone", {"shuffle": "words"}, BEYOND_CPU),
    "no-match": ("hallucinations without matching", {"match_weight": 0.0}, PAPER_ONLY),
    "no-tags": (
        "hallucinations without tags' supervision, with gradient",
        {"tag_weight": 0.0, "stop_gradient": False},
        EVERY,
    ),
    "regression": ("hallucinations by free regression", {"vocabulary": "none"}, BEYOND_CPU),
    "random-words": ("hallucinations of random visual words", {"vocabulary": "random"}, BEYOND_SMOKE),
    "soft": ("hallucinations without drawing", {"sampling": "soft"}, PAPER_ONLY),
    "hard": ("hallucinations of one visual word each", {"sampling": "hard"}, PAPER_ONLY),
    "gradient": ("hallucinations trained by all losses", {"stop_gradient": False}, PAPER_ONLY),
    "paired": ("aligned pairs", {"objective": "paired"}, EVERY),
}
_HEADLINE = ("uvb", "uvb-long", "uvb-match", "wfh", "shuffled", "random-words", "paired")
_TASKS = {"vqa": ("vqa", "questions"), "nlvr2": ("nlvr2", "statements"), "snli-ve": ("ve", "entailment")}
VARIANTS = {
    **{
        name: Variant(f"pre-training: {what}", changes, presets)
        for name, (what, changes, presets) in _PRETRAINING.items()
    },
    "none-retrieval": Variant("retrieval, from no pre-training", {"task": "retrieval"}, headline=True),
    **{
        f"{name}-retrieval": Variant(
            f"retrieval, from {what}",
            {"task": "retrieval"},
            presets if name in ("uvb", "wfh") else tuple(preset for preset in presets if preset != "smoke"),
            start=name,
            headline=name in _HEADLINE,
        )
        for name, (what, _, presets) in _PRETRAINING.items()
    },
    **{
        f"{name}-{short}": Variant(f"{what}, from {source}", {"task": task}, presets, start=start)
        for task, (short, what) in _TASKS.items()
        for name, source, start, presets in (
            ("none", "no pre-training", None, BEYOND_SMOKE),
            ("uvb", "U-VisualBERT", "uvb", BEYOND_SMOKE),
            ("wfh", "WFH as reconstructed from the abstract", "wfh", EVERY),
            ("shuffled", "hallucinations of other captions", "shuffled", PAPER_ONLY),
            ("paired", "aligned pairs", "paired", BEYOND_SMOKE),
        )
    },
}
