"""The paper's claims as comparisons, fixed before the final seeds were run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(
    title="Open Vocabulary Semantic Segmentation with Patch Aligned Contrastive Learning",
    authors="Jishnu Mukhoti, Tsung-Yu Lin, Omid Poursaeed, Rui Wang, Ashish Shah, Philip H.S. Torr, Ser-Nam Lim",
    venue="CVPR 2023",
    arxiv="2212.04994",
    datasets=(
        "CC3M",
        "CC12M",
        "YFCC15M",
        "COCO captions",
        "Pascal VOC",
        "Pascal Context",
        "COCO-Stuff",
        "COCO-Object",
        "ADE20K",
        "Cityscapes",
        "ImageNet",
        "ImageNet-V2",
        "ImageNet-R",
        "ImageNet-A",
        "ImageNet-Sketch",
        "Caltech101",
        "DTD",
        "Flowers-102",
        "Food-101",
        "Oxford-IIIT Pet",
        "Stanford Cars",
        "SUN397",
    ),
    reconstruction="There are no official code and weights, and the paper's body could not be read. The method follows"
    " the abstract, the method figure and quotations by third parties.",
    summary="segmentation by any words, learned from image-text pairs on frozen CLIP towers",
    conclusion=(
        "On composed scenes with a mini-CLIP, the main claim is open: text weights beat uniform weights in mIoU with "
        "background, but not measurably in finding single objects. "
        "Training an embedder on the patches aligns them with text, with uniform weights as much as with PACL's. "
        "Concepts that no training text names stay close to chance; a map read straight from the packaged image tower "
        "segments them far better. "
        "The mini-CLIP knows few words, so this scale cannot tell whether PACL on a real CLIP segments new words, or "
        "leads benchmarks. "
        "Build on it with a real CLIP and your own validation: results vary much between seeds, less so with weights "
        "from the image's own text."
    ),
)

COMPOSED = ("smoke", "cpu")  # presets with scenes
COLUMNS = (
    Column("seen_miou_percent", "mIoU", 1, presets=COMPOSED, headline=True),
    Column("seen_background_miou_percent", "mIoU with background", 1, presets=COMPOSED, headline=True),
    Column("seen_two_way_percent", "2-way", 1, presets=COMPOSED),
    Column("seen_auc_percent", "AUC", 1, presets=COMPOSED, headline=True),
    Column("seen_pointing_percent", "pointing", 1, presets=COMPOSED),
    Column("seen_top1_percent", "top-1", 1, presets=COMPOSED),
    Column("held_out_miou_percent", "held-out mIoU", 1, presets=COMPOSED, headline=True),
    Column("held_out_two_way_percent", "held-out 2-way", 1, presets=COMPOSED),
    Column("held_out_auc_percent", "held-out AUC", 1, presets=COMPOSED),
    Column("held_out_pointing_percent", "held-out pointing", 1, presets=COMPOSED),
    Column("held_out_top1_percent", "held-out top-1", 1, presets=COMPOSED),
    Column("voc20_miou_percent", "VOC-20 mIoU", 1, presets=("paper",)),
    Column("voc21_miou_percent", "VOC-21 mIoU", 1, presets=("paper",)),
    Column("context59_miou_percent", "Context-59 mIoU", 1, presets=("paper",)),
    Column("context60_miou_percent", "Context-60 mIoU", 1, presets=("paper",)),
    Column("coco_stuff171_miou_percent", "COCO-Stuff-171 mIoU", 1, presets=("paper",)),
    Column("coco_object_miou_percent", "COCO-Object mIoU", 1, presets=("paper",)),
    Column("ade20k150_miou_percent", "ADE20K-150 mIoU", 1, presets=("paper",)),
    Column("cityscapes19_miou_percent", "Cityscapes mIoU", 1, presets=("paper",)),
    Column("voc20_patch_percent", "VOC patch accuracy", 1, presets=("paper",)),
    Column("voc20_coherence_auc_percent", "VOC coherence AUC", 1, presets=("paper",)),
    Column("imagenet_top1_percent", "ImageNet top-1", 1, presets=("paper",)),
    Column("twelve_sets_top1_percent", "top-1, mean of twelve sets", 1, presets=("paper",)),
)

_OURS = "abstract; the baseline is this reproduction's"
_COHERENCE = "DiffCut's description of the paper's coherence analysis, unverified"
CLAIMS = (
    Claim(
        "localises-auc", 1, "Weights from the text align patches better than uniform weights: pixel AUC.", _OURS,
        "seen_auc_percent", "pacl", "meanpool", headline=True,
    ),
    Claim(
        "localises-pointing", 1, "Weights from the text align patches better than uniform weights: pointing.", _OURS,
        "seen_pointing_percent", "pacl", "meanpool", headline=True,
    ),
    Claim(
        "localises-miou", 1, "Weights from the text align patches better than uniform weights: mIoU with background.",
        _OURS, "seen_background_miou_percent", "pacl", "meanpool", headline=True,
    ),
    Claim(
        "aligns-clip", 1, "It aligns the patches of a frozen CLIP with text.", "abstract",
        "seen_two_way_percent", "pacl", "clip-patch", headline=True,
    ),
    Claim(
        "diagonal-localises", 1, "Weights from the own text, too, do better than uniform ones.", "reading of the codes",
        "seen_auc_percent", "pacl-diagonal", "meanpool", control=True,
    ),
    Claim(
        "pairwise-localises", 1, "Weights of each pair localise better than those of the own text.",
        "the equations against third-party codes", "seen_auc_percent", "pacl", "pacl-diagonal", control=True,
    ),
    Claim(
        "segments-seen", 2, "It segments concepts in new compositions without a mask in training.", "abstract",
        "seen_miou_percent", "pacl", "pacl", metric_b="seen_chance_miou_percent",
    ),
    Claim(
        "segments-held-out", 2, "It segments concepts that no training text named, above chance.", "abstract",
        "held_out_miou_percent", "pacl", "pacl", metric_b="held_out_chance_miou_percent",
    ),
    Claim(
        "held-out-over-clip", 2, "It segments them better than the mini-CLIP's own patches, before PACL.", _OURS,
        "held_out_miou_percent", "pacl", "clip-patch",
    ),
    Claim(
        "held-out-over-mean", 2, "Text weights help held-out concepts more than uniform ones: mIoU.", _OURS,
        "held_out_miou_percent", "pacl", "meanpool", control=True,
    ),
    Claim(
        "held-out-over-mean-auc", 2, "Text weights help held-out concepts more than uniform ones: pixel AUC.", _OURS,
        "held_out_auc_percent", "pacl", "meanpool", control=True,
    ),
    Claim(
        "seen-over-untrained", 2, "It segments seen concepts better than a map that takes no training here.", "control",
        "seen_miou_percent", "pacl", "ridge", control=True,
    ),
    Claim(
        "held-out-over-untrained", 2, "It segments held-out concepts better than a map that takes no training here.",
        "control", "held_out_miou_percent", "pacl", "ridge", control=True,
    ),
    Claim(
        "classifies-seen", 4, "It classifies images better than CLIP's class token, seen concepts.", "abstract",
        "seen_top1_percent", "pacl", "clip-patch",
    ),
    Claim(
        "classifies-held-out", 4, "It classifies images better than CLIP's class token, held-out concepts.", "abstract",
        "held_out_top1_percent", "pacl", "clip-patch",
    ),
    Claim(
        "classifies-over-mean", 4, "It classifies images better than the mean embedding, seen concepts.", _OURS,
        "seen_top1_percent", "pacl", "meanpool",
    ),
    Claim(
        "coherent", 5, "CLIP's patch tokens tell objects apart although they are not aligned with text: seen concepts.",
        _COHERENCE, "seen_coherence_auc_percent", "clip-patch", "clip-patch",
        metric_b="seen_auc_percent",
    ),
    Claim(
        "coherent-held-out", 5,
        "CLIP's patch tokens tell objects apart although they are not aligned with text: held-out concepts.",
        _COHERENCE, "held_out_coherence_auc_percent", "clip-patch", "clip-patch",
        metric_b="held_out_auc_percent",
    ),
    Claim(
        "patches-aligned", 5, "After PACL the same tokens are classified better than before.",
        "second-hand notes, unverified", "seen_patch_percent", "pacl", "clip-patch",
    ),
)  # fmt: skip

_LEADERBOARD = "public leaderboard row; protocol unpublished, not reproduced by anyone known"
REPORTED = (
    Reported("pacl", "Pascal VOC-20 mIoU (%)", "72.3", _LEADERBOARD, headline=True),
    Reported("pacl", "Pascal Context-59 mIoU (%)", "50.1", _LEADERBOARD, headline=True),
    Reported("pacl", "COCO-Stuff-171 mIoU (%)", "38.8", f"{_LEADERBOARD}; labelled 'Cityscape-171' there"),
    Reported("pacl", "ADE20K-150 mIoU (%)", "31.4", _LEADERBOARD),
    Reported("pacl", "VOC patch accuracy (%), ViT-B/16 / ViT-L/14", "96.51 / 95.33", "a review page, second-hand"),
    Reported(
        "clip-patch",
        "VOC patch accuracy (%), ViT-B/16 / ViT-L/14",
        "52.49 / 27.91",
        "notes that cite the paper, second-hand",
    ),
    Reported(
        "sigmoid",
        "VOC-21 mIoU (%), COCO-trained re-implementation",
        "17.72",
        "orensul/PACL-reproduction",
        headline=True,
    ),
)
