"""Self-labels: votes over views, objects in three dimensions, and what goes back into the frames."""

from pathlib import Path

import numpy as np
import pytest

from papers.selfnav.labelling.instances import assign, eroded, instances, near_mean, visible_objects
from papers.selfnav.labelling.mesh import COLOURS, voxel_mesh, write_ply
from papers.selfnav.labelling.selflabels import (
    coverage,
    label_quality,
    mesh_labels,
    projected,
    self_labels,
    true_labels,
)
from papers.selfnav.labelling.voting import per_view, vote
from papers.selfnav.losses import IGNORED
from papers.selfnav.mapping.projection import Camera
from papers.selfnav.mapping.voxels import Voxels, voxelise

CAMERA = Camera(16, 16)
POSES = np.array([[0.0, 0.0, 0.0], [0.0, 0.02, 0.0], [0.0, -0.02, 0.0]])


def wall(count: int = 3) -> Voxels:
    """A wall two metres away, seen from almost one place."""
    return voxelise(np.full((count, 16, 16), 2.0), POSES[:count], CAMERA, 0.2)


def certain(voxels: Voxels, scores: list[float], label: int = 2, classes: int = 4) -> np.ndarray:
    """Probabilities of frames that say ``label`` with a score everywhere, else background."""
    found = np.zeros((len(scores), classes, 16, 16))
    for k, score in enumerate(scores):
        found[k, label], found[k, 0] = score, 1 - score
    return found


def test_rules_of_a_vote_by_hand() -> None:
    views = np.array([[0.6, 0.4, 0], [0.1, 0.9, 0], [0.6, 0.4, 0], [0.2, 0.3, 0.5]])
    place = np.array([0, 0, 0, 2])
    mean, probabilities = vote(views, place, 3)
    assert mean.tolist() == [1, 0, 2] and probabilities[1].tolist() == [0, 0, 0]
    np.testing.assert_allclose(probabilities[0], views[:3].mean(0))
    assert vote(views, place, 3, "seal_max")[0].tolist() == [1, 0, 2]
    assert vote(views, place, 3, "majority")[0].tolist() == [0, 0, 2]
    found, product = vote(views, place, 3, "bayes")
    expected = views[:3].prod(0)
    assert found[0] == 1
    np.testing.assert_allclose(product[0], expected / expected.sum(), atol=1e-9)


def test_a_frame_is_one_view_however_many_of_its_pixels_fall_into_a_voxel() -> None:
    probabilities = np.zeros((2, 2, 1, 4))
    probabilities[0, 1], probabilities[1, 1] = [[0.2, 0.4, 0.6, 1.0]], [[0.0, 0.0, 0.0, 0.5]]
    voxel = np.array([[[7, 7, 7, 3]], [[-1, -1, -1, 7]]])
    views, place, frame, voxels = per_view(probabilities, voxel)
    assert voxels.tolist() == [3, 7] and place.tolist() == [0, 1, 1] and frame.tolist() == [0, 0, 1]
    np.testing.assert_allclose(views[:, 1], [1.0, 0.4, 0.5])


def test_a_vote_overrules_one_view_and_ignores_what_is_uncertain() -> None:
    voxels = wall()
    labels = self_labels(certain(voxels, [0.9, 0.9, 0.1]), voxels, "location", threshold=0.5).labels
    middle = labels[:, 4:12, 4:12]
    assert (middle == 2).all(), "all three frames, the third too"
    unsure = self_labels(certain(voxels, [0.45, 0.45, 0.45]), voxels, "location", threshold=0.6).labels
    assert (unsure == IGNORED).all(), "never background"
    sure = self_labels(certain(voxels, [0.1, 0.1, 0.1]), voxels, "location", threshold=0.5).labels
    assert (sure[:, 4:12, 4:12] == 0).all()


def test_one_view_is_not_enough_unless_asked() -> None:
    voxels = wall(1)
    probabilities = certain(voxels, [0.9])
    assert (self_labels(probabilities, voxels, "location", threshold=0.5).labels == IGNORED).all()
    alone = self_labels(probabilities, voxels, "location", threshold=0.5, least_views=1).labels
    assert (alone[:, :12] == 2).all()  # below are points under the floor


def test_self_training_looks_at_each_frame_alone() -> None:
    voxels = wall()
    labels = self_labels(certain(voxels, [0.9, 0.75, 0.6]), voxels, "self-training", threshold=0.7).labels
    assert [np.unique(x).tolist() for x in labels] == [[2], [2], [IGNORED]]


def test_seal_takes_the_highest_score_and_labels_the_rest_as_background() -> None:
    voxels = wall()
    labels = self_labels(certain(voxels, [0.1, 0.1, 0.95]), voxels, "seal", threshold=0.7).labels
    assert (labels[:, 4:12, 4:12] == 2).all()
    labels = self_labels(certain(voxels, [0.1, 0.1, 0.3]), voxels, "seal", threshold=0.7).labels
    assert (labels[:, 4:12, 4:12] == 0).all()
    labels = self_labels(certain(voxels, [0.1, 0.1, 0.6]), voxels, "seal", threshold=0.7).labels
    assert (labels[:, 4:12, 4:12] == IGNORED).all()


def test_touching_objects_of_two_classes_stay_apart_and_views_are_needed() -> None:
    labels = np.zeros((6, 4, 4), int)
    labels[:3], labels[3:5] = 1, 2
    seen = np.full(labels.shape, 2)
    found = instances(labels, seen)
    assert set(np.unique(found)) == {0, 1, 2} and found[0, 0, 0] != found[4, 0, 0]
    seen[3:] = 1
    assert set(np.unique(instances(labels, seen))) == {0, 1}


def test_a_detection_belongs_to_the_object_that_holds_most_of_it() -> None:
    objects = np.zeros((4, 4, 1), int)
    objects[:2], objects[3] = 1, 2
    flat = np.arange(16)
    found = assign([flat[:8], flat[8:13], flat[8:12], flat[:0], flat[4:16]], objects)
    assert found.tolist() == [1, 0, 0, 0, 1]
    mask = visible_objects(objects, flat.reshape(4, 4), least_pixels=4)
    assert [(k, int(m.sum())) for k, m in mask] == [(1, 8), (2, 4)]


def test_masks_lose_their_border_and_what_lies_behind() -> None:
    mask = np.zeros((12, 12), bool)
    mask[1:11, 1:11] = True
    assert eroded(mask, 3).sum() == 64
    depth = np.full((12, 12), 2.0)
    depth[5, 5], depth[6, 6] = 5.0, 0.1
    kept = near_mean(depth, mask)
    assert not kept[5, 5] and not kept[6, 6] and kept[2, 2]


def test_truth_stays_and_a_faulty_mesh_moves_it() -> None:
    voxels = voxelise(np.full((3, 16, 16), 2.0), POSES, CAMERA, 0.08)
    truth = np.zeros((3, 16, 16), np.uint8)
    truth[:, 4:12, 4:8], truth[:, 4:12, 11:14] = 1, 3
    assert np.array_equal(true_labels(truth, voxels).labels, truth)
    kept, missing = [], 0
    for k in range(30):
        labels = mesh_labels(truth, truth.astype(int), voxels, np.random.default_rng(k)).labels[:, :12]
        kept.append((labels == truth[:, :12]).mean())
        missing += len(np.unique(labels)) < 3
    assert 0.8 < np.mean(kept) < 0.99 and 1 <= missing <= 20


def test_quality_and_coverage_by_hand() -> None:
    truth = np.array([[[1, 1, 2, 0]]])
    labels = np.array([[[1, IGNORED, 1, 1]]], np.uint8)
    quality = label_quality(labels, truth)
    assert quality["label_recall_percent"] == pytest.approx(100 / 3)
    assert quality["label_precision_percent"] == pytest.approx(100 / 3)
    assert quality["label_f1_percent"] == pytest.approx((200 * 1 / (3 + 2) + 0) / 2)  # the mean of two categories
    assert label_quality(labels[..., :2], truth[..., :2])["label_f1_percent"] == pytest.approx(200 / 3)
    voxels = wall()
    assert coverage(self_labels(certain(voxels, [0.9] * 3), voxels, "self-training", threshold=0.7)) == 1


def test_pixels_without_depth_are_ignored() -> None:
    depth = np.full((1, 16, 16), 2.0)
    depth[0, 0] = 0
    voxels = voxelise(depth, POSES[:1], CAMERA, 0.2)
    assert (projected(np.ones(voxels.shape, np.uint8), voxels)[0, 0] == IGNORED).all()


def test_a_mesh_is_closed_and_comes_back_from_its_file(tmp_path: Path) -> None:
    occupied, labels = np.zeros((3, 3, 3), bool), np.zeros((3, 3, 3), int)
    occupied[1, 1, :2], labels[1, 1, 1] = True, 4
    vertices, faces, classes = voxel_mesh(occupied, labels, np.array([1.0, 2.0, 0.0]), 0.5)
    assert len(faces) == 10 and sorted(np.bincount(classes).tolist()) == [0, 0, 0, 5, 5]
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    centre = (vertices.min(0) + vertices.max(0)) / 2
    assert ((normal * (corners.mean(1) - centre)).sum(1) > 0).all(), "faces look outwards"
    write_ply(tmp_path / "mesh.ply", vertices, faces, classes)
    content = (tmp_path / "mesh.ply").read_bytes()
    header, body = content.split(b"end_header\n", 1)
    assert b"element vertex 40\n" in header and b"element face 10\n" in header
    assert np.array_equal(np.frombuffer(body[: 40 * 12], "<f4").reshape(-1, 3), vertices.astype(np.float32))
    table = np.frombuffer(body[40 * 12 :], [("n", "u1"), ("c", "<i4", 4), ("rgb", "u1", 3), ("class", "<i4")])
    assert (table["n"] == 4).all() and np.array_equal(table["class"], classes)
    assert np.array_equal(table["rgb"], COLOURS[classes])
