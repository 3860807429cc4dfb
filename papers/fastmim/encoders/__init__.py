"""The encoders that FastMIM pre-trains, behind one interface.

An encoder maps images (B, 3, S, S) to tokens (B, prefix + (S / stride)^2, width), row-major, class tokens first.
``set_image_size`` takes it to another image size. To leave out the last d blocks in pre-training, build it with a
smaller depth. ``official.py`` gives published parameters the names of this folder.
"""

from .cmt import CMT
from .pvt import PVTv2
from .swin import Swin
from .vit import ViT

__all__ = ["CMT", "Encoder", "PVTv2", "Swin", "ViT"]

Encoder = ViT | Swin | PVTv2 | CMT
