"""Batches for infusion: sentences with a term, phrases that are related to it, and triples in words."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared import UserError

from ..acquisition.triples import SYNONYM, Related, Triple
from ..config import Config
from .tasks import Domain, known_triples

HYPERNYM_OF, HAS_HYPERNYM, SAME, NONE = range(4)  # relations of two phrases
VERBALISED = {"hypernym": "{} is a kind of {}", "synonym": "{} is also called {}"}
MASKED_SHARE = 3  # a third of the triples is verbalised
GLOSS = "definition"  # relation of a term and its gloss


class Facts:
    """A domain's knowledge as samples of infusion, see `sample`.

    Args:
        mask_token, tokens: of the encoder's tokenizer, for masked sentences; `tokens` gives the ids of a phrase.
    """

    def __init__(
        self, triples: Sequence[Triple], templates: Sequence[str], mask_token: str, tokens: Callable[[str], list[int]]
    ) -> None:
        self.triples, self.templates = list(triples), tuple(templates)
        self.related = Related(triples)
        self.phrases = sorted({phrase for triple in triples for phrase in (triple.head, triple.tail)})
        self._number = {phrase: k for k, phrase in enumerate(self.phrases)}
        self._masked = [k for k, triple in enumerate(self.triples) if is_verbalised(triple)] or range(len(self.triples))
        self._mask_token, self._tokens = mask_token, tokens

    def __len__(self) -> int:
        return len(self.triples)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """A triple as query and phrase, and another one in words with its tail masked.

        Returns: ``{"term", "query", "phrase", "phrase_id", "relation", "masked", "words"}``.
        """
        head, relation, tail = self.triples[index]
        if relation == SYNONYM and rng.random() < 0.5:
            head, tail = tail, head
        other = self.triples[self._masked[rng.integers(len(self._masked))]]
        words = self._tokens(other.tail)
        return {
            "term": head,
            "query": self.templates[rng.integers(len(self.templates))].format(head),
            "phrase": tail,
            "phrase_id": self._number[tail],
            "relation": SAME if relation == SYNONYM else HAS_HYPERNYM,
            "masked": masked_sentence(other, self._mask_token, len(words)),
            "words": words,
        }

    def related_to(self, terms: Sequence[str], ids: Tensor) -> Tensor:
        """Boolean (B, M): which phrases, by their ids (M,), are related to each term."""
        related = [{self._number[phrase] for phrase in self.related[term]} for term in terms]
        known = ids.tolist()
        return torch.tensor([[k in mine for k in known] for mine in related], device=ids.device)


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Lists of words, and tensors of numbers."""
    batch: dict[str, Any] = {key: [sample[key] for sample in samples] for key in samples[0]}
    return batch | {key: torch.tensor(batch[key]) for key in ("phrase_id", "relation")}


def is_verbalised(triple: Triple) -> bool:
    """A fixed share of the triples, whichever others are known."""
    return random.Random("\t".join(triple)).randrange(MASKED_SHARE) == 0


def masked_sentence(triple: Triple, mask_token: str, length: int) -> str:
    return VERBALISED.get(triple.relation, "{} : {}").format(triple.head, " ".join([mask_token] * length))


def infused_triples(config: Config, domain: Domain, seed: int) -> dict[str, list[Triple]]:
    """Triples for each stack of adapters: relations, mined relations, shuffled ones, or terms with their glosses.

    Knowledge of withheld concepts is in none of them.

    Raises:
        UserError: nothing is known.
    """
    known = known_triples(domain, seed)
    phrases = {phrase for triple in known for phrase in (triple.head, triple.tail)}
    match config.knowledge:
        case "glosses" | "glosses-no-genus":
            glosses = domain.glosses if config.knowledge == "glosses" else domain.glosses_without_genus
            known = [Triple(term, GLOSS, gloss) for term, gloss in glosses.items() if term in phrases and gloss]
        case "mined":
            spelled = {phrase.lower(): phrase for phrase in sorted(phrases)}  # mined phrases are in lower case
            pairs = ((spelled.get(x.head), x.relation, spelled.get(x.tail)) for x in domain.mined)
            known = [Triple(head, relation, tail) for head, relation, tail in pairs if head and tail]
        case "shuffled":
            known = shuffled(known, seed)
    if config.knowledge not in ("glosses", "glosses-no-genus"):
        known = [triple for triple in known if triple.relation in config.relations]
    if not known:
        raise UserError(f"No knowledge of the domain {domain.name} is left for --knowledge {config.knowledge}.")
    if config.stacks == "per-relation":
        return {name: [x for x in known if x.relation == name] for name in config.relations}
    return {"relations": known}


def shuffled(triples: Sequence[Triple], seed: int) -> list[Triple]:
    """Tails permuted within each relation: the same phrases as often, with nothing to learn from their pairing."""
    found: list[Triple] = []
    for number, relation in enumerate(sorted({triple.relation for triple in triples})):
        own = [triple for triple in triples if triple.relation == relation]
        order = np.random.default_rng((seed, number, 11)).permutation(len(own))
        found += [Triple(own[k].head, relation, own[order[k]].tail) for k in range(len(own))]
    return found


def infusion_texts(domain: Domain, mask_token: str | None, tokens: Callable[[str], list[int]]) -> list[str]:
    """All that infusion may read of a domain, for the cache of hidden states; no masked sentences without a token."""
    phrases = {phrase for triple in domain.triples for phrase in (triple.head, triple.tail)}
    masked = [
        masked_sentence(x, mask_token, len(tokens(x.tail))) for x in domain.triples if mask_token and is_verbalised(x)
    ]
    return [
        *(template.format(phrase) for template in domain.templates for phrase in sorted(phrases)),
        *sorted(phrases),
        *masked,
        *domain.glosses.values(),
        *domain.glosses_without_genus.values(),
    ]
