"""The visual vocabulary, and the hallucinator that turns words into convex combinations of its visual words.

A reconstruction from the paper's abstract: sizes, losses and their weights are choices of this reproduction.
"""

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from ..config import Sampling
from ..losses import regression_loss, tag_scores, visual_word_loss
from ..model import initialise

ITERATIONS, RESTARTS = 20, 3  # of k-means


def visual_words(features: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres of k-means++ over standardised region features (N, F).

    Returns:
        the centres as features (count, F), and the deviation of each feature (F,), float32 both.
    """
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the iterations are few on purpose
        found = KMeans(count, n_init=RESTARTS, max_iter=ITERATIONS, random_state=seed).fit(
            (features - mean) / deviation
        )
    return (found.cluster_centers_ * deviation + mean).astype(np.float32), deviation.astype(np.float32)


def random_visual_words(features: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Control: normal noise of the mean and deviation that the centres of k-means have; see `visual_words`."""
    centres, deviation = visual_words(features, count, seed)
    noise = np.random.default_rng(seed).normal(size=centres.shape)
    return (centres.mean() + centres.std() * noise).astype(np.float32), deviation


class Hallucinator(nn.Module):
    """Words to hallucinated region features.

    Word vectors stay those that the Transformer began with, so that words which are no tags keep their place among
    those which are.

    Args:
        table: (V, D) initial word vectors.
        content: (V,) bool, the words that are hallucinated; function words and special ones are not.
        visual: (K, F) visual words; None regresses features freely, without a vocabulary (control).
        deviation: (F,) of the features, by which they are divided where distances are compared.
        layers, heads, positions, dropout: of its Transformer.
        sampling: "gumbel" draws weights of the visual words in training, "hard" draws one word, "soft" never draws.
    """

    def __init__(
        self,
        table: Tensor,
        content: Tensor,
        visual: Tensor | None,
        deviation: Tensor,
        *,
        layers: int,
        heads: int,
        positions: int,
        dropout: float,
        sampling: Sampling,
        temperature: float,
    ) -> None:
        super().__init__()
        width = table.shape[1]
        self.sampling, self.temperature = sampling, temperature
        self.words = nn.Embedding.from_pretrained(table.clone(), freeze=True)
        self.positions = nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, F.gelu, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.content: Tensor
        self.register_buffer("content", content)
        self.visual: Tensor | None
        self.register_buffer("visual", visual)
        self.deviation: Tensor
        self.register_buffer("deviation", deviation)
        features = len(deviation)
        if visual is None:
            self.regress = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, features))
            initialise(self.regress, 0.02)
        else:
            self.query, self.key = nn.Linear(width, width), nn.Linear(features, width)
        nn.init.zeros_(self.positions.weight)  # sentences of tags are short: later positions must not add noise

    def encode(self, words: Tensor, mask: Tensor) -> Tensor:
        """u: (B, L) with its mask to (B, L, D)."""
        embedded = self.norm(self.words(words) + self.positions.weight[: words.shape[1]])
        states: Tensor = self.encoder(embedded, src_key_padding_mask=~mask)
        return states

    def scores(self, states: Tensor) -> Tensor:
        """s: states (B, L, D) to scores of the visual words (B, L, K)."""
        assert self.visual is not None
        query, key = self.query(states), self.key(self.visual)
        scores: Tensor = query @ key.T / query.shape[-1] ** 0.5
        return scores

    def mix(self, scores: Tensor) -> Tensor:
        """h: convex combinations (..., F) of the visual words, drawn in training."""
        assert self.visual is not None
        if self.training and self.sampling != "soft":
            weights = F.gumbel_softmax(scores.float(), self.temperature, hard=self.sampling == "hard")
        elif self.sampling == "hard":
            weights = F.one_hot(scores.argmax(-1), scores.shape[-1]).float()
        else:
            weights = scores.float().softmax(-1)
        return weights @ self.visual

    def forward(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hallucinate a caption.

        Args:
            words: (B, L) int64, none of them masked. mask: (B, L) bool.

        Returns:
            hallucinations of its content words (B, M, F), which of them are there (B, M) bool, and the places of their
            words (B, M) int64.
        """
        states = self.encode(words, mask)
        content = self.content[words] & mask
        most = max(1, int(content.sum(1).max()))
        places = (~content).to(torch.int8).argsort(dim=1, stable=True)[:, :most]
        states = states.gather(1, places.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
        hallucinated = self.regress(states) if self.visual is None else self.mix(self.scores(states))
        return hallucinated, content.gather(1, places), places

    def supervise(
        self, words: Tensor, mask: Tensor, owner: Tensor, features: Tensor, present: Tensor, regression: float
    ) -> Tensor:
        """Weak supervision by tags and the features of their regions.

        Args:
            words: (B, T) int64, the tags of an image as a sentence. mask: (B, T) bool.
            owner: (B, T) int64, the region of each piece; negative: of none.
            features: (B, R, F). present: (B, R) bool.
            regression: beta, weight of the regression to the region's own feature.
        """
        states = self.encode(words, mask)
        if self.visual is None:
            hallucinated, tagged = tag_scores(self.regress(states), owner, features.shape[1])
            return regression_loss(hallucinated, features, tagged & present)
        scores, tagged = tag_scores(self.scores(states), owner, features.shape[1])
        valid = tagged & present
        loss = visual_word_loss(scores, self.nearest(features), valid)
        return loss + regression * regression_loss(self.mix(scores), features, valid)

    def nearest(self, features: Tensor) -> Tensor:
        """Number of the visual word nearest to each feature: (B, R, F) to (B, R)."""
        assert self.visual is not None
        words = (self.visual / self.deviation).expand(len(features), -1, -1)
        return torch.cdist(features.float() / self.deviation, words).argmin(-1)
