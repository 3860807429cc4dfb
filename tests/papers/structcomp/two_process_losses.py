"""Run by test_losses.py under torchrun: crops that are spread unevenly count as in one process, gradients too."""

import copy

import accelerate
import torch
from torch import nn

from papers.structcomp.losses import discriminator_loss, weighted_mean
from papers.structcomp.train import descend
from shared.run import Run

SPLIT = (1, 5)  # crops of each process; the only one of the first is a stand-in


class Averaging(Run):
    """Only what :func:`descend` needs."""

    def __init__(self, accelerator: accelerate.Accelerator) -> None:
        self.accelerator = accelerator


def main() -> None:
    accelerator = accelerate.Accelerator()
    assert accelerator.num_processes == 2, accelerator.num_processes
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval(), nn.Flatten(), nn.Linear(64, 1)).double()
    real, fake = (torch.randn(sum(SPLIT), 3, 6, 6, dtype=torch.float64) for _ in range(2))
    weights = torch.ones(sum(SPLIT), dtype=torch.float64)
    weights[0] = 0

    whole = copy.deepcopy(network)
    expected = discriminator_loss(whole(real[1:]), whole(fake[1:])).mean()
    expected.backward()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter -= 0.1 * parameter.grad

    rank = accelerator.process_index
    rows = slice(0, SPLIT[0]) if rank == 0 else slice(SPLIT[0], None)
    loss = weighted_mean(discriminator_loss(network(real[rows]), network(fake[rows])), weights[rows])
    torch.testing.assert_close(accelerator.reduce(loss.detach(), "mean"), expected.detach())
    descend(Averaging(accelerator), loss, torch.optim.SGD(network.parameters(), lr=0.1), network)
    for (name, single), two in zip(whole.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(two, single, msg=name)
    if accelerator.is_main_process:
        print("2 processes agree with 1")


if __name__ == "__main__":
    main()
