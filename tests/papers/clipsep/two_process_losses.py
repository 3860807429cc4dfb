"""Run by test_losses.py under torchrun: noise invariant training, half the batch a process against the whole batch."""

import copy

import accelerate
import torch
from torch import Tensor, nn

from papers.clipsep.losses import noise_invariant_loss

BATCH, CHANNELS, GAMMA = 3, 4, 0.4  # mixtures of each process, feature maps, noise level


def main() -> None:
    accelerator = accelerate.Accelerator()
    assert accelerator.num_processes == 2, accelerator.num_processes
    torch.manual_seed(0)
    features = torch.randn(2 * BATCH, 5, 6, CHANNELS)
    features[:BATCH] -= 3  # so that the noise masks of the first process stay below gamma, those of the second do not
    targets, weight = (torch.rand(2 * BATCH, 2, 1, 5, 6) > 0.5).float(), torch.rand(2 * BATCH, 1, 5, 6)
    heads = nn.Linear(CHANNELS, 4)  # two query masks and two noise masks
    nn.init.constant_(heads.weight[2:], 0.3)
    activations = [heads(half)[..., 2:].sigmoid().sum(-1).mean().item() for half in features.split(BATCH)]
    assert activations[0] < GAMMA < sum(activations) / 2, activations

    def loss_of(model: nn.Module, rows: slice) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(features[rows]).permute(0, 3, 1, 2).unsqueeze(2)
        return noise_invariant_loss(logits[:, :2], logits[:, 2:], targets[rows], weight[rows], lambda_=1.0, gamma=GAMMA)

    whole, parallel = copy.deepcopy(heads), accelerator.prepare(copy.deepcopy(heads))
    expected, parts = loss_of(whole, slice(None))  # both processes have the same batch: its mean is that of one
    expected.backward()
    rank = accelerator.process_index
    value, own_parts = loss_of(parallel, slice(rank * BATCH, (rank + 1) * BATCH))
    value.backward()

    torch.testing.assert_close(accelerator.reduce(value.detach(), "mean"), expected.detach())
    for name in ("noise_activation", "noise_penalty"):
        torch.testing.assert_close(own_parts[name], parts[name])
    for one, two in zip(whole.parameters(), parallel.parameters(), strict=True):
        assert one.grad is not None and one.grad.abs().sum() > 0
        torch.testing.assert_close(two.grad, one.grad)
    if accelerator.is_main_process:
        print("2 processes agree with 1")


if __name__ == "__main__":
    main()
