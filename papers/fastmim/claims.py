"""The paper's claims as comparisons, fixed before the final seeds were run."""

from shared.report import Claim, Column, Paper, Reported

PAPER = Paper(
    title="FastMIM: Expediting Masked Image Modeling Pre-training for Vision",
    authors="Jianyuan Guo, Kai Han, Han Wu, Yehui Tang, Yunhe Wang, Chang Xu",
    venue="arXiv 2022",
    arxiv="2212.06593",
    summary="masked image modelling on small images, with HOG features as targets",
)

COLUMNS = (
    Column("accuracy_percent", "accuracy (%)", 1),
    Column("probe_percent", "linear probe (%)", 1),
    Column("knn_percent", "k-NN (%)", 1),
)

CLAIMS = (
    Claim(
        "pretraining-helps", 0, "Pre-training beats training from scratch.", "control",
        "accuracy_percent", "fastmim", "scratch", control=True,
    ),
    Claim(
        "low-resolution-equal-images", 2, "Low resolution is as good as full, at equal images seen.", "abstract",
        "accuracy_percent", "fastmim", "full", "similar", margin=3.0,
    ),
    Claim(
        "low-resolution-equal-compute", 2, "Low resolution is better than full, at equal compute.", "abstract",
        "accuracy_percent", "fastmim", "full-short",
    ),
    Claim(
        "hog-beats-pixels", 4, "HOG targets are at least as good as pixels at low resolution.", "abstract",
        "accuracy_percent", "fastmim", "pixel",
    ),
    Claim(
        "hog-beats-pixels-probe", 4, "The same by linear probe.", "abstract",
        "probe_percent", "fastmim", "pixel",
    ),
)  # fmt: skip

_FIGURE, _README = "paper, Figure 1", "official README"
REPORTED = (
    Reported("fastmim", "ViT-B, ImageNet-1K top-1 (%)", "83.8", _FIGURE, verified=True),
    Reported("fastmim", "ViT-B, pre-training GPU hours / GB", "608 / 70", _FIGURE, verified=True),
    Reported("mae", "ViT-B, ImageNet-1K top-1 (%)", "83.6", _FIGURE, verified=True),
    Reported("mae", "ViT-B, pre-training GPU hours / GB", "2069 / 203", _FIGURE, verified=True),
    Reported("simmim", "ViT-B, ImageNet-1K top-1 (%)", "83.8", _FIGURE, verified=True),
    Reported("simmim", "ViT-B, pre-training GPU hours / GB", "3307 / 242", _FIGURE, verified=True),
    Reported("swin", "Swin-B, ImageNet-1K top-1 (%)", "84.1", "abstract and official README", verified=True),
    Reported("pvtv2", "PVTv2-B2, ImageNet-1K top-1 (%)", "82.5", _README, verified=True),
    Reported("cmt", "CMT-S, ImageNet-1K top-1 (%)", "83.9", _README, verified=True),
    Reported("swin", "COCO Mask R-CNN 3x, box / mask AP", "52.0 / 46.0", _README, verified=True),
    Reported("fastmim", "ADE20K UPerNet, mIoU", "49.5", _README, verified=True),
)
