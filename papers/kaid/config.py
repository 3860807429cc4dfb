"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Literal

from shared.paper import Variant

from .losses import AttentionLoss, HiddenLoss, LogitLoss
from .model import AdapterMask, FusionMode

Method = Literal["acquire", "overlap", "encoder", "adapters", "student"]
Knowledge = Literal["triples", "mined", "shuffled", "glosses", "glosses-no-genus", "none"]


@dataclass(frozen=True)
class Config:
    """One run. Only the paper's abstract could be read: all values are choices made here, most of them K-Adapter's."""

    data: str | None = None
    """Folder with a user's own tasks and triples (see data.LAYOUT); None: the embedded domains."""

    method: Method = "adapters"
    """acquire: mine triples and check them. overlap: a baseline on characters. The others classify and match with the
    plain encoder, with adapters beside it, or with a small student."""
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
    timed_calls: int = 200
    """Calls whose median time is taken, with `deploy`."""
    split: Literal["test", "validation"] = "test"
    """Examples that are evaluated; settings are chosen on validation (seeds 100 and up)."""
    embedded: tuple[str, ...] = ("products", "civic", "nature")
    """Embedded domains, without `data`."""
    class_terms: tuple[int, int, int] = (26, 12, 45)
    """Terms of each class for training, validation and testing."""
    pairs: tuple[int, int, int] = (30, 60, 200)
    """Concepts of a matching task for training, validation and testing."""
    mined_share: int = 1
    """Every so many-th line of the text is mined by the variant acquire."""
    snippets: int = 500
    """Test snippets of a sentiment task."""


# Fields that training does not read: with other values a run is only evaluated again.
EVALUATION = ("split", "deploy", "timed_calls")

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
    steps=120,
    batch_size=64,
    learning_rate=3e-3,
    tuning="frozen",
    dense_head=False,
    draws=3,
    student_layers=(2, 4, 6),
    student_steps=250,
    student_batch_size=12,
    student_learning_rate=3e-4,
    save_every=100,
    workers=0,
    timed_calls=60,
)
PRESETS = {
    "smoke": replace(
        CPU,
        embedded=("nature",),
        class_terms=(4, 2, 2),
        pairs=(3, 2, 4),
        snippets=12,
        mined_share=15,
        shots=(1, 3, 4),
        draws=1,
        steps=4,
        batch_size=8,
        student_steps=4,
        student_batch_size=4,
        save_every=3,
        timed_calls=5,
    ),
    "cpu": CPU,
    "paper": Config(),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0,)}

OFFLINE = ("smoke", "cpu")  # rows that need the embedded domains
PAPER_ONLY = ("paper",)  # rows that take long and say least; they add no code to the smoke preset
KAID_3L = {"method": "student"}

VARIANTS = {
    "overlap": Variant("character n-grams, no encoder", {"method": "overlap"}),
    "plm": Variant("plain encoder", {"method": "encoder"}, headline=True),
    "plm+params": Variant("the same adapters, not infused", {"knowledge": "none"}, headline=True),
    "plm+cont": Variant("adapters infused with shuffled pairs", {"knowledge": "shuffled"}, headline=True),
    "entity": Variant("adapters infused with definitions of the terms", {"knowledge": "glosses"}, headline=True),
    "entity-no-genus": Variant(
        "the same, no hypernym in a definition", {"knowledge": "glosses-no-genus"}, OFFLINE, headline=True
    ),
    "kaid": Variant("adapters infused with hypernyms and synonyms", headline=True),
    "text": Variant(
        "plain encoder, hypernyms appended to each sentence",
        {"method": "encoder", "append_facts": True},
        OFFLINE,
        headline=True,
    ),
    "kaid-hyper": Variant("hypernyms alone", {"relations": ("hypernym",)}, PAPER_ONLY),
    "kaid-syn": Variant("synonyms alone", {"relations": ("synonym",)}, PAPER_ONLY),
    "kaid-two": Variant("adapters for each relation, trained apart", {"stacks": "per-relation"}, ("smoke", "paper")),
    "kaid-align": Variant("alignment alone, no relation classification", {"relation_weight": 0.0}, ("cpu",)),
    "kaid-masked": Variant("with masked knowledge modelling, too", {"masked_weight": 1.0}, ("smoke",)),
    "kaid-mined": Variant("triples that rules found in definitions", {"knowledge": "mined"}, OFFLINE),
    "acquire": Variant("acquisition: triples out of text by rules", {"method": "acquire"}, OFFLINE),
    "3L-kd-kaid": Variant("student of kaid", KAID_3L | {"deploy": True}, OFFLINE, "kaid"),
    "3L-ft": Variant("student of 3 layers, labels alone", KAID_3L | {"teacher": False}, OFFLINE, "plm"),
    "3L-kd-plm": Variant("student of the plain encoder", KAID_3L, OFFLINE, "plm"),
    "3L-kd-kaid-labelled": Variant(
        "student of kaid, no unlabelled queries", KAID_3L | {"unlabelled": False}, OFFLINE, "kaid"
    ),
    "3L-kd-last": Variant(
        "student of kaid, last layer learns the encoder's", KAID_3L | {"fused_target": False}, ("smoke",), "kaid"
    ),
}
