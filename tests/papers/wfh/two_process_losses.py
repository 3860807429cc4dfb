"""Run by test_losses.py under torchrun: two processes with half the batch each against one with the whole.

The halves have very different numbers of masked words, content words and regions.
"""

import copy
from dataclasses import replace

import accelerate
import numpy as np
import torch
from torch import Tensor, nn

from papers.wfh.build import pretraining
from papers.wfh.config import PRESETS
from papers.wfh.data import class_names, vocabulary
from papers.wfh.datasets.regions import Regions
from papers.wfh.sampling.samples import Encoder, collate

CONFIG = replace(
    PRESETS["smoke"], dropout=0.0, mask_rate=0.4, sampling="soft", stop_gradient=False, word_vectors=False,
    vocabulary_regions=40,
)  # fmt: skip
TEXTS = (
    "a crow near the castle", "a pig", "a crow", "a dog with a rose near the gate", "a saw", "an owl", "a rose",
    "a pear",
)  # fmt: skip
BATCH = len(TEXTS) // 2  # texts, or images, of each process


def features(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, CONFIG.features)).astype(np.float32)


def image(number: int) -> Regions:
    count = 5 if number < BATCH else 2
    ones, classes = np.ones(count, np.float32), np.arange(count) + number % 3
    return Regions(features(number, count), np.full((count, 4), 0.5, np.float32), classes, ones, classes, ones)


def batches() -> dict[str, list[dict[str, object]]]:
    """The samples of each kind, in the order of the processes."""
    encoder = Encoder(CONFIG, vocabulary(CONFIG), class_names(CONFIG))
    captions, images = [], []
    for k, text in enumerate(TEXTS):
        rng = np.random.default_rng(k)
        words = encoder.masked_words(encoder.caption(text), False, rng)
        captions.append({"name": text, "group": np.array(k // 2)} | words)
        images.append({"name": text} | encoder.masked_image(image(k), rng) | {"replaced": np.zeros(0)})
    paired = [caption | shown for caption, shown in zip(captions, images, strict=True)]
    return {"captions": captions, "images": images, "paired": paired}


def same_as_one_process(kind: str, samples: list[dict[str, object]], accelerator: accelerate.Accelerator) -> None:
    torch.manual_seed(0)
    model = pretraining(CONFIG, vocabulary(CONFIG), features(9, 40)).train()
    # Each process computes the whole batch, so that both together see it twice: neighbours and means are the same.
    whole = copy.deepcopy(model)
    expected = total(whole, kind, collate(samples))
    expected.backward()

    parallel = accelerator.prepare(model)
    own = samples[accelerator.process_index * BATCH :][:BATCH]
    value = total(parallel, kind, collate(own))
    value.backward()

    torch.testing.assert_close(accelerator.reduce(value.detach(), "mean"), expected.detach(), msg=kind)
    trained = 0
    for (name, one), two in zip(whole.named_parameters(), parallel.parameters(), strict=True):
        if one.requires_grad:
            assert one.grad is not None and two.grad is not None, name
            trained += int(one.grad.abs().sum() > 0)
            torch.testing.assert_close(
                two.grad, one.grad, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{kind}, {name}: {text}"
            )
    assert trained > 20, trained


def total(model: nn.Module, kind: str, batch: dict[str, object]) -> Tensor:
    return torch.stack(list(model(kind, batch, True).values())).sum()


def main() -> None:
    accelerator = accelerate.Accelerator()
    assert accelerator.num_processes == 2, accelerator.num_processes
    for kind, samples in batches().items():
        same_as_one_process(kind, samples, accelerator)
    if accelerator.is_main_process:
        print("2 processes agree with 1")


if __name__ == "__main__":
    main()
