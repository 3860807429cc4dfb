"""Metrics of a trained stage: nouns, retrieval, the dictionary; answers of downstream tasks; latencies."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.run import Run
from shared.support.files import write_atomic
from shared.support.weights import load_weights

from .build import code_count, downstream, pretraining
from .config import Config
from .data import Texts, captioned, classes, scene_arrays, scene_texts, texts, vocabulary
from .datasets import scenes
from .datasets.images import Image, Source, batch
from .datasets.texts import by_images
from .figures import figures
from .metrics import fold_recalls, normalised_information, perplexity, purity, ranks, soft_score
from .model import SOHO, Downstream, Pretraining
from .sampling import images, targets
from .speed import latencies
from .visual.dictionary import mask_codes
from .visual.embedding import Visual, VisualEmbedding
from .wordpiece import Vocabulary

__all__ = ["evaluate", "figures"]
IMAGES = 64  # scenes that go through the network together; photographs one by one, as their sizes differ
ROWS = 512  # pairs of image and text that go through the Transformer together
QUERIES = 200  # of retrieval among scenes
FOLDS = {"coco": 5, "flickr30k": 1}
SHOWN = 4  # questions' images in the figures
CODES, PATCHES = 12, 10  # codes in the figures, and patches of each


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Metrics of a trained stage on the main process; leaves ``shown.npz`` for the figures."""
    if not run.accelerator.is_main_process:
        return {}
    match config.task:
        case "speed":
            return latencies(config)
        case "pretrain":
            return {} if config.data else pretraining_metrics(config, run)
        case "retrieval":
            return retrieval_metrics(config, run)
        case _:
            return task_metrics(config, run)


# -- what networks make of images and texts ---------------------------------------------------------------------------


@torch.no_grad()
def see(config: Config, soho: SOHO, source: Source, device: torch.device) -> list[Visual]:
    """The visual embeddings of every image, (1, P, c) each, on the CPU."""
    size, found = 1 if config.data else IMAGES, []
    for first in range(0, len(source), size):
        part = [source.image(k) for k in range(first, min(first + size, len(source)))]
        visual = soho.see(images(on(device, batch(part, config.most_boxes)), config.blind))
        found += [visual.at(torch.tensor([k], device=device)).to("cpu") for k in range(len(part))]
    return found


def on(device: torch.device, found: dict[str, Any]) -> dict[str, Any]:
    return {name: x.to(device) if isinstance(x, Tensor) else x for name, x in found.items()}


def joined(visuals: Sequence[Visual], device: torch.device) -> Visual:
    """Images of the same size as one batch."""
    return Visual.cat(visuals).to(device)


@torch.no_grad()
def match_scores(network: Pretraining | Downstream, visual: Visual, words: Tensor) -> Tensor:
    """log P(match) of R images, or of one image, with words (R, L): (R,)."""
    found = []
    for part in torch.arange(len(words)).split(ROWS):
        rows = part if len(visual.real) > 1 else torch.zeros_like(part)
        chosen = words[part].to(visual.embedding.device)
        of = rows.to(chosen.device)
        if isinstance(network, Pretraining):
            logits = network.score(visual.at(of), chosen).match
        else:
            logits = network.score(visual, chosen, of[:, None])
        found.append(logits.float().log_softmax(-1)[:, 1].cpu())
    return torch.cat(found)


# -- pre-training -----------------------------------------------------------------------------------------------------


def pretraining_metrics(config: Config, run: Run) -> dict[str, float]:
    """Metrics of pre-training on scenes that no training saw.

    ``noun_percent``: a caption's noun, masked, is found (objects and places; ``noun_shuffled_percent``: with the image
    of another scene). ``tr1_percent`` and so on: retrieval by matching among the candidates. With a dictionary:
    ``codes_used``, ``perplexity``, ``purity_percent``, ``information_percent`` of codes about objects, and
    ``code_percent``, masked codes that are found.
    """
    words = vocabulary(config)
    network = pretraining(config, words, load_weights(run.weights)).to(run.device).eval()
    found = captioned(config, run.cache, config.split)
    visuals = joined(see(config, network.soho, found.source, run.device), run.device)
    metrics = noun_metrics(config, run, network, visuals, words)
    metrics |= candidate_recalls(config, network, visuals, found.captions, words)
    if visuals.index is not None:
        metrics |= dictionary_metrics(config, run, network, visuals)
        metrics |= masked_code_metrics(config, network, visuals, found.captions, words)
    return metrics


@torch.no_grad()
def noun_metrics(
    config: Config, run: Run, network: Pretraining, visuals: Visual, words: Vocabulary
) -> dict[str, float]:
    """See :func:`pretraining_metrics`."""
    rows = [
        (k, caption, noun)
        for k, nouns in enumerate(scene_texts(config, run.cache, config.split)["nouns"])
        for caption, noun in nouns
    ]
    of = torch.tensor([k for k, _, _ in rows])
    told = words.encode([caption for _, caption, _ in rows], config.length)
    truth = words.encode([noun for _, _, noun in rows], 3)[:, 1]
    masked = told == truth[:, None]
    is_place = torch.tensor([noun in scenes.PLACES for _, _, noun in rows])
    metrics = {}
    for name, shift in (("noun", 0), ("noun_shuffled", len(visuals.real) // 2)):
        right = []
        for part in torch.arange(len(rows)).split(ROWS):
            seen = visuals.at(((of[part] + shift) % len(visuals.real)).to(run.device))
            shown = told[part].masked_fill(masked[part], words.mask).to(run.device)
            predicted = network.score(seen, shown).words.argmax(-1).cpu()
            right.append(predicted[masked[part]] == truth[part])
        correct = torch.cat(right).float()
        metrics[f"{name}_percent"] = 100 * correct.mean().item()
        metrics[f"{name}_object_percent"] = 100 * correct[~is_place].mean().item()
        metrics[f"{name}_place_percent"] = 100 * correct[is_place].mean().item()
    return metrics


def candidate_recalls(
    config: Config, network: Pretraining | Downstream, visuals: Visual, captions: list[list[str]], words: Vocabulary
) -> dict[str, float]:
    """Recall in percent among fixed candidates, one of which is right, for ``QUERIES`` images and as many captions."""
    rng = np.random.default_rng(0)
    count, queries = len(visuals.real), min(QUERIES, len(visuals.real))
    others = np.stack([rng.permutation(count - 1)[: config.candidates - 1] for _ in range(queries)])
    candidates = torch.from_numpy((np.arange(queries)[:, None] + 1 + others) % count)
    candidates = torch.cat([torch.arange(queries)[:, None], candidates], 1)
    told = words.encode([of_image[0] for of_image in captions], config.length)
    own = torch.arange(queries)[:, None].expand_as(candidates)
    metrics: dict[str, float] = {}
    for name, image_of, text_of in (("tr", own, candidates), ("ir", candidates, own)):
        visual = visuals.at(image_of.flatten().to(visuals.real.device))
        scores = match_scores(network, visual, told[text_of.flatten()]).view(candidates.shape)
        metrics |= {f"{name}{k}_percent": x for k, x in ranks(scores).items()}
    return metrics


def dictionary_metrics(config: Config, run: Run, network: Pretraining, visuals: Visual) -> dict[str, float]:
    """See :func:`pretraining_metrics`; keeps patches of the most frequent codes."""
    assert visuals.index is not None
    index, arrays = visuals.index.cpu(), scene_arrays(config, run.cache, config.split)
    content = torch.from_numpy(arrays["content"]).flatten(1).long()
    kinds = len(scenes.OBJECT_NAMES) + 1
    keep_patches(config, run, index, content, arrays["images"])
    of_objects = content > 0
    chosen = (index[of_objects], content[of_objects], kinds, code_count(config))
    elsewhere = index.roll(len(index) // 2, 0)[of_objects]
    return {
        "codes_used": float(len(index.unique())),
        "perplexity": perplexity(index, code_count(config)),
        "purity_percent": 100 * purity(*chosen),
        "purity_shuffled_percent": 100 * purity(elsewhere, *chosen[1:]),
        "information_percent": 100 * normalised_information(*chosen),
    }


def keep_patches(config: Config, run: Run, index: Tensor, content: Tensor, pictures: np.ndarray) -> None:
    """``shown.npz``: patches (CODES, PATCHES, h, w, 3) of codes, and how often each code occurs.

    Half of them are the most frequent codes of all positions, half those of positions that show an object.
    """
    side = scenes.SIZE // scenes.CELLS
    counts = torch.bincount(index.flatten(), minlength=code_count(config))
    of_objects = torch.bincount(index[content > 0], minlength=code_count(config))
    frequent = counts.argsort(descending=True, stable=True)[: CODES // 2].tolist()
    codes = frequent + [k for k in of_objects.argsort(descending=True, stable=True).tolist() if k not in frequent]
    patches = np.full((CODES, PATCHES, side, side, 3), 255, np.uint8)
    for row, code in enumerate(codes[:CODES]):
        places = (index == code).nonzero()
        for column, (image, cell) in enumerate(places[:: max(1, len(places) // PATCHES)][:PATCHES].tolist()):
            top, left = side * (cell // scenes.CELLS), side * (cell % scenes.CELLS)
            patches[row, column] = pictures[image, top : top + side, left : left + side]
    kept = {"patches": patches[: len(codes)], "counts": counts[codes[:CODES]].numpy(), "codes": np.array(codes[:CODES])}
    write_atomic(run.folder / "shown.npz", lambda file: np.savez_compressed(file, allow_pickle=False, **kept))


@torch.no_grad()
def masked_code_metrics(
    config: Config, network: Pretraining, visuals: Visual, captions: list[list[str]], words: Vocabulary
) -> dict[str, float]:
    """``code_percent``: codes that are found again at one masked position, an image each.

    Masked are all positions of the code, or that position alone, as in the training of the variant;
    ``code_frequent_percent`` is the share of the most frequent code, for comparison.
    """
    assert visuals.index is not None and isinstance(network.soho.visual, VisualEmbedding)
    device, count = visuals.real.device, len(visuals.real)
    told = words.encode([of_image[0] for of_image in captions], config.length).to(device)
    positions = torch.from_numpy(np.random.default_rng(0).integers(visuals.index.shape[1], size=count))
    chosen = torch.ones(1, dtype=torch.bool, device=device)
    metrics = {}
    for name, grouped in (("code", True), ("code_single", False)):
        labels = torch.cat(
            [
                mask_codes(
                    visuals.index[k : k + 1], visuals.real[k : k + 1], position.to(device), chosen, grouped=grouped
                )
                for k, position in enumerate(positions)
            ]
        )
        right = []
        for part in torch.arange(count, device=device).split(ROWS):
            visual = visuals.at(part)
            predicted = network.score(visual, told[part], labels[part]).codes
            assert predicted is not None
            rows = torch.arange(len(part), device=device)
            at = positions.to(device)[part]
            right.append(predicted[rows, at].argmax(-1) == visuals.index[part, at])
        metrics[f"{name}_percent"] = 100 * torch.cat(right).float().mean().item()
    share = torch.bincount(visuals.index.flatten()).max() / visuals.index.numel()
    return metrics | {"code_frequent_percent": 100 * share.item()}


# -- downstream tasks -------------------------------------------------------------------------------------------------


def retrieval_metrics(config: Config, run: Run) -> dict[str, float]:
    """Recall of fine-tuned matching: among candidates (scenes), or by the published protocols (photographs)."""
    words = vocabulary(config)
    network = downstream(config, words, classes(config), weights=load_weights(run.weights)).to(run.device).eval()
    found = captioned(config, run.cache, config.split)
    visuals = see(config, network.soho, found.source, run.device)
    if config.data is None:
        return candidate_recalls(config, network, joined(visuals, run.device), found.captions, words)
    told = words.encode([caption for of_image in found.captions for caption in of_image], config.length)
    image_of = torch.tensor([k for k, of_image in enumerate(found.captions) for _ in of_image])
    scores = torch.stack([match_scores(network, visual.to(run.device), told) for visual in visuals])
    whole = fold_recalls(scores, image_of, 1)
    folds = FOLDS[config.retrieval_set]
    parts = fold_recalls(scores, image_of, folds) if folds > 1 and len(scores) >= folds else {}
    return whole | {f"{folds}fold_{name}": x for name, x in parts.items()}


def task_metrics(config: Config, run: Run) -> dict[str, float]:
    """Scores of a task in percent: of all texts, by kind, and with the images of other texts (``shuffled``).

    Questions about scenes are also averaged by what they ask for: inside the boxes of objects, or outside;
    ``background_percent`` leaves out the empty side, which coordinates of boxes tell as well. ``unseen_percent`` are
    questions about scenes of objects that no training scene shows.
    """
    words, names = vocabulary(config), classes(config)
    network = downstream(config, words, names, weights=load_weights(run.weights)).to(run.device).eval()
    found = texts(config, run.cache, config.split)
    logits = answered(config, network, found, words, run.device)
    target = targets(found.texts, names)
    score = 100 * soft_score(logits, target)
    metrics = {"accuracy_percent": score.mean().item()}
    by_kind: dict[str, list[float]] = defaultdict(list)
    for text, x in zip(found.texts, score.tolist(), strict=True):
        by_kind[text.kind].append(x)
    metrics |= {f"{kind.replace(' ', '_')}_percent": float(np.mean(x)) for kind, x in by_kind.items() if kind}
    if config.data is None:
        others = answered(config, network, Texts(Shuffled(found.source), found.texts), words, run.device)
        metrics["shuffled_percent"] = 100 * soft_score(others, target).mean().item()
    if config.data is None and config.task == "vqa":
        groups = (("inside", scenes.INSIDE), ("outside", scenes.OUTSIDE), ("background", scenes.BACKGROUND))
        for name, kinds in groups:
            metrics[f"{name}_percent"] = float(np.mean([x for kind in kinds for x in by_kind[kind]]))
        unseen = texts(config, run.cache, "unseen")
        about = answered(config, network, unseen, words, run.device)
        metrics["unseen_percent"] = 100 * soft_score(about, targets(unseen.texts, names)).mean().item()
        keep_answers(config, run, found, [names[k] for k in logits.argmax(1)])
    return metrics


class Shuffled:
    """The images of another text, for the control."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def image(self, index: int, rng: np.random.Generator | None = None) -> Image:
        return self.source.image((index + len(self.source) // 2) % len(self.source))


@torch.no_grad()
def answered(config: Config, network: Downstream, found: Texts, words: Vocabulary, device: torch.device) -> Tensor:
    """Logits (N, classes) of the texts, in their order, on the CPU."""
    number = {id(text): k for k, text in enumerate(found.texts)}
    groups = by_images(found.texts)
    logits = torch.zeros(0)
    for first in range(0, len(groups), 1 if config.data else IMAGES // 2):
        chosen = groups[first : first + (1 if config.data else IMAGES // 2)]
        part = batch([found.source.image(k) for group in chosen for k in group[0].images], config.most_boxes)
        each = len(chosen[0][0].images)
        of = torch.tensor([[each * k + j for j in range(each)] for k, group in enumerate(chosen) for _ in group])
        told = words.encode([text.text for group in chosen for text in group], config.length).to(device)
        scored = network(images(on(device, part), config.blind), told, of.to(device)).float().cpu()
        logits = logits if len(logits) else torch.zeros(len(found.texts), scored.shape[1])
        logits[[number[id(text)] for group in chosen for text in group]] = scored
    return logits


def keep_answers(config: Config, run: Run, found: Texts, given: list[str]) -> None:
    """``shown.npz``: the first images with their questions, right answers, given answers, and kinds."""
    rows = [k for k, text in enumerate(found.texts) if text.images[0] < SHOWN]
    chosen = [found.texts[k] for k in rows]
    kept = {
        "images": scene_arrays(config, run.cache, config.split)["images"][:SHOWN],
        "of": np.array([text.images[0] for text in chosen]),
        "questions": np.array([text.text for text in chosen]),
        "right": np.array([next(iter(text.scores)) for text in chosen]),
        "given": np.array([given[k] for k in rows]),
        "kinds": np.array([text.kind for text in chosen]),
    }
    write_atomic(run.folder / "shown.npz", lambda file: np.savez_compressed(file, allow_pickle=False, **kept))
