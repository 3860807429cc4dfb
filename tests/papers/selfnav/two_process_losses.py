"""Run by test_losses.py under torchrun: two processes with half the batch each against one with the whole."""

import copy
from collections.abc import Callable
from unittest import mock

import accelerate
import torch
from torch import Tensor, nn

from papers.selfnav.losses import IGNORED, instance_consistency, location_consistency, potential_loss, segmentation_loss

BATCH = 6  # rows of each process
Loss = Callable[[Tensor, slice, bool], Tensor]


def same_as_one_process(
    name: str, network: nn.Module, inputs: Tensor, loss: Loss, accelerator: accelerate.Accelerator
) -> None:
    whole = copy.deepcopy(network)
    with (  # one process has no other to average with
        mock.patch("papers.selfnav.losses.mean_across_processes", lambda x: x),
        mock.patch("torch.distributed.is_initialized", lambda: False),
    ):
        expected = loss(whole(inputs), slice(None), False)
    expected.backward()
    parallel = accelerator.prepare(copy.deepcopy(network))
    rows = slice(accelerator.process_index * BATCH, (accelerator.process_index + 1) * BATCH)
    value = loss(parallel(inputs[rows]), rows, True)
    value.backward()
    torch.testing.assert_close(accelerator.reduce(value.detach(), "mean"), expected.detach(), msg=name)
    for (parameter, single), two in zip(whole.named_parameters(), parallel.parameters(), strict=True):
        assert single.grad is not None and single.grad.abs().sum() > 0, parameter
        torch.testing.assert_close(two.grad, single.grad, msg=f"{name}: gradient of {parameter}")


def main() -> None:
    accelerator = accelerate.Accelerator()
    assert accelerator.num_processes == 2, accelerator.num_processes
    torch.manual_seed(0)
    inputs = torch.randn(2 * BATCH, 5, dtype=torch.float64)
    place = 3 * torch.rand(2 * BATCH, 3, dtype=torch.float64)
    label = torch.tensor([0, 1, 1, IGNORED, 2, 2, 0, 1, 1, IGNORED, 2, 0])
    house = torch.tensor([0, 0, 0, 0, 1, 1, 0, 0, 1, 1, -1, -1])
    instance = torch.tensor([1, 1, 2, 3, 4, -1, 1, 2, 3, 5, -1, -1])
    maps = torch.rand(2 * BATCH, 3, 2, 2, dtype=torch.float64)
    known = (torch.rand(2 * BATCH, 2, 2) < 0.5).double()
    known[:BATCH] *= torch.tensor([1.0] + [0.0] * (BATCH - 1)).double()[:, None, None]

    def location(z: Tensor, rows: slice, gather: bool) -> Tensor:
        first, second = z.chunk(2, 1)
        return location_consistency(first, second, place[rows], label[rows], house[rows], gather=gather)

    def rois(z: Tensor, rows: slice, gather: bool) -> Tensor:
        return instance_consistency(z, instance[rows], label[rows], gather=gather)

    def pixels(z: Tensor, rows: slice, gather: bool) -> Tensor:
        weights = torch.tensor([0.35, 1.0, 1.0, 1.0])
        return segmentation_loss(z.unflatten(1, (4, 2, 1)), label[rows][:, None, None].expand(-1, 2, 1), weights)

    def potentials(z: Tensor, rows: slice, gather: bool) -> Tensor:
        objects = z[:, :8].unflatten(1, (2, 2, 2))
        return potential_loss(objects, objects[:, 0], maps[rows, :2], maps[rows, 2], known[rows])

    losses: dict[str, Loss] = {"location": location, "rois": rois, "pixels": pixels, "potentials": potentials}
    for name, loss in losses.items():
        same_as_one_process(name, nn.Linear(5, 8).double(), inputs, loss, accelerator)
    if accelerator.is_main_process:
        print("2 processes agree with 1")


if __name__ == "__main__":
    main()
