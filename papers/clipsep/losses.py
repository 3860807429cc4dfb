"""The paper's losses: weighted binary cross-entropy, noise invariant training (NIT) and the PIT baseline's loss.

All are written for probabilities, not logits: NIT adds the probabilities of a query mask and a noise mask, and
``binary_cross_entropy`` clamps each logarithm at -100, which matters once a clipped sum is exactly 1. Probabilities are
float32 even where mixed precision made the logits, or far more sums would reach 1.

Shapes: B mixtures, n sources, F frequency bins, T frames. Targets M are 0 or 1.
"""

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.losses import mean_across_processes


def weighted_bce(prob: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """WBCE(M, P) = mean over bins of -W [M ln P + (1 - M) ln(1 - P)]: ``(..., 1, F, T)`` -> ``(...)``.

    A plain mean, not divided by the sum of W. The three arguments broadcast against each other. Source: official code.
    """
    undefined = prob.isnan()  # which the cross-entropy would refuse before the run can name the samples
    prob = prob.masked_fill(undefined, 0)
    prob, target, weight, undefined = torch.broadcast_tensors(prob, target, weight, undefined)
    with torch.autocast(prob.device.type, enabled=False):  # which refuses cross-entropy of probabilities
        loss = F.binary_cross_entropy(prob, target, weight, reduction="none")
    return loss.masked_fill(undefined, torch.nan).mean(dim=(-3, -2, -1))


def separation_loss(mask_logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """CLIPSep: the mean of WBCE(M_i, P_i) over sources and batch.

    ``mask_logits``, ``targets`` (B, n, 1, F, T), ``weight`` (B, 1, F, T) -> scalar.
    """
    return weighted_bce(mask_logits.float().sigmoid(), targets, weight.unsqueeze(1)).mean()


def permutation_invariant_loss(mask_logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """PIT baseline: the batch mean of each sample's smallest WBCE over all assignments of masks to sources.

    ``mask_logits``, ``targets`` (B, n, 1, F, T), ``weight`` (B, 1, F, T) -> scalar.
    """
    prob = mask_logits.float().sigmoid()
    pairwise = weighted_bce(prob[:, None], targets[:, :, None], weight[:, None, None])  # (B, source, mask)
    return _best_assignment(pairwise).mean()


def noise_invariant_loss(
    mask_logits: Tensor,
    noise_logits: Tensor,
    targets: Tensor,
    weight: Tensor,
    lambda_: float = 0.1,
    gamma: float = 0.25,
) -> tuple[Tensor, dict[str, Tensor]]:
    """CLIPSep-NIT: L = mean_b min over pi of (1/n) sum_i WBCE(M_i, C(P_i, N_pi(i))) + lambda max(0, A - gamma).

    C(a, b) = min(1, a + b) adds a noise mask to a query mask; pi permutes the *noise* heads only, the query heads
    keep their own targets; the minimum is taken per sample. A is the sum over the noise heads of their mean
    activations (0..n, over bins and the batch of all processes) and gamma the noise regularisation level.
    The official code has n = 2; here the minimum runs over all n! permutations.

    At initialisation P + N is about 1. Bins where it is above are clamped to exactly 1: they cost 100 W if the target
    is 0, and pass no gradient but the penalty's. About half the bins of the paper's network start so (loss 31, against
    0.63 for CLIPSep); of a small network, none or all, as its initial biases have it. Bins just below 1 have gradients
    of 1 / (1 - P - N), which the clipping of the gradient norm tames. With gamma > 1 a network may never get out.

    ``mask_logits``, ``noise_logits``, ``targets`` (B, n, 1, F, T), ``weight`` (B, 1, F, T) -> scalar, and its parts:
    ``nit_loss``, ``noise_activation`` (A) and ``noise_penalty`` (before lambda). Source: official code.
    """
    prob, noise = mask_logits.float().sigmoid(), noise_logits.float().sigmoid()
    combined = 1 - F.relu(1 - (prob[:, :, None] + noise[:, None]))  # (B, source, noise head, 1, F, T)
    nit_loss = _best_assignment(weighted_bce(combined, targets[:, :, None], weight[:, None, None])).mean()
    activation = mean_across_processes(noise.sum(dim=1).mean())
    penalty = F.relu(activation - gamma)
    parts = {"nit_loss": nit_loss, "noise_activation": activation, "noise_penalty": penalty}
    return nit_loss + lambda_ * penalty, {name: part.detach() for name, part in parts.items()}


def _best_assignment(pairwise: Tensor) -> Tensor:
    """Costs (B, n, n) of giving head j to source i -> (B,), the smallest mean cost of a one-to-one assignment."""
    n = pairwise.shape[1]
    costs = [pairwise[:, range(n), order].mean(dim=1) for order in permutations(range(n))]
    return torch.stack(costs).amin(dim=0)  # amin shares the gradient of a tie equally, as torch.minimum does
