"""The paper's claims as comparisons, fixed before the final seeds were run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(
    title="Structure-Guided Image Completion with Image-level and Object-level Semantic Discriminators",
    authors="Haitian Zheng, Zhe Lin, Jingwan Lu, Scott Cohen, Eli Shechtman, Connelly Barnes, Jianming Zhang, "
    "Qing Liu, Sohrab Amirghodsi, Yuqian Zhou, Jiebo Luo",
    venue="arXiv 2022; IEEE TPAMI 2024",
    arxiv="2212.06310",
    datasets=("Places365",),
    reconstruction="Only the abstract could be read, and no code of the paper is public. Its ideas are joined by the "
    "public base code, CM-GAN, and by choices of this reproduction.",
    summary="fills holes under a layout, judged by discriminators of images and of objects with pretrained features",
    conclusion=(
        "This is no replication: only the abstract could be read, and the images are small composed scenes. All four "
        "discriminators together make completions and their objects clearly more realistic than an ordinary "
        "discriminator alone, and the semantic discriminator of images alone comes close to them. Pretrained features "
        "help a discriminator to tell completions from real images; whether they help the generator is open, as "
        "frozen features without training come about as far. The object discriminator by itself shows no clear gain. "
        "One model inserts, replaces and removes objects where a layout is given; an imagined layout does not "
        "measurably help plain inpainting."
    ),
)

CPU = ("cpu", "paper")
COLUMNS = (
    Column("image_p_ids_percent", "image P-IDS %", 1, headline=True),
    Column("image_u_ids_percent", "image U-IDS %", 1),
    Column("image_fd", "image FD", 3),
    Column("object_p_ids_percent", "object P-IDS %", 1, headline=True),
    Column("object_u_ids_percent", "object U-IDS %", 1),
    Column("object_fd", "object FD", 2, headline=True),
    Column("object_accuracy_percent", "object accuracy %", 1),
    Column("hole_miou_percent", "mIoU in the hole %", 1, headline=True),
    Column("hole_l1_percent", "L1 in the hole %", 1),
    Column("ssim_percent", "SSIM %", 1),
    Column("circular_image_fd", "image FD, shared space", 2),
    Column("circular_object_fd", "object FD, shared space", 2),
    Column("auto_image_p_ids_percent", "automatic: image P-IDS %", 1),
    Column("auto_image_fd", "automatic: image FD", 3),
    Column("layout_miou_percent", "layout mIoU in the hole %", 1),
    Column("real_object_accuracy_percent", "object accuracy, real %", 1),
    Column("real_hole_miou_percent", "mIoU, real %", 1),
    Column("images", "test images", 0),
    Column("objects", "test objects", 0),
    Column("insertion_accuracy_percent", "inserted class seen %", 1),
    Column("replacement_new_percent", "new class %", 1),
    Column("replacement_old_percent", "old class %", 1),
    Column("removal_things_percent", "things after removal %", 1),
    Column("probe_accuracy_percent", "probe accuracy %", 1),
    Column("probe_auc_percent", "probe AUC %", 1),
    Column("inception_image_fd", "FID (torchvision weights)", 2, presets=("paper",)),
    Column("inception_image_u_ids_percent", "U-IDS % (torchvision weights)", 1, presets=("paper",)),
    Column("inception_image_p_ids_percent", "P-IDS % (torchvision weights)", 1, presets=("paper",)),
    Column("inception_object_fd", "object FID (torchvision weights)", 2, presets=("paper",)),
    Column("lpips", "LPIPS", 3, presets=("paper",)),
)

_ABSTRACT = "abstract"
_OURS = "this reproduction's question"
_CONTROL = "control"
CLAIMS = (
    Claim(
        "probe-pretrained-objects", 1,
        "Pretrained features help a discriminator to tell completed objects: AUC, against random features.",
        _ABSTRACT, "probe_auc_percent", "probe-objsem", "probe-objsem-random", headline=True,
    ),
    Claim(
        "probe-pretrained-images", 1, "The same for whole images.", _ABSTRACT,
        "probe_auc_percent", "probe-sem", "probe-sem-random", headline=True,
    ),
    Claim(
        "sem-p-ids", 1, "A semantic discriminator makes images more realistic: P-IDS.", _ABSTRACT,
        "image_p_ids_percent", "sem", "base", headline=True,
    ),
    Claim(
        "sem-u-ids", 1, "The same by U-IDS.", _ABSTRACT, "image_u_ids_percent", "sem", "base",
    ),
    Claim(
        "full-over-random", 1, "The pretraining of the features does it, not two more discriminators: image P-IDS.",
        _OURS, "image_p_ids_percent", "structcomp", "structcomp-random",
    ),
    Claim(
        "probe-sem-over-img", 1, "D_sem tells completed images better than D_img does: AUC.", _OURS,
        "probe_auc_percent", "probe-sem", "probe-img",
    ),
    Claim(
        "probe-objsem-over-obj", 2, "With semantic features a discriminator tells completed objects better: AUC.",
        _ABSTRACT, "probe_auc_percent", "probe-objsem", "probe-obj", headline=True,
    ),
    Claim(
        "obj-fd", 2, "An object discriminator makes objects more realistic: object FD.", _ABSTRACT,
        "object_fd", "obj", "base", "lower", headline=True,
    ),
    Claim(
        "obj-p-ids", 2, "The same by object P-IDS.", _ABSTRACT, "object_p_ids_percent", "obj", "base",
    ),
    Claim(
        "obj-u-ids", 2, "The same by object U-IDS.", _ABSTRACT, "object_u_ids_percent", "obj", "base",
    ),
    Claim(
        "full-p-ids", 3, "All four together improve on D_img alone: image P-IDS.", _ABSTRACT,
        "image_p_ids_percent", "structcomp", "base", headline=True,
    ),
    Claim(
        "full-u-ids", 3, "The same by image U-IDS.", _ABSTRACT, "image_u_ids_percent", "structcomp", "base",
    ),
    Claim(
        "full-object-p-ids", 3, "The same by object P-IDS.", _ABSTRACT, "object_p_ids_percent", "structcomp", "base",
    ),
    Claim(
        "full-object-fd", 3, "The same by object FD.", _ABSTRACT, "object_fd", "structcomp", "base", "lower",
    ),
    Claim(
        "full-miou", 3, "The same by mIoU in the hole: objects are what the layout says.", _OURS,
        "hole_miou_percent", "structcomp", "base",
    ),
    Claim(
        "adversarial-helps", 3, "Adversarial training improves on reconstruction alone: object P-IDS.", _CONTROL,
        "object_p_ids_percent", "base", "warm", control=True,
    ),
    Claim(
        "warm-start-completes", 3, "Reconstruction alone improves on a grey hole: image FD.", _CONTROL,
        "image_fd", "warm", "warm", "lower", metric_b="grey_image_fd", control=True,
    ),
    Claim(
        "guidance-is-used", 3, "The layout steers the completion: mIoU in the hole with and without guidance.",
        _CONTROL, "hole_miou_percent", "sem", "unguided", control=True,
    ),
    Claim(
        "insertion", 5, "Insertion: the inserted object's class is seen more often than before.", _ABSTRACT,
        "insertion_accuracy_percent", "structcomp", "structcomp", metric_b="insertion_before_percent", headline=True,
    ),
    Claim(
        "replacement-new", 5, "Replacement: the probability of the new class rises.", _ABSTRACT,
        "replacement_new_percent", "structcomp", "structcomp", metric_b="replacement_new_before_percent", headline=True,
    ),
    Claim(
        "replacement-old", 5, "Replacement: that of the old class falls.", _ABSTRACT,
        "replacement_old_percent", "structcomp", "structcomp", "lower", metric_b="replacement_old_before_percent",
    ),
    Claim(
        "removal", 5, "Removal: things are seen in less than half as much of the hole as before.", _ABSTRACT,
        "removal_things_percent", "structcomp", "structcomp", "lower", metric_b="removal_before_percent", margin=2.0,
        relation="ratio", headline=True,
    ),
    Claim(
        "automatic-p-ids", 6,
        "Standard inpainting through an imagined layout improves on training without layouts: image P-IDS.", _ABSTRACT,
        "auto_image_p_ids_percent", "structcomp", "unguided", metric_b="image_p_ids_percent", headline=True,
    ),
    Claim(
        "automatic-u-ids", 6, "The same by image U-IDS.", _ABSTRACT,
        "auto_image_u_ids_percent", "structcomp", "unguided", metric_b="image_u_ids_percent",
    ),
    Claim(
        "automatic-given-p-ids", 6, "The same where the layout around the hole is given: image P-IDS.", _OURS,
        "auto_given_image_p_ids_percent", "structcomp", "unguided", metric_b="image_p_ids_percent",
    ),
    Claim(
        "automatic-fd", 6, "No layout given again: the imagined one improves image FD.", _ABSTRACT,
        "auto_image_fd", "structcomp", "unguided", "lower", metric_b="image_fd",
    ),
)  # fmt: skip
REPORTED: tuple[Reported, ...] = ()
