"""The paper's claims as comparisons, fixed before the final seeds were run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(
    title="K-AID: Enhancing Pre-trained Language Models with Domain Knowledge for Question Answering",
    authors="Fu Sun, Feng-Lin Li, Ruize Wang, Qianglong Chen, Xingyi Cheng, Ji Zhang",
    venue="CIKM 2021",
    arxiv="2109.10547",
    reconstruction="Only the abstract could be read, and no official code was found. Its components follow K-Adapter "
    "and TextBrewer; their details are choices of this reproduction.",
    summary="relational domain knowledge for question answering: acquired cheaply, infused by adapters, distilled",
    conclusion=(
        "Relations between terms, learned by adapters beside a frozen encoder, help to classify and match questions "
        "with rare terms. The gain is largest for terms in the knowledge, smaller for withheld ones, and absent from "
        "sentiment. Definitions do not help and shuffled pairs do harm: the plain encoder and adapters that are not "
        "infused are the rivals to judge by. Pairs that rules mine from text cost next to nothing and did not help. "
        "A small student answers many times faster; it keeps a part of the gain, and how much is not settled."
    ),
)

OFFLINE = ("smoke", "cpu")
COLUMNS = (
    Column("knowledge_percent", "six tasks, accuracy", 1, headline=True),
    Column("knowledge_covered_percent", "terms in the knowledge", 1, presets=OFFLINE, headline=True),
    Column("knowledge_uncovered_percent", "terms withheld", 1, presets=OFFLINE, headline=True),
    Column("control_percent", "sentiment", 1, presets=OFFLINE, headline=True),
    Column("classification_percent", "classification", 1),
    Column("matching_percent", "matching", 1),
    *(
        Column(f"{task}_{domain}_{metric}_percent", f"{task} {domain}{heading}", 1, presets=presets)
        for task, metric, heading in (("cls", "accuracy", ""), ("mat", "accuracy", ""), ("mat", "auc", " AUC"))
        for domain, presets in (("products", ("cpu",)), ("civic", ("cpu",)), ("nature", OFFLINE))
    ),
    Column("cls_civic_names_accuracy_percent", "names of persons", 1, presets=("cpu",)),
    Column("cls_civic_nouns_accuracy_percent", "kinds of persons", 1, presets=("cpu",)),
    Column("knowledge_2_percent", "2 labels a class", 1, presets=("cpu",)),
    Column("knowledge_24_percent", "24 labels a class", 1, presets=("cpu",)),
    Column("distilled_percent", "products, most labels", 1),
    Column("distilled_covered_percent", "products, in the knowledge", 1, presets=OFFLINE),
    Column("distilled_uncovered_percent", "products, withheld", 1, presets=OFFLINE),
    Column("teacher_fp32_accuracy_percent", "teacher", 1, presets=OFFLINE),
    Column("student_fp32_accuracy_percent", "student", 1, presets=OFFLINE),
    Column("student_int8_accuracy_percent", "student int8", 1, presets=OFFLINE),
    Column("student_onnx_int8_accuracy_percent", "student ONNX int8", 1, presets=OFFLINE),
    Column("precision_percent", "precision of mined pairs", 1, presets=OFFLINE),
    Column("compound_precision_percent", "compound heads", 1, presets=OFFLINE),
    Column("definition_precision_percent", "definitions", 1, presets=OFFLINE),
    Column("shuffled_precision_percent", "shuffled pairs", 1, presets=OFFLINE),
    Column("triples_count", "triples", 0, presets=OFFLINE),
)

_ABSTRACT = "abstract"
_OURS = "this reproduction's question"
_CONTROL = "control"
_KNOWLEDGE = "knowledge_percent"
CLAIMS = (
    *(
        Claim(
            f"over-{name}", 1, f"Infusion improves classification and matching: {what}.", _ABSTRACT,
            _KNOWLEDGE, "kaid", name, headline=True,
        )
        for name, what in (
            ("plm", "over the plain encoder"),
            ("plm+params", "over adapters that are not infused"),
            ("plm+cont", "over shuffled pairs"),
        )
    ),
    *(
        Claim(
            f"{kind}-over-{name}", 1, f"The same for {kind} alone, over {what}.", _ABSTRACT,
            f"{kind}_percent", "kaid", name,
        )
        for kind in ("classification", "matching")
        for name, what in (("plm", "the plain encoder"), ("plm+cont", "shuffled pairs"))
    ),
    Claim(
        "covered", 1, "It helps with terms that are in the knowledge.", _OURS,
        "knowledge_covered_percent", "kaid", "plm",
    ),
    Claim(
        "uncovered", 1, "It also helps with terms whose triples were withheld.", _OURS,
        "knowledge_uncovered_percent", "kaid", "plm",
    ),
    Claim(
        "few-labels", 1, "It helps with 2 labels a class.", _OURS, "knowledge_2_percent", "kaid", "plm",
    ),
    Claim(
        "many-labels", 1, "It still helps with 24 labels a class.", _OURS, "knowledge_24_percent", "kaid", "plm",
    ),
    Claim(
        "sentiment-kept", 1, "Tasks that need no such knowledge lose less than a point.", _OURS,
        "control_percent", "kaid", "plm", margin=-1.0,
    ),
    Claim(
        "mined-over-plm", 1, "Triples that rules found in text help, too.", _ABSTRACT, _KNOWLEDGE, "kaid-mined", "plm",
    ),
    Claim(
        "plm-over-overlap", 1, "The plain encoder is better than character n-grams.", _CONTROL,
        _KNOWLEDGE, "plm", "overlap", control=True,
    ),
    Claim(
        "text-over-plm", 1, "The knowledge itself helps: as text beside the sentence.", _CONTROL,
        _KNOWLEDGE, "text", "plm", control=True,
    ),
    Claim(
        "sentiment-learned", 1, "The plain encoder learned sentiment.", _CONTROL,
        "control_percent", "plm", "overlap", control=True,
    ),
    Claim(
        "over-entity", 2, "Relations bring more than definitions, as many pairs and steps.", _ABSTRACT,
        _KNOWLEDGE, "kaid", "entity", headline=True,
    ),
    Claim(
        "over-entity-no-genus", 2, "They do where no hypernym is in a definition.", _ABSTRACT,
        _KNOWLEDGE, "kaid", "entity-no-genus", headline=True,
    ),
    Claim(
        "align-over-entity", 2, "They do without relation classification, by alignment alone.", _OURS,
        _KNOWLEDGE, "kaid-align", "entity",
    ),
    Claim(
        "both-over-hyper", 2, "Hypernyms and synonyms bring more than hypernyms alone.", _OURS,
        _KNOWLEDGE, "kaid", "kaid-hyper",
    ),
    Claim(
        "both-over-syn", 2, "Hypernyms and synonyms bring more than synonyms alone.", _OURS,
        _KNOWLEDGE, "kaid", "kaid-syn",
    ),
    Claim(
        "two-over-one", 2, "Adapters for each relation bring more than one stack for both.", _OURS,
        _KNOWLEDGE, "kaid-two", "kaid",
    ),
    Claim(
        "cheap", 3, "Acquisition costs less than encoding the same text once: CPU time.", _ABSTRACT,
        "acquisition_time_ratio", "acquire", "acquire", "lower", metric_b="encoding_time_ratio", relation="ratio",
        headline=True,
    ),
    Claim(
        "precise", 3, "Rules without any label are right: 50 points more often than shuffled pairs.", _OURS,
        "precision_percent", "acquire", "acquire", metric_b="shuffled_precision_percent", margin=50.0, headline=True,
    ),
    Claim(
        "retains", 4, "A student of 3 layers keeps the gain: 97 % of its teacher's accuracy.", _ABSTRACT,
        "distilled_percent", "3L-kd-kaid", "kaid", margin=0.97, relation="ratio", headline=True,
    ),
    Claim(
        "retained-gain", 4, "It keeps half of the gain over models without knowledge, or more.", _ABSTRACT,
        "distilled_percent", "3L-kd-kaid", "kaid", minus_a="3L-ft", minus_b="plm", margin=0.5, relation="ratio",
    ),
    Claim(
        "over-kd-plm", 4, "It is better than a student of the plain encoder.", _ABSTRACT,
        "distilled_percent", "3L-kd-kaid", "3L-kd-plm", headline=True,
    ),
    Claim(
        "over-ft", 4, "It is better than the same layers with labels alone.", _ABSTRACT,
        "distilled_percent", "3L-kd-kaid", "3L-ft",
    ),
    Claim(
        "unlabelled", 4, "Unlabelled queries carry the knowledge to the student.", _OURS,
        "distilled_percent", "3L-kd-kaid", "3L-kd-kaid-labelled",
    ),
    Claim(
        "four-times-faster", 4, "The student in int8 is four times as fast as its teacher, 8 tokens on a CPU thread.",
        _ABSTRACT, "teacher_fp32_8_time_ratio", "3L-kd-kaid", "3L-kd-kaid", metric_b="student_onnx_int8_8_time_ratio",
        margin=4.0, relation="ratio", headline=True,
    ),
    Claim(
        "layers-alone", 4, "In one and the same form (fp32) the student is twice as fast.", _OURS,
        "teacher_fp32_8_time_ratio", "3L-kd-kaid", "3L-kd-kaid", metric_b="student_fp32_8_time_ratio",
        margin=2.0, relation="ratio",
    ),
    Claim(
        "int8-costs-little", 4, "int8 costs the student less than a point.", _OURS,
        "student_onnx_int8_accuracy_percent", "3L-kd-kaid", "3L-kd-kaid", metric_b="student_fp32_accuracy_percent",
        margin=-1.0,
    ),
)  # fmt: skip
REPORTED: tuple[Reported, ...] = ()
