"""Retrieval within a domain and across, accuracies, what hallucinations hold, and the figures."""

import json
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

from shared.run import Run
from shared.support.figures import write_figure
from shared.support.files import write_atomic
from shared.support.weights import load_weights

from .build import downstream, pretraining
from .config import Config
from .data import answers, captioned, class_names, corpora, stored_scenes, texts, vocabulary
from .datasets import scenes
from .figures import bars, strips, told_scenes
from .hallucination.gallery import cropped, hallucinate
from .hallucination.hallucinator import Hallucinator
from .pretraining import WeaklySupervised
from .sampling.samples import Encoder, collate, sources
from .sampling.text import Vocabulary
from .scoring import accuracy, chance, recalls, retrieval_ranks, text_scores
from .train import pretraining_steps

WORDS = ("crow", "pigeon", "strawberry", "violin", "hammer", "rose", "squirrel", "dog", "tiger", "airplane", "mushroom")
"""Words whose hallucinations are drawn; those before "dog" are beyond the detector's vocabulary."""
SHOWN = 6  # regions nearest to a hallucination
DRAWN = 4  # scenes in the figure of the data


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Measure a finished run; what the main process returns counts.

    Returns: of retrieval the recalls at 1, 5 and 10 of texts (tr) and images (ir) and their sum, of the own domain and,
        with ``other_``, of the one that was not trained on; of scenes also the sum of chance, and the sums over queries
        of whose objects the detector knows all by name (``named_``) and not all (``unnamed_``). Of other tasks the
        accuracy. Of pre-training the compute, and how near hallucinations are to their objects.
    """
    if config.task == "pretrain":
        return pretraining_metrics(config, run)  # by every process: losses look at the batches of all
    if not run.accelerator.is_main_process:
        return {}
    return retrieval_metrics(config, run) if config.task == "retrieval" else task_metrics(config, run)


def retrieval_metrics(config: Config, run: Run) -> dict[str, float]:
    words = vocabulary(config)
    encoder = Encoder(config, words, class_names(config))
    network = downstream(config, words, None, weights=load_weights(run.weights)).to(run.device)
    found: dict[str, float] = {}
    by_name: dict[bool, list[tuple[np.ndarray, np.ndarray]]] = {True: [], False: []}
    for prefix, other in (("", False), ("other_", True)):
        pairs = captioned(config, run.cache, config.split, other)
        texts_each = 1 if config.data is None else None
        measured = retrieval_ranks(network, pairs, config.pool, encoder, run.device, texts_each)
        text_ranks, images, image_ranks, images_of_texts = measured
        found |= {f"{prefix}{name}": x for name, x in recalls(text_ranks, image_ranks).items()}
        if pairs.named is not None:
            found["chance_rsum_percent"] = chance(min(config.pool, len(pairs.images)))
            for named, kept in by_name.items():
                kept.append(
                    (text_ranks[pairs.named[images] == named], image_ranks[pairs.named[images_of_texts] == named])
                )
    for named, ranks in by_name.items():
        both = [np.concatenate(x) for x in zip(*ranks, strict=True)]
        if both and all(map(len, both)):
            found["named_rsum_percent" if named else "unnamed_rsum_percent"] = recalls(*both)["rsum_percent"]
    return found


def task_metrics(config: Config, run: Run) -> dict[str, float]:
    words, names = vocabulary(config), answers(config)
    encoder = Encoder(config, words, class_names(config))
    network = downstream(config, words, names, weights=load_weights(run.weights)).to(run.device)
    found = texts(config, run.cache, config.split)
    numbers = range(len(found.texts))
    scores = text_scores(network, found, numbers, encoder, run.device)
    return {"accuracy_percent": accuracy(scores, found, numbers, names)}


# -- pre-training -----------------------------------------------------------------------------------------------------


def pretraining_metrics(config: Config, run: Run) -> dict[str, float]:
    words = vocabulary(config)
    model = pretraining(config, words, weights=load_weights(run.weights)).to(run.device)
    found = {"compute_tflop": compute(config, run, model, words)}
    if run.accelerator.is_main_process and config.data is None and model.hallucinator is not None:
        found |= hallucination_metrics(config, run, model.hallucinator.cpu(), words)
    return found


def compute(config: Config, run: Run, model: WeaklySupervised, words: Vocabulary) -> float:
    """Floating-point operations (1e12) of the matrix products of the whole pre-training, forward and backward."""
    corpus = sources(config, corpora(config, run.cache, run.seed), Encoder(config, words, class_names(config)))
    total, batches = 0.0, 0
    for kind, source in corpus.items():
        rng = np.random.default_rng(0)
        samples = collate([source.sample(k, rng) for k in range(min(config.batch_size, len(source)))])
        batch = {name: x.to(run.device) for name, x in samples.items() if name != "name"}
        share = len(source) // config.batch_size
        for weight, hallucinating in ((config.hallucinator_warmup, False), (1 - config.hallucinator_warmup, True)):
            with FlopCounterMode(display=False) as counter:
                torch.stack(list(model.train()(kind, batch, hallucinating).values())).sum().backward()
            total += share * weight * counter.get_total_flops()
        batches += share
    return pretraining_steps(config) * total / batches / 1e12


def hallucination_metrics(config: Config, run: Run, hallucinator: Hallucinator, words: Vocabulary) -> dict[str, float]:
    """Compare the hallucination of every object's name in held-out captions with the region of that object.

    Returns: mean cosine with the region itself, and with that of another scene's object; share of the hallucinations
        that are nearest to the mean region of their own object among those of all, and to one with the same tag.
    """
    own: list[float] = []
    others: list[float] = []
    correct: list[bool] = []
    same_tag: list[bool] = []
    used: set[int] = set()
    names, means = prototypes(config, run)
    for part in (config.split, f"{config.split}_b"):
        stored = stored_scenes(config, run.cache, part)
        for k in range(len(stored.images)):
            found = hallucinate(hallucinator, words, stored.captions[k][k % 2], config.length)
            elsewhere = stored.images[(k + 1) % len(stored.images)].features
            for region, name in enumerate(stored.objects[k]):
                pieces = words.split(name)
                at = [i for i, piece in enumerate(found.pieces) if piece in pieces]
                mean = found.features[at].mean(0)
                own.append(cosine(mean, stored.images[k].features[region]))
                others.append(cosine(mean, elsewhere[region % (len(elsewhere) - 1)]))
                best = names[int(np.argmax([cosine(mean, x) for x in means]))]
                correct.append(best == name)
                same_tag.append(scenes.BY_NAME[best].tag == scenes.BY_NAME[name].tag)
                used |= {int(i) for i in found.weights[at].argmax(1)} if found.weights.shape[1] else set()
    save_strips(config, run, hallucinator, words)
    measured = {
        "hallucination_cosine": float(np.mean(own)),
        "hallucination_other_cosine": float(np.mean(others)),
        "hallucination_object_percent": 100 * float(np.mean(correct)),
        "hallucination_tag_percent": 100 * float(np.mean(same_tag)),
    }
    return measured | ({"visual_words_used": float(len(used))} if used else {})


def prototypes(config: Config, run: Run) -> tuple[list[str], np.ndarray]:
    """Names of the objects, and the mean feature of the regions of each in the image-only corpus."""
    stored = stored_scenes(config, run.cache, "pretrain")
    regions: dict[str, list[np.ndarray]] = {}
    for k in corpora(config, run.cache, run.seed).images.numbers.tolist():
        for region, name in enumerate(stored.objects[k]):
            regions.setdefault(name, []).append(stored.images[k].features[region])
    return list(regions), np.stack([np.mean(x, 0) for x in regions.values()])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9))


def save_strips(config: Config, run: Run, hallucinator: Hallucinator, words: Vocabulary) -> None:
    """Keep the pictures of the training regions nearest to the hallucinations of some words, for the figures."""
    stored, seen = stored_scenes(config, run.cache, "pretrain"), corpora(config, run.cache, run.seed).images.numbers
    boxes = [(k, box) for k in seen.tolist() for box in stored.images[k].boxes]
    features = np.concatenate([stored.images[k].features for k in seen.tolist()])
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    rows = []
    for word in WORDS:
        found = hallucinate(hallucinator, words, f"a photo of a {word}", config.length)
        nearest = np.argsort(-(features @ found.features[-1]))[:SHOWN]
        rows.append([cropped(stored.pictures[boxes[r][0]], boxes[r][1], 64) for r in nearest.tolist()])
    shown = {"strips": np.array(rows), "scenes": stored.pictures[:DRAWN], "captions": np.array(
        [stored.captions[k][0] for k in range(DRAWN)]), "tags": np.array([", ".join(
            scenes.OBJECT_NAMES[x] for x in stored.images[k].objects) for k in range(DRAWN)])}  # fmt: skip
    write_atomic(run.folder / "shown.npz", lambda file: np.savez_compressed(file, allow_pickle=False, **shown))


# -- figures ----------------------------------------------------------------------------------------------------------


def figures(runs: dict[tuple[str, int], Path], folder: Path) -> None:
    """Draw what finished runs left: visual words, scenes, and the sums of recalls."""
    metrics: dict[str, dict[int, dict[str, float]]] = {}
    for (variant, seed), run in runs.items():
        result = run / "result.json"
        if result.exists():
            metrics.setdefault(variant, {})[seed] = json.loads(result.read_text())["metrics"]
    drawn: dict[str, Figure] = {}
    if retrieval := {name: rows for name, rows in metrics.items() if name.endswith("-retrieval")}:
        drawn["retrieval"] = bars(retrieval)
    shown = next((run / "shown.npz" for (variant, _), run in runs.items() if variant == "wfh"), None)
    if shown is not None and shown.exists():
        with np.load(shown) as content:
            tags = {name: thing.tag for name, thing in scenes.BY_NAME.items() if thing.tag != name}
            named = [f"{word} (tag: {tags[word]})" if word in tags else word for word in WORDS]
            drawn["words"] = strips(content["strips"], named)
            drawn["scenes"] = told_scenes(content["scenes"], content["captions"].tolist(), content["tags"].tolist())
    for name, figure in drawn.items():
        write_figure(figure, folder / f"{name}.png", dpi=110)
