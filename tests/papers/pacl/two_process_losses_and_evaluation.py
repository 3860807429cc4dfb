"""Run by test_eval.py under torchrun: two processes share a batch, whose loss is that of one, and then test images."""

import copy
import json
import sys
from functools import partial
from pathlib import Path

import accelerate
import open_clip
import torch
from torch import Tensor

from papers.pacl import eval as evaluation
from papers.pacl.config import PRESETS, Config
from papers.pacl.losses import pacl_loss
from papers.pacl.model import VisionEmbedder
from shared.run import Run

BATCH = 5  # rows of each process
LOSSES = {
    "pairwise": {},
    "pairwise, two texts at a time": {"chunk": 2},
    "cosines": {"weighting": "cos", "attn_scale": 10.0, "chunk": 3},
    "diagonal": {"pooling": "diagonal"},
    "sigmoid": {"pooling": "sigmoid"},
    "mean": {"pooling": "mean"},
}


def same_as_one_process(
    name: str, embedder: VisionEmbedder, tokens: Tensor, text: Tensor, accelerator: accelerate.Accelerator
) -> None:
    loss = partial(pacl_loss, logit_scale=20.0, **LOSSES[name])
    whole = copy.deepcopy(embedder)
    expected = loss(whole(tokens), text)
    expected.backward()

    parallel = accelerator.prepare(copy.deepcopy(embedder))
    rows = slice(accelerator.process_index * BATCH, (accelerator.process_index + 1) * BATCH)
    value = loss(parallel(tokens[rows]), text[rows], gather=True)
    value.backward()

    torch.testing.assert_close(accelerator.reduce(value.detach(), "mean"), expected.detach(), msg=name)
    for (parameter, one), two in zip(whole.named_parameters(), parallel.parameters(), strict=True):
        assert one.grad is not None and one.grad.abs().sum() > 0, parameter
        torch.testing.assert_close(two.grad, one.grad, msg=f"{name}: gradient of {parameter}")


def check_losses(accelerator: accelerate.Accelerator) -> None:
    torch.manual_seed(0)
    embedder = VisionEmbedder(6, 4).double()
    tokens, text = torch.randn(2 * BATCH, 7, 6, dtype=torch.float64), torch.randn(2 * BATCH, 4, dtype=torch.float64)
    for name in LOSSES:
        same_as_one_process(name, embedder, tokens, text, accelerator)


def main(folder: Path, patches: int) -> None:
    run = Run(folder / "run", folder / "cache", seed=0)
    assert run.accelerator.num_processes == 2, run.accelerator.num_processes
    check_losses(run.accelerator)
    if not run.accelerator.is_main_process:
        assert evaluation.evaluate(PRESETS["smoke"], run) == {}, "scenes are the main process's alone"
    open_clip.add_model_config(folder)
    evaluation.PATCHES = patches
    metrics = evaluation.evaluate(Config(**json.loads((folder / "config.json").read_text())), run)
    if run.accelerator.is_main_process:
        print(json.dumps(metrics))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
