"""Images with captions or labelled texts, for training and evaluation: composed scenes, or the paper's datasets."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shared import UserError
from shared.loading import cache_file
from shared.offline import cutouts, packs, towers
from shared.offline import scenes as composer

from .config import Config
from .datasets import captions, nlvr2, prepared, scenes, snli_ve, vqa
from .datasets import images as pictures
from .datasets import texts as labelled
from .datasets.images import Photographs, Scenes, Source
from .datasets.texts import Text
from .visual import boxes, trunk
from .visual.trunk import NORMALISATION
from .wordpiece import Vocabulary

LAYOUT = "\n".join([captions.LAYOUT, vqa.LAYOUT, nlvr2.LAYOUT, snli_ve.LAYOUT])
TESTING = {
    "vqa": {"validation": "val", "test": "val"},
    "nlvr2": {"validation": "dev", "test": "test1"},
    "snli-ve": {"validation": "dev", "test": "test"},
}
"""Published split of each task for the two splits of `Config.split`; VQA's test answers are not public."""
READERS = {"vqa": vqa.read, "nlvr2": nlvr2.read, "snli-ve": snli_ve.read}


class Captions(NamedTuple):
    """Images and the captions of each."""

    source: Source
    captions: list[list[str]]


class Texts(NamedTuple):
    """Images and labelled texts about them."""

    source: Source
    texts: list[Text]


def vocabulary(config: Config) -> Vocabulary:
    """BERT's words, or those of the composed scenes."""
    return Vocabulary() if config.data or config.bert else Vocabulary(scenes.corpus())


def classes(config: Config) -> tuple[str, ...]:
    """Names of what a downstream task tells apart."""
    if config.task == "retrieval":
        return ("no", "yes")
    if config.data is None:
        return {"vqa": scenes.ANSWERS, "nlvr2": scenes.TRUTH, "snli-ve": scenes.ENTAILMENT}[config.task]
    if config.task == "vqa":
        return vqa.answers(vqa.read(Path(config.data), "train")[1])
    return nlvr2.CLASSES if config.task == "nlvr2" else snli_ve.CLASSES


def captioned(config: Config, cache: Path, split: str) -> Captions:
    """Images with captions, for pre-training and retrieval; ``split`` is train, validation or test."""
    if config.data is None:
        stored = scene_texts(config, cache, split)
        return Captions(scene_images(config, cache, split), stored["captions"])
    root = Path(config.data)
    if config.task == "pretrain":
        found = captions.pretraining(root) if split == "train" else captions.karpathy(root, "coco", (_karpathy(split),))
    else:
        train = ("train", "restval") if config.retrieval_set == "coco" else ("train",)
        found = captions.karpathy(root, config.retrieval_set, train if split == "train" else (_karpathy(split),))
    return Captions(_photographs(config, cache, [x.file for x in found]), [x.captions for x in found])


def texts(config: Config, cache: Path, split: str) -> Texts:
    """Images with the labelled texts of the task; ``split`` is train, validation, test, or unseen (scenes)."""
    if config.data is None:
        rows = scene_texts(config, cache, split)[config.task]
        found = [Text(tuple(images), text, scores, kind) for images, text, scores, kind in rows]
        return Texts(scene_images(config, cache, split), found)
    name = "train" if split == "train" else TESTING[config.task][split]
    files, found = READERS[config.task](Path(config.data), name)
    return Texts(_photographs(config, cache, files), found)


def _karpathy(split: str) -> str:
    return "val" if split == "validation" else split


def _photographs(config: Config, cache: Path, files: Sequence[Path]) -> Photographs:
    mean, std = NORMALISATION[config.trunk]
    found = None
    if config.regions:
        path = cache_file(cache, "boxes.npz", boxes, [str(file) for file in files], config.most_boxes)
        found = boxes.detected(files, config.most_boxes, path)
    return Photographs(
        files,
        mean,
        std,
        short_side=config.short_side,
        long_side=config.long_side,
        training_sides=None if config.task == "pretrain" else config.tuning_sides,
        boxes=found,
        crop=config.crop,
    )


# -- composed scenes --------------------------------------------------------------------------------------------------


def scene_images(config: Config, cache: Path, split: str) -> Scenes:
    """Early maps of the scenes of a split, or of the boxes around their objects."""
    with np.load(stored_file(config, cache, split, "npz")) as content:
        return Scenes(content["crops"], content["boxes"]) if config.regions else Scenes(content["maps"])


def scene_arrays(config: Config, cache: Path, split: str) -> dict[str, np.ndarray]:
    """``images`` (N, 128, 128, 3) uint8 and ``content`` (N, 4, 4), objects of cells, of a split that is tested."""
    with np.load(stored_file(config, cache, split, "npz")) as stored:
        return {name: stored[name] for name in ("images", "content")}


def scene_texts(config: Config, cache: Path, split: str) -> dict[str, Any]:
    """``captions``, ``nouns`` (caption, noun; a list a scene), and a list of texts for each task."""
    found: dict[str, Any] = json.loads(stored_file(config, cache, split, "json").read_text())
    return found


def stored_file(config: Config, cache: Path, split: str, suffix: str) -> Path:
    """The prepared scenes of a split."""
    made_by = (prepared, scenes, labelled, composer, cutouts, packs, towers, trunk, pictures)
    return cache_file(cache, f"{split}.{suffix}", *made_by, config.trunk, _count(config, split))


def _count(config: Config, split: str) -> int:
    return config.scenes if split == "train" else config.test_scenes


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Compose the scenes and compute their early maps once for all runs (some minutes), or look at the user's data.

    Returns: ``{"name", "train", "test", "sha256", "scale"}`` for the results file.

    Raises:
        UserError: if ``config.data`` does not hold what LAYOUT says, or options do not fit it.
    """
    _check(config)
    network = f"{config.trunk}, {config.layers} layers of width {config.width}"
    size = f"{network}, {config.steps} and {config.tuning_steps} steps of {config.batch_size} images"
    if config.data is not None:
        root = Path(config.data)
        found = captions.pretraining(root)
        tested = captions.karpathy(root, "coco", ("test",))
        listed = "\n".join(f"{x.file.name} {len(x.captions)}" for x in [*found, *tested])
        sha256 = hashlib.sha256(listed.encode()).hexdigest()
        name = "COCO and Visual Genome" if (root / "vg").is_dir() else "COCO"
        return {"name": name, "train": len(found), "test": len(tested), "sha256": sha256, "scale": size}
    hashes = hashlib.sha256()
    for split in prepared.SPLITS:
        arrays, words = (stored_file(config, cache, split, suffix) for suffix in ("npz", "json"))
        if not (arrays.exists() and words.exists()):
            prepared.prepare(config.trunk, split, _count(config, split), arrays, words)
        hashes.update(arrays.read_bytes() + words.read_bytes())
    return {
        "name": "scenes composed of the embedded cut-outs and photographs",
        "train": config.scenes,
        "test": config.test_scenes,
        "sha256": hashes.hexdigest(),
        "scale": f"{scenes.SIZE} px, {len(scenes.OBJECT_NAMES)} objects, {len(scenes.PLACES)} places, {size}",
    }


def _check(config: Config) -> None:
    """Raises UserError for options that contradict each other, before anything is trained."""
    if config.data is None and (config.trunk.startswith("resnet") or config.group > 1):
        raise UserError(f"Composed scenes need --trunk lite0 and --group 1; found {config.trunk} and {config.group}.")
    for name in ("batch_size", "tuning_batch_size"):
        if getattr(config, name) % config.group:
            raise UserError(
                f"--{name.replace('_', '-')} {getattr(config, name)} is no multiple of --group {config.group}."
            )
    if config.width % config.heads or config.width % 4:
        raise UserError(f"--width is {config.width}; expected a multiple of 4 and of --heads, {config.heads}.")
    for name in ("codes", "steps", "tuning_steps", "texts", "length", "scenes", "test_scenes"):
        if getattr(config, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(config, name)}; expected 1 or more.")


def check(root: Path) -> list[str]:
    """Lines on the data below ``root``, and on what is missing.

    Raises:
        UserError: if nothing of it is there.
    """
    lines = [*captions.check(root), *vqa.check(root), *nlvr2.check(root), *snli_ve.check(root)]
    if not lines:
        raise UserError(f"{root} has none of the paper's datasets. Expected there:\n{LAYOUT}")
    return lines
