"""Fine-tuning: an encoder with a classification head, and pre-trained weights for it, at whatever resolution.

Source: official code.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from shared import UserError

from . import CMT, Encoder, PVTv2, Swin, ViT
from .cmt import resize_relative_pos
from .swin import remap_bias_table
from .vit import stretch_positions


class Classifier(nn.Module):
    """Images (B, 3, S, S) -> logits (B, classes); each encoder is pooled as its authors do it.

    - ViT: mean of the patch tokens, ``fc_norm``, ``head``.
    - Swin: ``fc_norm`` of the tokens, their mean, ``head``.
    - PVTv2: the encoder's own final norm, mean of the tokens, ``head``.
    - CMT: no norm, but ``neck``, a 1x1 convolution to 1280 channels with BatchNorm and swish, then the mean, dropout
      0.1 and ``head``.

    So only PVTv2 goes on with pre-training's final norm. The others keep it, frozen, for read-outs of the encoder.
    """

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        if not isinstance(encoder, Encoder):
            raise UserError(f"no classification head for {type(encoder).__name__}; choose ViT, Swin, PVTv2 or CMT.")
        self.encoder = encoder
        features = encoder.width
        if isinstance(encoder, ViT | Swin):
            self.fc_norm = nn.LayerNorm(encoder.width, eps=encoder.norm.eps)
        if isinstance(encoder, CMT):
            features = 1280
            self.neck = nn.Sequential(nn.Conv2d(encoder.width, features, 1), nn.BatchNorm2d(features), nn.SiLU())
            self.dropout = nn.Dropout(0.1)
        if not isinstance(encoder, PVTv2):
            encoder.norm.requires_grad_(False)
        self.head = nn.Linear(features, classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """``images`` (B, 3, S, S) -> logits (B, classes)."""
        encoder = self.encoder
        tokens = encoder(images, norm=isinstance(encoder, PVTv2))[:, encoder.prefix :]
        if isinstance(encoder, ViT):
            pooled = self.fc_norm(tokens.mean(1))
        elif isinstance(encoder, Swin):
            pooled = self.fc_norm(tokens).mean(1)
        elif isinstance(encoder, CMT):
            # A 1x1 convolution and BatchNorm see no neighbours: one column of tokens does for the grid.
            pooled = self.dropout(self.neck(tokens.transpose(1, 2)[..., None]).mean((2, 3)))
        else:
            pooled = tokens.mean(1)
        return self.head(pooled)


@torch.no_grad()
def load_encoder(classifier: Classifier, state_dict: Mapping[str, Tensor]) -> list[str]:
    """Copy pre-trained weights into the classifier's encoder; the head stays as it is.

    ``state_dict`` is an encoder's, or a pre-training network's, of which only the entries under ``encoder.`` count.
    Positions, bias tables and relative positions are resized to the encoder's image size. The returned parameters were
    not in the state dict and stay fresh: blocks that pre-training discarded. Raises UserError, before anything is
    copied, if no entry or not every entry fits.
    """
    prefixed = {
        name.removeprefix("encoder."): value for name, value in state_dict.items() if name.startswith("encoder.")
    }
    own = classifier.encoder.state_dict()
    kind = type(classifier.encoder).__name__
    loaded = {}
    for name, value in (prefixed or state_dict).items():
        if name not in own:
            raise UserError(
                f"The checkpoint does not fit this {kind}: it has '{name}', the encoder does not. Build the encoder of "
                "the checkpoint, with at least as many blocks."
            )
        loaded[name] = _resized(name, value, own[name].shape)
        if loaded[name].shape != own[name].shape:
            raise UserError(
                f"The checkpoint does not fit this {kind}: '{name}' should have shape {tuple(own[name].shape)}, found "
                f"{tuple(value.shape)}. Build the encoder with the checkpoint's patch size, widths and heads."
            )
    if not loaded:
        raise no_weights(classifier.encoder, state_dict)
    classifier.encoder.load_state_dict(loaded, strict=False)
    return [name for name, _ in classifier.encoder.named_parameters() if name not in loaded]


def _resized(name: str, value: Tensor, shape: torch.Size) -> Tensor:
    """The positions, bias table or relative positions ``value`` in the given shape; other tensors as they are."""
    if value.shape == shape or value.ndim != len(shape):
        return value
    if name == "pos_embed":
        return stretch_positions(value, math.isqrt(shape[1] - 1))
    if name.endswith("relative_position_bias_table"):
        return remap_bias_table(value, (math.isqrt(shape[0]) + 1) // 2)
    if name.endswith("relative_pos"):
        return resize_relative_pos(value, shape[1], shape[2])
    return value


def no_weights(encoder: Encoder, state_dict: Mapping[str, Tensor]) -> UserError:
    found = ", ".join(f"'{name}'" for name in list(state_dict)[:3]) or "nothing"
    return UserError(
        f"The checkpoint has no weights of a {type(encoder).__name__}; it begins with {found}. Choose a checkpoint of "
        "this encoder."
    )
