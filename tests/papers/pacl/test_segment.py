"""Frozen towers with the stride trick, and inference on whole images."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from papers.pacl import segment
from papers.pacl.metrics import ConfusionMatrix
from papers.pacl.model import VisionEmbedder
from papers.pacl.segment import (
    Order,
    Windows,
    class_embeddings,
    cosine_maps,
    upsample,
    upsample_patches,
    window_starts,
)
from papers.pacl.towers.clip import OpenCLIPTowers, Towers, resize_positions, strided_tokens
from shared import UserError
from shared.clip import load_clip

SMALL = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
NAMES = ["owl", "guitar", "rose"]
TEMPLATES = ("a photo of a {}.", "art of the {}.")


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> OpenCLIPTowers:
    """A ViT-B/16 of open_clip in small, with random weights."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "small-vit-16.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    return OpenCLIPTowers("small-vit-16")


def image(width: int, height: int) -> Image.Image:
    torch.manual_seed(1)
    return Image.fromarray((255 * torch.rand(height, width, 3)).byte().numpy())


# -- towers -----------------------------------------------------------------------------------------------------------


def test_patch_tokens_are_those_of_open_clip(towers: OpenCLIPTowers) -> None:
    pixels = torch.randn(2, 3, 64, 64)
    tokens, grid = towers.patch_tokens(pixels)
    expected, expected_grid = towers.model.patch_tokens(pixels)
    assert grid == expected_grid == (4, 4) and tokens.shape == (2, 16, towers.width)
    torch.testing.assert_close(tokens, expected)
    assert towers.project(tokens).shape == (2, 16, towers.joint)


def test_the_class_token_is_projected_like_open_clip_does(towers: OpenCLIPTowers) -> None:
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        class_token = towers._tokens(pixels, None)[0][:, 0]
    torch.testing.assert_close(towers.project(class_token), towers.encode_image(pixels))


@pytest.mark.parametrize(
    ("stride", "size", "grid"), [(8, (64, 64), (7, 7)), (5, (64, 96), (10, 17)), (4, (80, 64), (17, 13))]
)
def test_any_stride_and_size(towers: OpenCLIPTowers, stride: int, size: tuple[int, int], grid: tuple[int, int]) -> None:
    tokens, found = towers.patch_tokens(torch.randn(1, 3, *size), stride)
    assert found == grid and tokens.shape == (1, grid[0] * grid[1], towers.width) and tokens.isfinite().all()


def test_towers_are_frozen(towers: OpenCLIPTowers) -> None:
    assert not towers.train().training and not any(p.requires_grad for p in towers.parameters())
    assert not towers.patch_tokens(torch.randn(1, 3, 64, 64))[0].requires_grad


def test_positions_of_the_same_grid_stay() -> None:
    positions = torch.randn(1, 7, 3)
    assert resize_positions(positions, (2, 3), (2, 3)) is positions
    assert resize_positions(positions, (2, 3), (4, 6)).shape == (1, 25, 3)


def test_an_image_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="hold no patch of 8"):
        strided_tokens(torch.randn(1, 3, 7, 9), torch.randn(4, 3, 8, 8), None, 8)


@pytest.mark.parametrize("name", ["RN50", "offline"])
def test_towers_without_vit_say_so(name: str) -> None:
    with pytest.raises(UserError, match="Choose a ViT"):
        OpenCLIPTowers(name)


def test_a_checkpoint_is_read(towers: OpenCLIPTowers, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "weights.safetensors"
    save_file({name: x.contiguous() for name, x in towers.model.model.state_dict().items()}, path)
    again = OpenCLIPTowers("small-vit-16", str(path))
    pixels = torch.randn(1, 3, 64, 64)
    assert torch.equal(again.patch_tokens(pixels)[0], towers.patch_tokens(pixels)[0])
    assert load_clip("small-vit-16", pretrained=str(path)).width == towers.joint


# -- inference --------------------------------------------------------------------------------------------------------


def segment_image(
    towers: Towers, embedder: nn.Module | None, picture: Image.Image, classes: Tensor, **options: Any
) -> tuple[Tensor, Tensor]:
    seen = {name: options.pop(name) for name in ("short_side", "window", "window_stride", "stride")}
    return Windows(towers, embedder, picture, torch.device("cpu"), **seen).segment(classes, **options)


@pytest.mark.parametrize(
    ("length", "window", "stride", "starts"),
    [
        (64, 64, 32, [0]),
        (96, 64, 32, [0, 32]),
        (100, 64, 32, [0, 32, 36]),
        (65, 64, 64, [0, 1]),
        (200, 64, 64, [0, 64, 128, 136]),
    ],
)
def test_windows_cover_the_image(length: int, window: int, stride: int, starts: list[int]) -> None:
    assert window_starts(length, window, stride) == starts
    covered = {x for start in starts for x in range(start, start + window)}
    assert covered == set(range(length))


@pytest.mark.parametrize("embedded", [True, False])
@pytest.mark.parametrize("order", ["upsample-softmax", "softmax-upsample"])
@pytest.mark.parametrize("size", [(150, 90), (64, 64), (20, 33), (1, 1)])
def test_segmentation_has_the_size_of_the_image(
    towers: OpenCLIPTowers, embedded: bool, order: str, size: tuple[int, int]
) -> None:
    embedder = VisionEmbedder(towers.width, towers.joint) if embedded else None
    labels, probability = segment_image(
        towers, embedder, image(*size), class_embeddings(towers, NAMES, TEMPLATES),
        short_side=80, window=64, window_stride=32, stride=8, scale=100.0, order=order,  # type: ignore[arg-type]
    )  # fmt: skip
    assert labels.shape == size[::-1] and probability.shape == (3, *size[::-1])
    torch.testing.assert_close(probability.sum(0), torch.ones(size[::-1]))
    assert torch.equal(labels, probability.argmax(0))


def test_one_window_is_the_plain_map(towers: OpenCLIPTowers) -> None:
    picture, classes = image(64, 64), class_embeddings(towers, NAMES, TEMPLATES)
    _, probability = segment_image(
        towers, None, picture, classes, short_side=64, window=64, window_stride=32, stride=None, scale=50.0
    )
    tokens, grid = towers.patch_tokens(towers.normalize(picture)[None])
    maps = cosine_maps(towers.project(tokens), classes, grid)
    expected = (50 * torch.nn.functional.interpolate(maps, (64, 64), mode="bilinear", align_corners=False)).softmax(1)
    torch.testing.assert_close(probability, expected[0])


@pytest.mark.parametrize(("patch", "stride", "size"), [(16, 4, (64, 48)), (14, 7, (56, 70)), (16, 5, (70, 64))])
def test_values_of_overlapping_patches_lie_at_their_centres(patch: int, stride: int, size: tuple[int, int]) -> None:
    """A map that is a plane in pixels is that plane between the outermost centres, and constant beyond."""
    grid = [(length - patch) // stride + 1 for length in size]
    y, x = (stride * torch.arange(n) + patch / 2 for n in grid)
    plane = (3 * y[:, None] + x).expand(2, 1, -1, -1)
    found = upsample_patches(plane, size, patch, stride)
    rows, columns = (
        (torch.arange(n) + 0.5).clamp(patch / 2, stride * (k - 1) + patch / 2) for n, k in zip(size, grid, strict=True)
    )
    torch.testing.assert_close(found, (3 * rows[:, None] + columns).expand(2, 1, -1, -1), rtol=0, atol=1e-3)
    stretched = upsample(plane, size)
    assert (stretched - found).abs().max() > 1


def test_patches_that_tile_the_image_are_upsampled_plainly() -> None:
    maps = torch.randn(2, 3, 4, 6)
    assert torch.equal(upsample_patches(maps, (64, 96), 16, 16), upsample(maps, (64, 96)))
    overlapping = upsample_patches(maps, (64, 100), 16, 16)  # four pixels that no patch covers
    torch.testing.assert_close(overlapping[..., :96], upsample(maps, (64, 96)), rtol=0, atol=1e-5)
    assert torch.equal(overlapping[..., 96:], overlapping[..., 95:96].expand(-1, -1, -1, 4))


def test_windows_take_the_stride_and_the_patch_size_of_the_towers(towers: OpenCLIPTowers) -> None:
    picture, classes = image(64, 64), class_embeddings(towers, NAMES, TEMPLATES)
    _, probability = segment_image(
        towers, None, picture, classes, short_side=64, window=64, window_stride=32, stride=4, scale=50.0
    )
    tokens, grid = towers.patch_tokens(towers.normalize(picture)[None], 4)
    maps = upsample_patches(cosine_maps(towers.project(tokens), classes, grid), (64, 64), 16, 4)
    torch.testing.assert_close(probability, (50 * maps).softmax(1)[0])


class Pixels(Towers):
    """Every pixel is a token: windows then change nothing, whatever their size and stride."""

    def normalize(self, image: Image.Image) -> Tensor:
        return pil_to_tensor(image).float() / 255

    def patch_tokens(self, images: Tensor, stride: int | None = None) -> tuple[Tensor, tuple[int, int]]:
        return images.flatten(2).transpose(1, 2), (images.shape[2], images.shape[3])

    def project(self, tokens: Tensor) -> Tensor:
        return tokens


@pytest.mark.parametrize("order", ["upsample-softmax", "softmax-upsample"])
@pytest.mark.parametrize(("size", "window", "stride"), [((33, 20), 16, 7), ((20, 33), 20, 20), ((41, 17), 9, 9)])
def test_windows_come_back_to_their_place(order: Order, size: tuple[int, int], window: int, stride: int) -> None:
    picture, classes = image(*size), torch.nn.functional.normalize(torch.rand(4, 3), dim=1)
    _, probability = segment_image(
        Pixels(), None, picture, classes,
        short_side=min(size), window=window, window_stride=stride, stride=None, scale=10.0, order=order,
    )  # fmt: skip
    colours = torch.nn.functional.normalize(pil_to_tensor(picture).float(), dim=0)
    expected = (10 * torch.einsum("cd,dhw->chw", classes, colours)).softmax(0)
    torch.testing.assert_close(probability, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", ["upsample-softmax", "softmax-upsample"])
def test_windows_are_seen_several_at_a_time(
    towers: OpenCLIPTowers, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = class_embeddings(towers, NAMES, TEMPLATES)

    def probability(at_a_time: int) -> Tensor:
        monkeypatch.setattr(segment, "WINDOWS", at_a_time)
        return segment_image(
            towers, None, image(150, 90), classes,
            short_side=80, window=64, window_stride=32, stride=8, scale=100.0, order=order,
        )[1]  # fmt: skip

    one = probability(1)
    for at_a_time in (3, 100):  # of eight
        torch.testing.assert_close(probability(at_a_time), one, rtol=1e-3, atol=1e-5)


def test_background_needs_a_large_entropy(towers: OpenCLIPTowers) -> None:
    classes = class_embeddings(towers, NAMES, TEMPLATES)
    options = {"short_side": 64, "window": 64, "window_stride": 32, "stride": None}
    flat, _ = segment_image(towers, None, image(64, 64), classes, scale=1e-6, entropy_threshold=1.0, **options)  # type: ignore[arg-type]
    sharp, _ = segment_image(towers, None, image(64, 64), classes, scale=1e9, entropy_threshold=1.0, **options)  # type: ignore[arg-type]
    assert (flat == 0).all() and (sharp > 0).all()


def test_a_perfect_map_has_a_miou_of_one(towers: OpenCLIPTowers) -> None:
    labels = torch.randint(0, 3, (20, 30))
    confusion = ConfusionMatrix(3)
    confusion.update(labels, labels)
    assert confusion.miou == 1.0
