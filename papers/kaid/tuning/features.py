"""Features of sentences and pairs, and tasks' logits from them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import Config
from ..datasets.tasks import Example, texts_of
from ..model import ClassificationHead, KnowledgeModel, pair_feature
from ..states import Encoder, LiveStates, StateSource

BATCH = 256  # texts whose features are computed at a time


def features(config: Config, model: KnowledgeModel, states: StateSource, examples: Sequence[Example]) -> Tensor:
    """(N, F) features of sentences or of pairs as one sequence, F = d; of pairs that are encoded apart, F = 2 d."""
    separator = states.separator if config.matching == "cross" else None
    texts = texts_of(examples, config.append_facts, separator)
    order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
    batches = [[texts[k] for k in order[start : start + BATCH]] for start in range(0, len(texts), BATCH)]
    found = torch.cat([model(*states(batch)) for batch in batches])
    found = found[torch.tensor(order, device=found.device).argsort()]
    if len(texts) > len(examples):
        return pair_feature(found[: len(examples)], found[len(examples) :])
    return F.normalize(found, dim=-1)


class TaskModel(nn.Module):
    """An encoder, what stands beside it, and the head of a task, for examples as they are.

    Args:
        encoder: trained along, if its weights have gradients.
    """

    def __init__(
        self, config: Config, encoder: Encoder, model: KnowledgeModel, head: ClassificationHead, wanted: Sequence[int]
    ) -> None:
        super().__init__()
        self.config, self.encoder, self.model, self.head, self.wanted = config, encoder, model, head, tuple(wanted)

    def forward(self, examples: Sequence[Example]) -> Tensor:
        """Logits (B, C)."""
        states = LiveStates(self.encoder, self.wanted)
        return self.head(features(self.config, self.model, states, examples))
