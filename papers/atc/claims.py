"""The paper's claims as comparisons, fixed before the final seeds are run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(
    title="Collaborating heterogeneous natural language processing tasks via federated learning",
    authors="Chenhe Dong, Yuexiang Xie, Bolin Ding, Ying Shen, Yaliang Li",
    venue="arXiv 2022",
    arxiv="2212.05789",
    datasets=("IMDB", "AGNews", "SQuAD", "NewsQA", "CNN/DM", "MSQG"),
    summary="federated learning over different tasks: self-supervised in clusters, then contrast with neighbours",
    conclusion=(
        "Twelve small clients with six tasks gain from one course: with ATC they score higher than alone, and "
        "than with FedAvg, FedProx, FedBN or Ditto. The gain is in questions, film reviews and definitions; the "
        "other tasks neither gain nor lose, whereas FedAvg harms two of them. It comes from averaging with the "
        "nearest clients: the server finds those of the same data by their updates, about as well as if it were "
        "told. The Assign stage helps the writing clients alone, and the contrastive loss changes nothing here. "
        "Build on the averaging with neighbours; whether the rest pays with pre-trained models and more data "
        "cannot be answered at this size."
    ),
)

EMBEDDED = ("smoke", "cpu")
REAL = ("paper",)
COLUMNS = (
    Column("score_percent", "score (%)", 1, headline=True),
    Column("understanding_percent", "understanding", 1, headline=True),
    Column("generation_percent", "generation", 1, headline=True),
    Column("same_data_percent", "nearest is a twin (%)", 1, headline=True),
    Column("same_task_percent", "nearest has the same kind (%)", 1),
    Column("movies_accuracy_percent", "movies, accuracy", 1, presets=EMBEDDED),
    Column("products_accuracy_percent", "products, accuracy", 1, presets=EMBEDDED),
    Column("tweets_accuracy_percent", "tweets, accuracy", 1, presets=EMBEDDED),
    Column("topics_accuracy_percent", "topics, accuracy", 1, presets=EMBEDDED),
    Column("spans_f1_percent", "spans, F1", 1, presets=EMBEDDED),
    Column("spans_exact_percent", "spans, exact", 1, presets=EMBEDDED),
    Column("definitions_token_percent", "definitions, words right", 1, presets=EMBEDDED),
    Column("definitions_rouge_l_percent", "definitions, ROUGE-L", 1, presets=EMBEDDED),
    Column("definitions_bleu_percent", "definitions, BLEU-4", 1, presets=EMBEDDED),
    Column("imdb_accuracy_percent", "IMDB, accuracy", 1, presets=REAL),
    Column("agnews_accuracy_percent", "AGNews, accuracy", 1, presets=REAL),
    Column("squad_f1_percent", "SQuAD, F1", 1, presets=REAL),
    Column("squad_exact_percent", "SQuAD, exact", 1, presets=REAL),
    Column("newsqa_f1_percent", "NewsQA, F1", 1, presets=REAL),
    Column("newsqa_exact_percent", "NewsQA, exact", 1, presets=REAL),
    Column("cnndm_rouge_l_percent", "CNN/DM, ROUGE-L", 1, presets=REAL),
    Column("msqg_rouge_l_percent", "MSQG, ROUGE-L", 1, presets=REAL),
    Column("msqg_bleu_percent", "MSQG, BLEU-4", 1, presets=REAL),
    Column("round_megabytes", "MB a client and round", 2),
    Column("official_round_megabytes", "MB, official design", 2),
)

_FIGURE = "figure 6, as a review describes it, unverified"
_REVIEW = "ablation, as reviews describe it, unverified"


def _above_chance(name: str, metric: str, margin: float) -> Claim:
    text = f"{name.capitalize()}: with all data a client alone is far above chance."
    return Claim(
        f"learnable-{name}", 1, text, "control", metric, "isolated_all", "isolated_all",
        metric_b=f"{name}_chance_percent", margin=margin, control=True,
    )  # fmt: skip


CLAIMS = (
    Claim(
        "gain", 1, "Clients with different tasks gain from one course: ATC over isolated clients, mean over data sets.",
        "abstract", "score_percent", "atc", "isolated", relation="ratio", headline=True,
    ),
    _above_chance("movies", "movies_accuracy_percent", 5.0),
    _above_chance("products", "products_accuracy_percent", 5.0),
    _above_chance("tweets", "tweets_accuracy_percent", 5.0),
    _above_chance("topics", "topics_accuracy_percent", 20.0),
    _above_chance("spans", "spans_f1_percent", 5.0),
    _above_chance("definitions", "definitions_token_percent", 5.0),
    Claim(
        "over-fedavg", 2, "ATC beats FedAvg.", "abstract", "score_percent", "atc", "fedavg", relation="ratio",
        headline=True,
    ),
    Claim(
        "fedavg-unsuitable", 2, "Plain FedAvg does not suit mixed tasks: it is no better than isolated clients.",
        "abstract", "score_percent", "fedavg", "isolated", "lower", relation="ratio",
    ),
    Claim(
        "over-fedavg-st", 2, "ATC beats FedAvg among the clients of a data set, without being told which they are.",
        _REVIEW, "score_percent", "atc", "fedavg_st", relation="ratio",
    ),
    Claim("over-fedprox", 2, "ATC beats FedProx.", _REVIEW, "score_percent", "atc", "fedprox", relation="ratio"),
    Claim("over-fedbn", 2, "ATC beats FedBN.", _REVIEW, "score_percent", "atc", "fedbn", relation="ratio"),
    Claim("over-ditto", 2, "ATC beats Ditto.", _REVIEW, "score_percent", "atc", "ditto", relation="ratio"),
    Claim(
        "assign-matters", 3, "The Assign stage matters.", _REVIEW, "score_percent", "atc", "atc_without_assign",
        relation="ratio", headline=True,
    ),
    Claim(
        "more-than-pretraining", 3, "ATC is more than self-supervised training: it beats Assign, then isolation.",
        "our own comparison", "score_percent", "atc", "assign_then_isolated", relation="ratio", headline=True,
    ),
    Claim(
        "contrast-loss", 4, "The contrastive loss helps.", _REVIEW, "score_percent", "atc", "atc_without_contrast_loss",
        relation="ratio",
    ),
    Claim(
        "nearest-over-all", 4, "After Assign, averaging with the nearest clients beats averaging with all.", _REVIEW,
        "score_percent", "atc_without_contrast_loss", "assign_then_fedavg", relation="ratio",
    ),
    Claim(
        "twins-in-assign", 5, "Assign: a client's nearest update is a twin's (same data set) more than by chance.",
        _FIGURE, "same_data_percent", "assign", "assign", metric_b="same_data_chance_percent",
    ),
    Claim(
        "twins-in-contrast", 5, "The same in the Contrast stage.", _FIGURE, "same_data_percent", "atc", "atc",
        metric_b="same_data_chance_percent",
    ),
    Claim(
        "understanding", 6, "Understanding gains: ATC over isolated clients.", "abstract", "understanding_percent",
        "atc", "isolated", relation="ratio",
    ),
    Claim(
        "generation", 6, "Generation gains: ATC over isolated clients.", "abstract", "generation_percent", "atc",
        "isolated", relation="ratio",
    ),
)  # fmt: skip

REPORTED = (
    Reported("atc", "mean gain over isolated clients (%)", "+3.66", "a public review of the paper", headline=True),
)
