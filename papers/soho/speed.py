"""Latency of the whole-image model beside a model of boxes, with and without the detector's own cost."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from .build import pretraining
from .config import Config
from .data import vocabulary
from .datasets import scenes
from .datasets.prepared import CROP
from .model import Images, Pretraining
from .visual.boxes import detector

WARM_UPS = 2
CROPS = (10, 36)


@torch.no_grad()
def latencies(config: Config) -> dict[str, float]:
    """Latencies as multiples of that of the whole-image model, for 1 and for 8 images.

    ``crops36_batch1_ratio``: CNN and Transformer on 36 boxes of 64 pixels; ``detector_batch1_ratio``: Faster R-CNN with
    a ResNet-50 and random weights, which cost the same, on the image at its own size; ``pipeline_batch1_ratio``: both.
    ``whole_ratio`` is 1. Medians of ``config.repeats`` measurements, alternating, in one process.
    """
    words = vocabulary(config)
    whole = pretraining(replace(config, task="pretrain", regions=False), words).eval()
    boxes = pretraining(replace(config, task="pretrain", regions=True), words).eval()
    detect = detector(False, min_size=scenes.SIZE, max_size=scenes.SIZE)
    metrics = {"whole_ratio": 1.0}
    for size in (1, 8):
        pixels = torch.rand(size, 3, scenes.SIZE, scenes.SIZE)
        told = words.encode(["an owl and a pig by the castle"] * size, config.length)
        cases: dict[str, Callable[[], object]] = {"whole": whole_image(whole, pixels, told)}
        cases |= {f"crops{count}": crops(boxes, size, count, told) for count in CROPS}
        cases["detector"] = lambda pixels=pixels: detect(list(pixels))  # type: ignore[misc]
        found = medians(cases, max(1, config.repeats // size))
        ratios = {f"{name}_batch{size}_ratio": found[name] / found["whole"] for name in cases if name != "whole"}
        ratios[f"pipeline_batch{size}_ratio"] = (found["detector"] + found["crops36"]) / found["whole"]
        metrics |= ratios
    return metrics


def whole_image(network: Pretraining, pixels: torch.Tensor, words: torch.Tensor) -> Callable[[], object]:
    """Pixels to scores: CNN, dictionary, Transformer."""
    seen = Images(pixels, torch.ones(len(pixels), 2))
    of = torch.arange(len(pixels))[:, None]
    return lambda: network(seen, words, of)


def crops(network: Pretraining, size: int, count: int, words: torch.Tensor, side: int = CROP) -> Callable[[], object]:
    """``count`` boxes of ``side`` pixels to scores: the same CNN on all boxes together, the same Transformer."""
    places = torch.rand(size, count, 2).sort(-1).values
    seen = Images(
        torch.rand(size, count, 3, side, side),
        torch.ones(size, 2),
        torch.cat([places, places], -1),
        torch.ones(size, count, dtype=torch.bool),
    )
    of = torch.arange(size)[:, None]
    return lambda: network(seen, words, of)


def medians(cases: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each case; the cases take turns, so that a busy machine slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(WARM_UPS + repeats):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            if repeat >= WARM_UPS:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(x) for name, x in seconds.items()}
