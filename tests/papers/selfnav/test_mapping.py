"""Maps and voxels: the sparse mapper, and pixels of two frames that show one place."""

import numpy as np
import pytest
import torch

from papers.selfnav.mapping.dense import DenseMapping
from papers.selfnav.mapping.projection import Camera, bin_counts, world_points
from papers.selfnav.mapping.sparse import Grid, SemanticMap
from papers.selfnav.mapping.voxels import voxelise
from papers.selfnav.simulator.house import make_house
from papers.selfnav.simulator.render import Frames, Renderer

CAMERA = Camera(48, 48)
POSES = np.array([[5.0, 2.0, 1.2], [5.4, 2.3, 1.6]])


@pytest.fixture(scope="module")
def frames() -> Frames:
    return Renderer(make_house(3, "sim"), CAMERA)(POSES, np.random.default_rng(0))


def test_sparse_map_counts_what_projection_counts(frames: Frames) -> None:
    """Cells of one half's offset: one rounds to cells, the other cuts."""
    grid = Grid(300, 0.05, (-0.025, -0.025))
    found = SemanticMap(grid, CAMERA, 1)
    for depth, pose in zip(frames.depth, frames.poses, strict=True):
        found.update(depth, None, pose)
    points = [world_points(d, CAMERA, p)[d > 0] for d, p in zip(frames.depth, frames.poses, strict=True)]
    counts = bin_counts(np.concatenate(points), 300, np.array([0.25, CAMERA.elevation + 0.01]), 0.05)
    assert (found.explored != (counts.sum(2) > 0)).mean() < 1e-4  # points on the border of two cells
    assert (found.obstacle != (counts[:, :, 1] > 0)).mean() < 1e-4
    assert found.obstacle.any() and not found.category.any()


def test_sparse_and_dense_maps_agree(frames: Frames) -> None:
    house = make_house(3, "sim")
    labels = house.category[frames.instance[0]]
    planes = np.stack([labels == k for k in range(1, 7)])
    depth = np.where(frames.depth[0] > 0, 100 * frames.depth[0], 10_050)
    observation = torch.from_numpy(np.concatenate([np.zeros((3, 48, 48)), depth[None], planes])).float()[None]
    dense = DenseMapping(1000, 5, 80, CAMERA.fov, 88)
    start = torch.tensor([[5.0, 5.0, 90.0]])
    _, maps, _ = dense(observation, torch.zeros(1, 3), torch.zeros(1, 10, 200, 200), start)
    sparse = SemanticMap(Grid(200, 0.05), CAMERA, 6)
    sparse.update(frames.depth[0], labels, np.array([5.0, 5.0, np.pi / 2]))
    for ours, theirs in ((sparse.obstacle, maps[0, 0] > 0.5), (sparse.explored, maps[0, 1] > 0.5)):
        near = torch.nn.functional.max_pool2d(torch.from_numpy(ours[None].astype(np.float32)), 3, 1, 1)[0] > 0
        assert (near & theirs).sum() / theirs.sum() > 0.9


def test_categories_need_points_and_keep_their_highest_share() -> None:
    grid, camera = Grid(100, 0.1), Camera(8, 8)
    found = SemanticMap(grid, camera, 2, points=4)
    depth, labels = np.full((8, 8), 2.0, np.float32), np.zeros((8, 8), int)
    labels[4, 3:5] = 2
    found.update(depth, labels, np.array([5.0, 5.0, 0.0]))
    assert found.category[0].max() == 0 and 0 < found.category[1].max() <= 0.5
    before = found.category.copy()
    found.update(depth, None, np.array([5.0, 5.0, 0.0]))
    assert np.array_equal(before, found.category)
    found.update(np.zeros((8, 8), np.float32), labels, np.array([5.0, 5.0, 0.0]))  # nothing measured
    assert np.array_equal(before, found.category)


def test_a_false_view_is_outvoted() -> None:
    depth, pose = np.full((8, 8), 2.0), np.array([2.4, 2.4, 0.0])
    seen = SemanticMap(Grid(48, 0.1), Camera(8, 8), 2, vote=True)
    for label in (2, 1, 1):
        seen.update(depth, np.full((8, 8), label), pose)
    assert not seen.category.any(), "four views decide"
    seen.update(depth, np.full((8, 8), 1), pose)
    assert seen.category[0].max() == 0.75 and not seen.category[1].any()
    for _ in range(2):
        seen.update(depth, np.zeros((8, 8), int), pose)
    assert not seen.category.any(), "half of the views are not most of them"


def test_carving_fills_the_view(frames: Frames) -> None:
    plain, carved = (SemanticMap(Grid(120, 0.1), CAMERA, 1, carve=x) for x in (False, True))
    for x in (plain, carved):
        x.update(frames.depth[0], None, frames.poses[0])
    assert (carved.explored >= plain.explored).all() and carved.explored.sum() > plain.explored.sum()
    assert np.array_equal(carved.obstacle, plain.obstacle)
    assert carved.explored[carved.grid.cell(frames.poses[0])]


def test_one_place_is_one_voxel_from_two_views(frames: Frames) -> None:
    voxels = voxelise(frames.depth, frames.poses, CAMERA, 0.08)
    common = np.intersect1d(voxels.index[0], voxels.index[1])
    common = common[common >= 0]
    assert len(common) > 50
    for voxel in common[:: len(common) // 20]:
        means = [voxels.points[k][voxels.index[k] == voxel].mean(0) for k in (0, 1)]
        assert np.abs(means[0] - means[1]).max() <= 0.08
    assert (voxels.index[frames.depth == 0] == -1).all()
