"""Run by test_losses.py under torchrun: two processes with half the batch each against one with the whole."""

import copy

import accelerate
import torch
from torch import Tensor, nn

from papers.kaid.losses import alignment_loss

BATCH = 4  # pairs of each process
PHRASES = torch.tensor([0, 1, 2, 0, 3, 1, 4, 5])  # some occur in both halves
RELATED = {0: {0, 3}, 1: {1}, 2: {2}, 3: {0, 5}, 4: {3}, 5: {1, 2}, 6: {4}, 7: {5}}


def by_hand(query: Tensor, phrase: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each query over the distinct phrases, mean over its related ones."""
    first = [PHRASES.tolist().index(n) for n in sorted(set(PHRASES.tolist()))]
    columns = nn.functional.normalize(phrase[first], dim=1)
    logits = nn.functional.normalize(query, dim=1) @ columns.T / temperature
    return torch.stack(
        [-torch.stack([logits[k].log_softmax(0)[n] for n in sorted(RELATED[k])]).mean() for k in range(len(query))]
    ).mean()


def main() -> None:
    accelerator = accelerate.Accelerator()
    assert accelerator.num_processes == 2, accelerator.num_processes
    torch.manual_seed(0)
    network = nn.Linear(5, 6).double()
    inputs = torch.randn(2, 2 * BATCH, 5, dtype=torch.float64)
    whole = copy.deepcopy(network)
    expected = by_hand(whole(inputs[0]), whole(inputs[1]), 0.1)
    expected.backward()

    parallel = accelerator.prepare(copy.deepcopy(network))
    rows = range(accelerator.process_index * BATCH, (accelerator.process_index + 1) * BATCH)
    both = parallel(inputs[:, rows.start : rows.stop])

    def related(ids: Tensor) -> Tensor:
        return torch.tensor([[n in RELATED[k] for n in ids.tolist()] for k in rows])

    loss = alignment_loss(both[0], both[1], PHRASES[rows.start : rows.stop], related, 0.1)
    loss.backward()
    torch.testing.assert_close(accelerator.reduce(loss.detach(), "mean"), expected.detach())
    for single, two in zip(whole.parameters(), parallel.parameters(), strict=True):
        assert single.grad is not None and single.grad.abs().sum() > 0
        torch.testing.assert_close(two.grad, single.grad)
    if accelerator.is_main_process:
        print("2 processes agree with 1")


if __name__ == "__main__":
    main()
