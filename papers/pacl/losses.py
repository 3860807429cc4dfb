"""PACL's loss: symmetric InfoNCE over a batch, with the compatibility in the place of CLIP's cosine."""

from typing import Literal

from torch import Tensor

from shared.losses import all_gather, symmetric_info_nce

from .model import Weighting, diagonal, mean_pooled, pairwise, sigmoid_diagonal

Pooling = Literal["pairwise", "diagonal", "mean", "sigmoid"]


def pacl_loss(
    patches: Tensor,
    text: Tensor,
    logit_scale: Tensor | float,
    *,
    pooling: Pooling = "pairwise",
    weighting: Weighting = "dot",
    attn_scale: float = 1.0,
    gather: bool = False,
    chunk: int | None = None,
) -> Tensor:
    """L = (L_x + L_y) / 2, image to text and text to image (in the method section, as third parties quote it).

    Args:
        patches: (B, T, D) of this process's images, from the vision embedder.
        text: (B, D); text i belongs to image i.
        logit_scale: 1 / temperature. No source gives the paper's; CLIP's own is the natural reading.
        pooling: ``pairwise`` is the paper's equations, ``mean`` the baseline; see :mod:`.model` for all.
        gather: compare with the texts and images of every process.
        chunk: of :func:`.model.pairwise`.
    """
    texts = all_gather(text) if gather else text
    if pooling == "pairwise":
        scores = pairwise(patches, texts, weighting=weighting, attn_scale=attn_scale, chunk=chunk)
    elif pooling == "diagonal":
        scores = diagonal(patches, text, texts, weighting=weighting, attn_scale=attn_scale)
    elif pooling == "sigmoid":
        scores = sigmoid_diagonal(patches, text, texts)
    else:
        scores = mean_pooled(patches, texts)
    return symmetric_info_nce(scores, logit_scale, gather=gather)
