"""papers/featreg against reference arrays: score scripts, L2 conventions, label shrinking, colour transforms."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from papers.featreg.losses import feature_distance, shrink_label
from papers.featreg.metrics import ConfusionMatrix
from papers.featreg.transforms import transform

GOLDEN = Path(__file__).parents[2] / "golden" / "featreg"


def load(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return {key: torch.from_numpy(stored[key]) if stored[key].ndim else stored[key].item() for key in stored.files}


@pytest.mark.parametrize("name", ["miou_basic", "miou_absent_class"])
def test_segmentation_scores_in_both_conventions(name: str) -> None:
    g = load(name)
    confusion = ConfusionMatrix(g["n_classes"])
    for i in range(sum(key.startswith("gt") for key in g)):
        confusion.update(g[f"pred{i}"], g[f"gt{i}"])
    assert torch.equal(confusion.counts.double(), g["hist"])
    np.testing.assert_allclose(confusion.intersection_over_union, g["fcn_iu"], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(confusion.class_accuracies, g["fcn_class_acc"], rtol=1e-6, atol=1e-8)
    measured = confusion.percents()
    assert measured == pytest.approx(
        {
            "miou_percent": 100 * g["fcn_mean_iu"],
            "miou_all_percent": g["voc_miou"],
            "accuracy_percent": 100 * g["fcn_overall_acc"],
            "class_accuracy_percent": 100 * g["fcn_mean_acc"],
        },
        rel=1e-6,
    )
    assert measured["accuracy_percent"] == pytest.approx(g["voc_pixel_acc"], rel=1e-6)


@pytest.mark.parametrize(
    ("convention", "value"), [("mean", "mse_mean"), ("caffe", "caffe_euclidean"), ("tensorflow", "tf_l2_loss")]
)
def test_l2_conventions(convention: Any, value: str) -> None:
    g = load("l2_losses_a")
    student = g["student"].requires_grad_()
    loss = feature_distance(student, g["teacher"], convention)
    assert loss.item() == pytest.approx(g[value], rel=1e-6, abs=1e-8)
    (gradient,) = torch.autograd.grad(loss, student)
    expected = {
        "mean": g["mse_mean_grad_student"],
        "caffe": g["caffe_grad_student"],
        "tensorflow": g["student"].detach() - g["teacher"],  # of half a sum of squares, by hand
    }
    torch.testing.assert_close(gradient, expected[convention], rtol=1e-6, atol=1e-8)


def test_labels_shrink_to_where_caffe_samples_them() -> None:
    g = load("label_shrink_321_8")
    side = (len(g["label"]) - 1) // g["shrink"] + 1
    shrunk = shrink_label(g["label"], (side, side))
    assert shrunk.dtype == torch.uint8 and torch.equal(shrunk.double(), g["interp"])


@pytest.mark.parametrize(
    ("array", "domain"),
    [
        ("gray", "gray"),
        ("negative", "negative"),
        ("hue_p25", "hue:turn=0.25"),
        ("hue_m40", "hue:turn=-0.4"),
        ("sat_0p2", "night:saturation=0.2,gamma=1,red=1,green=1,blue=1"),
        ("gamma_2p5", "night:saturation=1,gamma=2.5,red=1,green=1,blue=1"),
        ("bright_0p4", "night:saturation=1,gamma=1,red=0.4,green=0.4,blue=0.4"),
        ("contrast_0p4", "lowcontrast:contrast=0.4,brightness=0"),
        ("blur_5_1p5", "blur_noise:sigma=1.5,noise=0"),
    ],
)
def test_colour_transforms(array: str, domain: str) -> None:
    g = load("transforms_rgb")
    image = g["image_uint8"].permute(2, 0, 1).float() / 255
    torch.testing.assert_close(transform(image, domain, rounded=False), g[array], rtol=0, atol=1e-5)
    rounded = 255 * transform(image, domain)
    torch.testing.assert_close(rounded, rounded.round(), rtol=0, atol=1e-4)
    torch.testing.assert_close(rounded / 255, g[array], rtol=0, atol=0.51 / 255)


def test_a_mixed_camera_reads_channels_in_the_order_of_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    g = load("transforms_rgb")
    image = g["image_uint8"].permute(2, 0, 1).float() / 255
    monkeypatch.setattr("papers.featreg.transforms.MIX", ((0, 0, 1.0), (0, 1.0, 0), (1.0, 0, 0)))
    torch.testing.assert_close(transform(image, "camera:gamma=1", rounded=False), g["swap_bgr"], rtol=0, atol=1e-5)
