"""Composed scenes, prepared once for all runs: the trunk's frozen early maps, and the texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.offline.scenes import Scene
from shared.support.files import write_atomic, write_json
from shared.support.progress import track

from ..visual.trunk import NORMALISATION, Name, Trunk, build_trunk
from . import scenes
from .images import crops
from .texts import Text

SPLITS = {"train": 0, "validation": 1, "test": 2, "unseen": 3}
"""Splits, and what seeds each; `unseen` shows objects that training scenes never show."""
CROP = 64  # pixels of a box


def prepare(name: Name, split: str, count: int, arrays: Path, words: Path) -> None:
    """Compose the scenes of a split; write their arrays, with the early maps of the trunk ``name``, and their texts."""
    rng, unseen = np.random.default_rng(SPLITS[split]), split == "unseen"
    composed = scenes.compose(count, rng, unseen, f"composing {split} scenes")
    network = build_trunk(name, None).eval()
    images = np.stack([scene.image for scene in composed])
    most = max(scenes.OBJECTS)
    places = np.full((len(composed), most, 4), -1, np.float32)
    parts = torch.zeros(len(composed), most, 3, CROP, CROP)
    for k, scene in enumerate(composed):
        places[k, : len(scene.boxes)] = scene.boxes / scenes.SIZE
        pixels = torch.from_numpy(scene.image).permute(2, 0, 1).float() / 255
        parts[k, : len(scene.boxes)] = crops(pixels, torch.from_numpy(places[k, : len(scene.boxes)]), CROP)
    whole = torch.from_numpy(images).permute(0, 3, 1, 2)
    maps = early_maps(name, network, whole, f"encoding {split} scenes")
    of_boxes = early_maps(name, network, parts.flatten(0, 1), f"encoding boxes of {split} scenes")
    content = np.stack([scenes.content(scene) for scene in composed])
    kept = {"maps": maps, "crops": of_boxes.reshape(-1, most, *of_boxes.shape[1:]), "boxes": places}
    if split != "train":
        kept |= {"images": images, "content": content}
    write_atomic(arrays, lambda file: np.savez(file, allow_pickle=False, **kept))
    write_json(words, _texts(composed, rng, unseen))


@torch.no_grad()
def early_maps(name: Name, network: Trunk, pixels: Tensor, what: str) -> np.ndarray:
    """The frozen early maps of pixels (N, 3, H, W), uint8 or in [0, 1], as float16."""
    mean, std = (torch.tensor(x)[:, None, None] for x in NORMALISATION[name])
    found = []
    for part in track(pixels.split(64), what):
        shown = part.float() / 255 if part.dtype == torch.uint8 else part
        found.append(network.early((shown - mean) / std).half().numpy())
    return np.concatenate(found)


def _texts(composed: Sequence[Scene], rng: np.random.Generator, unseen: bool) -> dict[str, Any]:
    """Captions, nouns, and the texts of each task.

    Scenes of unseen objects have questions alone, as captions would name the objects.
    """
    tasks: dict[str, list[Text]] = {"vqa": [], "nlvr2": [], "snli-ve": []}
    told: dict[str, Any] = {"captions": [], "nouns": []}
    for k, scene in enumerate(composed):
        tasks["vqa"] += scenes.questions(k, scene, rng, unseen)
        if not unseen:
            told["captions"].append(scenes.captions(scene, rng))
            told["nouns"].append(scenes.masked_nouns(scene))
            other = int((k + rng.integers(1, len(composed))) % len(composed))
            tasks["nlvr2"] += scenes.statements(composed, (k, other), rng)
            tasks["snli-ve"] += scenes.hypotheses(k, scene, rng)
    return told | {name: [(x.images, x.text, x.scores, x.kind) for x in found] for name, found in tasks.items()}
