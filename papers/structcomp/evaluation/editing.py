"""The use cases of the paper, measured: insertion, replacement and removal on test images with one generator."""

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from ..complete import Completer, as_pixels
from ..config import Config
from ..data import test_batch
from ..datasets.items import Items
from ..structure.crops import aligned_crops, square_around
from ..structure.layout import Edit, insertion, removal, replacement
from .evaluators import Evaluators

SHOWN = 4  # images whose edits are kept for the figure
KINDS = ("insertion", "replacement", "removal")


@torch.no_grad()
def measure_edits(
    config: Config, completer: Completer, networks: Evaluators, items: Items
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Try each edit on the first test images.

    Insertion takes the silhouette and class of an object of the next image. Replacement asks for the next class.
    Removal paints over the largest object.

    Returns: metrics in percent, and pictures for the figure.
        ``insertion_accuracy`` is the classifier's accuracy on inserted objects, ``insertion_before`` on the same crops
        of the image before. ``replacement_new`` and ``replacement_old`` are mean probabilities of the new and the old
        class after the replacement, with ``_before`` before. ``removal_things`` is the share of the hole in which the
        segmenter sees things, ``removal_before`` the same before, ``background_things`` on true background.
        ``known_changed`` is the share of known pixels that any edit changed.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    pictures: dict[str, list[np.ndarray]] = defaultdict(list)
    device = next(networks.parameters()).device
    for index in range(min(config.edited, len(items))):
        batch = test_batch(config, items, range(index, index + 1))
        other = items.item((index + 1) % len(items))
        image, z = batch["image"][0].to(device), batch["z"][0]
        layout = Edit(
            np.zeros(batch["label"].shape[1:], bool), batch["label"][0].numpy(), batch["instances"][0].numpy()
        )
        own, theirs = largest(layout.instances), largest(other.instances)
        if not own or not theirs:
            continue
        old = int(layout.label[layout.instances == own][0])
        new = old % completer.table.things + 1
        silhouette = other.instances == theirs
        inserted = int(other.label[silhouette][0])
        edits = {
            "insertion": insertion(layout, silhouette, inserted),
            "replacement": replacement(layout, own, new),
            "removal": removal(layout, own, completer.table),
        }
        after = {kind: completer.edited(image, edit, z) for kind, edit in edits.items()}
        for kind, edit in edits.items():
            known = ~torch.from_numpy(edit.hole).to(device)
            scores["known_changed"].append(float((after[kind] != image)[:, known].float().mean()))
        for name, x in (("insertion_accuracy", after["insertion"]), ("insertion_before", image)):
            scores[name].append(float(class_probabilities(config, networks, x, silhouette).argmax() == inserted - 1))
        for suffix, x in (("", after["replacement"]), ("_before", image)):
            probability = class_probabilities(config, networks, x, layout.instances == own)
            scores[f"replacement_new{suffix}"].append(float(probability[new - 1]))
            scores[f"replacement_old{suffix}"].append(float(probability[old - 1]))
        hole = torch.from_numpy(edits["removal"].hole).to(device)
        things = {
            name: is_thing(completer, networks, x) for name, x in (("after", after["removal"]), ("before", image))
        }
        scores["removal_things"].append(float(things["after"][hole].float().mean()))
        scores["removal_before"].append(float(things["before"][hole].float().mean()))
        background = torch.from_numpy(layout.label > completer.table.things).to(device)
        scores["background_things"].append(float(things["before"][background].float().mean()))
        if len(pictures["edit_image"]) < SHOWN:
            pictures["edit_image"].append(as_pixels(image))
            for kind in KINDS:
                pictures[f"edit_{kind}"].append(as_pixels(after[kind]))
                pictures[f"edit_{kind}_hole"].append(edits[kind].hole.astype(np.uint8))
    metrics = {f"{name}_percent": 100 * float(np.mean(values)) for name, values in scores.items()}
    return metrics, {name: np.stack(arrays) for name, arrays in pictures.items()}


def largest(instances: np.ndarray) -> int:
    """Number of the instance with most pixels; 0 if there is none."""
    counts = np.bincount(instances[instances > 0], minlength=1)
    return int(counts.argmax()) if len(counts) > 1 else 0


def class_probabilities(config: Config, networks: Evaluators, image: Tensor, silhouette: np.ndarray) -> Tensor:
    """The classifier's probabilities (things,) of the crop around a silhouette (S, S) bool."""
    box = torch.tensor([[0.0, *square_around(torch.from_numpy(silhouette))]], device=image.device)
    crop = aligned_crops(image[None], box, config.crop_size)
    return networks.classifier(crop)[0].softmax(0)


def is_thing(completer: Completer, networks: Evaluators, image: Tensor) -> Tensor:
    """Where the segmenter sees a thing, (S, S) bool."""
    label = networks.segment(image[None])[0]
    return (label > 0) & (label <= completer.table.things)
