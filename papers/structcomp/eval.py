"""Completion of the test images, measured in feature spaces that no discriminator shares; probes; figures."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.utils import gather_object
from torch import Tensor, nn

from shared.run import Run
from shared.support.files import write_atomic
from shared.support.progress import track
from shared.support.weights import weights_file

from .build import (
    LAYOUT_FILE,
    is_semantic,
    load_discriminator,
    load_generator,
    load_layout_network,
)
from .complete import Completer, as_pixels
from .config import Config
from .data import class_table, evaluators_file, test_batch, test_items
from .datasets.items import Items
from .evaluation import evaluators
from .evaluation.editing import measure_edits
from .evaluation.evaluators import Evaluators
from .figures import draw
from .losses import hole_l1
from .metrics import (
    area_under_curve,
    bootstrap_interval,
    confusion_matrix,
    frechet_distance,
    inception_discriminative_scores,
    mean_iou,
    ssim,
)
from .networks.frozen import FrozenFeatures
from .structure.crops import Instances, aligned_crops, find_instances
from .views import calibrated_features, judged, scene_of, views_of

BATCH = 16
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # mean and deviation of its pixels
SHOWN = 6  # test images that are kept for the figures
Space = Callable[[Tensor], Tensor]


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Metrics of a run; see :func:`measure_completions`, :func:`.measure_edits` and :func:`probe`."""
    items = test_items(config, run.cache)
    networks = evaluators.load(class_table(config), evaluators_file(config, run.cache)).to(run.device)
    if config.method == "probe":
        return probe(config, run, items)
    completer = load_completer(config, run)
    shared_space = calibrated_features(config, run, "lite0")
    spaces = Spaces(config, networks, shared_space, run.device)

    def guided(batch: dict[str, Any]) -> Tensor:
        return completer.guided(*(batch[name] for name in ("image", "hole", "label", "instances", "z")))

    found, shown = measure_completions(config, run, items, spaces, guided)
    if config.method == "warm" and config.guidance == "panoptic":
        grey, _ = measure_completions(config, run, items, spaces, lambda b: b["image"] * (1 - b["hole"]))
        found |= {f"grey_{name}": x for name, x in grey.items()}
        found["layout_miou_percent"] = layout_quality(config, run, items, completer)
    if config.edited and completer.layout is not None and config.method == "gan":
        for prefix, given in (("auto", ()), ("auto_given", ("label", "instances"))):  # the surroundings' layout, or not

            def automatic(batch: dict[str, Any], given: tuple[str, ...] = given) -> Tensor:
                return completer.automatic(*(batch[name] for name in ("image", "hole", "z", *given)))[0]

            made_up, shown_auto = measure_completions(config, run, items, spaces, automatic)
            found |= {f"{prefix}_{name}": x for name, x in made_up.items()}
            if "completed" in shown_auto:  # the first images are one process's
                shown.setdefault("automatic", shown_auto["completed"])
        if run.accelerator.is_main_process:
            edits, shown_edits = measure_edits(config, completer, networks, items)
            found, shown = found | edits, shown | shown_edits
    if run.accelerator.is_main_process:
        write_atomic(run.folder / "shown.npz", lambda file: np.savez_compressed(file, allow_pickle=False, **shown))
    return found


def load_completer(config: Config, run: Run) -> Completer:
    """The generator of a finished run, and its layout network if it has one."""
    table = class_table(config)
    layout = weights_file(run.folder, LAYOUT_FILE)
    network = load_layout_network(config, table, layout).to(run.device) if layout.exists() else None
    return Completer(config, table, load_generator(config, table, run.weights).to(run.device), network)


class Spaces:
    """Feature spaces of images and of object crops.

    The first is independent: networks trained on real images alone. "circular" is EfficientNet-Lite0's, which the
    perceptual loss and the semantic discriminators of the offline presets read, too: it favours them.
    """

    def __init__(self, config: Config, networks: Evaluators, circular: FrozenFeatures, device: torch.device) -> None:
        self.networks = networks

        def pooled(x: Tensor) -> Tensor:
            return circular(x)[-1].mean((2, 3))

        self.image: dict[str, Space] = {"": networks.image_features, "circular_": pooled}
        self.object: dict[str, Space] = {"": networks.classifier.pooled, "circular_": pooled}
        if config.inception:
            self.image["inception_"] = self.object["inception_"] = Inception().to(device)
        self.lpips: Callable[[Tensor, Tensor], Tensor] | None = None
        if config.lpips:
            from torchmetrics.functional.image.lpips import _LPIPS  # a metric of single pairs

            network = _LPIPS(pretrained=True, net="alex", eval_mode=True).to(device)
            self.lpips = lambda x, y: network(x, y).flatten()


class Inception(nn.Module):
    """Pooled features (N, 2048) of torchvision's Inception-v3; the published FID has TensorFlow's weights."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import Inception_V3_Weights, inception_v3

        self.network = inception_v3(weights=Inception_V3_Weights.IMAGENET1K_V1).eval().requires_grad_(False)
        self.network.fc = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        x = F.interpolate(images, (299, 299), mode="bilinear", align_corners=False, antialias=True)
        mean, std = (torch.tensor(values, device=x.device).view(3, 1, 1) for values in IMAGENET)
        return self.network((x * 0.5 + 0.5 - mean) / std)


# -- completions ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def measure_completions(
    config: Config, run: Run, items: Items, spaces: Spaces, complete: Callable[[dict[str, Any]], Tensor]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics of completed test images, and arrays of the first ones for the figures.

    Every variant has the same images, holes, latents and boxes; processes share the images.

    Returns: for images and for objects in each space ``fd``, ``u_ids_percent`` and ``p_ids_percent`` with the bootstrap
        interval of the distance; ``hole_miou_percent`` and ``object_accuracy_percent`` of the independent networks,
        and the same on real images; ``hole_l1_percent`` of the range of pixels; ``ssim_percent``; numbers of images
        and objects.
    """
    starts = list(range(0, len(items), BATCH))[run.accelerator.process_index :: run.accelerator.num_processes]
    rows: list[tuple[int, dict[str, np.ndarray]]] = []
    shown: dict[str, np.ndarray] = {}
    for start in track(starts, "completing test images"):
        batch = test_batch(config, items, range(start, min(start + BATCH, len(items))))
        batch = {name: x.to(run.device) if isinstance(x, Tensor) else x for name, x in batch.items()}
        completed = complete(batch)
        rows.append((start, measure_batch(config, spaces, batch, completed)))
        if start == 0:
            kept = {"image": batch["image"], "hole": batch["hole"], "label": batch["label"], "completed": completed}
            boxes = judged_instances(config, batch).boxes
            kept |= {
                f"crop_{name}": aligned_crops(kept[name], boxes, config.crop_size) for name in ("image", "completed")
            }
            shown = {name: _shown(x[:SHOWN]) for name, x in kept.items()}
    measured = [x for _, x in sorted(gather_object(rows), key=lambda row: row[0])]
    tables = {name: np.concatenate([x[name] for x in measured]) for name in measured[0]}
    return summary(config, spaces, tables), shown


def judged_instances(config: Config, batch: dict[str, Any]) -> Instances:
    """The instances whose crops are measured: those that lie mostly in the hole; none of them is a stand-in."""
    found = find_instances(batch["instances"], batch["label"], batch["hole"], least_area=config.least_area)
    return found.take(torch.nonzero(found.weights > 0)[:, 0])


def _shown(x: Tensor) -> np.ndarray:
    """Images as pixels, and maps (N, ...) as uint8."""
    return as_pixels(x) if x.ndim == 4 and x.shape[1] == 3 else x.byte().cpu().numpy()


def measure_batch(config: Config, spaces: Spaces, batch: dict[str, Any], completed: Tensor) -> dict[str, np.ndarray]:
    """Rows of features and scores of a batch: an image a row, or an object a row; of the maps only what was counted."""
    image, hole, label = batch["image"], batch["hole"], batch["label"]
    chosen = judged_instances(config, batch)
    pairs = {"real": image, "fake": completed}
    crops = {name: aligned_crops(x, chosen.boxes, config.crop_size) for name, x in pairs.items()}
    rows: dict[str, Tensor] = {
        "l1": torch.stack([hole_l1(c[None], x[None], h[None]) for c, x, h in zip(completed, image, hole, strict=True)]),
        "ssim": ssim(completed * 0.5 + 0.5, image * 0.5 + 0.5),
        "kinds": chosen.classes,
    }
    inside = (hole[:, 0] > 0) & (label > 0)
    if spaces.lpips is not None:
        rows["lpips"] = spaces.lpips(completed, image)
    for name in pairs:
        rows |= {f"image_{space}{name}": of(pairs[name]) for space, of in spaces.image.items()}
        rows |= {f"object_{space}{name}": of(crops[name]) for space, of in spaces.object.items()}
        rows[f"class_{name}"] = spaces.networks.classifier(crops[name]).argmax(1) + 1
        seen = spaces.networks.segment(pairs[name])
        rows[f"confusion_{name}"] = confusion_matrix(seen[inside], label[inside], class_table(config).count + 1)[None]
    return {name: (x.float() if x.is_floating_point() else x).cpu().numpy() for name, x in rows.items()}


def summary(config: Config, spaces: Spaces, tables: dict[str, np.ndarray]) -> dict[str, float]:
    """Metrics of the rows of all test images."""
    found: dict[str, float] = {}
    if "lpips" in tables:
        found["lpips"] = float(tables["lpips"].mean())
    for what, names in (("image", spaces.image), ("object", spaces.object)):
        for space in names:
            real, fake = tables[f"{what}_{space}real"], tables[f"{what}_{space}fake"]
            u_ids, p_ids = inception_discriminative_scores(real, fake)
            found |= {
                f"{space}{what}_fd": frechet_distance(real, fake),
                f"{space}{what}_u_ids_percent": 100 * u_ids,
                f"{space}{what}_p_ids_percent": 100 * p_ids,
            }
            if not space:
                low, high = bootstrap_interval(frechet_distance, real, fake)
                found |= {f"{what}_fd_low": low, f"{what}_fd_high": high}
    found |= {
        "hole_l1_percent": 50 * float(tables["l1"].mean()),
        "ssim_percent": 100 * float(tables["ssim"].mean()),
        "images": len(tables["l1"]),
        "objects": len(tables["kinds"]),
    }
    for name, suffix in (("fake", ""), ("real", "real_")):
        found[f"{suffix}hole_miou_percent"] = 100 * mean_iou(tables[f"confusion_{name}"].sum(0))
        found[f"{suffix}object_accuracy_percent"] = 100 * float((tables[f"class_{name}"] == tables["kinds"]).mean())
    return found


@torch.no_grad()
def layout_quality(config: Config, run: Run, items: Items, completer: Completer) -> float:
    """mIoU (%) of the layout network inside the holes of the test images."""
    classes = completer.table.count + 1
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    for start in range(0, len(items), BATCH):
        batch = test_batch(config, items, range(start, min(start + BATCH, len(items))))
        imagined, _ = completer.imagined_layout(batch["image"].to(run.device), batch["hole"].to(run.device))
        inside = (batch["hole"][:, 0] > 0) & (batch["label"] > 0)
        counts += confusion_matrix(imagined.cpu()[inside], batch["label"][inside], classes)
    return 100 * mean_iou(counts.numpy())


# -- probes -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def probe(config: Config, run: Run, items: Items) -> dict[str, float]:
    """How well a discriminator tells completions of the frozen generator from real test images.

    Returns: ``probe_accuracy_percent``, the mean over both kinds at a logit of 0, and ``probe_auc_percent``.
    """
    (role,) = config.discriminators
    table = class_table(config)
    frozen = calibrated_features(config, run, config.features) if is_semantic(role) else None
    judges = load_discriminator(config, table, frozen, run.weights).to(run.device)
    completer = Completer(config, table, load_generator(config, table, run.start_weights).to(run.device))
    scores: dict[str, list[np.ndarray]] = defaultdict(list)
    for start in track(range(0, len(items), BATCH), "probing"):
        batch = test_batch(config, items, range(start, min(start + BATCH, len(items))))
        batch = {name: x.to(run.device) if isinstance(x, Tensor) else x for name, x in batch.items()}
        completed = completer.guided(*(batch[name] for name in ("image", "hole", "label", "instances", "z")))
        scene = scene_of(config, table, batch)
        for name, image in (("real", batch["image"]), ("fake", completed)):
            view = views_of(config, scene, image, frozen)[role]
            logits = judged(judges[role], role, view)  # type: ignore[index]
            levels = [logits] if isinstance(logits, Tensor) else logits
            score = torch.stack([x.flatten(1).mean(1) for x in levels]).sum(0)
            scores[name].append(score[view.weights > 0].cpu().numpy())
    real, fake = (np.concatenate(scores[name]) for name in ("real", "fake"))
    return {
        "probe_accuracy_percent": 50 * float((real > 0).mean() + (fake <= 0).mean()),
        "probe_auc_percent": 100 * area_under_curve(real, fake),
    }


# -- figures ----------------------------------------------------------------------------------------------------------


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """Grids of completions, of edits and of object crops, and bars of the main metrics, as far as their rows ran."""
    first = min(seed for _, seed in runs)
    shown: dict[str, dict[str, np.ndarray]] = {}
    metrics: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    for (variant, seed), folder in runs.items():
        if (folder / "result.json").exists():
            metrics[variant][seed] = json.loads((folder / "result.json").read_text())["metrics"]
        if seed == first and (folder / "shown.npz").exists():
            with np.load(folder / "shown.npz") as content:
                shown[variant] = {name: content[name] for name in content.files}
    draw(shown, metrics, target)
