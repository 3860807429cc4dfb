"""The paper's claims as comparisons, fixed before the final seeds were run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(
    title="Semi-Supervised Domain Adaptation with Representation Learning for Semantic Segmentation across Time",
    authors="Assia Benbihi, Matthieu Geist, Cédric Pradalier",
    venue="ICONIP 2019 (2018 as Deep Representation Learning for Domain Adaptation of Semantic Image Segmentation)",
    arxiv="1805.04141",
    datasets=("PASCAL VOC 2012", "SBD"),
    reconstruction="Only the abstract and the introduction could be read, and no official code was found. Beyond its "
    "idea the method is a choice of this reproduction.",
    summary="segmentation of a new domain without its labels, by regression between feature maps of aligned images",
    conclusion=(
        "On small composed scenes, regression between feature maps adapts a segmentation network to another camera or "
        "light without a single label of it, and does about as well as fine-tuning with all the labels. "
        "It also does with pairs that no label belongs to. Where the two images of a pair are misaligned, it beats "
        "copied labels only if they are far apart; at small shifts the two are level. "
        "The pairs matter more than the feature maps: training with the first network's predictions on the source "
        "images comes within a point. "
        "Whether real photographs and real changes of a camera give the same picture cannot be answered here; where "
        "aligned pairs exist, the method is simple and worth building on."
    ),
)

DOMAINS = ("camera", "negative", "night", "lowcontrast")
_PRESETS = {"camera": ("smoke", "cpu", "paper"), "night": ("smoke", "cpu", "paper")}
COLUMNS = (
    *(
        Column(
            f"{domain}_miou_percent",
            f"{domain} mIoU",
            1,
            presets=_PRESETS.get(domain, ("cpu", "paper")),
            headline=domain != "lowcontrast",
        )
        for domain in DOMAINS
    ),
    Column("mean_miou_percent", "mean mIoU", 1, headline=True),
    Column("source_miou_percent", "source mIoU", 1),
    Column("mean_accuracy_percent", "pixel accuracy", 1),
    Column("mean_class_accuracy_percent", "class accuracy", 1),
    Column("mean_miou_all_percent", "mIoU, absent classes 0", 1),
)

_ABSTRACT = "abstract"
_OURS = "this reproduction's question"
_CONTROL = "control"
CLAIMS = (
    *(
        Claim(
            f"adapts-{domain}", 1, f"Regression adapts to {domain} without a target label.", _ABSTRACT,
            f"{domain}_miou_percent", "featreg", "noadapt", headline=True,
        )
        for domain in DOMAINS
    ),
    Claim(
        "adapts-new", 1, "So it does with pairs that have no label at all: mean of the domains.", _ABSTRACT,
        "mean_miou_percent", "featreg-new", "noadapt", headline=True,
    ),
    Claim(
        "adapts-small", 1, "So it does for a small network that never saw ImageNet.", _ABSTRACT,
        "mean_miou_percent", "featreg-small", "noadapt-small",
    ),
    Claim(
        "over-adabn", 1, "It brings more than new batch statistics, which need no pairs.", _OURS,
        "mean_miou_percent", "featreg", "adabn",
    ),
    *(
        Claim(
            f"domain-hurts-{domain}", 1, f"{domain} costs the first network a third of its mIoU or more.", _CONTROL,
            f"{domain}_miou_percent", "noadapt", "noadapt", "lower", metric_b="source_miou_percent", margin=1.5,
            relation="ratio", control=True,
        )
        for domain in DOMAINS
    ),
    *(
        Claim(
            f"recovers-{domain}", 2, f"It does about as well as fine-tuning with labels: {domain}, share of the gap.",
            _ABSTRACT, f"{domain}_miou_percent", "featreg", "supft", minus_a="noadapt", minus_b="noadapt",
            margin=0.9, relation="ratio", headline=True,
        )
        for domain in DOMAINS
    ),
    Claim(
        "recovers-new", 2, "The same with new pairs, whose labels fine-tuning has: mean of the domains.", _ABSTRACT,
        "mean_miou_percent", "featreg-new", "supft-new", minus_a="noadapt", minus_b="noadapt", margin=0.9,
        relation="ratio", headline=True,
    ),
    Claim(
        "recovers-small", 2, "The same for the small network.", _ABSTRACT,
        "mean_miou_percent", "featreg-small", "supft-small", minus_a="noadapt-small", minus_b="noadapt-small",
        margin=0.9, relation="ratio",
    ),
    Claim(
        "over-8-labels", 2, "Pairs are worth more than 8 labelled target images: camera.", _OURS,
        "camera_miou_percent", "featreg", "supft-8",
    ),
    Claim(
        "labels-help", 2, "Fine-tuning with labels improves on the first network.", _CONTROL,
        "mean_miou_percent", "supft", "noadapt", control=True,
    ),
    *(
        Claim(
            f"misaligned-{pixels}", 3, f"It beats copied labels where images are off by {pixels} pixels: camera.",
            _ABSTRACT, "camera_miou_percent", f"featreg-shift{pixels}", f"labelcopy-shift{pixels}",
        )
        for pixels in (4, 8, 16)
    ),
    Claim(
        "misalignment-costs-less", 3, "Its lead over copied labels grows from none to 16 pixels.", _ABSTRACT,
        "camera_miou_percent", "featreg-shift16", "featreg", minus_a="labelcopy-shift16", minus_b="supft",
    ),
    Claim(
        "misalignment-hurts", 3, "Misalignment by 16 pixels harms copied labels.", _CONTROL,
        "camera_miou_percent", "labelcopy-shift16", "supft", "lower", control=True,
    ),
    Claim(
        "over-pseudo", 4, "Feature maps are a better target than the first network's predictions.", _OURS,
        "mean_miou_percent", "featreg", "pseudo",
    ),
    Claim(
        "last-over-logits", 4, "The last feature map is a better target than the logits: camera.", _OURS,
        "camera_miou_percent", "featreg", "layer-logits",
    ),
    Claim(
        "last-over-stride4", 4, "A deep layer is a better target than a shallow one: camera.", _OURS,
        "camera_miou_percent", "featreg", "layer-stride4",
    ),
    Claim(
        "last-over-all", 4, "The last layer alone is a better target than all layers together: camera.", _OURS,
        "camera_miou_percent", "featreg", "layer-all",
    ),
)  # fmt: skip
REPORTED: tuple[Reported, ...] = ()
