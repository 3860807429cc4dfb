"""Mask R-CNN (torchvision) with a head for the six categories, its RoI features, and what it detects."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN, MaskRCNN_ResNet50_FPN_Weights, maskrcnn_resnet50_fpn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

from ..simulator.furniture import COCO_NUMBERS

EMBEDDING = 128  # of the contrastive loss
KEPT = 0.05  # least score of a detection whose probabilities take part in a vote


class Detector(nn.Module):
    """Mask R-CNN R50-FPN and a projection of its RoI features.

    Args:
        pretrained: begin with torchvision's COCO weights, the rows of the six categories of its heads; they are
            downloaded. Otherwise everything is initialised afresh.
        size: pixels to which the smaller side of an image is brought.
    """

    def __init__(self, pretrained: bool, size: int = 640) -> None:
        super().__init__()
        weights = MaskRCNN_ResNet50_FPN_Weights.COCO_V1 if pretrained else None
        self.network: MaskRCNN = maskrcnn_resnet50_fpn(
            weights=weights, weights_backbone=None, min_size=size, max_size=2 * size, box_score_thresh=KEPT
        )
        _freeze_batch_norm(self.network)  # a few hundred frames of a house would spoil the statistics
        rows = [0, *COCO_NUMBERS]
        heads = self.network.roi_heads
        old = heads.box_predictor
        features = old.cls_score.in_features
        heads.box_predictor = FastRCNNPredictor(features, len(rows))
        mask = heads.mask_predictor.mask_fcn_logits
        coordinates = [4 * row + k for row in rows for k in range(4)]
        for part, picked in (("cls_score", rows), ("bbox_pred", coordinates)):
            _copy_rows(getattr(old, part), getattr(heads.box_predictor, part), picked)
        new_mask = nn.Conv2d(mask.in_channels, len(rows), 1)
        _copy_rows(mask, new_mask, rows)
        heads.mask_predictor.mask_fcn_logits = new_mask
        self.projection = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, EMBEDDING))

    def roi_features(self, images: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """(N, 1024) features of the box head at boxes (n_i, 4) xyxy in pixels of the images (3, H, W)."""
        targets = [{"boxes": box, "labels": torch.ones(len(box), dtype=torch.long)} for box in boxes]
        resized, moved = self.network.transform(images, [dict(x) for x in targets])
        maps = self.network.backbone(resized.tensors)
        heads = self.network.roi_heads
        pooled = heads.box_roi_pool(maps, [x["boxes"] for x in moved], resized.image_sizes)
        return heads.box_head(pooled)

    def losses(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """torchvision's losses; targets have ``boxes`` (n, 4), ``labels`` (n,) from 1 on and ``masks`` (n, H, W)."""
        return self.network(images, targets)

    def embeddings(self, images: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """(N, D) embeddings of RoIs, not normalised, for the contrastive loss."""
        return self.projection(self.roi_features(images, boxes))


def _freeze_batch_norm(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features)
            frozen.load_state_dict(child.state_dict())
            setattr(module, name, frozen)
        else:
            _freeze_batch_norm(child)


def _copy_rows(source: nn.Module, target: nn.Module, rows: list[int]) -> None:
    target.load_state_dict({name: x[rows] for name, x in source.state_dict().items()})


@dataclass(frozen=True)
class Detections:
    """Detections in an image: masks (N, H, W) bool, probabilities (N, 1 + C), boxes (N, 4)."""

    masks: Tensor
    probabilities: Tensor
    boxes: Tensor


@torch.no_grad()
def detect(detector: Detector, images: list[Tensor]) -> list[Detections]:
    """Detections of images, each with the class probabilities of its RoI, which a vote needs in their whole."""
    detector.eval()
    found = detector.network(images)
    features = detector.roi_features(images, [x["boxes"] for x in found])
    probabilities = F.softmax(detector.network.roi_heads.box_predictor(features)[0], 1)
    parts = probabilities.split([len(x["boxes"]) for x in found])
    return [
        Detections((x["masks"][:, 0] > 0.5).cpu(), part.cpu(), x["boxes"].cpu())
        for x, part in zip(found, parts, strict=True)
    ]
