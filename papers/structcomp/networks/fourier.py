"""Fast Fourier convolution: a local and a global branch, the global one with a spectral transform (LaMa).

Source: Suvorov et al., 2022, and Chi et al., 2020. Module names are those of LaMa's weights.
"""

import torch
from torch import Tensor, nn

Branches = tuple[Tensor, Tensor | None]


class FourierUnit(nn.Module):
    """1 x 1 convolution over frequencies: real and imaginary part of each channel stand beside one another."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_layer = nn.Conv2d(2 * inputs, 2 * outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        with torch.autocast(x.device.type, enabled=False):  # half precision has no transform of every size
            spectrum = torch.view_as_real(torch.fft.rfft2(x.float(), norm="ortho"))
        parts = spectrum.permute(0, 1, 4, 2, 3).reshape(n, 2 * c, height, -1)
        parts = self.bn(self.conv_layer(parts)).relu().float()
        spectrum = parts.view(n, -1, 2, height, parts.shape[-1]).permute(0, 1, 3, 4, 2).contiguous()
        return torch.fft.irfft2(torch.view_as_complex(spectrum), s=(height, width), norm="ortho")


class SpectralTransform(nn.Module):
    """1 x 1 convolution to half the channels, Fourier unit with a shortcut, 1 x 1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = nn.Sequential(nn.Conv2d(inputs, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU())
        self.fu = FourierUnit(half, half)
        self.conv2 = nn.Conv2d(half, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.conv2(x + self.fu(x))


class FFC(nn.Module):
    """Convolutions between a local and a global branch; the global one sees the whole image at once.

    Args:
        global_in, global_out: share of the channels in the global branch.
    """

    def __init__(self, inputs: int, outputs: int, global_in: float, global_out: float) -> None:
        super().__init__()
        in_global, out_global = int(inputs * global_in), int(outputs * global_out)
        in_local, out_local = inputs - in_global, outputs - out_global

        def conv(a: int, b: int) -> nn.Module | None:
            return nn.Conv2d(a, b, 3, padding=1, bias=False, padding_mode="reflect") if a and b else None

        self.convl2l, self.convl2g = conv(in_local, out_local), conv(in_local, out_global)
        self.convg2l = conv(in_global, out_local)
        self.convg2g = SpectralTransform(in_global, out_global) if in_global and out_global else None
        self.out_local, self.out_global = out_local, out_global

    def forward(self, local: Tensor, global_: Tensor | None) -> Branches:
        to_local = [conv(x) for conv, x in ((self.convl2l, local), (self.convg2l, global_)) if conv is not None]
        to_global = [conv(x) for conv, x in ((self.convl2g, local), (self.convg2g, global_)) if conv is not None]
        return sum(to_local[1:], to_local[0]), sum(to_global[1:], to_global[0]) if to_global else None


class FFCBlock(nn.Module):
    """Fast Fourier convolution, batch normalisation and ReLU of both branches."""

    def __init__(self, inputs: int, outputs: int, global_in: float, global_out: float) -> None:
        super().__init__()
        self.ffc = FFC(inputs, outputs, global_in, global_out)
        self.bn_l = nn.BatchNorm2d(self.ffc.out_local)
        self.bn_g = nn.BatchNorm2d(self.ffc.out_global) if self.ffc.out_global else None

    def forward(self, local: Tensor, global_: Tensor | None = None) -> Branches:
        local, global_ = self.ffc(local, global_)
        return self.bn_l(local).relu(), None if self.bn_g is None or global_ is None else self.bn_g(global_).relu()


class FFCResidual(nn.Module):
    """x + FFC block of x: the channels are split into the branches and joined again."""

    def __init__(self, channels: int, global_share: float) -> None:
        super().__init__()
        self.block = FFCBlock(channels, channels, global_share, global_share)
        self.local = self.block.ffc.out_local

    def forward(self, x: Tensor) -> Tensor:
        local, global_ = self.block(x[:, : self.local], x[:, self.local :])
        return x + torch.cat([local, global_], 1)
