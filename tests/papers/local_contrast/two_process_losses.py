"""Run by test_losses.py under torchrun: two processes with half the batch each against one with the whole."""

import copy

import accelerate
import torch
from torch import Tensor, nn

from papers.local_contrast.losses import (
    global_loss_d,
    global_loss_d_minus,
    global_loss_r,
    local_loss_d,
    local_loss_r,
)
from papers.local_contrast.regions import regions
from shared.losses import all_gather

GRID = regions(16)
CORNERS = len(GRID.corners)
PARTITION = torch.arange(4).expand(4, -1)
CASES = {
    "G^R": ((6, 2), lambda z: global_loss_r(z, temperature=0.1)),
    "G^D-": ((4, 3, 4), lambda z: global_loss_d_minus(z, PARTITION, temperature=0.1)),
    "G^D": ((4, 2, 4), lambda z: global_loss_d(z, PARTITION, temperature=0.1)),
    "L^R": ((4, 2, CORNERS), lambda z: local_loss_r(z, GRID, temperature=0.1)),
    "L^D": ((4, 2, 4, CORNERS), lambda z: local_loss_d(z, GRID, temperature=0.1)),
}


def same_as_one_process(name: str, network: nn.Module, accelerator: accelerate.Accelerator) -> None:
    shape, loss = CASES[name]
    inputs = torch.randn(*shape, 6, dtype=torch.float64)
    whole = copy.deepcopy(network)
    expected: Tensor = loss(whole(inputs))
    expected.backward()

    parallel = accelerator.prepare(copy.deepcopy(network))
    half = len(inputs) // 2
    own = inputs[accelerator.process_index * half :][:half]
    value: Tensor = loss(all_gather(parallel(own)))
    value.backward()

    torch.testing.assert_close(accelerator.reduce(value.detach(), "mean"), expected.detach(), msg=name)
    for (parameter, one), two in zip(whole.named_parameters(), parallel.parameters(), strict=True):
        assert one.grad is not None and one.grad.abs().sum() > 0, parameter
        torch.testing.assert_close(two.grad, one.grad, msg=f"{name}: gradient of {parameter}")


def main() -> None:
    accelerator = accelerate.Accelerator()
    assert accelerator.num_processes == 2, accelerator.num_processes
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=False)).double()
    for name in CASES:
        same_as_one_process(name, network, accelerator)
    if accelerator.is_main_process:
        print("2 processes agree with 1")


if __name__ == "__main__":
    main()
