"""Detection on COCO and segmentation on ADE20K, with tiny encoders and datasets in the published layouts."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as run_length
from safetensors.torch import load_file, save_file
from torch import Tensor

from papers.fastmim.build import build_classifier, build_encoder, build_pretraining
from papers.fastmim.config import CMT, PRESETS, PVT, SWIN
from papers.fastmim.datasets import ade20k, coco
from papers.fastmim.transfer import detect, finetune, pyramid, segment
from shared import UserError
from shared.run import Run
from shared.support.weights import load_checkpoint

ENCODERS: dict[str, dict[str, Any]] = {"vit": {}, "swin": SWIN, "pvtv2": PVT, "cmt": CMT}
CATEGORIES = (3, 17)  # with gaps, as COCO's


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of runs that ended with random weights."""
    found = {}
    for name, changes in ENCODERS.items():
        folder = tmp_path_factory.mktemp(name)
        config = dataclasses.replace(PRESETS["smoke"], **changes)
        torch.manual_seed(0)
        (folder / "checkpoint").mkdir()
        networks = {"model": build_classifier(config, 10), "pretrained": build_pretraining(config)}
        for file, network in networks.items():
            weights = {k: x.contiguous() for k, x in network.state_dict().items()}
            save_file(weights, folder / "checkpoint" / f"{file}.safetensors")
        (folder / "config.json").write_text(json.dumps({"variant": name, "config": dataclasses.asdict(config)}))
        found[name] = folder
    return found


def write_coco(root: Path) -> Path:
    """Four images a split of different sizes: one bright rectangle of each category, a crowd, and an empty image."""
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (root / f"{split}2017").mkdir()
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for k in range(4):
            height, width = 48 + 4 * k, 64 - 4 * k
            pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
            images.append({"id": 100 - k, "file_name": f"{k:012}.jpg", "height": height, "width": width})
            for j, category in enumerate(CATEGORIES[: 2 if k else 0]):
                x, y, w, h = 3 + 24 * j, 5 + 3 * k, 20, 16 + 8 * j
                pixels[y : y + h, x : x + w, j] = 250
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": 100 - k,
                        "category_id": category,
                        "bbox": [x, y, w, h],
                        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                        "area": w * h,
                        "iscrowd": 0,
                    }
                )
            if k == 1:
                crowd = np.zeros((height, width), np.uint8)
                crowd[-6:] = 1
                code: Any = run_length.encode(np.asfortranarray(crowd))
                code["counts"] = code["counts"].decode()
                last = annotations[-1] | {"id": len(annotations) + 1, "iscrowd": 1, "area": 6 * width}
                annotations.append(last | {"bbox": [0, height - 6, width, 6], "segmentation": code})
            Image.fromarray(pixels).save(root / f"{split}2017" / f"{k:012}.jpg", quality=95)
        categories = [{"id": i, "name": f"thing {i}"} for i in CATEGORIES]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return root


def write_ade(root: Path) -> Path:
    """Four images a split of different sizes: class 7 left, class 150 right, and a border that is not labelled."""
    rng = np.random.default_rng(1)
    for split in ("training", "validation"):
        (root / "images" / split).mkdir(parents=True)
        (root / "annotations" / split).mkdir(parents=True)
        for k in range(4):
            height, width = 40 + 8 * k, 70 - 5 * k
            mask = np.zeros((height, width), np.uint8)
            mask[2:, : width // 2], mask[2:, width // 2 :] = 7, 150
            pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
            pixels[mask == 7, 0] += 180
            Image.fromarray(pixels).save(root / "images" / split / f"ADE_{k:08}.jpg")
            Image.fromarray(mask).save(root / "annotations" / split / f"ADE_{k:08}.png")
    return root


@pytest.fixture
def coco_root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


@pytest.fixture
def ade_root(tmp_path: Path) -> Path:
    return write_ade(tmp_path / "ade")


def losses(run: Run) -> list[float]:
    return [json.loads(line)["loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def new_run(folder: Path, progress: Callable[[int, int, dict[str, float]], None] | None = None) -> Run:
    return Run(folder, folder / "cache", seed=0, log_every=1, progress=progress)


TINY: dict[str, Any] = {"pyramid_width": 16, "workers": 0, "warmup_steps": 2, "drop_path": 0.1}


def detection(data: Path, source: Path, **changes: Any) -> detect.Options:
    tiny = {"image_size": 64, "batch_size": 2, "learning_rate": 2e-3, "scale": (0.8, 1.2), "milestones": (5,)}
    return detect.Options(data=data, run=source, **TINY | tiny | {"epochs": 8} | changes)


def segmentation(data: Path, source: Path, **changes: Any) -> segment.Options:
    tiny = {"image_size": 32, "batch_size": 4, "micro_batch_size": 4, "learning_rate": 5e-3, "test_stride": 21}
    return segment.Options(data=data, run=source, **TINY | tiny | {"steps": 20} | changes)


# the network


@pytest.mark.parametrize("name", ENCODERS)
def test_pyramid_of_every_encoder_at_a_larger_size(name: str) -> None:
    """Maps of the right sizes from images larger than the encoder was built for, each with a gradient to its start."""
    encoder: Any = build_encoder(dataclasses.replace(PRESETS["smoke"], **ENCODERS[name]), 32)
    encoder.set_image_size(64)
    backbone = pyramid.Backbone(encoder, 12, (4, 8, 16, 32, 64))
    images = torch.randn(2, 3, 64, 64)
    maps = backbone(images)
    assert {k: tuple(x.shape) for k, x in maps.items()} == {str(k): (2, 12, 16 >> k, 16 >> k) for k in range(5)}
    torch.stack([x.square().sum() for x in maps.values()]).sum().backward()
    first = next(p for p in encoder.parameters() if p.ndim > 1 and p.requires_grad)
    assert first.grad is not None and first.grad.abs().sum() > 0


def test_pyramid_keeps_places() -> None:
    """A token's row and column are those of its map: a change of the top right token shows there alone."""
    torch.manual_seed(0)
    levels = pyramid.Pyramid(8, 16, 4, (4, 16))
    features = torch.randn(1, 8, 8, 8)
    changed = features.clone()
    changed[..., 0, 7] += 1
    before, after = levels(features), levels(changed)
    for name, factor in (("0", 4), ("1", 1)):
        rows, columns = (before[name] != after[name]).any(1)[0].nonzero(as_tuple=True)
        assert rows.max() <= factor and columns.min() >= 7 * factor - 1


def test_strides_that_do_not_fit() -> None:
    with pytest.raises(UserError, match="stride 14 cannot give a map of stride 4"):
        pyramid.Pyramid(8, 14)


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_weights_of_the_run(trained: dict[str, Path], tmp_path: Path, name: str) -> None:
    weights = {}
    for start in ("finetuned", "pretrained", "scratch"):
        options = segmentation(tmp_path, trained[name], start=start, image_size=32)
        _, backbone = finetune.load_backbone(options, segment.STRIDES)
        weights[start] = backbone.encoder.state_dict()
    own = load_file(trained[name] / "checkpoint" / "model.safetensors")
    key = next(k for k in weights["scratch"] if k.endswith("mlp.fc1.weight"))
    assert all(torch.equal(x, own[f"encoder.{k}"]) for k, x in weights["finetuned"].items())
    pretrained = load_file(trained[name] / "checkpoint" / "pretrained.safetensors")
    assert torch.equal(weights["pretrained"][key], pretrained[f"encoder.{key}"])
    assert not torch.equal(weights["pretrained"][key], own[f"encoder.{key}"])
    assert not torch.equal(weights["scratch"][key], own[f"encoder.{key}"])


def test_every_parameter_is_in_one_group(trained: dict[str, Path], tmp_path: Path) -> None:
    _, backbone = finetune.load_backbone(segmentation(tmp_path, trained["vit"]), segment.STRIDES)
    model = segment.Segmenter(backbone, 5)
    groups = finetune.parameter_groups(model, 0.05, 0.5)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    scale = {id(p): group.get("lr_scale", 1.0) for group in groups for p in group["params"]}
    assert scale[id(model.head.weight)] == 1.0 == scale[id(next(backbone.pyramid.parameters()))]
    encoder: Any = backbone.encoder
    assert scale[id(encoder.patch_embed.proj.weight)] == 0.5**encoder.layers


def test_bias_tables_are_not_decayed_in_detection(trained: dict[str, Path], tmp_path: Path) -> None:
    model = detect.build_detector(detection(tmp_path, trained["swin"]), 2)
    _, backbone = finetune.load_backbone(segmentation(tmp_path, trained["swin"]), segment.STRIDES)
    for network, rate in ((model, 0.0), (segment.Segmenter(backbone, 5), 0.05)):
        decay = {id(p): g["weight_decay"] for g in finetune.parameter_groups(network, 0.05, 1.0) for p in g["params"]}
        found = {name: decay[id(p)] for name, p in network.named_parameters() if p.requires_grad}
        tables = {name for name in found if name.endswith("relative_position_bias_table")}
        assert len(tables) == 6 and {found[name] for name in tables} == {rate}
        assert found["backbone.encoder.stages.0.blocks.0.attn.qkv.weight"] == 0.05


# training


def test_segmentation_learns(trained: dict[str, Path], ade_root: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    options = segmentation(ade_root, trained["vit"])
    segment.train(options, run)
    metrics = segment.evaluate(options, run)
    values = losses(run)
    assert len(values) == 20 and np.mean(values[-5:]) < 0.8 * np.mean(values[:5])
    assert metrics.keys() == {"miou_percent"} and 0 < metrics["miou_percent"] <= 100


def test_detection_learns(trained: dict[str, Path], coco_root: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    options = detection(coco_root, trained["swin"], epochs=12)
    detect.train(options, run)
    metrics = detect.evaluate(options, run)
    values = losses(run)
    assert len(values) == 12 and np.median(values[-4:]) < 0.8 * np.median(values[:4])
    assert metrics.keys() == {"box_ap_percent", "mask_ap_percent"}
    assert all(0 <= x <= 100 for x in metrics.values())


class Killed(Exception):
    pass


def kill_after(step: int) -> Callable[[int, int, dict[str, float]], None]:
    def progress(done: int, total: int, values: dict[str, float]) -> None:
        if done == step:
            raise Killed

    return progress


def test_killed_and_continued_is_the_same(trained: dict[str, Path], ade_root: Path, tmp_path: Path) -> None:
    """The loop of both, with a batch in two parts."""
    options = segmentation(ade_root, trained["vit"], steps=5, save_every=2, micro_batch_size=2)
    whole = new_run(tmp_path / "whole")
    segment.train(options, whole)
    with pytest.raises(Killed):
        segment.train(options, new_run(tmp_path / "parts", kill_after(3)))
    again = new_run(tmp_path / "parts")
    segment.train(options, again)
    assert losses(again) == losses(whole)
    assert again.weights.read_bytes() == whole.weights.read_bytes()


def test_command_writes_the_metrics(
    trained: dict[str, Path], ade_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(steps: int) -> int:
        options = {
            "data": ade_root,
            "run": trained["vit"],
            "out": tmp_path / "out",
            "image-size": 32,
            "batch-size": 4,
            "test-stride": 21,
            "pyramid-width": 16,
            "workers": 0,
            "steps": steps,
        }
        return segment.main([f"--{name}={value}" for name, value in options.items()])

    assert ask(2) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["metrics"].keys() == {"miou_percent"} and result["seconds"] > 0
    assert '"miou_percent"' in capsys.readouterr().out
    trained_at = (tmp_path / "out" / "checkpoint" / "state.pt").stat().st_mtime_ns
    assert ask(2) == 0
    assert (tmp_path / "out" / "checkpoint" / "state.pt").stat().st_mtime_ns == trained_at
    assert ask(3) == 0  # another run
    assert load_checkpoint(tmp_path / "out" / "checkpoint" / "state.pt")["step"] == 3


def test_defaults_are_the_papers() -> None:
    found = detect.Options(data=Path("coco"))
    assert (found.image_size, found.epochs, found.milestones, found.scale) == (1024, 36, (27, 33), (0.1, 2.0))
    assert (found.learning_rate, found.weight_decay, found.drop_path) == (6e-5, 0.05, 0.2)
    scenes = segment.Options(data=Path("ade"))
    assert (scenes.image_size, scenes.steps, scenes.batch_size, scenes.test_stride) == (512, 160_000, 16, 341)
    assert (scenes.learning_rate, scenes.layer_decay) == (3e-4, 0.75)


# evaluation


def test_perfect_detections_have_an_ap_of_100(coco_root: Path, tmp_path: Path) -> None:
    instances = coco.Instances(coco_root, "val")
    ids = iter(instances.ids)

    def model(images: list[Tensor], shift: int = 0) -> list[dict[str, Tensor]]:
        target = {k: x.as_subclass(Tensor) for k, x in instances.target(next(ids)).items()}
        assert target["masks"].shape[1:] == images[0].shape[1:]
        masks = target["masks"][:, None].float()
        return [
            {
                "boxes": target["boxes"] + shift,
                "labels": target["labels"],
                "masks": masks.roll((shift, shift), (2, 3)),
                "scores": torch.ones(len(masks)),
            }
        ]

    run = new_run(tmp_path / "run")
    assert detect.average_precisions(model, instances, run) == pytest.approx(
        {"box_ap_percent": 100.0, "mask_ap_percent": 100.0}
    )
    ids = iter(instances.ids)
    shifted = detect.average_precisions(lambda images: model(images, 3), instances, run)
    assert all(0 < x < 60 for x in shifted.values())
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}
    none = detect.average_precisions(lambda images: [nothing | {"masks": torch.zeros(0, 1, 9, 9)}], instances, run)
    assert none == {"box_ap_percent": 0.0, "mask_ap_percent": 0.0}


@pytest.mark.parametrize("objects", [1, 2, 10])
@pytest.mark.parametrize("first", [0, 1])
def test_annotations_may_be_numbered_from_0(tmp_path: Path, objects: int, first: int) -> None:
    """pycocotools takes the id 0 for "no match": the same detections had an AP of 0, 25 or 81."""
    annotations = [
        {"id": first + k, "image_id": k, "category_id": 0, "bbox": [5, 5, 20, 10], "area": 200, "iscrowd": 0,
         "segmentation": [[5, 5, 25, 5, 25, 15, 5, 15]]} for k in range(objects)
    ]  # fmt: skip
    images = [{"id": k, "file_name": f"{k}.jpg", "height": 40, "width": 60} for k in range(objects)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 0, "name": "a"}]}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train2017").mkdir()
    (tmp_path / "annotations/instances_train2017.json").write_text(json.dumps(content))
    found = [{"image_id": k, "category_id": 0, "bbox": [5, 5, 20, 10], "score": 0.9} for k in range(objects)]
    instances = coco.Instances(tmp_path, "train")
    assert coco.average_precision(instances, found, "bbox") == pytest.approx(100)
    assert instances.target(0)["boxes"].tolist() == [[5, 5, 25, 15]]


def turn(path: Path) -> None:
    """Let the EXIF orientation say that the image is to be turned a quarter."""
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, exif=exif, quality=95)


def test_images_stay_as_their_annotations_have_them(coco_root: Path, ade_root: Path) -> None:
    for path in (*coco_root.glob("train2017/*.jpg"), *ade_root.glob("images/training/*.jpg")):
        turn(path)
    instances, scenes = coco.Instances(coco_root, "train"), ade20k.Scenes(ade_root, "training")
    for image_id in instances.ids:
        assert instances.image(image_id).shape[1:] == instances.target(image_id)["masks"].shape[1:]
    for k in range(len(scenes)):
        image, mask = scenes[k]
        assert image.shape[1:] == mask.shape


def test_hidden_files_of_ade20k_are_left_out(ade_root: Path) -> None:
    for name in ("images/training/.ADE_9.jpg", "annotations/training/.ADE_8.png"):
        (ade_root / name).write_bytes(b"left by another program")
    assert len(ade20k.Scenes(ade_root, "training")) == 4


def test_miou_is_that_of_the_whole_split(ade_root: Path, tmp_path: Path) -> None:
    scenes = ade20k.Scenes(ade_root, "validation")
    evaluation = ade20k.Evaluation(scenes, (0.5,) * 3, (0.25,) * 3)
    run = new_run(tmp_path / "run")

    def prediction(wrong_rows: int) -> Callable[[Tensor], Tensor]:
        masks = (scenes[k][1].long() for k in range(4))

        def predict(image: Tensor) -> Tensor:
            classes = next(masks).clone()
            assert classes.shape == image.shape[1:]
            classes[classes == 255] = 30  # what is not labelled does not count
            classes[-wrong_rows or len(classes) :] = 6
            return classes

        return predict

    assert segment.mean_iou(prediction(0), evaluation, run) == pytest.approx({"miou_percent": 100.0})
    truth = np.concatenate([scenes[k][1].numpy().ravel() for k in range(4)])
    predict = prediction(10)
    found = np.concatenate([predict(scenes[k][0]).numpy().ravel() for k in range(4)])
    found, truth = found[truth != 255], truth[truth != 255]
    ious = [((found == c) & (truth == c)).sum() / ((found == c) | (truth == c)).sum() for c in (6, 149)]
    expected = pytest.approx({"miou_percent": 100 * np.mean(ious)}, rel=1e-5)
    assert segment.mean_iou(prediction(10), evaluation, run) == expected


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 45), (37, 16), (32, 50)])
def test_windows_cover_the_image(height: int, width: int) -> None:
    """A network that looks at single pixels gives the same through windows."""
    image = torch.randn(3, height, width)

    def model(images: Tensor) -> Tensor:
        assert images.shape == (1, 3, 16, 16)
        return images

    assert segment._starts(512, 512, 341) == [0] and segment._starts(900, 512, 341) == [0, 341, 388]
    found = segment.slide(model, image, size=16, stride=11)
    assert found.shape == (height, width)
    if min(height, width) == 16:
        assert torch.equal(found, image.argmax(0))


def test_a_crop_without_classes_has_a_loss_of_zero(trained: dict[str, Path], tmp_path: Path) -> None:
    _, backbone = finetune.load_backbone(segmentation(tmp_path, trained["vit"]), segment.STRIDES)
    model = segment.Segmenter(backbone, 150)
    found: Any = model(torch.randn(1, 3, 32, 32), torch.full((1, 32, 32), 255))
    assert found["cross_entropy"].item() == 0.0


# the readers


def test_coco_samples(coco_root: Path) -> None:
    instances = coco.Instances(coco_root, "train")
    assert instances.ids == [97, 98, 99, 100] and instances.categories == [3, 17]
    target = instances.target(99)
    assert target["labels"].tolist() == [1, 2] and target["boxes"].tolist() == [[3, 8, 23, 24], [27, 8, 47, 32]]
    assert target["masks"].sum((1, 2)).tolist() == [320, 480] and target["masks"].shape[1:] == (52, 60)
    assert {k: len(x) for k, x in instances.target(100).items()} == {"boxes": 0, "masks": 0, "labels": 0}

    training = coco.Training(instances, 64, (0.5, 2.0))
    assert len(training) == 3
    before = torch.get_rng_state()
    for seed in range(8):
        sample = training.sample(0, np.random.default_rng(seed))
        again = training.sample(0, np.random.default_rng(seed))
        assert torch.equal(sample["image"], again["image"]) and sample["image"].shape == (3, 64, 64)
        assert sample["image"].min() >= 0 and sample["image"].max() <= 1
        for box, mask in zip(sample["target"]["boxes"], sample["target"]["masks"], strict=True):
            rows, columns = mask.nonzero(as_tuple=True)
            edges = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert (box - edges).abs().max() <= 1
    assert torch.equal(before, torch.get_rng_state())


def test_ade_samples(ade_root: Path) -> None:
    scenes = ade20k.Scenes(ade_root, "training")
    image, mask = scenes[1]
    assert image.shape == (3, 48, 65) and mask.shape == (48, 65)
    assert set(mask.unique().tolist()) == {6, 149, 255} and (mask[:2] == 255).all() and (mask[2:, :32] == 6).all()
    training = ade20k.Training(scenes, 32, (0.5, 2.0), (0.0,) * 3, (1.0,) * 3)
    sample, again = (training.sample(1, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(sample["image"], again["image"]) and torch.equal(sample["target"], again["target"])
    assert sample["image"].shape == (3, 32, 32) and sample["target"].dtype == torch.int64
    assert set(sample["target"].unique().tolist()) <= {6, 149, 255}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": None}, "either --run"),
        ({"checkpoint": Path("x.pth")}, "either --run"),
        ({"run": None, "checkpoint": Path("x.pth"), "start": "scratch"}, "--start scratch needs --run"),
        ({"run": Path("nowhere")}, "no trained model in nowhere"),
        ({"image_size": 40}, "expected a multiple of 32"),
        ({"batch_size": 5}, "only 4 images"),
        ({"scale": (2.0, 1.0)}, "smallest first"),
        ({"test_stride": 33}, "--test-stride is 33"),
    ],
)
def test_bad_options(
    trained: dict[str, Path], ade_root: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    options = dataclasses.replace(segmentation(ade_root, trained["vit"]), **changes)
    with pytest.raises(UserError, match=message):
        segment.train(options, new_run(tmp_path / "run"))
