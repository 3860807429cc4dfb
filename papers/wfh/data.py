"""Corpora of pre-training, and the images and texts of downstream tasks: composed scenes, or the paper's datasets."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from shared import UserError
from shared.loading import cache_file
from shared.offline import cutouts, packs, towers
from shared.offline import scenes as composer
from shared.support.files import write_atomic

from .config import Config
from .datasets import captions, detected, nlvr2, passages, regions, scenes, snli_ve, vqa
from .datasets.regions import Images, Regions, SomeImages, StoredImages
from .datasets.texts import Text
from .sampling.text import Vocabulary

LAYOUT = "\n".join([captions.LAYOUT, detected.LAYOUT, passages.LAYOUT, vqa.LAYOUT, nlvr2.LAYOUT, snli_ve.LAYOUT])
TESTING = {
    "vqa": {"validation": "validation", "test": "test"},
    "nlvr2": {"validation": "dev", "test": "test1"},
    "snli-ve": {"validation": "dev", "test": "test"},
}
"""Name of each task's splits by those of `Config.split`."""
READERS = {"vqa": vqa.read, "nlvr2": nlvr2.read, "snli-ve": snli_ve.read}
STORIES = 4  # composed scenes of a corpus for each passage of running text
MOST_SCENES = 4000  # of a domain, no two of which have the same content


class Corpora(NamedTuple):
    """The corpora of pre-training: images, and captions of other images.

    Attributes:
        images: regions of the image-only corpus.
        captions: of each image of the text-only corpus.
        passages: sentences of running text, a list a passage; empty where there is none.
        paired: images with their captions, of both corpora (paired pre-training alone sees them).
        image_ids, text_ids: names of the images of either corpus; no name is in both.
    """

    images: SomeImages
    captions: list[list[str]]
    passages: list[list[str]]
    paired: "Captions"
    image_ids: list[str]
    text_ids: list[str]


class Captions(NamedTuple):
    """Images and the captions of each; ``named`` (N,) bool: whether the detector knows all of its objects by name."""

    images: Images
    captions: list[list[str]]
    named: np.ndarray | None = None


class Texts(NamedTuple):
    """Images and labelled texts about them."""

    images: Images
    texts: list[Text[int]]


def vocabulary(config: Config) -> Vocabulary:
    """BERT's words, or those of the composed scenes."""
    if config.data is not None:
        return Vocabulary()
    return Vocabulary(None if config.bert else scenes.corpus(), scenes.SEEN)


def class_names(config: Config) -> tuple[Sequence[str], Sequence[str]]:
    """Names of the detector's objects and attributes."""
    if config.data is None:
        return scenes.OBJECT_NAMES, scenes.ATTRIBUTE_NAMES
    return detected.class_names(Path(config.data))


def answers(config: Config) -> Sequence[str]:
    """Names of what a labelled task tells apart."""
    if config.data is None:
        return {"vqa": scenes.ANSWERS, "nlvr2": scenes.TRUTH, "snli-ve": scenes.ENTAILMENT}[config.task]
    if config.task == "vqa":
        return vqa.answers(vqa.read(Path(config.data), "train"))
    return nlvr2.CLASSES if config.task == "nlvr2" else snli_ve.CLASSES


# -- corpora and tasks ------------------------------------------------------------------------------------------------


def corpora(config: Config, cache: Path, seed: int) -> Corpora:
    """Images and captions of disjoint halves; which image is in which half is the seed's.

    Raises:
        UserError: if the data are missing or damaged, or an image is in both corpora.
    """
    passages_: list[list[str]] = []
    if config.data is None:
        stored = stored_scenes(config, cache, "pretrain")
        images: Images = stored.images
        texts, names = stored.captions, [f"scene {k}" for k in range(len(stored.images))]
        passages_ = scenes.stories(config.scenes // STORIES, np.random.default_rng(len(parts(config))))
    else:
        root = Path(config.data)
        found = captions.karpathy(root, "coco", ("train", "restval"))
        texts, names = [x.captions for x in found], [x.name for x in found]
        images = detected.open_images(root, names, config.regions)
        passages_ = passages.read(root)
    order = np.random.default_rng((seed, 2)).permutation(len(names))
    seen, told = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    image_ids, text_ids = ([names[k] for k in part] for part in (seen, told))
    if both := set(image_ids) & set(text_ids):
        raise UserError(f"{len(both)} images are in both corpora, such as {min(both)}; list each image once.")
    return Corpora(
        SomeImages(images, seen), [texts[k] for k in told], passages_, Captions(images, texts), image_ids, text_ids
    )


def captioned(config: Config, cache: Path, split: str, other: bool = False) -> Captions:
    """Images with captions for retrieval.

    Args:
        split: train, validation or test.
        other: test images of the other domain, or of the other dataset.
    """
    if config.data is None:
        part = {"train": "tuning", "validation": "validation", "test": "test"}[split]
        stored = stored_scenes(config, cache, part + ("_b" if other else ""))
        if split == "train" and config.pairs is not None:
            stored = stored.first(config.pairs)
        return Captions(stored.images, stored.captions, stored.named)
    root = Path(config.data)
    which = {"coco": "flickr30k", "flickr30k": "coco"}[config.retrieval_set] if other else config.retrieval_set
    wanted = {"train": ("train", "restval"), "validation": ("val",), "test": ("test",)}[split]
    found = captions.karpathy(root, which, wanted)[: config.pairs if split == "train" else None]
    return Captions(detected.open_images(root, [x.name for x in found], config.regions), [x.captions for x in found])


def texts(config: Config, cache: Path, split: str) -> Texts:
    """Images with the labelled texts of the task; ``split`` is train, validation or test."""
    if config.data is None:
        part = {"train": "tuning", "validation": "validation", "test": "test"}[split]
        stored = stored_scenes(config, cache, part)
        rows = stored.tasks[config.task]
        return Texts(stored.images, [Text(tuple(numbers), text, {answer: 1.0}) for numbers, text, answer, _ in rows])
    root = Path(config.data)
    found = READERS[config.task](root, "train" if split == "train" else TESTING[config.task][split])
    names = sorted({name for text in found for name in text.images})
    number = {name: k for k, name in enumerate(names)}
    numbered = [Text(tuple(number[x] for x in text.images), text.text, text.scores) for text in found]
    return Texts(detected.open_images(root, names, config.regions), numbered)


# -- composed scenes --------------------------------------------------------------------------------------------------


class StoredScenes(NamedTuple):
    """Scenes of one part, with everything that is told about them."""

    images: StoredImages
    captions: list[list[str]]
    objects: list[list[str]]
    named: np.ndarray
    tasks: dict[str, list[scenes.Row]]
    pictures: np.ndarray
    """(N, SIZE, SIZE, 3) uint8."""

    def first(self, count: int) -> "StoredScenes":
        """The first scenes alone, without the labelled texts."""
        stop = self.images.start[: count + 1]
        kept = Regions(**{name: x[: stop[-1]] for name, x in vars(self.images.regions).items()})
        return StoredScenes(
            StoredImages(kept, stop), self.captions[:count], self.objects[:count], self.named[:count], {},
            self.pictures[:count],
        )  # fmt: skip


def parts(config: Config) -> dict[str, tuple[scenes.Domain, int]]:
    """Domain and number of the scenes of each part; the order gives each part a seed of its own."""
    validation = max(2, config.test_scenes // 2)
    return {
        "pretrain": ("both", 2 * config.scenes),
        "tuning": ("a", config.tuning_scenes),
        "validation": ("a", validation),
        "test": ("a", config.test_scenes),
        "validation_b": ("b", validation),
        "test_b": ("b", config.test_scenes),
    }


def stored_file(config: Config, cache: Path) -> Path:
    """The prepared scenes."""
    counts = (config.scenes, config.tuning_scenes, config.test_scenes)
    return cache_file(cache, "scenes.npz", scenes, regions, composer, cutouts, packs, towers, *counts)


def compose(config: Config, path: Path) -> None:
    """Compose all scenes, and compute the features of their regions."""
    content: dict[str, np.ndarray] = {}
    for seed, (part, (domain, count)) in enumerate(parts(config).items()):
        composed = scenes.compose(count, domain, seed)
        rng = np.random.default_rng((seed, 1))
        found = [scenes.detect(scene, rng) for scene in composed]
        pictures = np.stack([scene.image for scene in composed])
        boxes = [x.boxes for x in found]
        fields = {name: np.concatenate([vars(x)[name] for x in found]) for name in vars(found[0])}
        fields["features"] = regions.lite0_features(list(pictures), boxes)
        fields["start"] = np.cumsum([0, *map(len, boxes)])
        fields["pictures"] = pictures
        told = {
            "captions": [scenes.captions(scene, domain, rng) for scene in composed],
            "tasks": scenes.tasks(composed, rng),
            "scenes": [scenes.describe(scene) for scene in composed],
        }
        fields["told"] = np.array(json.dumps(told))
        content |= {f"{part}/{name}": x for name, x in fields.items()}
    mean = content["pretrain/features"].mean(0)
    deviation = content["pretrain/features"].std(0) + 1e-6
    for part in parts(config):
        content[f"{part}/features"] = ((content[f"{part}/features"] - mean) / deviation).astype(np.float32)
    content["mean"], content["deviation"] = mean, deviation
    write_atomic(path, lambda file: np.savez(file, allow_pickle=False, **content))


def stored_scenes(config: Config, cache: Path, part: str) -> StoredScenes:
    """The scenes of a part that `prepare` has stored."""
    with np.load(stored_file(config, cache)) as content:
        own = {name.partition("/")[2]: content[name] for name in content.files if name.startswith(f"{part}/")}
    told = json.loads(str(own.pop("told")))
    pictures, start = own.pop("pictures"), own.pop("start")
    return StoredScenes(
        StoredImages(Regions(**own), start), told["captions"], [x["objects"] for x in told["scenes"]],
        np.array([x["named"] for x in told["scenes"]]), told["tasks"], pictures,
    )  # fmt: skip


def standardisation(config: Config, cache: Path) -> dict[str, Tensor]:
    """``mean`` and ``deviation`` of the scenes' features before they were standardised, (F,) each."""
    with np.load(stored_file(config, cache)) as content:
        return {name: torch.from_numpy(content[name]) for name in ("mean", "deviation")}


# -- what reproduce asks for ------------------------------------------------------------------------------------------


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Compose the scenes and compute features of their regions once for all runs (some minutes), or look at the data.

    Returns: ``{"name", "train", "test", "sha256", "scale"}`` for the results file.

    Raises:
        UserError: if ``config.data`` does not hold what LAYOUT says, or options do not fit together.
    """
    check_options(config)
    if config.data is not None:
        return detected.describe(Path(config.data)) | {"scale": f"{config.layers} layers, {config.steps} steps"}
    path = stored_file(config, cache)
    if not path.exists():
        compose(config, path)
    return {
        "name": "composed scenes of two domains",
        "train": 2 * config.scenes,
        "test": 2 * config.test_scenes,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "scale": f"{config.scenes} scenes without captions and captions of {config.scenes} others, "
        f"{config.pairs} pairs for retrieval, {config.tuning_scenes} scenes for other tasks, {config.test_scenes} test "
        f"scenes a domain in pools of {config.pool}; {config.layers} layers of width {config.width}, "
        f"{config.visual_words} visual words, {config.steps} updates of {config.batch_size}",
    }


def check_options(config: Config) -> None:
    """Raises UserError for options that contradict each other, before anything is trained."""
    if config.width % config.heads:
        raise UserError(f"--width is {config.width}; expected a multiple of --heads, {config.heads}.")
    least = {
        "steps": 1,
        "tuning_steps": 1,
        "validate_every": 1,
        "visual_words": 2,
        "length": 3,
        "pool": 2,
        "regions": 1,
        "batch_size": 2,
    }
    least |= {"scenes": 1, "tuning_scenes": 2, "test_scenes": 2, "validation_queries": 2, "validation_pool": 2}
    for name, value in least.items():
        if getattr(config, name) < value:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(config, name)}; expected {value} or more.")
    if config.data is None and config.features != regions.WIDTH:
        raise UserError(f"--features is {config.features}; composed scenes have {regions.WIDTH}.")
    if config.data is None and config.scenes // STORIES < config.batch_size:
        raise UserError(f"--scenes is {config.scenes}; expected {STORIES} times --batch-size or more.")
    if config.data is None and config.test_scenes > MOST_SCENES:
        raise UserError(f"--test-scenes is {config.test_scenes}; there are no more than {MOST_SCENES:,} of them.")
    if config.passage_length < 5:
        raise UserError(f"--passage-length is {config.passage_length}; expected 5 or more.")
    by_captions = not config.stop_gradient and (config.word_weight or config.match_weight)
    if config.objective == "wfh" and not (config.tag_weight or by_captions):
        raise UserError("Nothing trains the hallucinator: --tag-weight is 0; try --no-stop-gradient.")


def check(root: Path) -> list[str]:
    """Lines on the data below ``root``, and on what is missing.

    Raises:
        UserError: if nothing of it is there.
    """
    found = (module.check(root) for module in (detected, captions, passages, vqa, nlvr2, snli_ve))
    lines = [line for part in found for line in part]
    if not lines:
        raise UserError(f"{root} has none of the paper's datasets. Expected there:\n{LAYOUT}")
    return lines
