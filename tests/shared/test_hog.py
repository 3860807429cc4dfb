from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.hog import HOG, hog

GOLDEN = Path(__file__).parents[1] / "golden" / "fastmim"


def golden(name: str) -> dict[str, Any]:
    arrays = np.load(GOLDEN / f"{name}.npz", allow_pickle=False)
    return {key: torch.from_numpy(arrays[key]) if arrays[key].ndim else arrays[key].item() for key in arrays.files}


def random_images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["hog_basic_32", "hog_pool4_32"])
def test_official_values(name: str) -> None:
    case = golden(name)
    for key, options in {
        "hog_norm": {},
        "hog_unnorm": {"normalize": False},
    }.items():
        found = HOG(bins=case["nbins"], cell=case["pool"], **options)(case["img"])
        torch.testing.assert_close(found, case[key], rtol=1e-5, atol=0 if "unnorm" in key else 1e-6, msg=key)


@pytest.mark.parametrize("name", ["hog_basic_32", "hog_pool4_32", "hog_ramps_24"])
def test_bins_of_single_pixels(name: str) -> None:
    case = golden(name)
    votes = hog(case["img"], cell=1, normalize=False).unflatten(1, (3, 9))
    torch.testing.assert_close(votes.sum(2), case["mag"])
    assert torch.equal(votes.argmax(2)[case["mag"] > 0], case["bin"].long()[case["mag"] > 0])


def test_orientation_and_border_of_ramps() -> None:
    case = golden("hog_ramps_24")
    found = hog(case["img"], normalize=False)
    torch.testing.assert_close(found, case["hog_unnorm"], rtol=1e-5, atol=0)
    torch.testing.assert_close(hog(case["img"]), case["hog_norm"], rtol=1e-5, atol=1e-6)
    assert found[:, :9, 1, 1].argmax(1).tolist() == [4, 4, 0, 0, 2, 2, 6, 1, 3, 3]


def test_8_bit_images_are_taken_as_numbers() -> None:
    case = golden("hog_uint8_96")
    torch.testing.assert_close(hog(case["img_uint8"]), case["hog_norm_from_raw_0_255"], rtol=1e-5, atol=1e-6)


def test_the_image_that_skimage_was_given() -> None:
    case = golden("hog_vs_skimage_64")
    torch.testing.assert_close(hog(case["img"]), case["fastmim_hog_norm"], rtol=1e-5, atol=1e-6)


def test_order_of_channels_and_bins() -> None:
    case = golden("hog_patch_targets_64")
    torch.testing.assert_close(hog(case["img"]), case["hog_map"], rtol=1e-5, atol=1e-6)


def test_flat_regions_are_exactly_zero() -> None:
    """Also after a normalisation that floats cannot hold exactly."""
    images = torch.zeros(1, 3, 64, 64)
    images[..., 20:44, 20:44] = 1
    images = (images - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    length = hog(images).unflatten(1, (3, 9)).norm(dim=2)
    edge = torch.zeros(8, 8, dtype=torch.bool)
    edge[2:6, 2:6] = True
    edge[3:5, 3:5] = False
    assert torch.equal(length > 0, edge.expand(1, 3, 8, 8))


def test_rows_and_columns_that_fill_no_cell_do_not_vote() -> None:
    images = random_images(2, 3, 27, 37)
    expected = hog(images, cell=1, normalize=False)[..., :24, :32].unflatten(3, (4, 8)).unflatten(2, (3, 8)).sum((3, 5))
    torch.testing.assert_close(hog(images, normalize=False), expected)


@pytest.mark.parametrize("bins", [8, 9])
def test_signed_orientations(bins: int) -> None:
    ramp = torch.arange(24.0).expand(1, 1, 24, 24)
    dark_to_light, light_to_dark = (hog(x, bins=bins, signed=True)[0, :, 1, 1] for x in (ramp, -ramp))
    assert (light_to_dark.argmax(), dark_to_light.argmax()) == (bins // 4, 3 * bins // 4)  # a quarter turn each way
    assert torch.equal(*(hog(x, bins=bins)[0, :, 1, 1] for x in (ramp, -ramp)))
    votes = hog(random_images(1, 3, 32, 32), bins=2 * bins, signed=True, normalize=False).unflatten(1, (3, 2, bins))
    torch.testing.assert_close(votes.sum(2).flatten(1, 2), hog(random_images(1, 3, 32, 32), bins=bins, normalize=False))


def test_parts_of_a_batch_change_nothing() -> None:
    images = random_images(5, 3, 224, 224)  # more than fit into one part
    assert torch.equal(hog(images), torch.cat([hog(image[None]) for image in images]))


def test_autocast_and_gradient() -> None:
    images = random_images(1, 3, 32, 32).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = hog(images)
    assert found.dtype == torch.float32 and not found.requires_grad and torch.equal(found, hog(images))


def test_compiles_without_graph_breaks() -> None:
    images = golden("hog_basic_32")["img"]
    compiled = torch.compile(HOG(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), hog(images))


def test_nan_shows_in_its_own_cell() -> None:
    images = random_images(1, 3, 32, 32)
    images[0, 1, 12, 20] = torch.nan
    where = hog(images).unflatten(1, (3, 9)).isnan().any(2)
    assert where.nonzero().tolist() == [[0, 1, 1, 2]]


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (torch.zeros(3, 32, 32), {}, r"\(B, C, H, W\).*\(3, 32, 32\)"),
        (torch.zeros(0, 3, 32, 32), {}, r"found shape \(0, 3"),
        (torch.zeros(1, 3, 7, 32), {}, "at least 8"),
        (torch.zeros(1, 3, 1, 4), {"cell": 1}, "at least 2"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.complex64), {}, "real type"),
        (torch.zeros(1, 3, 32, 32), {"bins": 0}, "bins"),
    ],
)
def test_bad_input(images: Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hog(images, **options)
