"""The paper's claims as comparisons, fixed before the final seeds were run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(
    title="Seeing Out of tHe bOx: End-to-End Pre-training for Vision-Language Representation Learning",
    authors="Zhicheng Huang, Zhaoyang Zeng, Yupan Huang, Bei Liu, Dongmei Fu, Jianlong Fu",
    venue="CVPR 2021 (oral)",
    arxiv="2104.03135",
    datasets=("COCO", "Visual Genome", "VQA v2", "NLVR2", "SNLI-VE", "Flickr30k"),
    summary="image-text pre-training on whole images, with a visual dictionary and masked codes",
    conclusion=(
        "Whole images tell the place that boxes of objects do not show. At this size one pass is far more than ten "
        "times as fast as boxes with their detector, but less than that without the detector's cost, one image at a "
        "time; about the objects, the true boxes stay ahead. Codes of the visual dictionary are consistent, but it "
        "does not help here: without it the network learns sooner and ends higher. Masking codes makes masked nouns "
        "harder to find. Training the CNN along helps pre-training clearly, and questions in most seeds."
    ),
)

OFFLINE = ("smoke", "cpu")
COLUMNS = (
    Column("accuracy_percent", "accuracy (%)", 1, headline=True),
    Column("inside_percent", "inside boxes", 1, presets=OFFLINE, headline=True),
    Column("background_percent", "background", 1, presets=OFFLINE, headline=True),
    Column("outside_percent", "outside boxes", 1, presets=OFFLINE),
    Column("place_percent", "about the place", 1, presets=OFFLINE),
    Column("unseen_percent", "unseen objects", 1, presets=OFFLINE),
    Column("shuffled_percent", "other image", 1, presets=OFFLINE),
    Column("noun_percent", "masked nouns (%)", 1, presets=OFFLINE, headline=True),
    Column("noun_object_percent", "objects", 1, presets=OFFLINE),
    Column("noun_place_percent", "places", 1, presets=OFFLINE),
    Column("noun_shuffled_percent", "nouns, other image", 1, presets=OFFLINE),
    *(
        Column(f"{direction}{k}_percent", f"{direction.upper()} R@{k}", 1)
        for direction in ("tr", "ir")
        for k in (1, 5, 10)
    ),
    Column("codes_used", "codes used", 1, presets=OFFLINE),
    Column("perplexity", "perplexity", 1, presets=OFFLINE),
    Column("purity_percent", "purity", 1, presets=OFFLINE),
    Column("purity_shuffled_percent", "purity, other image", 1, presets=OFFLINE),
    Column("information_percent", "information", 1, presets=OFFLINE),
    Column("code_percent", "masked codes, grouped", 1, presets=OFFLINE),
    Column("code_single_percent", "masked codes, single", 1, presets=OFFLINE),
    Column("code_frequent_percent", "most frequent code", 1, presets=OFFLINE),
    *(
        Column(f"{name}_batch{size}_ratio", f"{words}, batch {size}", 1, presets=("cpu",))
        for size in (1, 8)
        for name, words in (
            ("crops10", "10 crops"), ("crops36", "36 crops"), ("detector", "detector"),
            ("pipeline", "36 crops and detector"),
        )
    ),
)  # fmt: skip

_ABSTRACT, _FIGURE = "abstract", "abstract and caption of figure 2"
_TABLE = "ablation tables, from memory, unverified"
_CONTROL = "control"
CLAIMS = (
    Claim(
        "background", 1, "Whole images answer questions about the background, outside of all boxes, better than boxes.",
        _ABSTRACT, "background_percent", "soho-vqa", "regions-vqa", headline=True,
    ),
    Claim(
        "outside-boxes", 1, "The same with the questions which side is empty, which coordinates of boxes tell as well.",
        _ABSTRACT, "outside_percent", "soho-vqa", "regions-vqa",
    ),
    Claim(
        "background-nouns", 1, "After pre-training they find the masked word for the background more often.",
        _ABSTRACT, "noun_place_percent", "soho", "regions",
    ),
    Claim(
        "questions", 1, "They answer questions better, all taken together.", _ABSTRACT, "accuracy_percent",
        "soho-vqa", "regions-vqa",
    ),
    Claim(
        "inside-boxes", 1, "They answer questions about objects at least as well (margin 2 points).", _TABLE,
        "inside_percent", "soho-vqa", "regions-vqa", margin=-2.0,
    ),
    Claim(
        "statements", 1, "They judge statements about two images better.", _ABSTRACT, "accuracy_percent",
        "soho-nlvr2", "regions-nlvr2",
    ),
    Claim(
        "entailment", 1, "They judge entailment better.", _ABSTRACT, "accuracy_percent", "soho-ve", "regions-ve",
    ),
    Claim(
        "text-retrieval", 1, "They find the text of an image better.", _ABSTRACT, "tr1_percent",
        "soho-retrieval", "regions-retrieval",
    ),
    Claim(
        "image-retrieval", 1, "They find the image of a text better.", _ABSTRACT, "ir1_percent",
        "soho-retrieval", "regions-retrieval",
    ),
    Claim(
        "boxes-learn", 1, "The baseline of boxes learns to see: its answers get worse with other images.", _CONTROL,
        "accuracy_percent", "regions-vqa", "regions-vqa", metric_b="shuffled_percent", margin=10.0, control=True,
    ),
    Claim(
        "images-matter", 1, "Questions need the image: the same network with blank images does worse.", _CONTROL,
        "accuracy_percent", "soho-vqa", "blind-vqa", margin=10.0, control=True,
    ),
    Claim(
        "tenfold", 2, "A whole image is ten times as fast as 36 boxes with their detector, one image at a time.",
        _ABSTRACT, "pipeline_batch1_ratio", "speed", "speed", metric_b="whole_ratio", margin=10.0, relation="ratio",
        headline=True,
    ),
    Claim(
        "tenfold-8", 2, "The same, eight images at a time.", _ABSTRACT, "pipeline_batch8_ratio", "speed", "speed",
        metric_b="whole_ratio", margin=10.0, relation="ratio",
    ),
    Claim(
        "tenfold-crops", 2, "It is without the detector's cost, one image at a time.", _ABSTRACT,
        "crops36_batch1_ratio", "speed", "speed", metric_b="whole_ratio", margin=10.0, relation="ratio",
    ),
    Claim(
        "tenfold-crops-8", 2, "The same, eight images at a time.", _ABSTRACT, "crops36_batch8_ratio", "speed", "speed",
        metric_b="whole_ratio", margin=10.0, relation="ratio",
    ),
    Claim(
        "dictionary-questions", 3, "The dictionary helps downstream: questions.", _TABLE, "accuracy_percent",
        "soho-vqa", "no-dictionary-vqa", headline=True,
    ),
    Claim(
        "dictionary-nouns", 3, "It helps pre-training: masked nouns are found more often.", _TABLE, "noun_percent",
        "soho", "no-dictionary",
    ),
    Claim(
        "dictionary-kept", 3, "A dictionary that is kept downstream helps: questions.", _TABLE, "accuracy_percent",
        "kept-vqa", "no-dictionary-vqa",
    ),
    Claim(
        "written-nouns", 3, "The paper's written rule helps pre-training, too: masked nouns.", _TABLE, "noun_percent",
        "written", "no-dictionary",
    ),
    Claim(
        "dictionary-retrieval", 3, "It helps retrieval of texts without fine-tuning.", _TABLE, "tr1_percent",
        "soho", "no-dictionary",
    ),
    Claim(
        "consistent", 3, "Codes are consistent: they tell objects far better than codes of other images do.", _FIGURE,
        "purity_percent", "soho", "soho", metric_b="purity_shuffled_percent", margin=10.0,
    ),
    Claim(
        "baseline-sees", 3, "Without a dictionary, nouns are found by the image and not by the text.", _CONTROL,
        "noun_percent", "no-dictionary", "no-dictionary", metric_b="noun_shuffled_percent", margin=20.0, control=True,
    ),
    Claim(
        "pretraining-helps", 3, "Pre-training helps: questions, against the same steps from scratch.", _CONTROL,
        "accuracy_percent", "no-dictionary-vqa", "scratch-vqa", control=True,
    ),
    Claim(
        "mvm-nouns", 4, "Masked codes help pre-training: masked nouns.", _TABLE, "noun_percent", "soho", "no-mvm",
    ),
    Claim(
        "mvm-retrieval", 4, "They help retrieval of texts without fine-tuning.", _TABLE, "tr1_percent",
        "soho", "no-mvm",
    ),
    Claim(
        "neighbours-leak", 4, "A single masked position is easier than all of its code: neighbours tell.",
        "method section, from a survey that quotes it", "code_single_percent", "single-mvm", "soho",
        metric_b="code_percent",
    ),
    Claim(
        "grouped-nouns", 4, "Masking all positions of a code helps pre-training: masked nouns.",
        "method section, from a survey that quotes it", "noun_percent", "soho", "single-mvm",
    ),
    Claim(
        "joint-questions", 5, "Training the CNN along helps: questions.", _ABSTRACT, "accuracy_percent",
        "soho-vqa", "frozen-vqa", headline=True,
    ),
    Claim(
        "joint-nouns", 5, "It helps pre-training: masked nouns.", _ABSTRACT, "noun_percent", "soho", "frozen",
    ),
    Claim(
        "frozen-sees", 5, "The frozen CNN's features tell objects: nouns are found by the image.", _CONTROL,
        "noun_percent", "frozen", "frozen", metric_b="noun_shuffled_percent", margin=10.0, control=True,
    ),
)  # fmt: skip

REPORTED = (
    Reported("soho-vqa", "VQA v2 test-dev / test-std, ResNet-101", "73.25 / 73.47", "a leaderboard", headline=True),
    Reported("soho-nlvr2", "NLVR2 dev / test-P", "76.37 / 77.3", "a leaderboard and a model card"),
    Reported("soho-ve", "SNLI-VE val / test", "85.0 / 85.0", "a model card"),
    Reported("soho-retrieval", "Flickr30k R@1, text / image", "86.5 / 72.5", "a leaderboard"),
    Reported("soho-retrieval", "COCO 5k R@1, text / image", "66.4 / 50.6", "recollection of the paper's table"),
)
