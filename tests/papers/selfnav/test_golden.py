"""papers/selfnav against reference arrays of the public code that the paper builds on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from papers.selfnav.detection.ap import Masks, average_precision
from papers.selfnav.exploration.global_policy import GlobalPolicy
from papers.selfnav.exploration.ppo import returns
from papers.selfnav.labelling.seal import label_map
from papers.selfnav.labelling.voting import vote
from papers.selfnav.losses import instance_consistency, triplet_loss
from papers.selfnav.mapping import dense
from papers.selfnav.mapping.pose import composed_pose, relative_pose
from papers.selfnav.mapping.projection import bin_counts, camera_view, focal_length, geocentric, point_cloud
from papers.selfnav.navigation.metrics import goal_distance, habitat_outcome, path_length, semexp_outcome
from papers.selfnav.navigation.planner import fmm_distance, ring_and_length, short_term_goal
from papers.selfnav.navigation.potentials import frontiers, object_potential
from shared.losses import nt_xent, sup_con

GOLDEN = Path(__file__).parents[2] / "golden" / "selfnav"


def load(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return {key: stored[key] if stored[key].ndim else stored[key].item() for key in stored.files}


# -- geometry and maps ------------------------------------------------------------------------------------------------


def test_depth_becomes_points_and_cells() -> None:
    g = load("proj_square")
    assert focal_length(24, g["fov_deg"]) == pytest.approx(g["focal_px"], abs=1e-9)
    cloud = point_cloud(g["depth_cm"], g["fov_deg"], g["scale"])
    np.testing.assert_allclose(cloud, g["point_cloud"], atol=1e-9)
    view = camera_view(cloud, g["sensor_height_cm"], g["camera_elevation_deg"])
    np.testing.assert_allclose(view, g["camera_view"], atol=1e-9)
    world = geocentric(view, g["pose_xy_cm_theta_rad"])
    np.testing.assert_allclose(world, g["geocentric"], atol=1e-9)
    counts = bin_counts(world, g["map_size_cells"], g["z_bins_cm"], g["xy_resolution_cm"])
    assert np.array_equal(counts, g["bin_counts"])


@pytest.mark.parametrize("name", ["splat_2d", "splat_3d_small"])
def test_splat(name: str) -> None:
    g = load(name)
    found = dense.splat(torch.from_numpy(g["feat"]), torch.from_numpy(g["coords"]), tuple(g["grid_dims"].tolist()))
    different = np.abs(found.numpy() - g["grid"])
    assert different.max() <= 1 and (different > 0).mean() <= 0.002


def test_semantic_mapping_of_three_steps() -> None:
    g = load("semantic_mapping")
    mapping = dense.DenseMapping(
        g["map_size_cm"],
        g["map_resolution_cm"],
        g["vision_range"],
        g["hfov_deg"],
        100 * g["camera_height_m"],
        g["cat_pred_threshold"],
    )
    maps, poses = torch.zeros(1, 8, 80, 80), torch.from_numpy(g["init_pose"])
    for step in range(3):
        observation, change = torch.from_numpy(g["obs"][step]), torch.from_numpy(g["pose_delta"][step])
        ahead, maps, poses = mapping(observation, change, maps, poses)
        torch.testing.assert_close(poses, torch.from_numpy(g["poses"][step]), rtol=1e-5, atol=1e-5)
        assert (np.abs(ahead.numpy() - g["fp_map"][step]) > 1e-5).mean() <= 0.002
        assert (np.abs(maps.numpy() - g["map_pred"][step]) > 1e-4).mean() <= 0.002


def test_poses() -> None:
    g = load("pose_delta")
    found = relative_pose(g["pose_prev_xyo_rad"], g["pose_cur_xyo_rad"])
    np.testing.assert_allclose(found, g["rel_dx_dy_do"], atol=1e-9)
    before = g["pose_prev_xyo_deg"].copy()
    before[:, 2] = np.radians(before[:, 2])
    composed = composed_pose(before, g["rel_dx_dy_do"])
    np.testing.assert_allclose(composed[:, :2], g["composed_xyo_deg"][:, :2], atol=1e-9)
    turned = np.degrees(composed[:, 2]) - g["composed_xyo_deg"][:, 2]  # SemExp wraps at the upper end alone
    np.testing.assert_allclose((turned + 180) % 360, 180, atol=1e-9)


# -- planning and metrics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fmm_multigoal", "fmm_single"])
def test_planner(name: str) -> None:
    g = load(name)
    goals = g["goal_map"] == 1
    if not g["multi_goal"]:
        goals = np.zeros_like(goals)
        goals[tuple(g["goal_rc"][0])] = True
    distance = fmm_distance(g["traversible"], goals)
    np.testing.assert_allclose(distance, g["fmm_dist"], atol=1e-6)
    for state, goal, replan, stop in zip(g["states_rc"], g["stg_rc"], g["replan"], g["stop"], strict=True):
        found = short_term_goal(distance, *state)
        assert (found.row, found.column, found.replan, found.stop) == (*goal, replan, stop)
    ring, length = ring_and_length(0.5, 0.25)
    assert np.array_equal(ring, g["mask_half"])
    np.testing.assert_allclose(length, g["dist_half"], atol=1e-9)


def test_habitat_metrics() -> None:
    g = load("habitat_metrics")
    for e, length in enumerate(g["length"]):
        track, goals = g["trajectory_xyz"][e, :length], g["goals_xyz"][e]
        distances = np.linalg.norm(track[:, None] - goals, axis=2).min(1)
        for t in range(length):
            stopped = g["stop_step"][e] == t
            outcome = habitat_outcome(
                distances[0], distances[t], path_length(track[: t + 1]), stopped, g["success_distance"]
            )
            reward = distances[max(0, t - 1)] - distances[t]
            found = [outcome.distance, outcome.success, outcome.spl, outcome.soft_spl, reward]
            expected = g["per_step_dtg_success_spl_softspl_reward"][e, t]
            np.testing.assert_allclose(found, expected, atol=1e-9)


def test_semexp_metrics() -> None:
    g = load("semexp_metrics")
    cells = fmm_distance(g["traversible"], g["goal_region"])
    np.testing.assert_allclose(cells, g["fmm_dist_cells"], atol=1e-6)
    metres = goal_distance(g["traversible"], g["goal_region"], g["map_resolution_cm"] / 100)
    for e, (start, end) in enumerate(zip(g["start_rc"], g["final_rc"], strict=True)):
        cell = tuple(end)
        begin = metres[tuple(start)]
        assert begin + g["success_dist_m"] == pytest.approx(g["starting_distance_m"][e], abs=1e-6)
        outcome = semexp_outcome(begin, metres[cell], g["path_length_m"][e], g["success_dist_m"])
        assert outcome.success == g["success"][e]
        assert (outcome.spl, outcome.distance) == pytest.approx((g["spl"][e], g["dts_m"][e]), abs=1e-6)


def test_potentials_of_frontiers() -> None:
    g = load("poni_frontier_pf")
    assert np.array_equal(frontiers(g["unexplored"], g["free"]), g["frontiers"])
    np.testing.assert_allclose(object_potential(g["object_dists_m"], g["cutoff_m"]), g["object_pf"], atol=1e-6)


# -- policy -----------------------------------------------------------------------------------------------------------


def test_global_policy() -> None:
    g = load("goal_policy_forward")
    policy = GlobalPolicy(24, 32, goals=16)
    parameters = dict(policy.named_parameters())
    with torch.no_grad():
        for k, (name, shape) in enumerate(zip(g["param_names"], g["param_shapes"], strict=True)):
            assert str(tuple(parameters[name].shape)) == shape
            values = 0.05 * np.sin(0.37 * np.arange(parameters[name].numel()) + k)
            parameters[name].copy_(torch.from_numpy(values).float().view_as(parameters[name]))
    assert len(parameters) == len(g["param_names"])
    distribution, value = policy(torch.from_numpy(g["inputs"]), torch.from_numpy(g["extras"]))
    features, _ = policy.network(torch.from_numpy(g["inputs"]), torch.from_numpy(g["extras"]))
    close(value, g["value"])
    close(features, g["features"])
    close(distribution.mean, g["action_mean"])
    close(distribution.stddev, g["action_std"])
    close(distribution.log_prob(torch.from_numpy(g["action"])).sum(1), g["action_log_probs"])
    close(distribution.entropy().sum(1).mean(), np.float32(g["dist_entropy"]))


def close(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found.detach(), torch.as_tensor(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["ppo_returns_discounted", "ppo_returns_gae"])
def test_returns(name: str) -> None:
    g = load(name)
    arrays = [torch.from_numpy(g[key]) for key in ("rewards", "value_preds", "masks", "next_value")]
    found = returns(*arrays, gae=bool(g["use_gae"]), gamma=g["gamma"])  # type: ignore[arg-type]
    rows = slice(None, -1) if g["use_gae"] else slice(None)
    close(found[rows], g["returns"][rows])


# -- labels and losses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["contrastive", "contrastive_multi"])
def test_contrastive_losses(name: str) -> None:
    g = load(name)
    z = torch.from_numpy(g["embeddings"]).requires_grad_()
    instance, temperature = torch.from_numpy(g["instance_ids"]), g["temperature"]
    loss = instance_consistency(z, instance, temperature=temperature)
    close(loss, np.float32(g["supcon_loss"]))
    close(loss, sup_con(z, instance, temperature=temperature).detach())
    close(loss * temperature / 0.07, np.float32(g["supcon_loss_basetemp007"]))
    (gradient,) = torch.autograd.grad(loss, z)
    close(gradient, _tangential(torch.from_numpy(g["supcon_grad"]), z.detach()))
    hard = triplet_loss(z, instance, g["margin"])
    close(hard, np.float32(g["triplet_hard_loss"]))
    (gradient,) = torch.autograd.grad(hard, z)
    close(gradient, g["triplet_hard_grad"])
    close(triplet_loss(z, instance, g["margin"], hard=False), np.float32(g["triplet_all_loss"]))
    if name == "contrastive":  # the reference floors small probabilities in the other case
        first, second = z.chunk(2)
        torch.testing.assert_close(
            nt_xent(first, second, temperature=temperature), torch.tensor(g["ntxent"]).float(), rtol=0, atol=1e-3
        )


def _tangential(gradient: Tensor, z: Tensor) -> Tensor:
    """The part that is left when vectors are normalised first."""
    unit = F.normalize(z, dim=1)
    return gradient - (gradient * unit).sum(1, keepdim=True) * unit


def test_views_are_resolved() -> None:
    g = load("view_voting")
    places, views = g["view_probs"].shape[:2]
    flat, place = g["view_probs"].reshape(places * views, -1), np.arange(places).repeat(views)
    for ours, theirs in (("seal_max", "seal_max"), ("mean", "avg"), ("ours", "ours"), ("seal_max", "max")):
        classes, probabilities = vote(flat, place, places, ours)  # type: ignore[arg-type]
        assert np.array_equal(classes, g[f"{theirs}_class"]), ours
        np.testing.assert_allclose(probabilities, g[f"{theirs}_probs"], atol=1e-9)


def test_label_map_is_cleaned_up() -> None:
    g = load("seal_map_processing")
    occupied, labels, instances = label_map(
        g["semantic_map"][..., 1:],
        g["semantic_map"][..., 0],
        threshold=g["no_object_confidence_threshold"],
        hole_voxels=g["hole_voxel_threshold"],
        object_voxels=g["object_voxel_threshold"],
        dilate=bool(g["dilate"]),
        expand_occupancy=bool(g["expand_occupancy"]),
    )
    assert np.array_equal(np.stack([occupied, labels], -1), g["label_map"])
    assert np.array_equal(np.stack([occupied, instances], -1), g["instance_map"])


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_average_precision(kind: Any) -> None:
    g = load("ap50")
    truth = Masks(g["gt_masks"], g["gt_image"], g["gt_class"], np.ones(len(g["gt_class"])))
    found = Masks(g["det_masks"], g["det_image"], g["det_class"], g["det_score"])
    ap50, by_class, mean = average_precision(truth, found, g["num_images"], g["num_classes"], kind)
    assert (ap50, mean) == pytest.approx((g[f"{kind}_ap50"], g[f"{kind}_ap_50_95"]), abs=1e-9)
    np.testing.assert_allclose(by_class, g[f"{kind}_ap50_per_class"], atol=1e-9)
