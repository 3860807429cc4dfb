"""What ``make bench`` compares of ``shared``."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from torch import Tensor

from shared.losses import clip_loss


def bench() -> Iterator[dict[str, Any]]:
    """The contrastive loss of CLIP against open_clip's, forward and backward."""
    batch, width, chunk = 4096, 512, 512
    image, text = torch.randn(2, batch, width, generator=torch.Generator().manual_seed(0)).unbind()
    logit_scale = torch.tensor(1 / 0.07)
    inputs = [x.requires_grad_() for x in (image, text, logit_scale)]
    open_clip_loss = ClipLoss()

    def step(loss: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss(), inputs)

    def theirs() -> Tensor:  # open_clip normalises in its models
        return open_clip_loss(F.normalize(image, dim=-1), F.normalize(text, dim=-1), logit_scale)

    for name, rows in (("clip_loss", None), (f"clip_loss, {chunk} rows at a time", chunk)):

        def ours(rows: int | None = rows) -> Tensor:
            return clip_loss(image, text, logit_scale, chunk=rows)

        torch.testing.assert_close(step(ours), step(theirs), rtol=1e-3, atol=1e-6)
        yield {
            "name": name,
            "detail": f"forward and backward, {batch} pairs of width {width}; reference: open_clip's ClipLoss",
            "ours": lambda ours=ours: step(ours),
            "reference": lambda: step(theirs),
            "memory": True,
        }
