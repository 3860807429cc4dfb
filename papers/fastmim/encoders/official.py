"""The authors' checkpoints, pre-trained or fine-tuned, under the names of this folder's networks."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from shared import UserError

from . import CMT, PVTv2
from .classifier import Classifier, load_encoder, no_weights


@torch.no_grad()
def load_official(classifier: Classifier, checkpoint: Mapping[str, Any], fresh: tuple[str, ...]) -> None:
    """Load a checkpoint of FastMIM's authors, pre-trained or fine-tuned, into the classifier.

    ``checkpoint`` is the file's content (its entry ``model`` counts, if there is one) or a state dict. Decoder and mask
    token are ignored. ``head`` and ``fc_norm`` of a fine-tuned checkpoint are loaded too, CMT's convolution before the
    head included. Names that begin with one of ``fresh`` may be missing, or a head be for another number of classes:
    those stay as they are (of a pre-trained checkpoint, ``HEADS``). Raises UserError as ``load_encoder`` does, and if
    anything else is missing.

    ViT: the released code pre-trains with 6 heads (of 128 channels) and fine-tunes with 12 (of 64). The shapes are the
    same, so a pre-trained checkpoint loads into either without complaint, but only 6 heads compute what it was trained
    to compute, if it is of that code. Fine-tuned results are those of 12, this folder's default in both phases.
    """
    official = checkpoint.get("model", checkpoint)
    encoder = classifier.encoder
    renamed = encoder.from_official(official) if isinstance(encoder, PVTv2 | CMT) else from_official(official)
    if not renamed:
        raise no_weights(encoder, official)
    renamed = {name: value for name, value in renamed.items() if not name.startswith(HEADS)}
    load_encoder(classifier, renamed)

    own = classifier.state_dict()
    heads = {_NECK.get(name.split(".")[0], name.split(".")[0]) + name[name.find(".") :]: name for name in official}
    found = {name: official[theirs] for name, theirs in heads.items() if name.startswith(HEADS)}
    fitting = {name: value for name, value in found.items() if name in own and value.shape == own[name].shape}
    classifier.load_state_dict(fitting, strict=False)

    known = fitting.keys() | {f"encoder.{name}" for name in renamed}
    lacking = [
        name.removeprefix("encoder.")
        for name in own
        if name not in known
        and not name.startswith(fresh)
        and not name.endswith("num_batches_tracked")  # a count that nothing reads
    ]
    if lacking:
        named = ", ".join(lacking[:3]) + " and others" * (len(lacking) > 3)
        raise UserError(f"It lacks {named}, or has them in another shape.")


HEADS = ("head.", "fc_norm.", "neck.")  # how names of the classifier begin outside of its encoder
# Official names of CMT's convolution before the head -> those of the classifier.
_NECK = {"_fc": "neck.0", "_bn": "neck.1"}


def from_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames a published checkpoint's encoder and classifier parameters to those of ``ViT``, ``Swin`` and their head.

    Takes pre-training checkpoints (which prefix all encoders but ViT with ``encoder.``) and fine-tuned ones. Leaves out
    the decoder, the mask token and Swin's buffers, which are computed.
    """
    renamed = {}
    for official, value in state.items():
        if official.startswith(("decoder", "mask_token")) or official.endswith(
            ("relative_position_index", "attn_mask")
        ):
            continue
        name = official.removeprefix("encoder.")
        if name.startswith("layers."):
            _, stage, part, *rest = name.split(".")
            moved = int(stage) + 1 if part == "downsample" else int(stage)
            name = ".".join(["stages", str(moved), part, *rest])
        renamed[name] = value
    return renamed
