"""Run by test_losses.py under torchrun: two processes with half the batch each against one with the whole."""

import copy

import accelerate
import torch
from torch import nn

from papers.wfh.losses import masked_loss

BATCH = 4  # texts of each process


def main() -> None:
    accelerator = accelerate.Accelerator()
    assert accelerator.num_processes == 2, accelerator.num_processes
    torch.manual_seed(0)
    network = nn.Linear(5, 7).double()
    states, labels = torch.randn(2 * BATCH, 6, 5, dtype=torch.float64), torch.randint(7, (2 * BATCH, 6))
    labels[:BATCH, 1:] = -1  # the processes have very different numbers of masked words
    whole = copy.deepcopy(network)
    chosen = labels >= 0
    expected = nn.functional.cross_entropy(whole(states)[chosen].float(), labels[chosen])
    expected.backward()

    parallel = accelerator.prepare(copy.deepcopy(network))
    rows = slice(accelerator.process_index * BATCH, (accelerator.process_index + 1) * BATCH)
    value = masked_loss(parallel(states[rows])[chosen[rows]], labels[rows][chosen[rows]], gather=True)
    value.backward()

    torch.testing.assert_close(accelerator.reduce(value.detach(), "mean"), expected.detach())
    for single, two in zip(whole.parameters(), parallel.parameters(), strict=True):
        assert single.grad is not None and single.grad.abs().sum() > 0
        torch.testing.assert_close(two.grad, single.grad, rtol=1e-5, atol=1e-7)
    if accelerator.is_main_process:
        print("2 processes agree with 1")


if __name__ == "__main__":
    main()
