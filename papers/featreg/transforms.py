"""Synthetic target domains: fixed changes of the camera or the light, and small misalignments.

The paper applies synthetic transformations to PASCAL VOC (abstract); its list of them could not be read, so this one is
a choice of this reproduction. A transformation takes one image (3, H, W), RGB in [0, 1], and returns the same shape.
Its parameters belong to the domain and are the same for every image; what is random is drawn from the image's own seed.
"""

import inspect
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from shared import UserError

MIX = ((0.2, 0.7, 0.1), (0.1, 0.3, 0.6), (0.7, 0.1, 0.2))
"""Rows: shares of R, G and B in each channel of the camera domain."""
ALIGNED = "time2"
"""The domain of a dataset that brings its own target images, instead of a transformation."""


def gray(image: Tensor, seed: int) -> Tensor:
    """Luma 0.2989 R + 0.587 G + 0.114 B in all three channels."""
    return TF.rgb_to_grayscale(image, num_output_channels=3)


def negative(image: Tensor, seed: int) -> Tensor:
    """Inverted intensities, 1 - x."""
    return 1 - image


def hue(image: Tensor, seed: int, turn: float = 0.4) -> Tensor:
    """Hues turned by ``turn`` of the whole circle, -0.5 to 0.5."""
    return TF.adjust_hue(image, turn)


def night(
    image: Tensor,
    seed: int,
    saturation: float = 0.3,
    gamma: float = 2.5,
    red: float = 0.5,
    green: float = 0.6,
    blue: float = 1.0,
) -> Tensor:
    """Little colour, dark midtones, and a blue cast: saturation, gamma, then gains of the channels."""
    dark = TF.adjust_saturation(image, saturation).clamp(0, 1) ** gamma
    return dark * torch.tensor([red, green, blue])[:, None, None]


def camera(image: Tensor, seed: int, gamma: float = 0.6) -> Tensor:
    """Mixed channels (:data:`MIX`), then gamma: a false-colour camera."""
    return (torch.tensor(MIX) @ image.flatten(1)).view_as(image).clamp(0, 1) ** gamma


def blur_noise(image: Tensor, seed: int, sigma: float = 1.5, noise: float = 0.05) -> Tensor:
    """Gaussian blur of 5 x 5 pixels, then Gaussian noise that is drawn from the image's seed."""
    blurred = TF.gaussian_blur(image, [5, 5], [sigma, sigma])
    generator = torch.Generator().manual_seed(seed)
    return blurred + noise * torch.randn(image.shape, generator=generator)


def lowcontrast(image: Tensor, seed: int, contrast: float = 0.3, brightness: float = 0.2) -> Tensor:
    """Contrast reduced about the mean of the image's luma, then a constant added."""
    return TF.adjust_contrast(image, contrast) + brightness


TRANSFORMS: dict[str, Callable[..., Tensor]] = {
    "gray": gray,
    "negative": negative,
    "hue": hue,
    "night": night,
    "camera": camera,
    "blur_noise": blur_noise,
    "lowcontrast": lowcontrast,
}


def parse(domain: str) -> tuple[str, dict[str, float]]:
    """Name and parameters of a domain: "night", or "night:gamma=3,saturation=0".

    Raises:
        UserError: an unknown transformation or parameter, or a value that is no finite number.
    """
    name, _, given = domain.partition(":")
    if name != ALIGNED and name not in TRANSFORMS:
        raise UserError(f"There is no domain {name!r}; there are: {', '.join(TRANSFORMS)}, and {ALIGNED} with --data.")
    known = [] if name == ALIGNED else list(inspect.signature(TRANSFORMS[name]).parameters)[2:]
    parameters: dict[str, float] = {}
    for setting in filter(None, given.split(",")):
        key, _, value = setting.partition("=")
        if key not in known:
            raise UserError(f"The domain {name} has no parameter {key!r}; it has: {', '.join(known) or 'none'}.")
        try:
            parameters[key] = float(value)
        except ValueError:
            parameters[key] = math.nan
        if not math.isfinite(parameters[key]):
            raise UserError(f"{key} of the domain {name} is {value!r}; expected a number, such as {name}:{key}=0.3.")
    return name, parameters


def transform(image: Tensor, domain: str, seed: int = 0, rounded: bool = True) -> Tensor:
    """An image (3, H, W), RGB in [0, 1], as the target domain shows it.

    Args:
        domain: see :func:`parse`.
        seed: of the image, for noise.
        rounded: to 8 bits a channel, as a camera stores it.
    """
    name, parameters = parse(domain)
    changed = TRANSFORMS[name](image, seed, **parameters).clamp(0, 1)
    return (255 * changed).round() / 255 if rounded else changed


def misaligned(image: Tensor, label: Tensor, seed: int, shift: float, rotation: float) -> tuple[Tensor, Tensor]:
    """An image (3, H, W) and its label map (H, W) seen from a slightly different pose, drawn from the image's seed.

    Args:
        shift: pixels, in a random direction.
        rotation: degrees; the angle is uniform between -rotation and rotation.

    Returns:
        the image, sampled bilinearly and mirrored at its border, and the label map, sampled at the nearest pixel so
        that labels are never mixed.
    """
    rng = np.random.default_rng((seed, 1))
    direction, angle = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(-rotation, rotation))
    height, width = image.shape[-2:]
    cos, sin = math.cos(angle), math.sin(angle)
    # Normalised coordinates run from -1 to 1 along either side, whatever its length.
    theta = torch.tensor(
        [
            [cos, -sin * height / width, 2 * shift * math.cos(direction) / width],
            [sin * width / height, cos, 2 * shift * math.sin(direction) / height],
        ],
        dtype=torch.float32,
    )
    grid = F.affine_grid(theta[None], [1, 1, height, width], align_corners=False)
    moved = F.grid_sample(image[None], grid, padding_mode="reflection", align_corners=False)[0]
    labels = F.grid_sample(label[None, None].float(), grid, "nearest", "reflection", align_corners=False)
    return moved, labels[0, 0].to(label.dtype)
