"""Metrics and figures of scenes: a map that is right, one that points away, and one that knows nothing."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from papers.pacl import eval as evaluation
from papers.pacl import segment
from papers.pacl.config import PRESETS, VARIANTS, Config
from papers.pacl.datasets.benchmarks import BENCHMARKS, Segmented
from papers.pacl.datasets.scene_features import SceneTest, load_scenes
from papers.pacl.eval import (
    compatibility,
    evaluate,
    figures,
    median_seed,
    patch_metrics,
    scene_metrics,
    single_object_metrics,
)
from papers.pacl.model import VisionEmbedder
from papers.pacl.towers.clip import OpenCLIPTowers, Towers
from papers.pacl.train import train
from shared.run import Run
from shared.support.files import write_json

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
    assert right["chance_pointing_percent"] == pytest.approx(100 * 9 / 49)
    assert 3 < right["chance_miou_percent"] < 15
    assert kept["maps"].shape == (4, 56, 56) and kept["names"].tolist() == NAMES
    away, _ = scene_metrics(CONFIG, OneHot(-1), None, scenes(2))
    assert away["auc_percent"] < 10 and away["pointing_percent"] == 0 and away["two_way_percent"] < 5
    assert away["miou_percent"] < 5 and away["coherence_auc_percent"] == 100


def test_single_objects() -> None:
    right = single_object_metrics(CONFIG, OneHot(), None, scenes(1))
    assert right == {"top1_percent": 100.0}
    by_token = single_object_metrics(CONFIG, OneHot(-1), None, scenes(1))
    embedded = single_object_metrics(CONFIG, OneHot(-1), torch.nn.Identity(), scenes(1))
    assert (by_token["top1_percent"], embedded["top1_percent"]) == (0, 100)


def weights(variant: str, patches: Tensor, text: Tensor) -> Tensor:
    """Weights of one image's patches (T, D) for one text (D,), as the variant's name says."""
    cosine = torch.stack([patch @ text / patch.norm() for patch in patches])
    if variant == "meanpool":
        return torch.full((len(patches),), 1 / len(patches))
    if variant == "sigmoid":
        return 1 / (1 + (-10 * cosine).exp())
    similarity = 10 * cosine if variant.startswith("cos-10") else patches @ text
    return similarity.exp() / similarity.exp().sum()


@pytest.mark.parametrize("variant", VARIANTS)
def test_compatibility_is_what_the_variant_was_trained_with(variant: str) -> None:
    config = replace(CONFIG, **VARIANTS[variant].changes)
    torch.manual_seed(0)
    patches, classes = torch.randn(3, 9, 5), F.normalize(torch.randn(4, 5), dim=1)
    scores = compatibility(config, patches, classes)
    assert scores.shape == (3, 4)
    for i, k in np.ndindex(3, 4):
        pooled = weights(variant, patches[i], classes[k]) @ patches[i]
        torch.testing.assert_close(scores[i, k], pooled @ classes[k] / pooled.norm(), rtol=1e-4, atol=1e-5)


def test_nothing_competes_in_a_scene_of_one_concept() -> None:
    """Its patches would be right whatever the map; those of two objects are all wrong here."""
    one, two = scenes(1), scenes(2)
    mixed = replace(two, features=torch.cat([one.features, two.features]), maps=torch.cat([one.maps, two.maps]))
    away, _ = scene_metrics(CONFIG, OneHot(-1), None, mixed)
    right, _ = scene_metrics(CONFIG, OneHot(), None, mixed)
    assert away["patch_percent"] == 0 and right["patch_percent"] == 100


def test_validation_scenes_take_the_place_of_the_tested_ones(cache: Path, tmp_path: Path) -> None:
    found = {}
    for split in ("test", "validation"):
        config = replace(CONFIG, method="clip-patch", split=split)
        run = Run(tmp_path / split, cache, seed=0)
        train(config, run)
        found[split] = evaluate(config, run)
        with np.load(tmp_path / split / "shown.npz") as shown:
            prefix = "validation_" if split == "validation" else ""
            for name in ("seen", "held_out"):
                assert shown[f"{name}_names"].tolist() == load_scenes(config, cache).names[f"{prefix}{name}"]
                expected = load_scenes(config, cache).test(f"{prefix}{name}").maps[:4]
                assert np.array_equal(shown[f"{name}_labels"], expected.numpy())
    assert set(found["test"]) == set(found["validation"])
    assert found["test"]["held_out_chance_miou_percent"] != found["validation"]["held_out_chance_miou_percent"]
    assert found["test"]["seen_auc_percent"] != found["validation"]["seen_auc_percent"]


def test_figures_need_a_run_and_draw_what_it_left(tmp_path: Path) -> None:
    figures({("pacl", 0): tmp_path / "nothing"}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    shown = {}
    for split in ("seen", "held_out"):
        shown |= {f"{split}_{key}": value for key, value in scene_metrics(CONFIG, OneHot(), None, scenes(2))[1].items()}
    np.savez(tmp_path / "shown.npz", allow_pickle=False, **shown)
    write_json(tmp_path / "result.json", {"metrics": {"seen_miou_percent": 1.0}})
    figures({("pacl", 3): tmp_path}, tmp_path / "out")
    drawn = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert drawn == [
        "coherence.png", "heatmaps_held_out.png", "heatmaps_seen.png", "overlays_held_out.png", "overlays_seen.png",
    ]  # fmt: skip
    assert all(min(Image.open(tmp_path / "out" / name).size) > 200 for name in drawn)


def test_figures_show_the_median_seed(tmp_path: Path) -> None:
    runs = {}
    for variant, values in {"meanpool": (1, 2, 3, 4, 5), "pacl": (30, 50, 10, 40, 20)}.items():
        for seed, value in enumerate(values):
            runs[variant, seed] = tmp_path / variant / str(seed)
            write_json(runs[variant, seed] / "result.json", {"metrics": {"seen_miou_percent": value}})
    assert median_seed(runs) == 0
    assert median_seed({run: folder for run, folder in runs.items() if run[0] == "meanpool"}) == 2
    assert median_seed({run: folder for run, folder in runs.items() if run[1] in (1, 2)}) == 2, "the lower of two"


# -- the paper's data -------------------------------------------------------------------------------------------------


def picture(path: Path, rng: np.random.Generator) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path, quality=95)
    return path


def labels(path: Path, rng: np.random.Generator, classes: int) -> None:
    """Squares of ten pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.kron(rng.integers(0, classes, (4, 5)), np.ones((10, 10))).astype(np.uint8)).save(path)


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Config, Run]:
    """A trained run of the paper preset on fixtures, with a small ViT of open_clip of random weights.

    Three images of VOC, two sets of labels of three images of COCO, one image of ADE20K and five of ImageNet.
    """
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    (tmp_path / "tiny-vit.json").write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    weights = {name: x.contiguous() for name, x in open_clip.create_model("tiny-vit").state_dict().items()}
    save_file(weights, tmp_path / "vit.safetensors")
    run = Run(tmp_path / "run", tmp_path / "cache", seed=0)
    run.weights.parent.mkdir(parents=True)
    save_file({f"embedder.{name}": x for name, x in VisionEmbedder(64, 16).state_dict().items()}, run.weights)
    data, rng = tmp_path / "data", np.random.default_rng(0)
    voc, coco, ade = data / "VOCdevkit/VOC2012", data / "coco_stuff164k", data / "ADEChallengeData2016"
    for stem in "abc":
        picture(voc / f"JPEGImages/{stem}.jpg", rng)
        labels(voc / f"SegmentationClass/{stem}.png", rng, 21)
        picture(coco / f"images/val2017/{stem}.jpg", rng)
        labels(coco / f"annotations/val2017/{stem}_labelTrainIds.png", rng, 171)
        labels(coco / f"annotations/val2017/{stem}_instanceTrainIds.png", rng, 81)
    (voc / "ImageSets/Segmentation").mkdir(parents=True)
    (voc / "ImageSets/Segmentation/val.txt").write_text("c\na\nb\n")
    picture(ade / "images/validation/A_1.jpg", rng)
    labels(ade / "annotations/validation/A_1.png", rng, 151)
    for k in range(5):
        picture(data / "imagenet/val" / ("n01440764", "n01443537")[k % 2] / f"{k}.JPEG", rng)
    config = replace(
        PRESETS["paper"],
        data=str(data),
        clip="tiny-vit",
        clip_weights=str(tmp_path / "vit.safetensors"),
        short_side=40,
        window=32,
        window_stride=16,
        stride=8,
        workers=2,
    )
    write_json(tmp_path / "config.json", asdict(config))
    return config, run


@pytest.mark.parametrize("method", ["pacl", "clip-patch"])
def test_benchmarks_and_classification_sets_are_evaluated(
    tiny: tuple[Config, Run], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = tiny
    seen = []
    forward = OpenCLIPTowers._tokens
    monkeypatch.setattr(
        OpenCLIPTowers, "_tokens", lambda towers, *images: seen.append(images[0].shape[0]) or forward(towers, *images)
    )
    found = evaluate(replace(config, method=method), run)
    assert set(found) == {
        "voc20_miou_percent", "voc20_patch_percent", "voc20_coherence_auc_percent", "voc21_miou_percent",
        "coco_stuff171_miou_percent", "coco_object_miou_percent", "ade20k150_miou_percent", "imagenet_top1_percent",
    }  # fmt: skip
    assert 0 <= found["ade20k150_miou_percent"] < 5 and found["imagenet_top1_percent"] in range(0, 101, 20)
    # Windows of every image once, squares of VOC's, and patches of ImageNet's where an embedder wants them.
    assert seen == [6] * 3 + [1] * 3 + [6] * 3 + [6] + [5] * (method == "pacl")


def test_precision_is_that_of_the_towers_alone(tiny: tuple[Config, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    config, full = tiny
    AcceleratorState._reset_state()  # it keeps the precision of the first run in a process
    run = Run(full.folder, full.cache, seed=0, precision="bf16")
    embedded, cosines = [], []
    embed, maps = VisionEmbedder.forward, segment.cosine_maps
    monkeypatch.setattr(VisionEmbedder, "forward", lambda *x: embedded.append(embed(*x)) or embedded[-1])
    for module in (segment, evaluation):
        monkeypatch.setattr(module, "cosine_maps", lambda *x: cosines.append(maps(*x)) or cosines[-1])
    evaluate(config, run)
    AcceleratorState._reset_state()
    assert {x.dtype for x in embedded} == {torch.bfloat16} and {x.dtype for x in cosines} == {torch.float32}


def test_two_processes_are_one(
    tiny: tuple[Config, Run], two_processes: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses and gradients of a shared batch, and metrics of shared images: an odd number of them, and sets of fewer.

    Which patches are drawn does not depend on the number of processes.
    """
    config, run = tiny
    torch.set_num_threads(1)
    monkeypatch.setattr(evaluation, "PATCHES", 7)  # of twelve
    folder = run.folder.parent
    assert json.loads(two_processes("losses_and_evaluation", folder, "7")) == evaluate(config, run)


class Colours(Towers):
    """A patch of 8 pixels of an image of 32 is its mean colour; the frozen projection swaps red and green."""

    def preprocess(self, image: Image.Image) -> Tensor:
        return pil_to_tensor(image.resize((32, 32), Image.Resampling.BOX)).float()

    def patch_tokens(self, images: Tensor, stride: int | None = None) -> tuple[Tensor, tuple[int, int]]:
        return F.avg_pool2d(images, 8).flatten(2).transpose(1, 2), (4, 4)

    def project(self, tokens: Tensor) -> Tensor:
        return tokens[..., [1, 0, 2]]


class Grey(Colours):
    """Patches that all look alike."""

    def patch_tokens(self, images: Tensor, stride: int | None = None) -> tuple[Tensor, tuple[int, int]]:
        tokens, grid = super().patch_tokens(images, stride)
        return torch.ones_like(tokens), grid


def test_patches_of_voc(tmp_path: Path) -> None:
    """Two photographs of 96 x 64 pixels, of which the middle 64 x 64 count, in patches of 16 pixels."""
    folder = tmp_path / "VOCdevkit/VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    (folder / "ImageSets/Segmentation/val.txt").write_text("two\none\n")
    red, green = (1, (255, 0, 0)), (2, (0, 255, 0))  # aeroplane and bicycle
    for name, parts in (("two", ((16, 48, red), (48, 80, green))), ("one", ((0, 16, green), (16, 80, red)))):
        truth, pixels = np.zeros((64, 96), np.uint8), np.full((64, 96, 3), 255, np.uint8)
        for start, stop, (label, colour) in parts:
            truth[:48, start:stop], pixels[:48, start:stop] = label, colour
        truth[:16, 16:26] = 255  # ten of sixteen columns: the first patch is ignored
        truth[16:32, 16:22] = 255  # six of them: the patch below is not
        Image.fromarray(pixels).save(folder / f"JPEGImages/{name}.jpg", quality=100, subsampling=0)
        Image.fromarray(truth).save(folder / f"SegmentationClass/{name}.png")
    run = Run(tmp_path / "run", tmp_path / "cache", seed=0)
    test, classes = Segmented(BENCHMARKS["voc20"], tmp_path), torch.eye(20, 3)
    right = patch_metrics(run, Colours(), torch.nn.Identity(), classes, test)
    assert right == {"patch_percent": 100.0, "coherence_auc_percent": pytest.approx(100)}
    # Before training green passes for red and red for green; "one" would be right, as nothing competes in its square.
    assert patch_metrics(run, Colours(), None, classes, test)["patch_percent"] == 0
    # Red patches alone are named right: 5 of the 11 labelled ones of "two".
    always_red = torch.nn.Linear(3, 3)
    torch.nn.init.zeros_(always_red.weight)
    with torch.no_grad():
        always_red.bias.copy_(torch.tensor([1.0, 0.5, 0.0]))
    assert patch_metrics(run, Colours(), always_red, classes, test)["patch_percent"] == pytest.approx(100 * 5 / 11)
    # The coherence is the frozen tokens', of all 22 patches.
    blind = patch_metrics(run, Grey(), torch.nn.Identity(), classes, test)
    assert blind["coherence_auc_percent"] == 50
    only = Segmented(BENCHMARKS["voc20"], tmp_path)
    only.pairs = only.pairs[1:]
    assert patch_metrics(run, Colours(), None, classes, only) == {}
