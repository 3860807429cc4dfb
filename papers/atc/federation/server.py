"""The server: groups clients by their updates, mixes updates onto each client's own copy, makes the synthetic items.

The functions above :class:`Server` are pure. The server itself knows no task: it sees updates, projections and encoder
states alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

from shared import UserError

from ..config import Config
from ..losses import contrasted
from ..model import MLMHead
from .packet import Exchange, Packet, half, named

Weights = dict[str, Tensor]


def cosine_distances(updates: Tensor) -> Tensor:
    """(n, n) distances 1 - cos of updates (n, D); an update of zeros is at distance 1 from every other."""
    unit = updates / updates.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return (1 - unit @ unit.T).fill_diagonal_(0).clamp(min=0)


def clusters(distances: Tensor, count: int) -> np.ndarray:
    """(n,) group of every client: average linkage down to ``count`` groups, numbered as they first appear."""
    if len(distances) <= count:
        return np.arange(len(distances))
    grouping = AgglomerativeClustering(n_clusters=count, metric="precomputed", linkage="average")
    labels = grouping.fit_predict(distances.double().cpu().numpy())
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return first.argsort().argsort()[inverse]


def nearest_first(distances: Tensor) -> list[list[int]]:
    """Every client's list of all clients from the nearest to the farthest; the client itself stands first."""
    apart = distances.clone().fill_diagonal_(-1)
    return apart.argsort(dim=1, stable=True).tolist()


def mixing(members: Tensor, samples: Sequence[float], inside: float = 1.0, outside: float = 0.0) -> Tensor:
    """A (n, n): row i weighs the updates that client i receives, and sums to 1.

    Args:
        members: (n, n) bool, whether client j is in the group (or among the neighbours) of client i.
        samples: number of samples that each client processed in the round.
        inside, outside: weight of a member, and of another client.
    """
    weights = torch.where(members, inside, outside) * torch.tensor(samples, dtype=torch.float64)
    return weights / weights.sum(1, keepdim=True)


def mix(copies: Sequence[Mapping[str, Tensor]], updates: Sequence[Mapping[str, Tensor]], A: Tensor) -> list[Weights]:
    """w_i + sum_j A_ij delta_j: the updates, mixed onto each client's own copy."""
    mixed: list[Weights] = [{} for _ in copies]
    for name in copies[0]:
        stacked = torch.stack([update[name] for update in updates])
        steps = torch.tensordot(A.to(stacked), stacked, dims=1)
        for result, copy, step in zip(mixed, copies, steps, strict=True):
            result[name] = copy[name] + step
    return mixed


def flattened(update: Mapping[str, Tensor]) -> Tensor:
    """(D,): all entries of an update."""
    return torch.cat([x.flatten() for x in update.values()])


def synthetic_features(states: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """h (N, L, H): the sum of the clients' states, one client at a time; memory for two clients, not for all.

    Args:
        states: for every client its states (N, L_j, H), and their weights (N,).
    """
    total: Tensor | None = None
    for client, weights in states:
        weighted = client * weights[:, None, None].to(client)
        if total is None:
            total = weighted
            continue
        longest = max(total.shape[1], weighted.shape[1])
        total, weighted = (torch.nn.functional.pad(x, (0, 0, 0, longest - x.shape[1])) for x in (total, weighted))
        total = total + weighted
    assert total is not None
    return total


def primary_weights(primary: Tensor, clients: int, share: float) -> Tensor:
    """(n, N) weights of the clients in N synthetic items, whose ``primary`` clients are given: (N,) int64."""
    weights = torch.full((clients, len(primary)), (1 - share) / max(clients - 1, 1))
    weights[primary, torch.arange(len(primary))] = share
    return weights / weights.sum(0)


def mean_weights(heads: Sequence[Mapping[str, Tensor]]) -> Weights:
    """The plain mean of the clients' heads."""
    return {name: torch.stack([head[name].float() for head in heads]).mean(0) for name in heads[0]}


@torch.no_grad()
def synthetic_tokens(features: Tensor, head: MLMHead) -> Tensor:
    """t (N, L) int64: the word piece that the mean head finds at each position of h, an item at a time."""
    return torch.stack([head(item[None])[0].argmax(-1) for item in features])


class Server:
    """A copy of the shared weights for every client, and what the last rounds told of their likeness.

    Args:
        initial: shared weights that all clients began with, before any training.
        copies: the server's copy of every client's shared weights.
        groups: data set of every client; FedAvg-ST alone looks at it.
        head: a head to find synthetic words with, of the right shape.
    """

    def __init__(
        self,
        config: Config,
        initial: Weights,
        copies: Sequence[Weights],
        groups: Sequence[str],
        head: MLMHead,
        seed: int,
    ) -> None:
        self.config, self.seed, self.groups, self.head = config, seed, groups, head
        self.initial, self.copies = initial, list(copies)
        self.nearest: dict[int, list[int]] = {}  # by the updates of the last round
        self.features = torch.zeros(0)
        self.tokens = torch.zeros(0, dtype=torch.int64)
        self.holding: set[int] = set()  # clients that keep the synthetic items
        self.sent = 0  # bytes of the last round, both ways, over all clients
        self.distances = torch.zeros(0)

    @property
    def contrasts(self) -> bool:
        """Whether clients need the synthetic items."""
        return self.config.method == "atc" and self.config.contrast_weight > 0

    def neighbours(self, client: int) -> list[int]:
        """N_i: the nearest clients of the last round, the client itself included."""
        return self.nearest.get(client, [])[: self.config.neighbours[client]]

    # -- a round ------------------------------------------------------------------------------------------------------

    def round(self, number: int, exchange: Exchange) -> float:
        """One round: orders, local training, aggregation. Clients without a whole answer keep their copy.

        Returns: the mean loss of the clients' local steps.

        Raises:
            UserError: if no client answered.
        """
        self.sent = 0
        if self.contrasts:
            self.share_synthetic_items(exchange)
        orders = {i: self.training_order(number, i) for i in range(len(self.copies))}
        if self.contrasts and self.nearest:
            projections = self.collect_projections(orders, exchange)
            orders = {i: self.contrast_order(number, i, projections) for i in projections}
        answers = self.ask(orders, exchange)
        if not answers:
            raise UserError(f"No client finished round {number}; the reasons are in the log above.")
        if any(answer.tensors for answer in answers.values()):
            self.aggregate(number, answers)
        return float(np.mean([answer.numbers["loss"] for answer in answers.values()]))

    def ask(self, orders: dict[int, Packet], exchange: Exchange) -> dict[int, Packet]:
        """The answers to some orders, in the order of the clients."""
        answers = exchange(orders)
        self.sent += sum(packet.bytes for packet in (*orders.values(), *answers.values()))
        return {i: answers[i] for i in sorted(answers)}

    def training_order(self, number: int, client: int) -> Packet:
        """The client's weights, and the task of the Assign stage: masked words first, then one of two by lot."""
        order = Packet(named("weights", self.copies[client]), {"kind": "train", "round": number})
        if self.config.method == "assign":
            lot = np.random.default_rng((self.seed, number)).integers(2)
            order.numbers["task"] = "mlm" if number == 0 or lot == 0 else "denoise"
        return order

    def last_order(self, client: int) -> Packet:
        """The end of a stage: the client takes the server's copy beside its own parts and forgets its optimizer."""
        return Packet(named("weights", self.copies[client]), {"kind": "finish"})

    def aggregate(self, number: int, answers: Mapping[int, Packet]) -> None:
        """Mix the updates of the clients that answered onto their copies."""
        present = list(answers)
        updates = [answers[i].under("update") for i in present]
        copies = [self.copies[i] for i in present]
        if self.config.method != "assign" and self.config.first_round == "mix" and number == 0:
            # As in the released code the drift since the common start counts as part of the first update.
            updates = [
                {name: x + copy[name] - self.initial[name] for name, x in update.items()}
                for update, copy in zip(updates, copies, strict=True)
            ]
            copies = [self.initial] * len(present)
        samples = [float(answers[i].number("samples")) for i in present]
        distances = cosine_distances(torch.stack([flattened(update) for update in updates]))
        members = self.members(present, distances)
        for i, weights in zip(present, mix(copies, updates, mixing(members, samples)), strict=True):
            self.copies[i] = weights
        self.distances = torch.full((len(self.copies), len(self.copies)), torch.nan)
        self.distances[torch.tensor(present)[:, None], torch.tensor(present)] = distances.float().cpu()

    def members(self, present: list[int], distances: Tensor) -> Tensor:
        """(n, n) bool of the clients that answered: whose updates each of them receives."""
        self.nearest = {i: [present[k] for k in row] for i, row in zip(present, nearest_first(distances), strict=True)}
        match self.config.method:
            case "assign":
                groups = clusters(distances, self.config.clusters)
                return torch.from_numpy(groups[:, None] == groups)
            case "atc":
                return torch.tensor([[j in self.neighbours(i) for j in present] for i in present])
            case "fedavg-st":
                names = np.array([self.groups[i] for i in present])
                return torch.from_numpy(names[:, None] == names)
        return torch.ones(len(present), len(present), dtype=torch.bool)

    # -- synthetic items and projections ------------------------------------------------------------------------------

    def make_synthetic_items(self, exchange: Exchange) -> None:
        """Ask the clients for their states, one after the other, so that no more than two clients' are in memory."""
        everyone = range(len(self.copies))
        sizes = self.ask({i: Packet(numbers={"kind": "size"}) for i in everyone}, exchange)
        count = min([self.config.synthetic, *(answer.number("items") for answer in sizes.values())])
        primary = torch.from_numpy(np.random.default_rng((self.seed, 1)).choice(list(sizes), count))
        weights = primary_weights(primary, len(everyone), self.config.primary_share)
        heads = []

        def states() -> Iterable[tuple[Tensor, Tensor]]:
            for i in sizes:
                order = Packet(named("weights", self.copies[i]), {"kind": "encode", "items": count})
                for answer in self.ask({i: order}, exchange).values():
                    heads.append(answer.under("head"))
                    yield answer.tensors["states"].float(), weights[i]

        self.features = half(synthetic_features(states()))
        self.head.load_state_dict(mean_weights(heads))
        self.tokens = synthetic_tokens(self.features.float(), self.head)

    def share_synthetic_items(self, exchange: Exchange) -> None:
        """Send h and t to every client that does not keep them yet, or did not answer in the last round."""
        if not len(self.features):
            self.make_synthetic_items(exchange)
        missing = set(range(len(self.copies))) - self.holding
        public = {"features": self.features, "tokens": self.tokens.to(torch.int32)}
        self.holding |= self.ask({i: Packet(dict(public), {"kind": "keep"}) for i in missing}, exchange).keys()

    def collect_projections(self, orders: dict[int, Packet], exchange: Exchange) -> dict[int, Tensor]:
        """First exchange of a round: every client's z (N, H) of the synthetic items, by the weights of this round."""
        asked = {i: Packet(order.tensors, order.numbers | {"kind": "project"}) for i, order in orders.items()}
        answers = self.ask(asked, exchange)
        self.holding &= answers.keys()
        return {i: answer.tensors["projections"] for i, answer in answers.items()}

    def contrast_order(self, number: int, client: int, projections: Mapping[int, Tensor]) -> Packet:
        """Second exchange: the others' projections. The client has kept its weights since the first."""
        nearest = self.nearest.get(client, [])
        positives, negatives = contrasted(
            client, nearest, self.neighbours(client), list(projections), self.config.contrasted
        )
        if not positives:
            return Packet(numbers={"kind": "train", "round": number})
        return Packet(
            {"positive": half(torch.stack([projections[j].float() for j in positives]).mean(0)),
             "negatives": torch.stack([projections[j] for j in negatives]) if negatives
             else projections[client].new_zeros(0, *projections[client].shape)},
            {"kind": "train", "round": number},
        )  # fmt: skip

    # -- what a killed server goes on from ----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "copies": self.copies,
            "nearest": self.nearest,
            "features": self.features,
            "tokens": self.tokens,
            "distances": self.distances,
            "holding": sorted(self.holding),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        device = next(iter(self.initial.values()), torch.zeros(0)).device
        self.copies = [{name: x.to(device) for name, x in copy.items()} for copy in state["copies"]]
        self.features, self.tokens = (state[name].to(device) for name in ("features", "tokens"))
        self.nearest, self.distances, self.holding = dict(state["nearest"]), state["distances"], set(state["holding"])
