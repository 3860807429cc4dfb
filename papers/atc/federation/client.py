"""A client: it answers the server's orders with its own data, and keeps its heads and its optimizer to itself.

:func:`answer` is pure: state and order in, answer and state out. What it draws depends on the seed, the client and the
round alone, so the engine that carries the packets changes no number.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..build import Networks
from ..config import Config
from ..corruption import IGNORED, Special, denoise, mlm
from ..data import Shard, collate, padded
from ..losses import contrastive_loss, label_smoothed_loss, span_loss
from ..model import HeteroModel, is_shared, load_named
from .packet import Number, Packet, half, named

Loss = Callable[[np.ndarray], Tensor]  # of the items with these indices
AT_ONCE = 64  # items of a batch without gradients
PERSONAL = 1  # marks Ditto's second training in what seeds a round


class NonFiniteLoss(Exception):
    """A client's local training failed; its state stays as it was before the round."""


@dataclass(frozen=True)
class Client:
    """A client's fixed surroundings; all that changes is in its state.

    Attributes:
        number: of the client, from 0.
        shard: its training items.
        special: the vocabulary's special entries.
        networks: scratch networks, whose content is overwritten by every order.
    """

    config: Config
    number: int
    shard: Shard
    special: Special
    networks: Networks
    seed: int


def answer(client: Client, state: Packet, order: Packet) -> tuple[Packet, Packet]:
    """Do what the server orders; returns the answer and the state to keep.

    Args:
        state: empty before the first order. Tensors ``weights/*`` (the whole network), ``optimizer/*``, ``features``
            and ``tokens``, for Ditto also ``personal/*`` and
            ``personal-optimizer/*``; the number ``steps`` of this stage.
        order: its number ``kind`` is "size", "encode", "keep", "project", "train" or "finish".

    Raises:
        NonFiniteLoss: if a local step had no finite loss.
    """
    received = Packet(state.tensors | named("weights", order.under("weights")), state.numbers)
    match order.numbers["kind"]:
        case "size":
            return Packet(numbers={"items": len(client.shard)}), state
        case "encode":
            return encode(client, received, order.number("items")), state
        case "keep":
            return Packet(), Packet(state.tensors | order.tensors, state.numbers)
        case "project":
            return Packet({"projections": projections(client, received)}), received
        case "train":
            return train(client, received, order)
        case "finish":
            own = received.under("personal") or received.under("weights")
            return Packet(), Packet(named("weights", own))
    raise ValueError(f"unknown order {order.numbers['kind']}")


def network_of(client: Client, state: Packet) -> HeteroModel:
    """The scratch network with the weights of a state; those that it lacks are as before any training."""
    network = client.networks.fresh(client.shard.labels)
    load_named(network, state.under("weights"))
    return network


# -- local training ---------------------------------------------------------------------------------------------------


def train(client: Client, state: Packet, order: Packet) -> tuple[Packet, Packet]:
    """The local steps of a round; answers with the update of the shared weights, the mean loss and the samples seen."""
    config = client.config
    network = network_of(client, state)
    start = weights_of(network)
    shared = {name: x for name, x in start.items() if is_shared(name, config.method)}
    loss = round_loss(client, network, state, order)
    pull = (shared, config.prox) if config.method == "fedprox" else None
    optimizer, mean_loss = fit(client, network, loss, state.under("optimizer"), state, order, pull)
    weights = weights_of(network)
    kept = state.tensors | named("weights", weights) | named("optimizer", optimizer)
    if config.method == "ditto":  # a personal model, pulled towards the weights that the server sent
        load_named(network, state.under("personal"))
        moments = state.under("personal-optimizer")
        personal, mean_loss = fit(client, network, loss, moments, state, order, (shared, config.ditto), PERSONAL)
        kept |= named("personal", weights_of(network)) | named("personal-optimizer", personal)
    update = {name: weights[name] - x for name, x in shared.items()}
    samples = config.local_steps * config.accumulation * config.batch_size
    numbers: dict[str, Number] = {"loss": mean_loss, "samples": samples}
    return Packet(named("update", update), numbers), Packet(kept, {"steps": state.number("steps") + config.local_steps})


def fit(
    client: Client,
    network: HeteroModel,
    loss: Loss,
    moments: Mapping[str, Tensor],
    state: Packet,
    order: Packet,
    pull: tuple[Mapping[str, Tensor], float] | None,
    track: int = 0,
) -> tuple[dict[str, Tensor], float]:
    """The local steps of a round with AdamW, whose moments and schedule go on from round to round.

    Args:
        moments: state of the optimizer after the last round.
        pull: weights towards which the network is pulled, and how strongly (FedProx, Ditto).
        track: tells the draws of a second training from those of the first.

    Returns: the state of the optimizer, and the mean loss of the steps.
    """
    config = client.config
    torch.manual_seed(seed_of(client, order, track))
    network.train()
    parameters = dict(network.named_parameters())
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    restore(optimizer, parameters, moments)
    total, losses = config.rounds * config.local_steps, []
    for k in range(config.local_steps):
        step = state.number("steps") + k
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(step, total, config.warmup)
        optimizer.zero_grad()
        for part in range(config.accumulation):
            value = loss(batch_indices(client, step * config.accumulation + part))
            if pull is not None:
                value = value + pull[1] / 2 * squared_distance(parameters, pull[0])
            if not value.isfinite():
                raise NonFiniteLoss(f"the loss became {float(value.detach())} in local step {step}")
            (value / config.accumulation).backward()
            losses.append(float(value.detach()))
        torch.nn.utils.clip_grad_norm_(parameters.values(), config.clip)
        optimizer.step()
    return stored(optimizer, parameters), float(np.mean(losses))


def schedule(step: int, total: int, warmup: float) -> float:
    """Share of the learning rate: 0 in the first step, linear up to 1, linear down to 0 after ``total`` steps."""
    rising = int(warmup * total)
    if step < rising:
        return step / rising
    return max(0.0, (total - step) / max(total - rising, 1))


def squared_distance(parameters: Mapping[str, Tensor], anchor: Mapping[str, Tensor]) -> Tensor:
    """Squared L2 distance of the shared weights from those that the server sent."""
    return torch.stack([(parameters[name] - x).square().sum() for name, x in anchor.items()]).sum()


def batch_indices(client: Client, number: int) -> np.ndarray:
    """Items of a batch: epochs in random orders, without the last partial batch."""
    size = min(client.config.batch_size, len(client.shard))
    epoch, place = divmod(number, len(client.shard) // size)
    order = np.random.default_rng((client.seed, client.number, epoch)).permutation(len(client.shard))
    return order[place * size :][:size]


def seed_of(client: Client, order: Packet, track: int) -> int:
    """Seed of what a client draws in a round."""
    parts = (client.seed, client.number, order.number("round"), track)
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def weights_of(network: HeteroModel) -> dict[str, Tensor]:
    return {name: x.detach().clone() for name, x in network.named_parameters()}


def restore(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
    """Give the optimizer what :func:`stored` returned."""
    for name, parameter in parameters.items():
        if f"{name}/step" in moments:
            optimizer.state[parameter] = {
                key: moments[f"{name}/{key}"].clone() for key in ("step", "exp_avg", "exp_avg_sq")
            }


def stored(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The optimizer's state, by the names of the parameters."""
    return {
        f"{name}/{key}": x
        for name, parameter in parameters.items()
        for key, x in optimizer.state.get(parameter, {}).items()
    }


# -- losses of a round ------------------------------------------------------------------------------------------------


def round_loss(client: Client, network: HeteroModel, state: Packet, order: Packet) -> Loss:
    """The loss that a round trains with: a task of the server, or the client's own with or without contrast."""
    match order.numbers.get("task"):
        case "mlm":
            return partial(mlm_loss, client, network, np.random.default_rng(seed_of(client, order, 0)))
        case "denoise":
            return partial(denoise_loss, client, network, np.random.default_rng(seed_of(client, order, 0)))
    if "positive" in order.tensors:
        return partial(contrast_loss, client, network, state, order)
    return partial(task_loss, client, network)


def task_loss(client: Client, network: HeteroModel, indices: np.ndarray) -> Tensor:
    """L_task of a batch."""
    batch = collate(client.shard, indices, client.networks.device)
    states = network.encode(batch["ids"], batch["mask"], batch["types"])
    match client.shard.kind:
        case "classification":
            return F.cross_entropy(network.classify(states, batch["mask"]), batch["label"])
        case "span":
            return span_loss(*network.spans(states), batch["start"], batch["end"])
        case "generation":
            logits = network.generate_logits(batch["target"], states, batch["mask"])
            smoothing, pad = client.config.label_smoothing, client.special.pad
            return label_smoothed_loss(logits.flatten(0, 1), batch["target"][:, 1:].flatten(), smoothing, pad)


def contrast_loss(client: Client, network: HeteroModel, state: Packet, order: Packet, indices: np.ndarray) -> Tensor:
    """L_task + L_con: item k of the client's own order is paired with synthetic item k, those beyond have none."""
    loss = task_loss(client, network, indices)
    chosen = torch.from_numpy(indices[indices < len(state.tensors["tokens"])]).to(client.networks.device)
    if not len(chosen):
        return loss
    z = network.project(state.tensors["tokens"][chosen].long(), state.tensors["features"][chosen].float())
    positive, negatives = (order.tensors[name][..., chosen, :].float() for name in ("positive", "negatives"))
    contrast = contrastive_loss(z, positive[None], negatives, client.config.temperature)
    return loss + client.config.contrast_weight * contrast


def mlm_loss(client: Client, network: HeteroModel, rng: np.random.Generator, indices: np.ndarray) -> Tensor:
    """Cross-entropy of masked words."""
    text = padded([row["text"] for row in client.shard.some(indices)], client.special.pad)
    corrupted, labels = mlm(text, client.special, network.lm_head.decoder.out_features, rng)
    ids, mask, target = tensors(client, corrupted, text != client.special.pad, labels)
    chosen = target != IGNORED
    if not chosen.any():
        chosen[0, 0] = True  # a batch without a masked word has a loss of its first word
        target[0, 0] = client.special.bos
    return F.cross_entropy(network.lm_head(network.encode(ids, mask)[chosen]), target[chosen])


def denoise_loss(client: Client, network: HeteroModel, rng: np.random.Generator, indices: np.ndarray) -> Tensor:
    """Cross-entropy of the original text, given its corruption."""
    text = padded([row["text"] for row in client.shard.some(indices)], client.special.pad)
    corrupted = denoise(text, client.special, client.config.mask_ratio, rng)
    ids, mask, target = tensors(client, corrupted, corrupted != client.special.pad, text)
    logits = network.generate_logits(target, network.encode(ids, mask), mask)
    return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=client.special.pad)


def tensors(client: Client, *arrays: np.ndarray) -> tuple[Tensor, ...]:
    """Whole numbers on the client's device."""
    return tuple(torch.from_numpy(x.astype(np.int64)).to(client.networks.device) for x in arrays)


# -- synthetic items --------------------------------------------------------------------------------------------------


@torch.no_grad()
def encode(client: Client, state: Packet, items: int) -> Packet:
    """States (N, L, H) of the first training items in data order, float16, zero beyond the text; and the lm_head."""
    network = network_of(client, state).eval()
    length = client.config.synthetic_length
    found = []
    for start in range(0, items, AT_ONCE):
        batch = collate(client.shard, range(start, min(start + AT_ONCE, items)), client.networks.device)
        states = network.encode(batch["ids"], batch["mask"], batch["types"]) * batch["mask"][..., None]
        found.append(half(states[:, :length]))
    longest = max(x.shape[1] for x in found)
    states = torch.cat([F.pad(x, (0, 0, 0, longest - x.shape[1])) for x in found])
    head = {name: x.detach().clone() for name, x in network.lm_head.named_parameters()}
    return Packet({"states": states} | named("head", head))


@torch.no_grad()
def projections(client: Client, state: Packet) -> Tensor:
    """z (N, H), float16, of the synthetic items in evaluation mode."""
    network = network_of(client, state).eval()
    tokens, features = state.tensors["tokens"], state.tensors["features"]
    return half(
        torch.cat(
            [
                network.project(tokens[start:][:AT_ONCE].long(), features[start:][:AT_ONCE].float())
                for start in range(0, len(tokens), AT_ONCE)
            ]
        )
    )
