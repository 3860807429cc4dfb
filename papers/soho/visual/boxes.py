"""Boxes of objects in photographs, by torchvision's Faster R-CNN: for the baseline of region features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared.support.files import write_atomic
from shared.support.progress import track


def detector(pretrained: bool, **options: Any) -> torch.nn.Module:
    """Faster R-CNN with a ResNet-50 and a feature pyramid; with COCO's weights, or random ones to measure its cost."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    weights = "DEFAULT" if pretrained else None
    model: torch.nn.Module = fasterrcnn_resnet50_fpn(weights=weights, weights_backbone=None, **options)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def detect(model: torch.nn.Module, pixels: torch.Tensor, most: int) -> np.ndarray:
    """The ``most`` surest boxes of an image (3, H, W) in [0, 1]: (R, 4) float32 xyxy as shares of the image.

    An image without any has one, the whole.
    """
    height, width = pixels.shape[1:]
    found = model([pixels])[0]["boxes"][:most].cpu() / torch.tensor([width, height, width, height])
    return found.clamp(0, 1).numpy() if len(found) else np.array([[0, 0, 1, 1]], np.float32)


def detected(files: Sequence[Path], most: int, stored: Path) -> list[np.ndarray]:
    """Boxes of every image, computed once and kept in ``stored``."""
    if not stored.exists():
        from ..datasets.images import read_pixels

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = detector(True).to(device)
        found = [detect(model, read_pixels(file).to(device), most) for file in track(files, "detecting boxes")]
        counts = np.array([len(x) for x in found])
        write_atomic(
            stored, lambda file: np.savez(file, allow_pickle=False, boxes=np.concatenate(found), counts=counts)
        )
    with np.load(stored) as content:
        return np.split(content["boxes"], content["counts"].cumsum()[:-1])
