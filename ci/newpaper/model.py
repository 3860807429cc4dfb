"""The architecture, named as in the paper."""

from torch import Tensor, nn


class Plane(nn.Module):
    """y = w x + b: (B, 2) -> (B,)."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).squeeze(1)
