"""Networks that evaluate: a segmenter and an object classifier, trained from scratch on real images.

They share nothing with a discriminator or with the perceptual loss, so that no variant is rewarded for free.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from shared.support.files import write_atomic
from shared.support.progress import track
from shared.support.weights import load_weights

from ..build import FAST
from ..config import Config
from ..datasets.items import Items
from ..networks.unet import ObjectClassifier, UNet
from ..structure.crops import aligned_crops, find_instances
from ..structure.layout import ClassTable

SEED, BATCH, LEARNING_RATE = 5, 24, 3e-3
LARGEST = 128  # pixels; larger images are reduced for the segmenter


class Evaluators(nn.Module):
    """Segmenter of images and classifier of aligned object crops.

    Args:
        table: classes; the classifier knows things alone.
    """

    def __init__(self, table: ClassTable) -> None:
        super().__init__()
        self.segmenter = UNet(3, table.count + 1)
        self.classifier = ObjectClassifier(table.things)

    def segment(self, images: Tensor) -> Tensor:
        """Classes (N, H, W) int64 of images (N, 3, H, W) in [-1, 1]."""
        logits = self.segmenter(_reduced(images))
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False).argmax(1)

    def image_features(self, images: Tensor) -> Tensor:
        """(N, 64)."""
        return self.segmenter.pooled(_reduced(images))


def _reduced(images: Tensor) -> Tensor:
    if images.shape[-1] <= LARGEST:
        return images
    return F.interpolate(images, (LARGEST, LARGEST), mode="area")


def train_once(config: Config, table: ClassTable, items: Items, path: Path) -> None:
    """Train both networks unless ``path`` holds them already; the global generator is left as it was."""
    if path.exists():
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        networks = Evaluators(table).to(device).to(memory_format=FAST).train()
        optimizer = torch.optim.Adam(networks.parameters(), lr=LEARNING_RATE, fused=True)
        steps = config.evaluator_steps
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        batches = _batches(items, config.crop_size, config.least_area, steps)
        for batch in track(batches, "training the evaluators", steps):
            images, label, crops, kinds = (x.to(device) for x in batch)
            loss = F.cross_entropy(networks.segmenter(_reduced(images)), label)
            loss = loss + F.cross_entropy(networks.classifier(crops), kinds)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    write_atomic(path, save({name: x.cpu().contiguous() for name, x in networks.state_dict().items()}))


def _batches(
    items: Items, crop_size: int, least_area: float, steps: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Real images, their labels, and real crops of their objects with classes; mirrored or not."""
    rng = np.random.default_rng(SEED)
    for _ in range(steps):
        chosen = [items.item(int(i)) for i in rng.integers(len(items), size=BATCH)]
        turned = rng.random() < 0.5
        arrays = [np.stack([getattr(x, name) for x in chosen]) for name in ("image", "label", "instances")]
        image, label, instances = (
            torch.from_numpy(np.ascontiguousarray(x[:, :, ::-1] if turned else x)) for x in arrays
        )
        pixels = image.permute(0, 3, 1, 2).float() / 127.5 - 1
        found = find_instances(instances, label, torch.ones_like(pixels[:, :1]), least_area=least_area)
        things = found.take(torch.nonzero(found.weights > 0)[:, 0])
        if not len(things):
            continue
        crops = aligned_crops(pixels, things.boxes, crop_size)
        small = F.interpolate(label[:, None].float(), _reduced(pixels).shape[-2:], mode="nearest")[:, 0].long()
        yield pixels, small, crops, things.classes - 1


def load(table: ClassTable, path: Path) -> Evaluators:
    """The trained networks, frozen."""
    networks = Evaluators(table)
    networks.load_state_dict(load_weights(path))
    return networks.to(memory_format=FAST).requires_grad_(False).eval()
