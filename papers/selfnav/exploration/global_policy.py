"""The network that chooses a long-term goal on the map, as SemExp has it, and its distribution over goals."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

ORIENTATIONS = 72  # bins of 5 degrees
EMBEDDING, HIDDEN = 8, 256


class MapEncoder(nn.Module):
    """Maps (B, C, M, M), the agent's orientation and, if ``goals`` is not 0, a goal class -> features and value."""

    def __init__(self, channels: int, size: int, goals: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.MaxPool2d(2)]
        for before, after in ((channels, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(128, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 32, 3, padding=1), nn.ReLU()]
        self.main = nn.Sequential(*layers, nn.Flatten())
        embeddings = EMBEDDING * (2 if goals else 1)
        self.linear1 = nn.Linear(32 * (size // 16) ** 2 + embeddings, HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, HIDDEN)
        self.critic_linear = nn.Linear(HIDDEN, 1)
        self.orientation_emb = nn.Embedding(ORIENTATIONS, EMBEDDING)
        self.goal_emb = nn.Embedding(goals, EMBEDDING) if goals else None

    def forward(self, maps: Tensor, extras: Tensor) -> tuple[Tensor, Tensor]:
        parts = [self.main(maps), self.orientation_emb(extras[:, 0])]
        if self.goal_emb is not None:
            parts.append(self.goal_emb(extras[:, 1]))
        x = F.relu(self.linear1(torch.cat(parts, 1)))
        x = F.relu(self.linear2(x))
        return x, self.critic_linear(x)[:, 0]


class LogStd(nn.Module):
    """A standard deviation that does not depend on the state."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self._bias = nn.Parameter(torch.zeros(dims, 1))

    def forward(self, mean: Tensor) -> Tensor:
        return self._bias.T.expand_as(mean)


class DiagonalGaussian(nn.Module):
    def __init__(self, features: int, dims: int = 2) -> None:
        super().__init__()
        self.fc_mean = nn.Linear(features, dims)
        self.logstd = LogStd(dims)

    def forward(self, features: Tensor) -> Normal:
        mean = self.fc_mean(features)
        return Normal(mean, self.logstd(mean).exp())


class GlobalPolicy(nn.Module):
    """Actor and critic over long-term goals.

    Args:
        channels: of the maps: 4 of the local one, 4 of the global one, and the classes.
        size: cells of a side of the maps, a multiple of 16.
        goals: number of goal classes; 0: exploration, which has none.
    """

    def __init__(self, channels: int, size: int, goals: int = 0) -> None:
        super().__init__()
        self.network = MapEncoder(channels, size, goals)
        self.dist = DiagonalGaussian(HIDDEN)
        self.size = size

    def forward(self, maps: Tensor, extras: Tensor) -> tuple[Normal, Tensor]:
        """The distribution over actions (B, 2) and the value (B,) of maps (B, C, M, M) and extras (B, 2)."""
        features, value = self.network(maps, extras)
        return self.dist(features), value

    def goal_cell(self, action: Tensor) -> Tensor:
        """(B, 2) row and column of the long-term goal of an action."""
        return (torch.sigmoid(action) * self.size).long().clamp(max=self.size - 1)
