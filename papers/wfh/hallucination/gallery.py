"""Each visual word shown by the regions nearest to it, and the visual words that a text hallucinates."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..datasets.regions import SomeImages
from ..sampling.text import Vocabulary
from .hallucinator import Hallucinator

SHOWN = 4  # regions of each visual word
SIZE = 24  # pixels of a region's picture
FILE = "gallery.safetensors"
"""Weights file of a run with what `gallery` finds."""


def gallery(hallucinator: Hallucinator, images: SomeImages, pictures: np.ndarray | None) -> dict[str, Tensor]:
    """Regions by which the visual words can be shown.

    Args:
        images: those whose regions were clustered.
        pictures: (N, H, W, 3) uint8 of the composed scenes that the images are some of; None: there are none.

    Returns:
        ``objects`` (K,) int64, the object that the detector found most often in the regions of each visual word, -1 for
        a word without a region; of composed scenes also ``pictures`` (K, SHOWN, SIZE, SIZE, 3) uint8, the regions
        nearest to each visual word.
    """
    assert hallucinator.visual is not None
    found = [images[k] for k in range(len(images))]
    features = torch.from_numpy(np.concatenate([x.features for x in found])) / hallucinator.deviation
    objects = np.concatenate([x.objects for x in found])
    distance = torch.cdist(features, hallucinator.visual / hallucinator.deviation)  # (N, K)
    words, count = distance.argmin(1).numpy(), distance.shape[1]
    own = [np.bincount(objects[words == k], minlength=1) for k in range(count)]
    shown = {"objects": torch.tensor([int(x.argmax()) if x.any() else -1 for x in own])}
    if pictures is None:
        return shown
    place = [(int(images.numbers[k]), box) for k, x in enumerate(found) for box in x.boxes]
    nearest = distance.topk(min(SHOWN, len(features)), dim=0, largest=False).indices.T.tolist()
    crops = [[cropped(pictures[place[r][0]], place[r][1], SIZE) for r in row] for row in nearest]
    return shown | {"pictures": torch.from_numpy(np.array(crops))}


def cropped(picture: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """A box (4,) in 0..1 of a picture (H, W, 3) uint8 as (size, size, 3) uint8."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (box * np.array([width, height, width, height])).tolist()
    return np.asarray(Image.fromarray(picture).resize((size, size), box=(x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))))


class Hallucinated(NamedTuple):
    """Pieces of a text that are hallucinated, the weights of the visual words (n, K), and hallucinations (n, F)."""

    pieces: list[int]
    weights: np.ndarray
    features: np.ndarray


@torch.no_grad()
def hallucinate(hallucinator: Hallucinator, vocabulary: Vocabulary, text: str, length: int) -> Hallucinated:
    """The mean hallucination of each content piece of a text; without a vocabulary the weights are (n, 0)."""
    hallucinator.eval()
    words = torch.from_numpy(vocabulary.encode(vocabulary.split(text), length=length))[None]
    mask = torch.ones_like(words, dtype=torch.bool)
    features, there, places = hallucinator(words, mask)
    chosen = places[there]
    weights = torch.zeros(len(chosen), 0)
    if hallucinator.visual is not None:
        weights = hallucinator.scores(hallucinator.encode(words, mask)[0, chosen]).softmax(-1)
    return Hallucinated(words[0, chosen].tolist(), weights.numpy(), features[there].numpy())
