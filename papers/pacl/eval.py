"""Segmentation, localisation and image-level classification by text; coherence of the frozen patch tokens; figures."""

import json
from collections.abc import Sized
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.utils import gather_object
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from shared.run import Run
from shared.support.figures import write_figure
from shared.support.files import write_atomic

from . import metrics
from .build import trained_model
from .config import VARIANTS, Config
from .datasets import benchmarks, classification
from .datasets.benchmarks import IGNORED
from .datasets.scene_features import SceneTest, load_scenes, tested
from .datasets.scenes import CELL
from .model import mean_pooled, pairwise, sigmoid_pairwise
from .segment import Windows, class_embeddings, cosine_maps, label_map, probabilities, upsample
from .texts.prompts import PACL_TEMPLATES
from .towers.clip import Towers

SETS = ("seen", "held_out")
EVALUATION_BATCH = 20
CLASSIFIED = 64  # photographs at a time
PATCHES = 5000  # a benchmark's patches whose pairs are compared: 12.5 million, some 400 MB
SHOWN = 4  # scenes of each set in the figures
COLOURS = 256  # palette of a figure
CLASS_COLOURS = np.array([[230, 80, 60], [70, 130, 230], [90, 190, 90], [240, 200, 60], [170, 90, 200], [60, 190, 190]])

T = TypeVar("T")


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Metrics of a trained run: :func:`scene_metrics` of the offline sets, or those of all benchmarks found.

    Called on every process: they share the benchmarks' images, and the main one alone has the scenes, and all metrics.
    Validation scenes have the names of the test's: ``seen_*`` and ``held_out_*``.
    """
    if config.data is None and not run.accelerator.is_main_process:
        return {}
    data = None if config.data else load_scenes(config, run.cache)
    towers, embedder = trained_model(config, run.weights, data.sentences if data is not None else None)
    towers = towers.to(run.device)
    if embedder is not None:
        embedder = embedder.to(run.device)
    if data is None:
        return benchmark_metrics(config, run, towers, embedder)
    found: dict[str, float] = {}
    shown: dict[str, np.ndarray] = {}
    splits = tested(config)
    for name, split, single_split in zip(SETS, splits[:2], splits[2:], strict=True):
        measured, kept = scene_metrics(config, towers, embedder, data.test(split))
        single = single_object_metrics(config, towers, embedder, data.test(single_split))
        found |= {f"{name}_{metric}": value for metric, value in (measured | single).items()}
        shown |= {f"{name}_{key}": value for key, value in kept.items()}
    write_atomic(run.folder / "shown.npz", lambda file: np.savez_compressed(file, allow_pickle=False, **shown))
    return found


@torch.no_grad()
def scene_metrics(
    config: Config, towers: Towers, embedder: nn.Module | None, test: SceneTest
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Dense metrics on scenes, at the resolution of their label maps, and what the figures show of the first scenes.

    Returns metrics:
        ``miou_percent``: all concepts of the set compete, background ignored (the convention of VOC-20);
        ``chance_miou_percent``: the same of a uniformly random concept for every pixel;
        ``background_miou_percent``: with background as a class, found by the entropy rule;
        ``two_way_percent``: only the concepts of the scene compete, on the pixels of its objects; scenes with a single
        concept, where nothing competes, are left out;
        ``auc_percent``, ``pointing_percent``: of each shown concept's own map against its mask, all other pixels
        included; ``chance_pointing_percent``: mean area of those masks;
        ``patch_percent``: patch classification among the concepts of the scene, scenes left out as above;
        ``coherence_auc_percent``: cosine of two frozen patch tokens as a score for lying on one object. All pairs of
        patches that lie on objects, across scenes, too; a cut-out in two scenes is one object.
    """
    classes = class_embeddings(towers, test.names, PACL_TEMPLATES)
    count, size = len(test.names), (test.maps.shape[-2], test.maps.shape[-1])
    without, with_background, random = (metrics.ConfusionMatrix(n) for n in (count, count + 1, count))
    generator, scale = torch.Generator().manual_seed(0), config.scale or towers.logit_scale
    localisation, all_patches = metrics.Localisation(), metrics.Patches()
    shown: dict[str, list[np.ndarray]] = {"maps": [], "queries": [], "labels": [], "predicted": []}
    for start in range(0, len(test.maps), EVALUATION_BATCH):
        batch = slice(start, start + EVALUATION_BATCH)
        tokens, grid = towers.patch_tokens(test.features[batch].to(classes.device))
        patches = towers.project(tokens) if embedder is None else embedder(tokens)
        coarse = cosine_maps(patches, classes, grid)
        for i, truth in enumerate(test.maps[batch]):
            cosine = upsample(coarse[i : i + 1], size)[0].cpu()
            probability = probabilities(coarse[i : i + 1], size, scale, config.upsampling).cpu()
            objects = truth - 1
            objects[truth == 0] = IGNORED
            best = probability[0].argmax(0)
            without.update(best, objects)
            with_background.update(label_map(probability, config.entropy)[0], truth)
            random.update(torch.randint(count, size, generator=generator), objects)
            localisation.add(cosine, objects)
            all_patches.add(tokens[i], coarse[i], objects)
            if start + i < SHOWN:
                query = int(objects.min())
                shown["maps"].append(cosine[query].half().numpy())
                shown["queries"].append(np.array(query))
                shown["labels"].append(truth.short().numpy())
                shown["predicted"].append(best.short().numpy())
    coherence = metrics.coherence(torch.cat(all_patches.tokens), torch.cat(all_patches.labels))
    curve = metrics.roc_points(*coherence)
    kept = {name: np.stack(values) for name, values in shown.items()}
    kept |= {"images": test.images[:SHOWN].numpy(), "names": np.array(test.names)}
    if curve is not None:
        kept["coherence"] = np.stack(curve)
    return {
        "miou_percent": 100 * without.miou,
        "chance_miou_percent": 100 * random.miou,
        "background_miou_percent": 100 * with_background.miou,
        **localisation.percents(),
        "patch_percent": 100 * (all_patches.accuracy() or 0.0),
        "coherence_auc_percent": 100 * (metrics.roc_auc(*coherence) or 0.0),
    }, kept


@torch.no_grad()
def single_object_metrics(
    config: Config, towers: Towers, embedder: nn.Module | None, test: SceneTest
) -> dict[str, float]:
    """Zero-shot classification of images of one object: by compatibility, or by the frozen towers' image embedding.

    Returns: ``top1_percent`` (text-conditioned pooling for every class; for `clip-patch` the class token's, for `conse`
    and `ridge` the mean cell's).
    """
    classes = class_embeddings(towers, test.names, PACL_TEMPLATES)
    truth = test.maps.flatten(1).max(1).values - 1
    features = test.features.to(classes.device)
    scores = (
        towers.encode_image(features) @ classes.T
        if embedder is None
        else compatibility(config, embedder(towers.patch_tokens(features)[0]), classes)
    )
    return {"top1_percent": 100 * metrics.top1(scores.cpu(), truth)}


def compatibility(config: Config, patches: Tensor, classes: Tensor) -> Tensor:
    """Score of every image for every class (N, C), with the pooling that the variant was trained with.

    At test time no image has a text of its own: diagonal pooling weighs with each class's text in turn, and then is
    pairwise pooling; sigmoid pooling does so with its own weights, sigmoid(10 cos), summed.
    """
    if config.pooling == "mean":
        return mean_pooled(patches, classes)
    if config.pooling == "sigmoid":
        return sigmoid_pairwise(patches, classes)
    return pairwise(patches, classes, weighting=config.weighting, attn_scale=config.attn_scale, chunk=config.chunk)


# -- the paper's data -------------------------------------------------------------------------------------------------


def benchmark_metrics(config: Config, run: Run, towers: Towers, embedder: nn.Module | None) -> dict[str, float]:
    """mIoU of every segmentation benchmark, and top-1 of every classification set, that ``config.data`` holds.

    Every process takes its :func:`share` of the images; what is returned on the main one is of all.

    Of VOC-20 also what :func:`patch_metrics` measures; ``twelve_sets_top1_percent``, if all are there, is their mean.
    """
    root = Path(str(config.data))
    found: dict[str, float] = {}
    for tests in benchmarks.by_images(benchmarks.found(root)):
        found |= segmentation_metrics(config, run, towers, embedder, tests)
        if "voc20" in tests:
            classes = class_embeddings(towers, tests["voc20"].benchmark.queries, PACL_TEMPLATES)
            measured = patch_metrics(run, towers, embedder, classes, tests["voc20"])
            found |= {f"voc20_{metric}": value for metric, value in measured.items()}
    for name in classification.found(root):
        found[f"{name}_top1_percent"] = top1_percent(
            config, run, towers, embedder, *classification.load_set(name, root)
        )
    every = [found.get(f"{name}_top1_percent", float("nan")) for name in classification.SETS]
    return found if np.isnan(every).any() else found | {"twelve_sets_top1_percent": float(np.mean(every))}


def share(run: Run, images: Sized) -> range:
    """Numbers of the images that this process takes."""
    return range(run.accelerator.process_index, len(images), run.accelerator.num_processes)


def in_order(values: list[T]) -> list[T]:
    """A value for each image of this process's :func:`share`: those of all processes, in the order of the images."""
    rounds = zip_longest(*gather_object([values]))
    return [value for of_processes in rounds for value in of_processes if value is not None]


@torch.no_grad()
def segmentation_metrics(
    config: Config, run: Run, towers: Towers, embedder: nn.Module | None, tests: dict[str, benchmarks.Segmented]
) -> dict[str, float]:
    """``<name>_miou_percent`` of benchmarks that share their images: the towers see each of these once."""
    classes = {name: class_embeddings(towers, x.benchmark.queries, PACL_TEMPLATES) for name, x in tests.items()}
    confusion = {name: metrics.ConfusionMatrix(x.benchmark.classes) for name, x in tests.items()}
    for i in share(run, next(iter(tests.values()))):
        samples = {name: test[i] for name, test in tests.items()}
        image, _ = next(iter(samples.values()))
        with run.accelerator.autocast():
            windows = Windows(
                towers,
                embedder,
                image,
                run.device,
                short_side=config.short_side,
                window=config.window,
                window_stride=config.window_stride,
                stride=config.stride,
            )
        for name, (_, labels) in samples.items():
            predicted, _ = windows.segment(
                classes[name],
                scale=config.scale or towers.logit_scale,
                order=config.upsampling,
                entropy_threshold=config.entropy if tests[name].benchmark.background else None,
            )
            confusion[name].update(predicted.cpu(), labels)
    for matrix in confusion.values():
        matrix.counts = run.accelerator.reduce(matrix.counts.to(run.device), "sum").cpu()
    return {f"{name}_miou_percent": 100 * matrix.miou for name, matrix in confusion.items()}


@torch.no_grad()
def patch_metrics(
    run: Run, towers: Towers, embedder: nn.Module | None, classes: Tensor, test: benchmarks.Segmented
) -> dict[str, float]:
    """Alignment of the patches with the class texts, and coherence of the frozen patch tokens.

    The patches are those of the tower's own grid, no stride trick, on the centre square of each image, which is what
    CLIP's preprocessing keeps; the label of a patch is the most frequent one of its pixels. Which patches, labels and
    competing classes the paper took is not known.

    Args:
        classes: (C, D).

    Returns, on the main process, where it is defined:
        ``patch_percent``: the best class of a patch among those of its square is its label; squares with a single
        class, where nothing competes, are left out;
        ``coherence_auc_percent``: cosine of two patch tokens as a score for one class, of all pairs of 5,000 labelled
        patches drawn at random from the whole set.
    """
    own = metrics.Patches()
    for i in share(run, test):
        image, labels = test[i]
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = labels[top : top + side, left : left + side]
        pixels = towers.preprocess(image.crop((left, top, left + side, top + side)))[None].to(run.device)
        with run.accelerator.autocast():
            tokens, grid = towers.patch_tokens(pixels)
            patches = towers.project(tokens) if embedder is None else embedder(tokens)
        own.add(tokens[0].float(), cosine_maps(patches.float(), classes, grid)[0], square)
    all_patches = metrics.Patches([], *(in_order(x) for x in (own.labels, own.scores, own.present)))
    labels = torch.cat(all_patches.labels)
    drawn = torch.zeros(len(labels), dtype=torch.bool)
    drawn[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:PATCHES]] = True
    of_images = drawn.split([len(x) for x in all_patches.labels])
    # Tokens are large, so that those which are not drawn stay where they are.
    features = in_order([own.tokens[k][of_images[i]] for k, i in enumerate(share(run, test))])
    if not run.accelerator.is_main_process:
        return {}
    found = {
        "patch_percent": all_patches.accuracy(),
        "coherence_auc_percent": metrics.roc_auc(*metrics.coherence(torch.cat(features), labels[drawn])),
    }
    return {name: 100 * value for name, value in found.items() if value is not None}


@torch.no_grad()
def top1_percent(
    config: Config, run: Run, towers: Towers, embedder: nn.Module | None, images: Any, names: list[str]
) -> float:
    """Share of images whose best class is theirs: a sequence of (image, class number), and the names of the classes."""
    classes = class_embeddings(towers, names, PACL_TEMPLATES)
    loader = DataLoader(
        Subset(images, share(run, images)),
        batch_size=CLASSIFIED,
        num_workers=config.workers,
        collate_fn=partial(classification.batch, towers.preprocess),
        pin_memory=run.device.type == "cuda",
    )
    right = of = 0
    for pixels, truth in loader:
        pixels = pixels.to(run.device)
        with run.accelerator.autocast():
            seen = towers.encode_image(pixels) if embedder is None else embedder(towers.patch_tokens(pixels)[0])
        seen = seen.float()
        scores = F.normalize(seen, dim=-1) @ classes.T if embedder is None else compatibility(config, seen, classes)
        right += int((scores.argmax(1).cpu() == truth).sum())
        of += len(truth)
    right, of = run.accelerator.reduce(torch.tensor([right, of], device=run.device), "sum").tolist()
    return 100 * (right / of)


# -- figures ----------------------------------------------------------------------------------------------------------


def figures(runs: dict[tuple[str, int], Path], target: Path) -> None:
    """Query heatmaps and label overlays of the headline variants, and the coherence ROC, all of the median seed."""
    drawn = {
        (name, seed): folder
        for (name, seed), folder in runs.items()
        if VARIANTS[name].headline and (folder / "shown.npz").exists()
    }
    if not drawn:
        return
    seed = median_seed(drawn)
    shown = {}
    for name in VARIANTS:
        if (name, seed) in drawn:
            with np.load(drawn[name, seed] / "shown.npz") as content:
                shown[name] = {key: content[key] for key in content.files}
    for split in SETS:
        write_figure(_heatmaps(shown, split, seed), target / f"heatmaps_{split}.png", colours=COLOURS)
        write_figure(_overlays(shown, split, seed), target / f"overlays_{split}.png", colours=COLOURS)
    write_figure(_coherence(shown, seed), target / "coherence.png", colours=COLOURS)


def median_seed(runs: dict[tuple[str, int], Path]) -> int:
    """The seed whose `pacl` has the median mIoU of seen concepts (without `pacl`, the last variant that is there)."""
    variants = [name for name in VARIANTS if name in {variant for variant, _ in runs}]
    main = "pacl" if "pacl" in variants else variants[-1]
    results = {seed: json.loads((runs[main, seed] / "result.json").read_text()) for name, seed in runs if name == main}
    by_miou = sorted(results, key=lambda seed: results[seed]["metrics"]["seen_miou_percent"])
    return by_miou[(len(by_miou) - 1) // 2]


def _grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(1.7 * columns, 1.75 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    return figure, axes


def _heatmaps(shown: dict[str, dict[str, np.ndarray]], split: str, seed: int) -> Figure:
    """A row a scene: its pixels, and the map of one concept for every variant, from its least to its largest cosine."""
    some = next(iter(shown.values()))
    images, names, queries = (some[f"{split}_{key}"] for key in ("images", "names", "queries"))
    figure, axes = _grid(len(queries), 1 + len(shown))
    axes[0, 0].set_title(f"seed {seed}", fontsize=9)
    for row, image, query in zip(axes, images, queries, strict=False):
        row[0].imshow(image)
        row[0].set_ylabel(names[query], fontsize=9)
    for column, (variant, drawn) in enumerate(shown.items(), 1):
        axes[0, column].set_title(variant, fontsize=9)
        for axis, heat in zip(axes[:, column], drawn[f"{split}_maps"].astype(np.float32), strict=True):
            axis.imshow(heat, cmap="inferno")
    return figure


def _overlays(shown: dict[str, dict[str, np.ndarray]], split: str, seed: int) -> Figure:
    """A row a scene: its labels, and the best concept of every pixel of its objects for every variant."""
    some = next(iter(shown.values()))
    images, names, labels = (some[f"{split}_{key}"] for key in ("images", "names", "labels"))
    figure, axes = _grid(len(labels), 1 + len(shown))
    axes[0, 0].set_title(f"labels, seed {seed}", fontsize=9)
    for row, image, truth in zip(axes, images, labels, strict=False):
        _overlay(row[0], image, truth.astype(int) - 1, truth > 0, names)
    for column, (variant, drawn) in enumerate(shown.items(), 1):
        axes[0, column].set_title(variant, fontsize=9)
        for axis, image, truth, best in zip(axes[:, column], images, labels, drawn[f"{split}_predicted"], strict=False):
            _overlay(axis, image, best.astype(int), truth > 0, names)
    return figure


def _overlay(axis: object, image: np.ndarray, classes: np.ndarray, where: np.ndarray, names: np.ndarray) -> None:
    """Colour the pixels by class, and name the largest three below the picture."""
    classes, where = (x.repeat(CELL, 0).repeat(CELL, 1) for x in (classes, where))
    painted = image.astype(np.float32) * 0.6 + 0.4 * 255
    found, areas = np.unique(classes[where], return_counts=True)
    largest = found[np.argsort(-areas, kind="stable")]
    for k, colour in zip(largest, np.resize(CLASS_COLOURS, (len(largest), 3)), strict=True):
        painted[where & (classes == k)] = 0.3 * image[where & (classes == k)] + 0.7 * colour
    axis.imshow(painted.astype(np.uint8))  # type: ignore[attr-defined]
    axis.set_xlabel("\n".join(names[largest[:3]]), fontsize=7)  # type: ignore[attr-defined]


def _coherence(shown: dict[str, dict[str, np.ndarray]], seed: int) -> Figure:
    """How well the cosine of two frozen patch tokens tells whether they lie on the same object."""
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axis = figure.subplots()
    of_clip = [drawn for name, drawn in shown.items() if name not in ("conse", "ridge")]
    curves = next(iter(of_clip or shown.values()))
    axis.set_title(f"seed {seed}", fontsize=9)
    for split in SETS:
        if f"{split}_coherence" in curves:
            false_positive, true_positive = curves[f"{split}_coherence"]
            area = np.trapezoid(true_positive, false_positive)
            axis.plot(false_positive, true_positive, label=f"{split.replace('_', '-')} concepts, AUC {area:.2f}")
    axis.plot([0, 1], [0, 1], ":", color="grey", label="chance")
    axis.set_xlabel("pairs of different objects above the threshold")
    axis.set_ylabel("pairs of one object above the threshold")
    axis.legend(fontsize=8)
    return figure
