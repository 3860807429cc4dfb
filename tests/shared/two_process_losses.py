"""Run by test_losses.py under torchrun: two processes with half the batch each against one with the whole."""

import copy
from collections.abc import Callable

import accelerate
import torch
from torch import Tensor, nn

from shared.losses import all_gather, clip_loss, info_nce, mean_across_processes, nt_xent, sup_con, symmetric_info_nce

Embeddings = tuple[Tensor, Tensor, Tensor]

BATCH = 5  # rows of each process
# Partners in the own and in the other half; 3 samples have one in the first half, 4 in the second.
LABELS = torch.tensor([0, 1, 2, 3, 3, 3, 1, 3, 5, 1])
POSITIVES = torch.rand(10, 10, generator=torch.Generator().manual_seed(1)) < 0.3
POSITIVES[5:8] = False
NEGATIVES = torch.rand(10, 10, generator=torch.Generator().manual_seed(2)) < 0.6


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(6, 4), nn.Linear(6, 4)
        self.log_scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Embeddings:
        return self.image(x), self.text(x.flip(-1)), self.log_scale.exp()


def clip(image: Tensor, text: Tensor, scale: Tensor, rows: slice, gather: bool, chunk: int | None) -> Tensor:
    return clip_loss(image, text, scale, gather=gather, chunk=chunk)


def scores(image: Tensor, text: Tensor, scale: Tensor, rows: slice, gather: bool, chunk: int | None) -> Tensor:
    texts = all_gather(text) if gather else text
    return symmetric_info_nce((image @ texts.T).sin(), scale, gather=gather)  # no cosine of two vectors


def extra_keys(image: Tensor, text: Tensor, scale: Tensor, rows: slice, gather: bool, chunk: int | None) -> Tensor:
    keys = torch.cat([text, -2 * image])
    return info_nce(image, keys, temperature=1 / scale, gather=gather, chunk=chunk)


def masks(image: Tensor, text: Tensor, scale: Tensor, rows: slice, gather: bool, chunk: int | None) -> Tensor:
    pairs = {"positives": POSITIVES[rows], "negatives": NEGATIVES[rows]}
    return info_nce(image, text, temperature=1 / scale, gather=gather, chunk=chunk, **pairs)


def views(image: Tensor, text: Tensor, scale: Tensor, rows: slice, gather: bool, chunk: int | None) -> Tensor:
    return nt_xent(image, text, temperature=1 / scale, gather=gather, chunk=chunk)


def labels(image: Tensor, text: Tensor, scale: Tensor, rows: slice, gather: bool, chunk: int | None) -> Tensor:
    return sup_con(image * text, LABELS[rows], temperature=1 / scale, gather=gather, chunk=chunk)


def statistic(image: Tensor, text: Tensor, scale: Tensor, rows: slice, gather: bool, chunk: int | None) -> Tensor:
    moment = (image.T @ text).div(len(image))
    moment = mean_across_processes(moment) if gather else moment
    return (image * scale).sin().mean() * moment.exp().sum().log()  # the first factor is each process's own


def same_as_one_process(
    loss: Callable[..., Tensor], towers: Towers, x: Tensor, accelerator: accelerate.Accelerator, chunk: int | None
) -> None:
    whole = copy.deepcopy(towers)
    expected = loss(*whole(x), slice(None), False, chunk)
    expected.backward()

    parallel = accelerator.prepare(copy.deepcopy(towers))
    rows = slice(accelerator.process_index * BATCH, (accelerator.process_index + 1) * BATCH)
    value = loss(*parallel(x[rows]), rows, True, chunk)
    value.backward()

    torch.testing.assert_close(accelerator.reduce(value.detach(), "mean"), expected.detach())
    for (name, one), two in zip(whole.named_parameters(), parallel.parameters(), strict=True):
        assert one.grad is not None and one.grad.abs().sum() > 0, name
        torch.testing.assert_close(two.grad, one.grad, msg=f"{loss.__name__}, chunk {chunk}: gradient of {name}")


def main() -> None:
    accelerator = accelerate.Accelerator()
    assert accelerator.num_processes == 2, accelerator.num_processes
    torch.manual_seed(0)
    towers = Towers().double()
    x = torch.randn(2 * BATCH, 6, dtype=torch.float64)
    rank = torch.tensor([[accelerator.process_index]])
    assert all_gather(rank).tolist() == [[0], [1]]
    for loss in (clip, scores, extra_keys, masks, views, labels, statistic):
        for chunk in (None, 2):
            same_as_one_process(loss, towers, x, accelerator, chunk)
    if accelerator.is_main_process:
        print("2 processes agree with 1")


if __name__ == "__main__":
    main()
