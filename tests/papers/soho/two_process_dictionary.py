"""Run by test_dictionary.py under torchrun: two processes with half the batch each against one with the whole."""

import copy

import accelerate
import torch
import torch.distributed as dist

from papers.soho.losses import IGNORED, masked_loss
from papers.soho.visual.dictionary import Rule, VisualDictionary

BATCH = 12  # features of each process
RULES: tuple[Rule, ...] = ("official", "written")


def alone(dictionary: VisualDictionary, x: torch.Tensor) -> torch.Tensor:
    """The codes of a whole batch, as a single process has them."""
    dist.is_initialized, known = (lambda: False), dist.is_initialized
    try:
        codes: torch.Tensor = dictionary(x)[0]
        return codes
    finally:
        dist.is_initialized = known


def main() -> None:
    accelerator = accelerate.Accelerator()
    assert accelerator.num_processes == 2, accelerator.num_processes
    torch.manual_seed(0)
    rows = slice(accelerator.process_index * BATCH, (accelerator.process_index + 1) * BATCH)
    for rule in RULES:
        shared = VisualDictionary(5, 3, rule, decay=0.5).train()
        single = copy.deepcopy(shared)
        before = shared.embed.clone()
        for _ in range(3):
            x = torch.randn(2 * BATCH, 3)
            expected = alone(single, x)
            codes, _ = shared(x[rows])
            torch.testing.assert_close(codes, expected[rows], msg=f"{rule}: codes")
            for name, buffer in shared.named_buffers():
                torch.testing.assert_close(buffer, dict(single.named_buffers())[name], msg=f"{rule}: {name}")
        assert not torch.equal(shared.embed, before)

    logits = torch.randn(2 * BATCH, 7, dtype=torch.float64)
    labels = torch.randint(7, (2 * BATCH,))
    labels[: BATCH - 2] = IGNORED  # the processes have very different numbers of masked words
    weight = torch.ones(7, dtype=torch.float64, requires_grad=True)
    whole = torch.nn.functional.cross_entropy(weight * logits, labels, ignore_index=IGNORED)
    (expected,) = torch.autograd.grad(whole, weight)
    value = masked_loss(weight * logits[rows], labels[rows])
    (gradient,) = torch.autograd.grad(value, weight)
    torch.testing.assert_close(accelerator.reduce(value.detach(), "mean").double(), whole.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(accelerator.reduce(gradient, "mean"), expected, rtol=1e-5, atol=1e-9)
    if accelerator.is_main_process:
        print("2 processes agree with 1")


if __name__ == "__main__":
    main()
