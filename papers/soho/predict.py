"""Ask a network about a user's image: answers, captions in the order in which they fit, and the codes of its parts.

``make predict PAPER=soho ARGS="--image photo.jpg --questions 'where is it?' --captions 'an owl by the castle' 'a pig by
the wall' --out codes.png"``. The committed networks know the objects and places of the composed scenes alone.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from shared import UserError
from shared.support import annotations
from shared.support.command_line import can_write, command, note
from shared.support.figures import write_figure
from shared.support.images import read_image
from shared.support.weights import load_weights, open_trained_run

from .build import downstream, pretraining
from .config import Config
from .data import classes, vocabulary
from .datasets.images import Image, batch, resized
from .model import Downstream, Pretraining
from .sampling import images
from .visual.embedding import VisualEmbedding
from .visual.trunk import NORMALISATION
from .wordpiece import Vocabulary, wordpiece

WEIGHTS = Path(__file__).parent / "weights"
BEST = 3  # answers that are printed


@dataclass(frozen=True)
class Options:
    """Ask trained networks about an image."""

    image: Path
    """Photo or drawing: JPEG, PNG, WebP or whatever else Pillow reads."""
    questions: tuple[str, ...] = ()
    """Questions to answer, each in quotes."""
    captions: tuple[str, ...] = ()
    """Captions to rank by how well they fit the image, each in quotes."""
    out: Path | None = None
    """PNG to write: the image, and the code of the visual dictionary for each of its parts."""
    run: Path | None = None
    """Folder of a run of pre-training, for captions and codes; default: the committed weights of soho."""
    answers_run: Path | None = None
    """Folder of a run of task vqa, for questions; default: the committed weights of soho-vqa."""
    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Read the image, print answers and the ranked captions, write the picture of the codes."""
    if not (options.questions or options.captions or options.out):
        raise UserError("There is nothing to do: give --questions, --captions or --out.")
    if options.out is not None:
        if options.out.suffix.lower() != ".png":
            raise UserError(f"--out {options.out} is no name of a PNG file; expected one that ends in .png.")
        if options.out.resolve() == options.image.resolve():
            raise UserError(f"--out {options.out} would overwrite the image; give another name.")
    pixels = torch.from_numpy(np.array(read_image(options.image))).permute(2, 0, 1).float() / 255
    answering = questioned(options.answers_run or WEIGHTS / "soho-vqa.json") if options.questions else None
    pretrained = pretrained_network(options.run or WEIGHTS / "soho.json") if options.captions or options.out else None
    if options.out is not None:
        can_write(options.out)
    if answering is not None:
        answer(*answering, pixels, options.questions)
    if pretrained is not None and options.captions:
        rank(*pretrained, pixels, options.captions)
    if pretrained is not None and options.out is not None:
        write_figure(codes(*pretrained, pixels), options.out, dpi=100)
        print(f"Wrote {options.out}.")


def pretrained_network(run: Path) -> tuple[Config, Pretraining]:
    """The network of a run of pre-training. Raises UserError if there is none, or it sees boxes."""
    with open_trained_run(run, "soho", Config) as (_, config, weights):
        if config.task == "pretrain" and not config.regions:
            return config, pretraining(config, vocabulary(config), load_weights(weights)).eval()
    raise UserError(f"{run} is a run of {_kind(config)}; expected pre-training on whole images, such as soho.")


def questioned(run: Path) -> tuple[Config, Downstream, Sequence[str]]:
    """The network of a run of task vqa, and its answers. Raises UserError if there is none, or it sees boxes."""
    with open_trained_run(run, "soho", Config) as (_, config, weights):
        if config.task == "vqa" and not config.regions:
            names = classes(config) if config.data is None else annotations.read(run / "classes.json", tuple)
            return config, downstream(config, vocabulary(config), names, weights=load_weights(weights)).eval(), names
    raise UserError(f"{run} is a run of {_kind(config)}; expected task vqa on whole images, such as soho-vqa.")


def _kind(config: Config) -> str:
    return f"task {config.task}{' on boxes' if config.regions else ''}"


def seen(config: Config, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """A batch of one image (3, H, W) in [0, 1], at the size of training."""
    mean, std = (torch.tensor(x)[:, None, None] for x in NORMALISATION[config.trunk])
    return batch([Image((resized(pixels, config.short_side, config.long_side) - mean) / std)], config.most_boxes)


def encoded(config: Config, texts: Sequence[str]) -> torch.Tensor:
    """Words (N, L) of texts; tells of words that training never showed."""
    words = vocabulary(config)
    told = words.encode(texts, config.length)
    if unknown := _unknown(words, texts):
        note(f"the network never saw the words {', '.join(unknown)} and takes them for one unknown word.")
    return told


def _unknown(words: Vocabulary, texts: Sequence[str]) -> list[str]:
    pieces = {piece for text in texts for piece in wordpiece().tokenize(text)}
    return sorted(piece for piece in pieces if wordpiece().convert_tokens_to_ids(piece) not in words.number)


@torch.no_grad()
def answer(
    config: Config, network: Downstream, names: Sequence[str], pixels: torch.Tensor, questions: Sequence[str]
) -> None:
    """Print the best answers to each question."""
    told = encoded(config, questions)
    scores = network(images(seen(config, pixels)), told, torch.zeros(len(told), 1, dtype=torch.int64)).sigmoid()
    for question, row in zip(questions, scores, strict=True):
        best = row.topk(min(BEST, len(names)))
        found = ", ".join(f"{names[k]} ({p:.2f})" for p, k in zip(best.values, best.indices.tolist(), strict=True))
        print(f"{question}  {found}")


@torch.no_grad()
def rank(config: Config, network: Pretraining, pixels: torch.Tensor, captions: Sequence[str]) -> None:
    """Print the captions, the one that fits best first, with the probability of a match."""
    told = encoded(config, captions)
    of = torch.zeros(len(told), 1, dtype=torch.int64)
    match = network(images(seen(config, pixels)), told, of).match.softmax(-1)[:, 1]
    for k in match.argsort(descending=True).tolist():
        print(f"{match[k]:6.3f}  {captions[k]}")


@torch.no_grad()
def codes(config: Config, network: Pretraining, pixels: torch.Tensor) -> Figure:
    """The image beside the codes of its cells; cells of one code have one colour."""
    assert isinstance(network.soho.visual, VisualEmbedding)
    if network.soho.visual.dictionary is None:
        raise UserError("That run has no dictionary, so that there are no codes to draw; leave out --out.")
    given = seen(config, pixels)
    visual = network.soho.see(images(given))
    assert visual.index is not None
    height, width = given["pixels"].shape[2:]
    cells = network.soho.trunk(given["pixels"]).shape[2] // 2
    index = visual.index[0].view(cells, -1).numpy()
    number = np.unique(index, return_inverse=True)[1].reshape(index.shape)
    figure = Figure(figsize=(9, 4.5 * height / width + 0.4), layout="constrained")
    axes = figure.subplots(1, 2)
    shown = resized(pixels, config.short_side, config.long_side).permute(1, 2, 0).clamp(0, 1).numpy()
    axes[0].imshow(shown)
    axes[1].imshow(shown, extent=(0, shown.shape[1], shown.shape[0], 0), alpha=0.4)
    axes[1].imshow(
        number, extent=(0, width, height, 0), alpha=0.5, cmap=matplotlib.colormaps["tab20"], interpolation="nearest"
    )
    for row, column in np.ndindex(index.shape):
        x, y = (column + 0.5) * width / index.shape[1], (row + 0.5) * height / index.shape[0]
        axes[1].text(x, y, str(index[row, column]), ha="center", va="center", fontsize=8)
    for axis, title in zip(axes, ("image", "codes of the dictionary"), strict=True):
        axis.set(xlim=(0, shown.shape[1]), ylim=(shown.shape[0], 0), title=title)
        axis.set_axis_off()
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {__package__}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
