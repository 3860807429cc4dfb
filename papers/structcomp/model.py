"""The generator: Fourier-convolution encoder, global code, cascaded global and spatial modulation (CM-GAN).

The paper's own text could not be read; the structure is that of CM-GAN's published figure (arXiv 2203.11947), which the
paper builds on. DEVIATIONS.md says which details are ours.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .networks.fourier import FFCResidual
from .networks.stylegan import EPSILON, EqualConv, EqualLinear, Mapping, activated, modulated_conv, upsample


def composite(generated: Tensor, image: Tensor, hole: Tensor) -> Tensor:
    """Known pixels from the image, those of the hole from the generator.

    Args:
        generated, image: (N, 3, H, W).
        hole: (N, 1, H, W), 1 where pixels are missing.
    """
    return hole * generated + (1 - hole) * image


class Noise(nn.Module):
    """Gaussian noise with a learned strength, which is 0 in the beginning; the same for all channels."""

    constant: Tensor

    def __init__(self, resolution: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("constant", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, fixed: bool) -> Tensor:
        noise = self.constant if fixed else torch.randn_like(x[:, :1])
        return x + self.strength * noise


class ModulatedConv(nn.Module):
    """Modulated 3 x 3 or 1 x 1 convolution with its style layer and bias, without activation."""

    def __init__(self, inputs: int, outputs: int, code: int, *, kernel: int = 3, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.style = EqualLinear(code, inputs, bias_init=1.0)
        self.gain = 1.0 if demodulate else (inputs * kernel**2) ** -0.5  # demodulation makes any gain vanish
        self.demodulate = demodulate

    def forward(self, x: Tensor, code: Tensor, *, up: bool = False, cheap: bool = False) -> Tensor:
        x = modulated_conv(x, self.weight * self.gain, self.style(code), up=up, demodulate=self.demodulate, cheap=cheap)
        return x + self.bias[:, None, None]


class GlobalBlock(nn.Module):
    """GB: two globally modulated convolutions; the encoder's features are added after the first one.

    Args:
        second: keep the second convolution; the last block's output stream is used by nothing.
    """

    def __init__(self, inputs: int, outputs: int, code: int, second: bool) -> None:
        super().__init__()
        self.first = ModulatedConv(inputs, outputs, code)
        self.second = ModulatedConv(outputs, outputs, code) if second else None

    def forward(self, x: Tensor, skip: Tensor, code: Tensor, *, up: bool, cheap: bool) -> tuple[Tensor, Tensor]:
        """Returns X, which steers the spatial block of the same scale, and the stream for the next scale."""
        steering = activated(self.first(x, code, up=up, cheap=cheap) + skip)
        return steering, steering if self.second is None else activated(self.second(steering, code))


def spatially_modulated_conv(y: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """conv(K, A * Y) divided by sqrt(conv(K^2, A^2)), per pixel and output channel (CM-GAN).

    The divisor is the deviation of the output where Y has unit variance; for a scale that is constant over the image
    this is StyleGAN2's demodulation, away from the border.

    Args:
        y, scale: (N, C, H, W).
        weight: (O, C, 3, 3).
    """
    return (
        F.conv2d(scale * y, weight, padding=1)
        * (F.conv2d(scale.square(), weight.square(), padding=1) + EPSILON).rsqrt()
    )


class SpatialBlock(nn.Module):
    """SB: a globally modulated convolution, then one that is modulated at each pixel.

    An affine parameter network maps X of the global block to scales A_0 and shifts B; A = A_0 + alpha, with alpha from
    the global code. A scales the input and normalises the output of the convolution, B takes the place of its bias.
    """

    def __init__(self, inputs: int, outputs: int, code: int, resolution: int, affine_layers: int) -> None:
        super().__init__()
        self.first = ModulatedConv(inputs, outputs, code)
        self.weight = nn.Parameter(torch.randn(outputs, outputs, 3, 3))
        hidden = [EqualConv(outputs, outputs, 3) for _ in range(affine_layers - 1)]
        self.affine = nn.Sequential(*hidden, EqualConv(outputs, 2 * outputs, 1, activate=False))
        self.alpha = EqualLinear(code, outputs, bias_init=1.0)
        self.noises = nn.ModuleList([Noise(resolution), Noise(resolution)])

    def forward(self, x: Tensor, steering: Tensor, code: Tensor, *, up: bool, cheap: bool, fixed: bool) -> Tensor:
        y = activated(self.noises[0](self.first(x, code, up=up, cheap=cheap), fixed))
        scale, shift = self.affine(steering).chunk(2, 1)
        scale = scale + self.alpha(code)[:, :, None, None]
        return activated(self.noises[1](spatially_modulated_conv(y, self.weight, scale) + shift, fixed))


class Encoder(nn.Module):
    """Features of every scale, from the image's size down to 4 x 4."""

    def __init__(self, inputs: int, channels: tuple[int, ...], size: int, fourier_from: int, share: float) -> None:
        super().__init__()
        self.stem = EqualConv(inputs, channels[0], 3)
        self.down = nn.ModuleList(EqualConv(a, b, 3, down=True) for a, b in itertools.pairwise(channels))
        self.blocks = nn.ModuleList(
            FFCResidual(c, share) if size >> i <= fourier_from else EqualConv(c, c, 3) for i, c in enumerate(channels)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.blocks[0](self.stem(x))
        features = [x]
        for down, block in zip(self.down, self.blocks[1:], strict=True):
            features.append(x := block(down(x)))
        return features


class Generator(nn.Module):
    """Completes the hole of an image under guidance.

    Args:
        size: height and width, a power of two, at least 8.
        guidance_channels: channels of the guidance map, 0 without guidance.
        channels: channels of each scale, from ``size`` down to 4 x 4.
        z_dim: width of the latent.
        w_dim: width of the mapped latent.
        latent_scale: factor on the mapped latent.
        global_dim: width of the global code.
        mapping_layers: layers of the mapping network.
        affine_layers: layers of the affine parameter networks.
        fourier_from: largest resolution whose encoder block is a Fourier convolution.
        fourier_share: share of the global branch's channels there.
        cheap_upsampling: see :func:`.networks.stylegan.modulated_conv`.
        spatial: with the stream of spatial modulation; without it the network is like CoModGAN's.

    Raises:
        ValueError: if the size is no power of two, or ``channels`` has another number of scales.
    """

    def __init__(
        self,
        size: int,
        guidance_channels: int,
        channels: tuple[int, ...],
        *,
        z_dim: int,
        w_dim: int,
        latent_scale: float = 1.0,
        global_dim: int,
        mapping_layers: int,
        affine_layers: int,
        fourier_from: int,
        fourier_share: float = 0.5,
        cheap_upsampling: bool = False,
        spatial: bool = True,
    ) -> None:
        super().__init__()
        if size < 8 or size & (size - 1) or 4 << (len(channels) - 1) != size:
            raise ValueError(
                f"expected a power of two of 8 or more and a number of channels for each scale down to 4, found "
                f"size {size} and {len(channels)} numbers"
            )
        self.z_dim, self.cheap, self.coarse = z_dim, cheap_upsampling, channels[-1]
        self.latent_scale = latent_scale
        code, last = global_dim + w_dim, len(channels) - 1
        self.encoder = Encoder(4 + guidance_channels, channels, size, fourier_from, fourier_share)
        self.to_code = EqualLinear(16 * channels[-1], global_dim)
        self.mapping = Mapping(z_dim, w_dim, mapping_layers)
        self.starts = nn.ModuleList(
            EqualLinear(global_dim, 16 * channels[-1], activate=True) for _ in range(1 + spatial)
        )
        outputs = channels[::-1]  # mirrored: from 4 x 4 to the image's size
        inputs = (outputs[0], *outputs[:-1])
        self.global_blocks = nn.ModuleList(
            GlobalBlock(a, b, code, second=i < last or not spatial)
            for i, (a, b) in enumerate(zip(inputs, outputs, strict=True))
        )
        self.spatial_blocks = (
            nn.ModuleList(
                SpatialBlock(a, b, code, 4 << i, affine_layers)
                for i, (a, b) in enumerate(zip(inputs, outputs, strict=True))
            )
            if spatial
            else None
        )
        self.to_rgb = nn.ModuleList(ModulatedConv(c, 3, code, kernel=1, demodulate=False) for c in outputs)

    def forward(
        self, image: Tensor, hole: Tensor, guidance: Tensor | None, z: Tensor, *, fixed_noise: bool = False
    ) -> Tensor:
        """Completed images (N, 3, H, W): the known pixels are those of ``image``.

        Args:
            image: (N, 3, H, W) in [-1, 1]; what the hole holds is not looked at.
            hole: (N, 1, H, W), 1 where pixels are missing.
            guidance: (N, C, H, W) for the whole image, or None.
            z: (N, z_dim) normal noise.
            fixed_noise: take the stored noise maps, for evaluation.
        """
        known = image * (1 - hole)
        features = self.encoder(torch.cat([x for x in (known, 0.5 - hole, guidance) if x is not None], 1))[::-1]
        style = F.normalize(self.to_code(features[0].flatten(1)), dim=1)
        code = torch.cat([style, self.latent_scale * self.mapping(z)], 1)
        stream, *others = (start(style).view(-1, self.coarse, 4, 4) for start in self.starts)
        detail = others[0] if others else stream
        picture: Tensor | None = None
        for i, (block, skip, to_rgb) in enumerate(zip(self.global_blocks, features, self.to_rgb, strict=True)):
            steering, stream = block(stream, skip, code, up=i > 0, cheap=self.cheap)
            if self.spatial_blocks is None:
                detail = stream
            else:
                detail = self.spatial_blocks[i](detail, steering, code, up=i > 0, cheap=self.cheap, fixed=fixed_noise)
            colours = to_rgb(detail, code)
            picture = colours if picture is None else upsample(picture) + colours
        assert picture is not None
        return composite(picture, image, hole)
