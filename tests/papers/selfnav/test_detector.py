"""Mask R-CNN in situ: objects by votes over detections, and a step of its fine-tuning."""

import numpy as np
import pytest
import torch

from papers.selfnav.detection.finetune import fine_tuning_loss, instance_labels, targets_of
from papers.selfnav.detection.maskrcnn import Detections, Detector, detect
from papers.selfnav.mapping.projection import Camera
from papers.selfnav.mapping.voxels import voxelise

CAMERA = Camera(64, 64)
POSES = np.array([[0.0, 0.0, 0.0], [0.0, 0.02, 0.0], [0.0, -0.02, 0.0]])
DEPTH = np.full((3, 64, 64), 2.0)


def detection(score: float, label: int = 2) -> Detections:
    """A square in the middle of a frame."""
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[0, 16:48, 16:48] = True
    probability = torch.zeros(1, 7)
    probability[0, label], probability[0, 0] = score, 1 - score
    return Detections(mask, probability, torch.tensor([[16.0, 16.0, 48.0, 48.0]]))


def test_an_object_has_the_mean_probability_of_its_detections() -> None:
    voxels = voxelise(DEPTH, POSES, CAMERA, 0.2)
    objects, classes = instance_labels([detection(0.9), detection(0.9), detection(0.2)], DEPTH, voxels, threshold=0.5)
    assert classes.tolist() == [0, 2]
    target, numbers = targets_of(objects, classes, voxels.index[2])
    assert target["labels"].tolist() == [2] and numbers.tolist() == [1]
    x0, y0, x1, y1 = target["boxes"][0].tolist()
    assert 10 <= x0 <= 24 and 40 <= x1 <= 54 and 10 <= y0 <= 24 and 40 <= y1 <= 54
    assert target["masks"].dtype == torch.uint8 and target["masks"][0, 32, 32] == 1
    _, unsure = instance_labels([detection(0.6), detection(0.6), detection(0.6)], DEPTH, voxels, threshold=0.7)
    assert unsure.tolist() == [0, 0], "unknown, not background"
    nothing, none = instance_labels([detection(0.6)] * 0, DEPTH[:0], voxels, threshold=0.7)
    assert not nothing.any() and none.tolist() == [0]


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    detector = Detector(pretrained=False, size=64)
    network = detector.network
    network.roi_heads.fg_bg_sampler.batch_size_per_image = 16
    network.roi_heads.detections_per_img = 5
    network.rpn._post_nms_top_n = {"training": 50, "testing": 20}
    return detector


def test_a_step_trains_backbone_and_projection(detector: Detector) -> None:
    torch.manual_seed(1)
    images = [torch.rand(3, 64, 64) for _ in range(2)]
    voxels = voxelise(DEPTH, POSES, CAMERA, 0.2)
    objects, classes = instance_labels([detection(0.9)] * 3, DEPTH, voxels, threshold=0.5)
    targets, numbers = zip(*(targets_of(objects, classes, voxels.index[k]) for k in (0, 1)), strict=True)
    detector.train()
    loss, logged = fine_tuning_loss(detector, images, list(targets), list(numbers), contrastive=1.0)
    assert not any("box_reg" in name for name in logged) and "loss_mask" in logged
    loss.backward()
    assert torch.isfinite(loss)
    stem, last = detector.network.backbone.body.layer4[0].conv1.weight.grad, detector.projection[2].weight.grad
    assert stem.abs().sum() > 0 and last is not None
    (found,) = detect(detector, images[:1])
    assert found.probabilities.shape[1] == 7 and len(found.masks) == len(found.boxes)


def test_the_heads_keep_the_rows_of_the_categories(detector: Detector) -> None:
    heads = detector.network.roi_heads
    assert heads.box_predictor.cls_score.out_features == 7 and heads.box_predictor.bbox_pred.out_features == 28
    assert heads.mask_predictor.mask_fcn_logits.out_channels == 7
