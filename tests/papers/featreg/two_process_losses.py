"""Run by test_losses.py under torchrun: two processes with half the batch each against one with the whole."""

import copy
from collections.abc import Callable

import accelerate
import torch
from torch import Tensor, nn

from papers.featreg.losses import IGNORED, feature_distance, segmentation_loss

BATCH = 3  # images of each process
Loss = Callable[[Tensor, slice], Tensor]


def same_as_one_process(
    name: str, network: nn.Module, images: Tensor, loss: Loss, one: Loss, accelerator: accelerate.Accelerator
) -> None:
    """``one`` is the loss of all images as a single process has it."""
    whole = copy.deepcopy(network)
    expected = one(whole(images), slice(None))
    expected.backward()

    parallel = accelerator.prepare(copy.deepcopy(network))
    rows = slice(accelerator.process_index * BATCH, (accelerator.process_index + 1) * BATCH)
    value = loss(parallel(images[rows]), rows)
    value.backward()

    torch.testing.assert_close(accelerator.reduce(value.detach(), "mean"), expected.detach(), msg=name)
    for (parameter, single), two in zip(whole.named_parameters(), parallel.parameters(), strict=True):
        assert single.grad is not None and single.grad.abs().sum() > 0, parameter
        torch.testing.assert_close(two.grad, single.grad, msg=f"{name}: gradient of {parameter}")


def main() -> None:
    accelerator = accelerate.Accelerator()
    assert accelerator.num_processes == 2, accelerator.num_processes
    torch.manual_seed(0)
    network = nn.Conv2d(3, 5, 3).double()
    images, maps = (torch.randn(2 * BATCH, n, m, m, dtype=torch.float64) for n, m in ((3, 8), (5, 6)))
    label = torch.randint(5, (2 * BATCH, 6, 6))
    label[:BATCH, :5] = IGNORED  # the processes have very different numbers of labelled pixels

    def cross_entropy(logits: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, label, ignore_index=IGNORED)

    same_as_one_process(
        "cross-entropy", network, images,
        lambda x, rows: segmentation_loss(x, label[rows]), lambda x, _: cross_entropy(x),
        accelerator,
    )  # fmt: skip
    conventions: dict[str, Callable[[Tensor], Tensor]] = {
        "mean": lambda x: (x - maps).square().mean(),
        "caffe": lambda x: (x - maps).square().sum() / (2 * len(maps)),
        "tensorflow": lambda x: (x - maps).square().sum() / 2,
    }
    for convention, by_hand in conventions.items():
        same_as_one_process(
            convention, network, images,
            lambda x, rows, kind=convention: feature_distance(x, maps[rows], kind),  # type: ignore[misc]
            lambda x, _, formula=by_hand: formula(x),  # type: ignore[misc]
            accelerator,
        )  # fmt: skip
    if accelerator.is_main_process:
        print("2 processes agree with 1")


if __name__ == "__main__":
    main()
