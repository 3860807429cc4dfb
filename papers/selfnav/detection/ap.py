"""Average precision of masks and boxes by the COCO evaluation."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


@dataclass(frozen=True)
class Masks:
    """Objects in images: masks (N, H, W) bool, image numbers (N,), classes (N,) from 1 on, scores (N,)."""

    masks: np.ndarray
    image: np.ndarray
    label: np.ndarray
    score: np.ndarray


def average_precision(
    truth: Masks, found: Masks, images: int, classes: int, kind: Literal["segm", "bbox"] = "segm"
) -> tuple[float, np.ndarray, float]:
    """AP50, AP50 of each class (-1 for a class without ground truth), and the mean over IoU 0.50 to 0.95."""
    height, width = truth.masks.shape[1:]
    dataset = COCO()
    dataset.dataset = {
        "images": [{"id": k, "height": height, "width": width} for k in range(images)],
        "categories": [{"id": k} for k in range(1, classes + 1)],
        "annotations": [x | {"id": k, "iscrowd": 0} for k, x in enumerate(_annotations(truth), 1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        dataset.createIndex()
        annotations = _annotations(found)
        detections = dataset.loadRes(annotations) if annotations else COCO()
        if not annotations:
            return 0.0, np.where(np.isin(np.arange(1, classes + 1), truth.label), 0.0, -1.0), 0.0
        evaluation = COCOeval(dataset, detections, kind)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # IoU, recall, class; all areas, 100 detections
    at_50 = np.array([_mean(precision[0, :, k]) for k in range(classes)])
    return _mean(precision[0]), at_50, _mean(precision)


def _mean(precision: np.ndarray) -> float:
    return float(precision[precision > -1].mean()) if (precision > -1).any() else -1.0


def _annotations(objects: Masks) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for mask, image, label, score in zip(objects.masks, objects.image, objects.label, objects.score, strict=True):
        encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        rows.append(
            {
                "image_id": int(image),
                "category_id": int(label),
                "segmentation": encoded,
                "bbox": tight_box(mask),
                "area": float(mask.sum()),
                "score": float(score),
            }
        )
    return rows


def tight_box(mask: np.ndarray) -> Sequence[float]:
    """x, y, width and height of the box around a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return [0.0, 0.0, 0.0, 0.0]
    x, y = columns[0], rows[0]
    return [float(x), float(y), float(columns[-1] - x + 1), float(rows[-1] - y + 1)]
