"""Proximal policy optimisation of the global policy, with SemExp's options."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .global_policy import GlobalPolicy

GAMMA, TAU = 0.99, 0.95
CLIP, ENTROPY, VALUE, LARGEST_GRADIENT = 0.2, 0.001, 0.5, 0.5
EPOCHS = 4


def returns(
    rewards: Tensor, values: Tensor, masks: Tensor, next_value: Tensor, *, gae: bool = False, gamma: float = GAMMA
) -> Tensor:
    """(T + 1, N) discounted returns of a rollout; the last row of GAE's is 0.

    Args:
        rewards: (T, N). values: (T + 1, N) of the critic. next_value: (N,) of what follows the rollout.
        masks: (T + 1, N); row t + 1 is 0 where the episode ended with step t.
        gae: generalised advantage estimation with lambda 0.95.
    """
    steps = len(rewards)
    if not gae:
        found = torch.cat([torch.zeros_like(rewards), next_value[None]])
        for t in reversed(range(steps)):
            found[t] = found[t + 1] * gamma * masks[t + 1] + rewards[t]
        return found
    values = torch.cat([values[:-1], next_value[None]])
    found, advantage = torch.zeros_like(values), torch.zeros_like(next_value)
    for t in reversed(range(steps)):
        delta = rewards[t] + gamma * values[t + 1] * masks[t + 1] - values[t]
        advantage = delta + gamma * TAU * masks[t + 1] * advantage
        found[t] = advantage + values[t]
    return found


@dataclass
class Rollout:
    """T global steps of N houses: maps (T, N, C, M, M), extras (T, N, 2), actions (T, N, 2), the rest (T, N).

    ``alive`` is 0 where the step ended its episode; ``next_value`` (N,) belongs to what follows.
    """

    maps: Tensor
    extras: Tensor
    actions: Tensor
    log_probabilities: Tensor
    values: Tensor
    rewards: Tensor
    alive: Tensor
    next_value: Tensor


def ppo_loss(policy: GlobalPolicy, rollout: Rollout, rows: Tensor, expected: Tensor, advantage: Tensor) -> Tensor:
    """Clipped surrogate, clipped value error and entropy of some ``rows`` of the flattened rollout."""
    maps, extras, actions = (x.flatten(0, 1)[rows] for x in (rollout.maps, rollout.extras, rollout.actions))
    old, values = rollout.log_probabilities.flatten()[rows], rollout.values.flatten()[rows]
    distribution, value = policy(maps, extras)
    ratio = (distribution.log_prob(actions).sum(1) - old).exp()
    surrogate = torch.minimum(ratio * advantage[rows], ratio.clamp(1 - CLIP, 1 + CLIP) * advantage[rows])
    clipped = values + (value - values).clamp(-CLIP, CLIP)
    error = torch.maximum((value - expected[rows]).square(), (clipped - expected[rows]).square())
    entropy = distribution.entropy().sum(1).mean()
    return -surrogate.mean() + VALUE * 0.5 * error.mean() - ENTROPY * entropy


def targets(rollout: Rollout) -> tuple[Tensor, Tensor]:
    """Expected returns and normalised advantages of a rollout, flattened (T * N,)."""
    masks = torch.cat([torch.ones_like(rollout.alive[:1]), rollout.alive])
    values = torch.cat([rollout.values, rollout.next_value[None]])
    expected = returns(rollout.rewards, values, masks, rollout.next_value)[:-1].flatten()
    advantage = expected - rollout.values.flatten()
    return expected, (advantage - advantage.mean()) / (advantage.std() + 1e-5)
