"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Literal

from shared.paper import Variant

Method = Literal["assign", "isolated", "fedavg", "fedavg-st", "fedprox", "fedbn", "ditto", "atc"]


@dataclass(frozen=True)
class Config:
    """One stage of a federated course. The defaults are those of the official configuration files."""

    data: str | None = None
    """Folder with the paper's six data sets (see data.LAYOUT); None: the embedded federation."""
    split: Literal["test", "validation"] = "test"
    """Items that are evaluated; settings are chosen on validation (seeds 100 and up)."""
    clients: tuple[str, ...] = (
        "imdb", *["agnews"] * 3, *["squad"] * 3, *["newsqa"] * 2, *["cnndm"] * 5, *["msqg"] * 4,
    )  # fmt: skip
    """Data set of every client; clients of one data set get disjoint parts of it."""
    train_items: int | None = None
    """Training items of a client; None: all of its part."""
    test_items: int | None = None
    """Validation and test items of a client; None: all of its part."""

    checkpoint: str = "google/bert_uncased_L-2_H-128_A-2"
    """BERT checkpoint of the hub, or a local folder; "offline": its shape with MiniLM's word embeddings, projected."""
    vocabulary: int = 3_000
    """Word pieces of the offline model."""
    pooling: Literal["first", "mean"] = "first"
    """States that the pooler sees: that of position 0, or the mean over the text."""
    dropout: float = 0.1
    text_length: int = 128
    """Longest input of a classification client, in word pieces."""
    span_length: int = 384
    """Longest window of a question and its context."""
    question_length: int = 128
    stride: int = 128
    """Word pieces that two windows of one context share."""
    source_length: int = 384
    """Longest source of a generation client, and longest text of the Assign stage."""
    target_length: int = 128
    """Longest target of a generation client."""

    method: Method = "atc"
    """Stage and rule of aggregation: Assign, Contrast, or a baseline."""
    rounds: int = 100
    local_steps: int = 200
    """Optimizer steps of a client a round."""
    batch_size: int = 32
    """Items of a client's batch."""
    accumulation: int = 1
    """Batches of an optimizer step."""
    assign_rounds: int = 200
    """Rounds of the Assign stage, in place of rounds."""
    assign_steps: int = 50
    """Optimizer steps of a client a round of the Assign stage, in place of local_steps."""
    assign_batch_size: int = 16
    """Items of a client's batch in the Assign stage, in place of batch_size."""
    assign_accumulation: int = 4
    """Batches of an optimizer step of the Assign stage, in place of accumulation."""
    learning_rate: float = 5e-4
    """Peak of the schedule: linear warm-up, then linear decay to zero over all rounds."""
    warmup: float = 0.1
    """Share of all steps in which the learning rate rises."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of a gradient."""
    label_smoothing: float = 0.1
    """Share of the target distribution that generation spreads over the other word pieces."""

    clusters: int = 5
    """Groups of clients in the Assign stage."""
    mask_ratio: float = 0.3
    """Share of the word pieces that denoising masks."""
    neighbours: tuple[int, ...] = (16,) * 9 + (8,) * 9
    """K of every client: nearest clients whose updates it receives, itself included."""
    first_round: Literal["mix", "keep"] = "mix"
    """Contrast, first round: mix the drift since the common start, as the released code does, or keep it."""
    contrast_weight: float = 1.0
    """Weight of the contrastive loss; 0: aggregation over the nearest neighbours alone."""
    temperature: float = 1.0
    contrasted: int = 20
    """Most positives, and most negatives, of the contrastive loss."""
    synthetic: int = 20_000
    """Synthetic items, at most the size of the smallest client."""
    synthetic_length: int = 384
    """Positions of a synthetic item, at most."""
    primary_share: float = 0.5
    """Share of its primary client in a synthetic item."""
    prox: float = 0.01
    """mu of FedProx."""
    ditto: float = 0.1
    """lambda of Ditto."""
    timeout: float = 3600.0
    """Seconds after which a client's answer is too late for its round."""
    save_every: int = 5
    """Rounds between two checkpoints."""

    null_threshold: float | None = 0.0
    """Lead at which "no answer" wins over the best span; None: every question has an answer."""
    answer_length: int = 30
    """Longest answer to a question, in word pieces."""
    beams: int = 5
    generated: int | None = None
    """Test items of a client that are generated for ROUGE and BLEU; None: all."""
    length_penalty: float = 2.0

    def of_stage(self) -> "Config":
        """The configuration whose rounds, steps and batches are those of its own stage."""
        if self.method != "assign":
            return self
        return replace(
            self,
            rounds=self.assign_rounds,
            local_steps=self.assign_steps,
            batch_size=self.assign_batch_size,
            accumulation=self.assign_accumulation,
        )


# Fields that training does not read: with other values a run is only evaluated again.
EVALUATION = ("split", "null_threshold", "answer_length", "beams", "generated", "length_penalty")

CPU = Config(
    clients=(
        "movies", "movies", "products", "tweets", "topics", "topics",
        "spans", "spans", "spans", "definitions", "definitions", "definitions",
    ),
    train_items=300,
    test_items=300,
    checkpoint="offline",
    pooling="mean",
    dropout=0.0,
    text_length=40,
    span_length=64,
    question_length=24,
    stride=16,
    source_length=40,
    target_length=24,
    rounds=15,
    local_steps=8,
    batch_size=16,
    assign_rounds=20,
    assign_steps=8,
    assign_accumulation=1,
    learning_rate=1e-3,
    clusters=3,
    neighbours=(3,) * 12,
    synthetic=128,
    synthetic_length=32,
    save_every=8,
    null_threshold=None,
    answer_length=4,
    beams=2,
    generated=100,
)  # fmt: skip
PRESETS = {
    "smoke": replace(
        CPU,
        train_items=24,
        test_items=8,
        vocabulary=600,
        rounds=4,
        local_steps=2,
        batch_size=4,
        assign_rounds=4,
        assign_steps=2,
        assign_batch_size=4,
        synthetic=16,
        synthetic_length=12,
        save_every=1,
        generated=2,
    ),
    "cpu": CPU,
    "paper": Config(),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0, 1, 2)}

ONE_EACH = ("movies", "products", "tweets", "topics", "spans", "definitions")
VARIANTS = {
    "assign": Variant("stage 1: self-supervised tasks that the server assigns", {"method": "assign"}),
    "isolated": Variant("no communication", {"method": "isolated"}, headline=True),
    "isolated_all": Variant(
        "one client a data set, five times the data, three times the rounds: a control",
        {"method": "isolated", "clients": ONE_EACH, "neighbours": (1,) * 6, "train_items": 1500, "rounds": 45},
        ("cpu",),
    ),
    "fedavg": Variant("FedAvg: one average of all encoders", {"method": "fedavg"}, headline=True),
    "fedavg_st": Variant("FedAvg among the clients of a data set, who are told", {"method": "fedavg-st"}),
    "fedprox": Variant("FedProx", {"method": "fedprox"}),
    "fedbn": Variant("FedBN: FedAvg, but clients keep their normalisation layers", {"method": "fedbn"}),
    "ditto": Variant("Ditto: a personal model beside FedAvg's, twice the steps", {"method": "ditto"}, headline=True),
    "assign_then_isolated": Variant(
        "Assign, then no communication", {"method": "isolated"}, start="assign", headline=True
    ),
    "assign_then_fedavg": Variant("Assign, then FedAvg", {"method": "fedavg"}, start="assign"),
    "atc_without_assign": Variant("Contrast alone", {"method": "atc"}, headline=True),
    "atc_without_contrast_loss": Variant(
        "ATC without the contrastive loss", {"contrast_weight": 0.0}, start="assign", headline=True
    ),
    "atc": Variant("Assign, then Contrast: the paper's method", start="assign", headline=True),
}
