"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from shared.paper import Variant

from .losses import AttentionLoss, HiddenLoss, LogitLoss
from .model import AdapterMask, FusionMode

Method = Literal["acquire", "overlap", "encoder", "adapters", "full", "student"]
Knowledge = Literal["triples", "mined", "shuffled", "glosses", "glosses-no-genus", "none"]


@dataclass(frozen=True)
class Config:
    """One run. Only the paper's abstract could be read: all values are choices made here, most of them K-Adapter's."""

    data: str | None = None
    """Folder with a user's own tasks and triples (see data.LAYOUT); None: the embedded domains."""

    method: Method = "adapters"
    """acquire: mine triples and check them. overlap: a baseline on characters. The others classify and match with the
    plain encoder, with adapters beside it, with an encoder that is infused itself, or with a small student."""
    knowledge: Knowledge = "triples"
    """Infused: relations of the taxonomy, mined ones, the same with shuffled tails, or definitions of the terms."""
    relations: tuple[str, ...] = ("hypernym", "synonym")
    """Relations whose triples are infused."""
    stacks: Literal["one", "per-relation"] = "one"
    """One stack of adapters for all relations, or one for each, trained apart."""
    append_facts: bool = False
    """Append a term's hypernyms to the sentence: knowledge as text, which needs the taxonomy at run time."""

    encoder: str = "roberta-large"
    """Encoder's name on the hub, its folder, or "minilm", which is installed as a package."""
    pooling: Literal["mean", "first"] = "first"
    """Sentence feature: mean of the tokens, or the token at position 0."""
    matching: Literal["cross", "bi"] = "cross"
    """Two sentences as one sequence, or each by itself."""
    max_length: int = 64
    """Tokens of a text at most."""
    cache_states: bool = False
    """Compute the frozen encoder's hidden states once for all runs, in half precision."""

    adapter_layers: tuple[int, ...] = (0, 11, 22)
    """Hidden states that adapters read; 0 is the embedding output."""
    adapter_size: int = 768
    """Width of an adapter's inner transformer."""
    adapter_heads: int = 12
    adapter_inner_layers: int = 2
    adapter_feed_forward: int = 3072
    adapter_dropout: float = 0.1
    adapter_mask: AdapterMask = "real"
    """Attention of adapters: to real tokens, or also to padding as in K-Adapter's official code."""
    adapter_skip: int = 0
    """Add an earlier adapter's output after every so many adapters; 0: never."""
    fusion: FusionMode = "concat"
    """The last layer and the adapters' output: concatenated and projected, or added up."""

    align_weight: float = 1.0
    """Weight of contrastive alignment between a sentence with a term and what the term is related to."""
    relation_weight: float = 1.0
    """Weight of relation classification: hypernym, its inverse, synonym, or none."""
    masked_weight: float = 1.0
    """Weight of masked knowledge modelling: predict the masked tail of a triple in words."""
    temperature: float = 0.05
    """Temperature of the alignment's cosines."""
    steps: int = 20_000
    """Optimizer steps of infusion in one domain."""
    batch_size: int = 256
    """Triples of a step, over all processes."""
    learning_rate: float = 5e-5
    warmup: float = 0.06
    """Share of the steps in which the learning rate rises; it falls linearly afterwards."""
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""

    tuning: Literal["frozen", "full"] = "full"
    """Fine-tuning: the head alone, or the encoder with it; adapters are frozen."""
    dense_head: bool = True
    """A dense layer and dropout before the classifier."""
    head_l2: float = 1e-3
    """Squared norm of a head's weights that is added to its loss, with frozen tuning."""
    shots: tuple[int, ...] = (2, 8, 24)
    """Labels of each class; the second number is that of the claims, the last that of distillation."""
    draws: int = 1
    """Draws of labels that frozen tuning averages over."""
    tuning_steps: int = 500
    tuning_batch_size: int = 8
    tuning_learning_rate: float = 1e-5

    student_layers: tuple[int, ...] = (8, 16, 24)
    """Encoder layers that the student begins with."""
    teacher: bool = True
    """Distil the run that the student starts from; otherwise fine-tune it with the labels alone."""
    unlabelled: bool = True
    """Distil with the domain's unlabelled queries, too."""
    distilled_domains: int = 1
    """Domains that students are made for."""
    soft_weight: float = 0.8
    """Weight of the teacher's logits; that of labels is one minus it."""
    hidden_weight: float = 1.0
    """Weight of hidden states in the first half of distillation."""
    attention_weight: float = 0.1
    """Weight of attention probabilities in the first half of distillation."""
    soft_temperature: float = 4.0
    soft_loss: LogitLoss = "ce"
    hidden_loss: HiddenLoss = "mse"
    attention_loss: AttentionLoss = "mse"
    fused_target: bool = True
    """The student's last layer learns the fused feature; otherwise the encoder's last layer."""
    student_steps: int = 5_000
    student_batch_size: int = 32
    student_learning_rate: float = 3e-5

    precision: Literal["no", "fp16", "bf16"] = "no"
    workers: int = 4
    save_every: int = 1_000

    deploy: bool = False
    """Quantise and export student and teacher, and measure both."""
    split: Literal["test", "validation"] = "test"
    """Examples that are evaluated; settings are chosen on validation (seeds 100 and up)."""
    embedded: tuple[str, ...] = ("products", "civic", "nature")
    """Embedded domains, without `data`."""
    class_terms: tuple[int, int, int] = (26, 12, 45)
    """Terms of each class for training, validation and testing."""
    pairs: tuple[int, int, int] = (30, 60, 200)
    """Concepts of a matching task for training, validation and testing."""
    snippets: int = 500
    """Test snippets of a sentiment task."""


EVALUATION = ("split", "deploy")  # fields that training does not read: with other values a run is only evaluated again

CPU = Config(
    encoder="minilm",
    pooling="mean",
    matching="bi",
    max_length=48,
    cache_states=True,
    adapter_layers=(3, 6),
    adapter_size=64,
    adapter_heads=4,
    adapter_inner_layers=1,
    adapter_feed_forward=256,
    masked_weight=0.0,
    steps=300,
    batch_size=64,
    learning_rate=1e-3,
    tuning="frozen",
    dense_head=False,
    draws=3,
    student_layers=(2, 4, 6),
    student_steps=300,
    student_learning_rate=3e-4,
    save_every=100,
    workers=0,
)
PRESETS = {
    "smoke": replace(
        CPU,
        embedded=("nature",),
        class_terms=(4, 2, 2),
        pairs=(3, 2, 4),
        snippets=12,
        shots=(1, 2, 3),
        draws=1,
        steps=4,
        batch_size=8,
        student_steps=4,
        student_batch_size=6,
        save_every=3,
    ),
    "cpu": CPU,
    "paper": Config(),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0,)}

CPU_ONLY = ("cpu",)  # rows that add no code to the smoke preset
OFFLINE = ("smoke", "cpu")  # rows that need the embedded domains


def _adapters(text: str, presets: tuple[str, ...] = ("smoke", "cpu", "paper"), **changes: Any) -> Variant:
    return Variant(text, changes, presets)


def _student(text: str, start: str, presets: tuple[str, ...] = ("smoke", "cpu", "paper"), **changes: Any) -> Variant:
    return Variant(text, {"method": "student"} | changes, presets, start)


VARIANTS = {
    "overlap": Variant("character n-grams, no encoder", {"method": "overlap"}),
    "plm": Variant("plain encoder", {"method": "encoder"}, headline=True),
    "plm+params": _adapters("the same adapters, not infused", knowledge="none"),
    "plm+cont": _adapters("adapters infused with shuffled pairs", knowledge="shuffled"),
    "kaid": Variant("adapters infused with hypernyms and synonyms", headline=True),
    "kaid-hyper": _adapters("hypernyms alone", relations=("hypernym",)),
    "kaid-syn": _adapters("synonyms alone", relations=("synonym",)),
}
