"""The trainable part of PACL, and the compatibility of images with texts."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Weighting = Literal["dot", "cos"]
SIGMOID_SCALE = 10.0  # as in the code of NMS05
CANCELLED = 1e-3  # |v|^2 of weighted patches, as a share of the square of their summed norms, below which v is made


class VisionEmbedder(nn.Module):
    """e_v, applied to every patch token alike: (B, T, Dv) -> (B, T, D).

    ``residual``: Linear, ReLU, Linear, beside a linear skip branch, all with bias (appendix A.1 as one third party
    quotes it; 1,050,112 parameters for ViT-B/16). ``linear``: the skip branch alone.
    """

    def __init__(self, width: int, joint: int, kind: Literal["residual", "linear"] = "residual") -> None:
        super().__init__()
        self.skip = nn.Linear(width, joint)
        self.main = (
            nn.Sequential(nn.Linear(width, joint), nn.ReLU(), nn.Linear(joint, joint)) if kind == "residual" else None
        )

    def forward(self, tokens: Tensor) -> Tensor:
        skip = self.skip(tokens)
        return skip if self.main is None else self.main(tokens) + skip


def pairwise(
    patches: Tensor,
    text: Tensor,
    *,
    weighting: Weighting = "dot",
    attn_scale: float = 1.0,
    chunk: int | None = None,
) -> Tensor:
    """Compatibility of every image with every text, its patches weighted by that very text (method figure).

    With S = V t the similarities of an image's patches V and a = softmax(S) their weights (equations 2 and 3, as one
    third party numbers them), the compatibility is the cosine of v = V^T a and t. As <v, t> = a^T V t and
    |v|^2 = a^T V V^T a, no v is made: the largest tensors are S, (B, M, T), and the Gram matrices, (B, T, T), never
    (B, M, D). Where the texts are so few that v is the smaller and cheaper of the two, v is made after all, as it is
    for pairs whose weighted patches nearly cancel: their |v|^2 would be all rounding.

    Args:
        patches: (B, T, D), not normalised. text: (M, D).
        weighting: similarity inside the softmax, ``dot`` product or ``cos``; which the authors took is not certain: the
            figure's caption says cosine, two third-party codes take the product.
        attn_scale: factor of that similarity.
        chunk: texts at a time, each chunk computed again in the backward pass; S then is (B, chunk, T).

    Returns: (B, M) in [-1, 1], float32 at least, under autocast, too.
    """
    with torch.autocast(patches.device.type, enabled=False):
        patches, text = _float(patches), _float(text)
        (_, tokens, width), texts = patches.shape, len(text)
        gram = patches @ patches.transpose(1, 2) if 2 * texts * width > tokens * (texts + width) else None
        unit_text = F.normalize(text, dim=-1)

        def columns(start: int, stop: int) -> Tensor:
            unit = unit_text[start:stop]
            along = (patches @ unit.T).transpose(1, 2)  # (B, M, T)
            if weighting == "dot":
                similarity = along * text[start:stop].norm(dim=-1)[:, None]
            else:
                similarity = along / patches.norm(dim=-1).clamp(min=_tiny(patches))[:, None]
            weights = _weights(attn_scale * similarity)
            if gram is None:
                return _cosine_of_pairs(weights @ patches, unit)
            squared = ((weights @ gram) * weights).sum(-1)
            phi = (weights * along).sum(-1) / squared.clamp(min=_tiny(patches) ** 2).sqrt()
            with torch.no_grad():
                summands = gram.diagonal(dim1=1, dim2=2).sqrt().unsqueeze(-1)
                cancelled = squared < CANCELLED * (weights @ summands).squeeze(-1).square()
            for image in cancelled.any(1).nonzero().flatten().tolist():
                pairs = cancelled[image]
                phi[image, pairs] = _cosine_of_pairs(weights[image, pairs] @ patches[image], unit[pairs])
            return phi

        if chunk is None or chunk >= len(text):
            return columns(0, len(text))
        parts = [
            checkpoint(columns, start, start + chunk, use_reentrant=False, preserve_rng_state=False)
            for start in range(0, len(text), chunk)
        ]
        return torch.cat(parts, dim=1)


def diagonal(
    patches: Tensor, own: Tensor, text: Tensor, *, weighting: Weighting = "dot", attn_scale: float = 1.0
) -> Tensor:
    """Patches weighted by the image's own text once, and compared with all texts: what third-party codes do.

    The positive text is on the image's side here, so losses are lower than those of :func:`pairwise` and must not be
    compared with them. On the diagonal the two agree.

    Args:
        patches: (B, T, D). own: (B, D), the text of each image. text: (M, D).

    Returns: (B, M) in [-1, 1].
    """
    with torch.autocast(patches.device.type, enabled=False):
        patches, own, text = _float(patches), _float(own), _float(text)
        weights = _weights(attn_scale * _similarity(patches, own, weighting))
        return _cosine((weights.unsqueeze(-1) * patches).sum(1), text)


def sigmoid_diagonal(patches: Tensor, own: Tensor, text: Tensor) -> Tensor:
    """Patches weighted by sigmoid(10 cos) of the image's own text and summed: NMS05's code, not the paper's.

    Args and returns: as :func:`diagonal`.
    """
    with torch.autocast(patches.device.type, enabled=False):
        patches, own, text = _float(patches), _float(own), _float(text)
        weights = (SIGMOID_SCALE * _similarity(patches, own, "cos")).sigmoid()
        return _cosine((weights.unsqueeze(-1) * patches).sum(1), text)


def sigmoid_pairwise(patches: Tensor, text: Tensor) -> Tensor:
    """Sigmoid pooling with the weights of every text in turn, for images that have no text of their own.

    Args and returns: as :func:`pairwise`; the pooled vectors, (B, M, D), are made.
    """
    with torch.autocast(patches.device.type, enabled=False):
        patches, text = _float(patches), F.normalize(_float(text), dim=-1)
        cosine = text @ F.normalize(patches, dim=-1).transpose(1, 2)  # (B, M, T)
        pooled = (SIGMOID_SCALE * cosine).sigmoid() @ patches
        return (F.normalize(pooled, dim=-1) * text).sum(-1)


def mean_pooled(patches: Tensor, text: Tensor) -> Tensor:
    """The baseline, uniform weights: patches (B, T, D) and text (M, D) -> (B, M) in [-1, 1]."""
    with torch.autocast(patches.device.type, enabled=False):
        return _cosine(_float(patches).mean(1), _float(text))


def _similarity(patches: Tensor, own: Tensor, weighting: Weighting) -> Tensor:
    """(B, T) of each image's patches with its own text."""
    if weighting == "cos":
        patches, own = F.normalize(patches, dim=-1), F.normalize(own, dim=-1)
    return (patches @ own.unsqueeze(-1)).squeeze(-1)


def _weights(similarity: Tensor) -> Tensor:
    """exp(similarity) over the patches, (..., T), up to a factor that the cosine of what they weigh does not see.

    The softmax's own division would add a sum to the gradient that is zero for a cosine, but for its rounding, which
    the cosine of a patch near zero amplifies.
    """
    return (similarity - similarity.detach().amax(-1, keepdim=True)).exp()


def _cosine_of_pairs(pooled: Tensor, unit_text: Tensor) -> Tensor:
    """(..., M) of pooled patches (..., M, D), each with its text of unit vectors (M, D)."""
    return (F.normalize(pooled, dim=-1, eps=_tiny(pooled)) * unit_text).sum(-1)


def _cosine(image: Tensor, text: Tensor) -> Tensor:
    return F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T


def _float(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _tiny(x: Tensor) -> float:
    """Below this a norm counts as zero, as in `torch.nn.functional.normalize`."""
    return 1e-12 if x.dtype == torch.float64 else 1e-8
