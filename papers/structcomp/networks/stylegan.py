"""Layers of StyleGAN2: equalised learning rate, filtered resampling, the mapping network, modulated convolution.

Source: Karras et al., 2020, and the layer definitions of StyleGAN2-ADA, which the golden cases pin.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE, GAIN = 0.2, math.sqrt(2)  # leaky ReLU after each layer, and the gain that keeps the variance
TAPS = (1.0, 3.0, 3.0, 1.0)  # separable low-pass filter of all resampling
EPSILON = 1e-8


def activated(x: Tensor, gain: float = 1.0) -> Tensor:
    """Leaky ReLU with slope 0.2 and gain sqrt(2)."""
    return F.leaky_relu(x, SLOPE) * (GAIN * gain)


def _filtered(x: Tensor, gain: float = 1.0, stride: int = 1) -> Tensor:
    """Each channel convolved with the 4 x 4 low-pass filter, without padding."""
    taps = torch.tensor(TAPS, dtype=x.dtype, device=x.device)
    kernel = gain * torch.outer(taps, taps) / taps.sum() ** 2
    return F.conv2d(x, kernel.expand(x.shape[1], 1, 4, 4), groups=x.shape[1], stride=stride)


def upsample(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2 H, 2 W): zeros between the pixels, then the low-pass filter with gain 4."""
    n, c, height, width = x.shape
    spread = torch.zeros(n, c, height, 2, width, 2, dtype=x.dtype, device=x.device)
    spread[:, :, :, 0, :, 0] = x
    return _filtered(F.pad(spread.view(n, c, 2 * height, 2 * width), (2, 1, 2, 1)), 4.0)


def downsample(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H / 2, W / 2): low-pass filter, then every second pixel."""
    return _filtered(F.pad(x, (1, 1, 1, 1)), stride=2)


class EqualLinear(nn.Module):
    """Fully connected layer whose weight is stored with unit variance and scaled as it runs.

    Args:
        lr_multiplier: factor on the learning rate of weight and bias.
        bias_init: value of the bias in the beginning.
        activate: end with the leaky ReLU.
    """

    def __init__(
        self, inputs: int, outputs: int, *, activate: bool = False, lr_multiplier: float = 1.0, bias_init: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias_init / lr_multiplier))
        self.gain, self.lr_multiplier, self.activate = lr_multiplier / math.sqrt(inputs), lr_multiplier, activate

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight * self.gain, self.bias * self.lr_multiplier)
        return activated(x) if self.activate else x


class EqualConv(nn.Module):
    """Convolution with equalised learning rate that keeps the size, or halves it after the low-pass filter."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, bias: bool = True, activate: bool = True, down: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale, self.pad = 1 / math.sqrt(inputs * kernel**2), kernel // 2
        self.activate, self.down = activate, down

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        weight = self.weight * self.scale
        if self.down and self.pad:
            x = F.conv2d(_filtered(F.pad(x, (2, 2, 2, 2))), weight, self.bias, stride=2)
        else:
            x = F.conv2d(downsample(x) if self.down else x, weight, self.bias, padding=self.pad)
        return activated(x, gain) if self.activate else x * gain


def unit_moment(x: Tensor) -> Tensor:
    """Rows (N, D) scaled to a mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + EPSILON).rsqrt()


class Mapping(nn.Module):
    """z (N, z_dim) -> w (N, w_dim): normalisation, then layers with a hundredth of the learning rate.

    Args:
        classes: (N, classes) one-hot labels are embedded in place of z, as class-conditional discriminators do.
    """

    def __init__(
        self, z_dim: int, w_dim: int, layers: int, *, lr_multiplier: float = 0.01, classes: int | None = None
    ) -> None:
        super().__init__()
        self.embed = EqualLinear(classes, w_dim) if classes else None
        widths = [w_dim if classes else z_dim, *[w_dim] * layers]
        self.layers = layers
        for i in range(layers):
            layer = EqualLinear(widths[i], widths[i + 1], activate=True, lr_multiplier=lr_multiplier)
            self.add_module(f"fc{i}", layer)

    def forward(self, z: Tensor) -> Tensor:
        x = unit_moment(z.float() if self.embed is None else self.embed(z))
        for i in range(self.layers):
            x = self.get_submodule(f"fc{i}")(x)
        return x


def modulated_conv(
    x: Tensor, weight: Tensor, styles: Tensor, *, up: bool = False, demodulate: bool = True, cheap: bool = False
) -> Tensor:
    """Convolution whose input channels are scaled by a style and whose output is brought back to unit variance.

    y_o = d_o * conv(W_o, s_i x_i) with d_o = (sum (W_oikk s_i)^2 + 1e-8)^(-1/2) (StyleGAN2). The images share one
    convolution, which is much faster on a CPU than a weight of each image.

    Args:
        x: (N, I, H, W).
        weight: (O, I, k, k).
        styles: (N, I).
        up: double the size: transposed convolution and low-pass filter.
        cheap: double the size by a convolution at the lower resolution and bilinear interpolation instead, a quarter
            of the work.

    Returns: (N, O, H, W), or twice as high and wide.
    """
    x, pad = x * styles[:, :, None, None], weight.shape[-1] // 2
    if up and not cheap:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        x = _filtered(F.pad(x, (1, 1, 1, 1)), 4.0)
    else:
        x = F.conv2d(x, weight, padding=pad)
    if demodulate:
        x = x * (styles.square() @ weight.square().sum((2, 3)).T + EPSILON).rsqrt()[:, :, None, None]
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False) if up and cheap else x


def batch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """A further channel: the mean standard deviation over groups of samples, so that a lack of variety shows.

    Sample i is in group i mod (N / G) with G samples, the largest divisor of N up to ``group``.
    """
    n, _, height, width = x.shape
    size = max(d for d in range(1, min(group, n) + 1) if n % d == 0)
    grouped = x.view(size, -1, *x.shape[1:])
    deviation = (grouped.var(0, unbiased=False) + EPSILON).sqrt().mean((1, 2, 3))
    return torch.cat([x, deviation.repeat(size).view(n, 1, 1, 1).expand(n, 1, height, width)], 1)
