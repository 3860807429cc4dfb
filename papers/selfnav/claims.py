"""The paper's claims as comparisons, fixed before the final seeds were run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(
    title="Self-Supervised Object Goal Navigation with In-Situ Finetuning",
    authors="So Yeon Min, Yao-Hung Hubert Tsai, Wei Ding, Ali Farhadi, Ruslan Salakhutdinov, Yonatan Bisk, Jian Zhang",
    venue="IROS 2023",
    arxiv="2212.05923",
    datasets=("Gibson", "HM3D"),
    reconstruction="Only the abstract and the first sentences could be read, and no official code was found. Each "
    "piece follows public code that the paper builds on, or is a choice of this reproduction.",
    summary="an agent learns the objects of a house by walking in it, and to find them, without any label",
    conclusion="This is no replication: only the abstract could be read, the method is a reconstruction from public "
    "code, and the houses are generated. In houses that the agent explored, self-labels by a vote over views improve "
    "perception in every seed, over the frozen segmenter, each frame's own labels and SEAL's rule. The vote "
    "does it: the contrastive loss adds nothing measurable, labelling twice at the same cost does harm, and the "
    "gain is open in other houses and for segmenters that were trained in simulation. Faults of a mesh make its "
    "labels worse in real houses, but these are not measurably harder than simulated ones here, so claims about "
    "that step say little. Navigation is limited by perception: no policy from maps finds measurably more than "
    "the nearest frontier.",
)

COLUMNS = (
    Column("insitu_miou_percent", "mIoU in situ", 1, headline=True),
    Column("unseen_miou_percent", "mIoU, other real houses", 1, headline=True),
    Column("success_percent", "success (%)", 1, headline=True),
    Column("spl_percent", "SPL (%)", 1, headline=True),
    Column("sim_miou_percent", "mIoU, simulated houses", 1),
    Column("drop_miou_percent", "drop from simulated to real", 1),
    Column("insitu_ap50_percent", "AP50 in situ", 1),
    Column("improved_houses_percent", "houses improved (%)", 0),
    Column("label_precision_percent", "label precision", 1),
    Column("label_recall_percent", "label recall", 1),
    Column("label_f1_percent", "label F1", 1),
    Column("label_coverage_percent", "label coverage", 1),
    Column("soft_spl_percent", "SoftSPL (%)", 1),
    Column("dts_m", "DTS (m)", 2),
    Column("explored_m2", "explored (m²)", 1, presets=("smoke", "paper")),
    Column("frontier_m2", "frontier policy (m²)", 1, presets=("smoke", "paper")),
    Column("random_m2", "random goals (m²)", 1, presets=("smoke", "paper")),
)

_ABSTRACT = "abstract"
_SURVEY = "a survey's paragraph, unverified"
CLAIMS = (
    Claim(
        "loccon-helps", 1, "LocCon improves perception in the houses that were explored.", _ABSTRACT,
        "insitu_miou_percent", "loccon", "frozen", headline=True,
    ),
    Claim(
        "loccon-helps-elsewhere", 1, "It also does in houses that were not explored.", _ABSTRACT,
        "unseen_miou_percent", "loccon", "frozen",
    ),
    Claim(
        "over-self-training", 1, "It beats each frame's own confident labels.", _ABSTRACT,
        "insitu_miou_percent", "loccon", "self-training",
    ),
    Claim(
        "over-seal", 1, "It beats SEAL's rule.", "reconstruction: the paper may not compare with SEAL",
        "insitu_miou_percent", "loccon", "seal",
    ),
    Claim(
        "contrastive-on-top", 1, "The contrastive loss helps on top of the vote.", "reconstruction, an ablation",
        "insitu_miou_percent", "loccon", "voting",
    ),
    Claim(
        "contrastive-on-self-training", 1, "It helps on top of each frame's own labels.",
        "reconstruction, an ablation", "insitu_miou_percent", "contrastive", "self-training",
    ),
    Claim(
        "more-views", 1, "More views of an object help: walking half around it.", "reconstruction, an ablation",
        "insitu_miou_percent", "loccon-revisit", "loccon",
    ),
    Claim(
        "more-rounds", 1, "Labelling once more halfway helps, with as many steps in all.",
        "reconstruction, an ablation", "insitu_miou_percent", "loccon-rounds", "loccon",
    ),
    Claim(
        "vote-labels-better", 1, "A vote over views labels objects better than SEAL's rule (F1, mean of categories).",
        "reconstruction", "label_f1_percent", "voting", "seal",
    ),
    Claim(
        "vote-labels-better-than-frames", 1, "A vote over views labels them better than each frame by itself (F1).",
        "reconstruction", "label_f1_percent", "voting", "self-training",
    ),
    Claim(
        "labels-help", 1, "Labels are what is missing: with true ones perception improves most.", "control",
        "insitu_miou_percent", "supervised", "loccon", control=True,
    ),
    Claim(
        "most-robust", 2, "Trained in simulation alone, LocCon is better in real houses than labels of meshes.",
        _ABSTRACT, "unseen_miou_percent", "sim-loccon", "sim-mesh",
    ),
    Claim(
        "smallest-drop", 2, "It loses less from simulation to reality.", _ABSTRACT,
        "drop_miou_percent", "sim-loccon", "sim-mesh", direction="lower",
    ),
    Claim(
        "more-robust-than-seal", 2, "It is better in real houses than SEAL's rule, both trained in simulation.",
        "reconstruction", "unseen_miou_percent", "sim-loccon", "sim-seal",
    ),
    Claim(
        "styles-differ", 2, "Simulated and real houses differ: the simulator's labels lose from one to the other.",
        "control", "sim_miou_percent", "sim-supervised", "sim-supervised", metric_b="unseen_miou_percent",
        margin=3.0, control=True,
    ),
    Claim(
        "artefacts", 3, "Labels of meshes teach simulation artefacts: they lose more than the web's pictures.",
        _ABSTRACT, "drop_miou_percent", "sim-mesh", "frozen",
    ),
    Claim(
        "mesh-faults", 3, "The mesh's faults are a cause: clean labels are better in real houses.",
        "reconstruction, an ablation", "unseen_miou_percent", "sim-supervised", "sim-mesh",
    ),
    Claim(
        "in-situ-loccon", 4, "LocCon in situ improves the model of LocCon in simulation.", _ABSTRACT,
        "insitu_miou_percent", "sim-loccon-in-situ", "sim-loccon",
    ),
    Claim(
        "in-situ-seal", 4, "It improves the model of SEAL's rule.", _ABSTRACT,
        "insitu_miou_percent", "sim-seal-in-situ", "sim-seal",
    ),
    Claim(
        "in-situ-supervised", 4, "It improves the model of the simulator's labels.", _ABSTRACT,
        "insitu_miou_percent", "sim-supervised-in-situ", "sim-supervised",
    ),
    Claim(
        "in-situ-mesh", 4, "It improves the model of a mesh's labels.", _ABSTRACT,
        "insitu_miou_percent", "sim-mesh-in-situ", "sim-mesh",
    ),
    Claim(
        "competitive", 5, "A policy from self-labelled maps finds as much as one from true maps (within 10 points).",
        _ABSTRACT, "success_percent", "selfnav", "nav-truth-maps", direction="similar", margin=10.0, headline=True,
    ),
    Claim(
        "over-frontier", 5, "It finds more than the nearest frontier does.", _SURVEY,
        "success_percent", "selfnav", "nav-frontier",
    ),
    Claim(
        "perception-matters", 5, "The agent with LocCon finds more than the one with the frozen segmenter.", _ABSTRACT,
        "success_percent", "selfnav", "nav-frozen",
    ),
    Claim(
        "in-situ-navigation", 5, "Fine-tuned in the house, the agent finds more there.", _ABSTRACT,
        "success_percent", "nav-in-situ", "nav-not-in-situ",
    ),
    Claim(
        "seeing-helps", 5, "Perception is what is missing: with true labels the agent finds more.", "control",
        "success_percent", "nav-truth-perception", "selfnav", control=True,
    ),
    Claim(
        "policies-differ", 5, "Exploring helps: the nearest frontier beats random goals.", "control",
        "success_percent", "nav-frontier", "nav-random", control=True,
    ),
)  # fmt: skip

_README = "README of the released code"
_MEMORY = "from memory"
REPORTED = (
    Reported("selfnav", "SemExp on Gibson val: success / SPL / DTS", "65.7 % / 33.9 % / 1.474 m", _README, True),
    Reported("seal", "SEAL on Gibson: box AP50 before and after", "34.8 to 40.0", _MEMORY),
    Reported("nav-frontier", "frontier exploration on Gibson val: success / SPL", "64.3 % / 28.3 %", _MEMORY),
    Reported("nav-truth-maps", "PONI on Gibson val: success / SPL", "73.6 % / 41.0 %", _MEMORY),
)
