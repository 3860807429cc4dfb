"""Metrics and figures of scenes: a map that is right, one that points away, and one that knows nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from papers.pacl.config import PRESETS, VARIANTS
from papers.pacl.data import SceneTest
from papers.pacl.eval import compatibility, evaluate, figures, scene_metrics, single_object_metrics
from papers.pacl.towers import Towers
from shared.experiment import Run

CONFIG = PRESETS["smoke"]
NAMES = [f"thing{k}" for k in range(6)]


class OneHot(Towers):
    """Tokens are features; texts are unit vectors; `sign` -1 turns every token away from its text."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign, self.logit_scale, self.joint, self.width = sign, 20.0, len(NAMES), len(NAMES)

    def patch_tokens(self, images: Tensor, stride: int | None = None) -> tuple[Tensor, tuple[int, int]]:
        return images, (7, 7)

    def project(self, tokens: Tensor) -> Tensor:
        return self.sign * tokens

    def encode_image(self, images: Tensor) -> Tensor:
        return self.sign * images.sum(1)

    def encode_text(self, texts: list[str]) -> Tensor:
        numbers = [next(k for k, name in enumerate(NAMES) if name in text) for text in texts]
        return F.one_hot(torch.tensor(numbers), len(NAMES)).float()


def scenes(objects: int) -> SceneTest:
    """Each object is a block of 3 x 3 cells; the background's tokens lie near zero."""
    generator = np.random.default_rng(0)
    cells = np.zeros((25, 7, 7), int)
    for grid in cells:
        for corner, k in zip(((0, 0), (4, 4)), generator.permutation(len(NAMES))[:objects], strict=False):
            grid[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3] = k + 1
    labels = torch.from_numpy(cells)
    features = F.one_hot(labels.flatten(1), len(NAMES) + 1)[..., 1:].float() + 1e-3
    maps = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)
    return SceneTest(NAMES, features, maps, torch.zeros(12, 224, 224, 3, dtype=torch.uint8))


def test_a_right_map_and_one_that_points_away() -> None:
    right, kept = scene_metrics(CONFIG, OneHot(), None, scenes(2))
    assert right["miou_percent"] > 99 and right["two_way_percent"] > 99 and right["patch_percent"] == 100
    assert right["auc_percent"] > 97 and right["pointing_percent"] == 100 and right["coherence_auc_percent"] == 100
    assert right["background_miou_percent"] > 60
    assert 3 < right["chance_miou_percent"] < 15
    assert kept["maps"].shape == (4, 56, 56) and kept["names"].tolist() == NAMES
    away, _ = scene_metrics(CONFIG, OneHot(-1), None, scenes(2))
    assert away["auc_percent"] < 10 and away["pointing_percent"] == 0 and away["two_way_percent"] < 5
    assert away["miou_percent"] < 5 and away["coherence_auc_percent"] == 100


def test_single_objects() -> None:
    right = single_object_metrics(CONFIG, OneHot(), None, scenes(1))
    assert right == {"top1_percent": 100.0, "class_token_top1_percent": 100.0}
    embedded = single_object_metrics(CONFIG, OneHot(-1), torch.nn.Identity(), scenes(1))
    assert embedded == {"top1_percent": 100.0, "class_token_top1_percent": 0.0}


@pytest.mark.parametrize("variant", VARIANTS)
def test_compatibility_of_every_variant_is_a_cosine(variant: str) -> None:
    config = replace(CONFIG, **VARIANTS[variant].changes)
    torch.manual_seed(0)
    patches, classes = torch.randn(3, 9, 5), F.normalize(torch.randn(4, 5), dim=1)
    scores = compatibility(config, patches, classes)
    assert scores.shape == (3, 4) and scores.abs().max() <= 1 + 1e-5
    same = compatibility(config, classes[:3, None].expand(-1, 9, -1), classes)
    torch.testing.assert_close(same.diag(), torch.ones(3))


def test_figures_need_a_run_and_draw_what_it_left(tmp_path: Path) -> None:
    figures({("pacl", 0): tmp_path / "nothing"}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    shown = {}
    for split in ("seen", "held_out"):
        shown |= {f"{split}_{key}": value for key, value in scene_metrics(CONFIG, OneHot(), None, scenes(2))[1].items()}
    np.savez(tmp_path / "shown.npz", allow_pickle=False, **shown)
    figures({("pacl", 3): tmp_path}, tmp_path / "out")
    drawn = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert drawn == [
        "coherence.png", "heatmaps_held_out.png", "heatmaps_seen.png", "overlays_held_out.png", "overlays_seen.png",
    ]  # fmt: skip
    assert all(min(Image.open(tmp_path / "out" / name).size) > 200 for name in drawn)


def test_benchmarks_and_classification_sets_are_evaluated(tmp_path: Path) -> None:
    """The paper preset's evaluation on fixtures, with a small ViT of open_clip that was never trained."""
    import json

    import open_clip
    from safetensors.torch import save_file

    from papers.pacl.model import VisionEmbedder

    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    (tmp_path / "tiny-vit.json").write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(tmp_path)
    data = tmp_path / "data"
    for folder in ("images", "annotations"):
        (data / "ADEChallengeData2016" / folder / "validation").mkdir(parents=True)
    Image.new("RGB", (50, 40), "red").save(data / "ADEChallengeData2016/images/validation/A_1.jpg")
    labels = np.arange(2000, dtype=np.int64).reshape(40, 50) % 151
    Image.fromarray(labels.astype(np.uint8)).save(data / "ADEChallengeData2016/annotations/validation/A_1.png")
    for number in ("n01440764", "n01443537"):
        (data / "imagenet/val" / number).mkdir(parents=True)
        Image.new("RGB", (40, 40), "blue").save(data / "imagenet/val" / number / "a.JPEG")
    config = replace(
        PRESETS["paper"],
        data=str(data),
        clip="tiny-vit",
        clip_weights=None,
        short_side=40,
        window=32,
        window_stride=16,
        stride=8,
    )
    run = Run(tmp_path / "run", tmp_path / "cache", seed=0)
    embedder = {f"embedder.{name}": x for name, x in VisionEmbedder(64, 16).state_dict().items()}
    run.weights.parent.mkdir(parents=True)
    save_file(embedder, run.weights)
    found = evaluate(config, run)
    assert set(found) == {"ade20k150_miou_percent", "imagenet_top1_percent"}
    assert 0 <= found["ade20k150_miou_percent"] < 5 and found["imagenet_top1_percent"] == 50
