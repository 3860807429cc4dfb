"""Image sizes and numbers of stages that fit an encoder, and parameters whose shape follows the image size."""

from collections.abc import Sequence

from torch import Tensor, nn

from shared import UserError


def tokens_a_side(size: int, stride: int) -> int:
    if size % stride or size < stride:
        raise UserError(f"image size {size} is no multiple of the encoder's stride; choose one of {stride}.")
    return size // stride


def check_size(images: Tensor, size: int) -> None:
    """Raises UserError if images (B, 3, H, W) are not those that a network is built for."""
    if images.shape[-2:] != (size, size):
        height, width = images.shape[-2:]
        raise UserError(f"images of {height} x {width} pixels, expected {size} x {size}; build the network for them.")


def check_stages(encoder: str, stages: int, **values: Sequence[float]) -> None:
    """Raises UserError if an option that has one value a stage has more or fewer."""
    for name, of_stages in values.items():
        if len(of_stages) != stages:
            raise UserError(
                f"{encoder} has {stages} widths but {len(of_stages)} {name}: {tuple(of_stages)}. Give one a stage."
            )


def reshape_parameter(parameter: nn.Parameter, value: Tensor) -> None:
    """Gives a parameter another shape in place, so that optimiser groups still hold it."""
    parameter.data = value
    parameter.grad = None
