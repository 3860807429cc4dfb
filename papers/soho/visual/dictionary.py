"""The visual dictionary: each visual feature is replaced by its nearest code, and the codes follow the features."""

from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

Rule = Literal["official", "written"]
EPSILON = 1e-5  # of the smoothed counts


class VisualDictionary(nn.Module):
    """K codes of width c without a gradient (`SOHO/models/necks/utils.py` of the official code).

    Args:
        codes: K.
        width: c.
        rule: ``official`` divides moving sums of features by moving, smoothed counts; both begin at zero, so the first
            batch replaces every code, and a code that nothing maps to shrinks towards zero. ``written`` is the paper's
            equation: a code moves towards the mean of its group, and stays where it is if the group is empty.
        decay: gamma, the share of the past in a moving average.
        frozen: leave the codes as they are, in training too.
    """

    embed: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(
        self, codes: int, width: int, rule: Rule = "official", decay: float = 0.4, frozen: bool = False
    ) -> None:
        super().__init__()
        self.rule, self.decay, self.frozen = rule, decay, frozen
        self.last_counts = torch.zeros(codes)  # of the last batch, for the log
        self.register_buffer("embed", torch.randn(codes, width))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The codes of features x (..., c), and their indices (...).

        In training the dictionary is updated in between: the indices are the nearest codes before the update, the
        values those after it. The gradient passes to x as it is (straight through).
        """
        with torch.autocast(x.device.type, enabled=False), torch.no_grad():
            features = x.detach().float().flatten(0, -2)
            index = self.nearest(features)
            if self.training and not self.frozen:
                self.update(features, index)
            codes = self.embed[index].view_as(x).to(x.dtype)
        return x + (codes - x).detach(), index.view(x.shape[:-1])

    def nearest(self, features: Tensor) -> Tensor:
        """Index of the nearest code of features (N, c), (N,) int64; the lowest one of several."""
        return (self.embed.square().sum(1) - 2 * features @ self.embed.T).argmin(1)

    def update(self, features: Tensor, index: Tensor) -> None:
        """Let the codes follow a batch (N, c) and its indices (N,), over all processes together."""
        of_code = F.one_hot(index, len(self.embed)).to(features)
        counts, sums = of_code.sum(0), of_code.T @ features
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        self.last_counts = counts
        if self.rule == "official":
            self.counts.lerp_(counts, 1 - self.decay)
            self.sums.lerp_(sums, 1 - self.decay)
            total = self.counts.sum()
            smoothed = (self.counts + EPSILON) / (total + len(self.embed) * EPSILON) * total
            self.embed.copy_(self.sums / smoothed[:, None])
        else:
            means = sums / counts.clamp(min=1)[:, None]
            self.embed.copy_(torch.where(counts[:, None] > 0, self.embed.lerp(means, 1 - self.decay), self.embed))


def mask_codes(index: Tensor, real: Tensor, position: Tensor, chosen: Tensor, *, grouped: bool = True) -> Tensor:
    """Labels of masked visual modelling (`necks.py` there), (B, P): the code of a masked position, -100 elsewhere.

    The code at ``position`` is masked wherever a chosen image has it, so that no neighbour gives the answer away.

    Args:
        index: (B, P) codes. real: (B, P) bool, False for padding, which is never masked.
        position: () int64, one for the whole batch. chosen: (B,) bool, the images that are masked at all.
        grouped: False masks that position alone.
    """
    picked = index[:, position][:, None]
    alike = index == picked
    if not grouped:
        alike = torch.arange(index.shape[1], device=index.device).expand_as(index) == position
    masked = alike & real & real[:, position][:, None] & chosen[:, None]
    return torch.where(masked, index, -100)
