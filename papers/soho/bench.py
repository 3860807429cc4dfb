"""Comparisons of ``make bench``: the dictionary against its definition, the whole image against boxes, a step."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .build import pretraining
from .config import PRESETS, VARIANTS, Config
from .losses import masked_loss, match_loss
from .model import Images, Pretraining
from .speed import crops, whole_image
from .visual.dictionary import VisualDictionary
from .wordpiece import Vocabulary

CODES, WIDTH, POSITIONS = 2048, 768, 16 * 144  # a batch of 16 photographs with 144 tokens each
TOLD = ["an owl and a pig by the castle"]


def bench() -> Iterator[dict[str, Any]]:
    """The dictionary at the paper's size, and networks of the paper's size without its detector."""
    yield lookup()
    yield from latencies()
    yield {
        "name": "a step of pre-training, 4 photographs with 4 captions",
        "detail": "ResNet-18, 3 layers of width 768; nothing to compare with",
        "ours": training_step(paper_config()),
        "memory": True,
    }


def lookup() -> dict[str, Any]:
    """Lookup and update of the dictionary, against distances and groups one code at a time."""
    torch.manual_seed(0)
    dictionary = VisualDictionary(CODES, WIDTH, "written", 0.9).train()
    x = torch.randn(POSITIONS, WIDTH)
    codes = dictionary.embed.clone()

    def by_definition() -> Tensor:
        index = torch.stack([(row - codes).square().sum(1).argmin() for row in x])
        for code in index.unique():
            codes[code] = codes[code].lerp(x[index == code].mean(0), 1 - dictionary.decay)
        return codes[index]

    torch.testing.assert_close(dictionary(x)[0], by_definition(), rtol=1e-3, atol=1e-4)
    return {
        "name": f"dictionary of {CODES} codes, {POSITIONS} positions",
        "detail": "lookup and update; reference: one position and one code at a time",
        "ours": lambda: dictionary(x),
        "reference": by_definition,
    }


def paper_config() -> Config:
    """The paper's network with random weights."""
    return replace(PRESETS["paper"], trunk_weights=None, bert=None)


def latencies() -> Iterator[dict[str, Any]]:
    """The whole-image network on a photograph of 608 x 1024 pixels, against the same network on 36 boxes."""
    config, words = paper_config(), Vocabulary()
    told = words.encode(TOLD, config.length)
    whole = pretraining(config, words).eval()
    boxes = pretraining(replace(config, **VARIANTS["regions"].changes), words).eval()
    yield {
        "name": "a whole photograph of 608 x 1024 pixels",
        "detail": "inference, batch 1; reference: 36 boxes of 224 pixels through the same network, without a detector",
        "ours": inference(whole_image(whole, torch.rand(1, 3, 608, 1024), told)),
        "reference": inference(crops(boxes, 1, 36, told, config.crop)),
    }


def inference(case: Callable[[], object]) -> Callable[[], object]:
    """The case without gradients."""

    def run() -> object:
        with torch.no_grad():
            return case()

    return run


def training_step(config: Config) -> Callable[[], None]:
    """Forward, backward and the optimizer's step."""
    words = Vocabulary()
    network = pretraining(config, words).train()
    optimizer = torch.optim.AdamW([x for x in network.parameters() if x.requires_grad], 0.0, fused=True)
    pixels = torch.rand(4, 3, 608, 1024)
    told = words.encode(TOLD * 16, config.length)
    labels = F.pad(told[:, 2:3], (2, config.length - 3), value=-100)
    of = torch.arange(4).repeat_interleave(4)[:, None]
    match = torch.arange(16) % 2

    def run() -> None:
        optimizer.zero_grad()
        loss(network, Images(pixels, torch.ones(4, 2)), told, of, labels, match).backward()
        optimizer.step()

    return run


def loss(network: Pretraining, images: Images, words: Tensor, of: Tensor, labels: Tensor, match: Tensor) -> Tensor:
    """The three losses of a batch."""
    found = network(images, words, of)
    total = masked_loss(found.words, labels, match == 1) + match_loss(found.match, match)
    if found.codes is not None and found.code_labels is not None:
        total = total + masked_loss(found.codes, found.code_labels, match == 1)
    return total
