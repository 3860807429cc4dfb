"""Rank captions for an image and images for a caption, and show the visual words that a caption hallucinates.

``make predict PAPER=wfh ARGS="--images a.jpg b.jpg --captions 'a crow in front of the castle' --out words.png"`` prints
how well each caption fits each image, and draws the regions nearest to the visual words of each caption.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from shared import UserError
from shared.support.command_line import can_write, command, note
from shared.support.figures import write_figure
from shared.support.images import read_image
from shared.support.weights import committed_weights, load_weights, open_trained_run, weights_file

from .build import downstream, pretraining
from .config import Config
from .data import Captions, class_names, vocabulary
from .datasets.regions import Regions, lite0_features
from .hallucination.gallery import FILE, SHOWN, SIZE, hallucinate
from .hallucination.hallucinator import Hallucinator
from .model import Downstream
from .sampling.samples import Encoder
from .sampling.text import Vocabulary, wordpiece
from .scoring import pair_scores

WEIGHTS = Path(__file__).parent / "weights"
BOXES = ((0, 0, 0.6, 0.6), (0.4, 0, 1, 0.6), (0, 0.4, 0.6, 1), (0.4, 0.4, 1, 1), (0, 0, 1, 1))
"""Regions of a user's image: overlapping quarters and the whole, xyxy in 0..1."""
BEST = 3  # visual words of a word that are shown


@dataclass(frozen=True)
class Options:
    """Rank captions for images and images for captions, and show what the captions hallucinate."""

    captions: tuple[str, ...]
    """Captions to rank or to show, such as "a crow in front of the castle"."""
    images: tuple[Path, ...] = ()
    """Photos: JPEG, PNG, WebP or whatever else Pillow reads."""
    out: Path | None = None
    """PNG file for the visual words of the captions."""
    run: Path | None = None
    """Folder of a run of retrieval, or the .json beside committed weights; default: the weights of this folder."""
    words_run: Path | None = None
    """Folder of a run of pre-training with a visual vocabulary, or such a .json; default: as above."""
    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Print the ranking of captions for each image and of images for each caption, draw visual words."""
    if not options.captions:
        raise UserError("There is nothing to do: give --captions.")
    if not (options.images or options.out):
        raise UserError("There is nothing to do: give --images, --out or both.")
    if options.out is not None:
        if options.out.suffix.lower() != ".png":
            raise UserError(f"--out {options.out} is no name of a PNG file; expected one that ends in .png.")
        if options.out.resolve() in [path.resolve() for path in options.images]:
            raise UserError(f"--out {options.out} would overwrite an image; give another name.")
    pictures = [np.array(read_image(path, "--images")) for path in options.images]
    words = trained_words(options.words_run or WEIGHTS / "wfh.json")
    ranking = trained_ranking(options.run or WEIGHTS / "wfh-retrieval.json") if pictures else None
    if ranking is not None and ranking[0].scenes != words.config.scenes:
        raise UserError(
            f"--run and --words-run know {ranking[0].scenes} and {words.config.scenes} scenes; expected the same data."
        )
    if options.out is not None:
        can_write(options.out)
    tell_unknown(words.vocabulary, options.captions)
    if ranking is not None:
        rank(*ranking, words, pictures, options)
    if options.out is not None:
        write_figure(strip(words, options.captions), options.out, dpi=120)
        print(f"Wrote {options.out}.")


@dataclass(frozen=True)
class Words:
    """A trained hallucinator, and how its visual words look."""

    config: Config
    vocabulary: Vocabulary
    hallucinator: Hallucinator
    objects: Tensor
    """(K,) the object that the detector found most often for each visual word; -1: none."""
    pictures: Tensor
    """(K, n, H, W, 3) uint8, regions nearest to each."""
    mean: np.ndarray
    deviation: np.ndarray
    """(F,) of features before they were standardised."""


def trained_words(run: Path) -> Words:
    """The hallucinator of a run of pre-training on composed scenes, with the pictures of its visual words.

    Raises:
        UserError: if there is no such run, it is damaged, or it has no visual vocabulary.
    """
    with open_trained_run(run, "wfh", Config) as (variant, config, weights):
        if config.data is not None:
            raise UserError(f"{run} was trained on region features of {config.data}; there are no pictures of these.")
        if config.task == "pretrain" and config.objective == "wfh" and config.vocabulary != "none":
            known = vocabulary(config)
            hallucinator = pretraining(config, known, weights=load_weights(weights)).hallucinator
            assert hallucinator is not None
            path = committed_weights(run, FILE) if run.suffix == ".json" else weights_file(run, FILE)
            with open_trained_run(run, "wfh", Config, FILE):
                shown = load_weights(path)
                count, width = config.visual_words, (config.features,)
                expected = {"objects": (count,), "pictures": (count, SHOWN, SIZE, SIZE, 3)}
                expected |= {"mean": width, "deviation": width}
                for name, shape in expected.items():
                    if shown[name].shape != shape:
                        raise ValueError(f"{name} is {tuple(shown[name].shape)}; expected {shape}")
                return Words(
                    config, known, hallucinator.eval(), shown["objects"], shown["pictures"], shown["mean"].numpy(),
                    shown["deviation"].numpy(),
                )  # fmt: skip
    raise UserError(f"{run} is the run {variant}; expected pre-training with a visual vocabulary, such as wfh.")


def trained_ranking(run: Path) -> tuple[Config, Downstream]:
    """The network of a run of retrieval among composed scenes. Raises UserError if there is none."""
    with open_trained_run(run, "wfh", Config) as (variant, config, weights):
        if config.task == "retrieval" and config.data is None:
            return config, downstream(config, vocabulary(config), None, weights=load_weights(weights)).eval()
    raise UserError(f"{run} is the run {variant}; expected retrieval among composed scenes, such as wfh-retrieval.")


def tell_unknown(known: Vocabulary, captions: Sequence[str]) -> None:
    """Name the words that training never showed."""
    pieces = {piece for text in captions for piece in wordpiece().tokenize(text)}
    unknown = sorted(piece for piece in pieces if wordpiece().convert_tokens_to_ids(piece) not in known.number)
    if unknown:
        note(f"the network never saw the words {', '.join(unknown)} and takes them for one unknown word.")


def regions_of(pictures: Sequence[np.ndarray], words: Words) -> list[Regions]:
    """Regions of images without a detector: fixed boxes, with the tag of the nearest visual word."""
    boxes = np.array(BOXES, np.float32)
    raw = lite0_features(pictures, [boxes] * len(pictures))
    features = ((raw - words.mean) / words.deviation).astype(np.float32)
    nearest = words.hallucinator.nearest(torch.from_numpy(features)[None])[0]
    whole = class_names(words.config)[0].index("background")
    objects = np.array([whole if k < 0 else k for k in words.objects[nearest].tolist()])
    count = len(boxes)
    return [
        Regions(
            features[own], boxes, objects[own], np.ones(count, np.float32), np.zeros(count, np.int64),
            np.zeros(count, np.float32),
        )
        for own in (slice(k * count, (k + 1) * count) for k in range(len(pictures)))
    ]  # fmt: skip


def rank(config: Config, network: Downstream, words: Words, pictures: Sequence[np.ndarray], options: Options) -> None:
    """Print the captions of each image and the images of each caption, the best first."""
    encoder = Encoder(config, vocabulary(config), class_names(config))
    pairs = Captions(regions_of(pictures, words), [])
    scores = pair_scores(network, pairs, range(len(pictures)), options.captions, encoder, torch.device("cpu"))
    match = 1 / (1 + np.exp(-scores))
    for k, path in enumerate(options.images):
        print(path)
        for text in np.argsort(-match[:, k], kind="stable").tolist():
            print(f"{match[text, k]:6.3f}  {options.captions[text]}")
    if len(options.images) > 1:
        for text, caption in enumerate(options.captions):
            print(caption)
            for k in np.argsort(-match[text], kind="stable").tolist():
                print(f"{match[text, k]:6.3f}  {options.images[k]}")


def strip(words: Words, captions: Sequence[str]) -> Figure:
    """A row for each name of a thing in the captions: regions nearest to its most likely visual words."""
    names = class_names(words.config)[0]
    rows: list[tuple[str, list[int], list[float]]] = []
    for caption in captions:
        found = hallucinate(words.hallucinator, words.vocabulary, caption, words.config.length)
        pieces = wordpiece().convert_ids_to_tokens([words.vocabulary.pieces[piece] for piece in found.pieces])
        for piece, weights in zip(pieces, found.weights, strict=True):
            best = np.argsort(-weights)[:BEST]
            rows.append((piece, best.tolist(), weights[best].tolist()))
    if not rows:
        raise UserError("--captions name nothing that is hallucinated; name an object of the scenes, such as a crow.")
    shown = words.pictures.shape[1]
    figure = Figure(figsize=(0.55 * BEST * shown + 1.5, 0.75 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), BEST, squeeze=False)
    for row, (piece, chosen, shares) in zip(axes, rows, strict=True):
        for axis, word, weight in zip(row, chosen, shares, strict=True):
            axis.imshow(np.concatenate(list(words.pictures[word].numpy()), 1))
            axis.set(xticks=[], yticks=[])
            called = names[int(words.objects[word])] if words.objects[word] >= 0 else "no region"
            axis.set_title(f"{weight:.2f}, tag {called}", fontsize=7)
        row[0].set_ylabel(piece, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {__package__}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
