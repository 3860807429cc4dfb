"""The paper's claims as comparisons, fixed before the final seeds were run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(
    title="Learning by Hallucinating: Vision-Language Pre-training with Weak Supervision",
    authors="Tzu-Jui Julius Wang, Jorma Laaksonen, Tomas Langer, Heikki Arponen, Tom E. Bishop",
    venue="WACV 2023",
    arxiv="2210.13591",
    datasets=("COCO", "Flickr30k", "VQA v2", "NLVR2", "SNLI-VE", "BookCorpus"),
    reconstruction="Only the abstract and fragments could be read, and no official code was found. The hallucinator is"
    " a reconstruction; its base, U-VisualBERT, follows official code.",
    summary="vision-language pre-training without pairs, with image regions hallucinated from text",
    conclusion="This is no test of the paper: the hallucinator is a reconstruction from its abstract, and at this "
    "size only pre-training on aligned pairs helps retrieval. "
    "In the mean, no pre-training without pairs is better than none, U-VisualBERT's neither; seeds scatter widely. "
    "Hallucinations show no gain over U-VisualBERT, and names beyond the detector's tags fall behind the others. "
    "What does come out is the hallucinator itself: the regions that a word hallucinates are near to its own object, "
    "and this needs the supervision by tags. "
    "But captions were not learned to match these regions, and statements on two images are near chance in every row.",
)

OFFLINE = ("smoke", "cpu")
COLUMNS = (
    Column("rsum_percent", "RSUM", 1, headline=True),
    Column("tr1_percent", "TR R@1", 1, headline=True),
    Column("ir1_percent", "IR R@1", 1, headline=True),
    Column("chance_rsum_percent", "RSUM of chance", 1, presets=OFFLINE),
    *(Column(f"{name}{k}_percent", f"{name.upper()} R@{k}", 1) for name in ("tr", "ir") for k in (5, 10)),
    Column("other_rsum_percent", "other domain: RSUM", 1, headline=True),
    *(
        Column(f"other_{name}{k}_percent", f"{name.upper()} R@{k}, other", 1)
        for name in ("tr", "ir")
        for k in (1, 5, 10)
    ),
    Column("named_rsum_percent", "RSUM, names among tags", 1, presets=OFFLINE),
    Column("unnamed_rsum_percent", "RSUM, names beyond tags", 1, presets=OFFLINE),
    Column("accuracy_percent", "accuracy (%)", 1),
    Column("compute_tflop", "pre-training (TFLOP)", 2),
    Column("hallucination_cosine", "cosine with own region", 3, presets=OFFLINE),
    Column("hallucination_other_cosine", "with another's", 3, presets=OFFLINE),
    Column("hallucination_object_percent", "nearest to own object (%)", 1, presets=OFFLINE),
    Column("hallucination_tag_percent", "to own tag (%)", 1, presets=OFFLINE),
    Column("visual_words_used", "visual words used", 0, presets=OFFLINE),
)  # fmt: skip

_ABSTRACT = "abstract"
_OURS = "this reproduction's question"
_CONTROL = "control"
CLAIMS = (
    Claim(
        "retrieval", 1, "Hallucinations improve U-VisualBERT in retrieval, at equal updates.", _ABSTRACT,
        "rsum_percent", "wfh-retrieval", "uvb-retrieval", headline=True,
    ),
    Claim(
        "text-retrieval", 1, "They improve it at rank 1, texts for an image.", _ABSTRACT, "tr1_percent",
        "wfh-retrieval", "uvb-retrieval",
    ),
    Claim(
        "image-retrieval", 1, "They improve it at rank 1, images for a text.", _ABSTRACT, "ir1_percent",
        "wfh-retrieval", "uvb-retrieval",
    ),
    Claim(
        "retrieval-compute", 1, "They improve it at equal compute.", _OURS, "rsum_percent", "wfh-retrieval",
        "uvb-long-retrieval", headline=True,
    ),
    Claim(
        "over-text-match", 1, "They bring more than matching on text alone.", _OURS, "rsum_percent", "wfh-retrieval",
        "uvb-match-retrieval",
    ),
    Claim(
        "own-hallucinations", 1,
        "A caption's own hallucinations are better than another's: masked words alone, no matching.", _CONTROL,
        "rsum_percent", "no-match-retrieval", "shuffled-words-retrieval", control=True,
    ),
    Claim(
        "own-hallucinations-match", 1, "A caption's own hallucinations are better than another's: with matching.",
        _CONTROL, "rsum_percent", "wfh-retrieval", "shuffled-retrieval", control=True,
    ),
    Claim(
        "baseline-learns", 1, "U-VisualBERT's pre-training helps: against none.", _CONTROL, "rsum_percent",
        "uvb-retrieval", "none-retrieval", control=True,
    ),
    Claim(
        "fine-tuning-learns", 1, "Fine-tuning alone is better than chance.", _CONTROL, "rsum_percent",
        "none-retrieval", "none-retrieval", metric_b="chance_rsum_percent", control=True,
    ),
    Claim(
        "pairs-help", 1, "Aligned pairs help more than U-VisualBERT's pre-training.", _CONTROL, "rsum_percent",
        "paired-retrieval", "uvb-retrieval", control=True,
    ),
    Claim(
        "same-compute", 1, "The longer U-VisualBERT has the compute of WFH, to a tenth.", _CONTROL, "compute_tflop",
        "uvb-long", "wfh", "similar", margin=1.1, relation="ratio", control=True,
    ),
    Claim(
        "cross-dataset", 2, "Retrieval on a dataset that was not trained on gains 14.5 % or more.", _ABSTRACT,
        "other_rsum_percent", "wfh-retrieval", "uvb-retrieval", margin=1.145, relation="ratio", headline=True,
    ),
    Claim(
        "cross-dataset-texts", 2, "That gain is 14.5 % or more at rank 1, texts for an image.", _ABSTRACT,
        "other_tr1_percent", "wfh-retrieval", "uvb-retrieval", margin=1.145, relation="ratio",
    ),
    Claim(
        "cross-dataset-images", 2, "That gain is 14.5 % or more at rank 1, images for a text.", _ABSTRACT,
        "other_ir1_percent", "wfh-retrieval", "uvb-retrieval", margin=1.145, relation="ratio",
    ),
    Claim(
        "cross-dataset-any", 2, "Retrieval on a dataset that was not trained on gains at all.", _ABSTRACT,
        "other_rsum_percent", "wfh-retrieval", "uvb-retrieval",
    ),
    Claim(
        "cross-dataset-compute", 2, "Retrieval on a dataset that was not trained on gains at equal compute.", _OURS,
        "other_rsum_percent", "wfh-retrieval", "uvb-long-retrieval",
    ),
    Claim(
        "cross-dataset-own", 2,
        "A caption's own hallucinations are better than another's on a dataset that was not trained on.", _CONTROL,
        "other_rsum_percent", "wfh-retrieval", "shuffled-retrieval", control=True,
    ),
    Claim(
        "beyond-tags", 3, "The gain is larger for names beyond the tags than for names among them.", _ABSTRACT,
        "unnamed_rsum_percent", "wfh-retrieval", "wfh-retrieval", metric_b="named_rsum_percent",
        minus_a="uvb-retrieval", minus_b="uvb-retrieval",
    ),
    Claim(
        "beyond-tags-own", 3, "The gain for names beyond the tags needs a caption's own hallucinations.", _CONTROL,
        "unnamed_rsum_percent", "wfh-retrieval", "shuffled-retrieval", control=True,
    ),
    *(
        claim
        for short, what in (("vqa", "questions"), ("nlvr2", "statements"), ("ve", "entailment"))
        for claim in (
            Claim(
                f"{short}-pairs", 4, f"Other tasks are on par with aligned pairs, to 3 points: {what}.", _ABSTRACT,
                "accuracy_percent", f"wfh-{short}", f"paired-{short}", "similar", margin=3.0,
            ),
            Claim(
                f"{short}-gain", 4, f"Hallucinations improve U-VisualBERT: {what}.", _OURS, "accuracy_percent",
                f"wfh-{short}", f"uvb-{short}",
            ),
            Claim(
                f"{short}-learns", 4, f"Aligned pairs help: {what}, against no pre-training.", _CONTROL,
                "accuracy_percent", f"paired-{short}", f"none-{short}", control=True,
            ),
            Claim(
                f"{short}-own", 4, f"A caption's own hallucinations are better than another's: {what}.", _CONTROL,
                "accuracy_percent", f"wfh-{short}", f"shuffled-{short}", control=True,
            ),
        )
    ),
    Claim(
        "hallucinations-fit", 5, "A word's hallucination is nearer to its own object than to another.", _OURS,
        "hallucination_cosine", "wfh", "wfh", metric_b="hallucination_other_cosine",
    ),
    Claim(
        "hallucinations-object", 5, "Tags ground hallucinations: they tell objects more often than without.", _OURS,
        "hallucination_object_percent", "wfh", "no-tags",
    ),
    Claim(
        "vocabulary", 5, "A visual vocabulary is better than free regression of features.", _OURS, "rsum_percent",
        "wfh-retrieval", "regression-retrieval",
    ),
    Claim(
        "centres", 5, "Visual words from real regions are better than random ones, with all losses.", _OURS,
        "rsum_percent", "wfh-retrieval", "random-words-retrieval",
    ),
    Claim(
        "matching", 5, "Matching captions with hallucinations helps.", _OURS, "rsum_percent", "wfh-retrieval",
        "no-match-retrieval",
    ),
    Claim(
        "tags", 5, "Supervision by tags is better than by all other losses.", _OURS, "rsum_percent", "wfh-retrieval",
        "no-tags-retrieval",
    ),
)  # fmt: skip

_LEADERBOARD = "a leaderboard, of U-VisualBERT, not of WFH"
REPORTED = (
    Reported("uvb-vqa", "VQA v2 test-dev, BERT-base", "70.7", "a leaderboard, and the official code's page"),
    Reported("uvb-nlvr2", "NLVR2 test-P, BERT-base", "71.2", _LEADERBOARD),
    Reported("uvb-ve", "SNLI-VE test, BERT-base", "76.8", _LEADERBOARD),
    Reported("uvb-retrieval", "Flickr30k image retrieval R@1, BERT-base", "55.4", _LEADERBOARD, headline=True),
)
