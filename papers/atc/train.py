"""Training: a federated course, the Assign stage or a later one, with the clients in this process.

``python -m papers.atc.train --variant atc --seed 0`` trains one run; ``make reproduce`` trains all. A step of a run is
a round of its course. ``federation/flower.py`` runs the same course over Flower.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.run import Run
from shared.support.files import write_atomic
from shared.support.weights import load_weights, weights_file

from .build import Networks, client_file
from .config import Config
from .data import shard, tokenizer_of
from .federation.client import Client
from .federation.local import LocalEngine
from .federation.packet import Packet, named
from .federation.server import Server
from .model import is_shared
from .texts import special

Weights = dict[str, Tensor]


def train(config: Config, run: Run) -> None:
    """Run all rounds of a stage; leaves every client's network, and ``rounds.npz`` with what the rounds told."""
    config, accelerator = config.of_stage(), run.accelerator
    clients = clients_of(config, run)
    engine = LocalEngine(clients, config.timeout, accelerator.process_index, accelerator.num_processes)
    begun = stage_one(config, run) if run.start else [{} for _ in clients]
    for state, weights in zip(engine.states, begun, strict=True):
        state.tensors = named("weights", weights)
    server = server_of(config, clients, begun)
    course = Course(server, engine)

    for number in run.steps(config.rounds, save_every=config.save_every, course=course):
        loss = server.round(number, engine.exchange)
        course.note_round()
        run.log(number, loss=torch.tensor(loss, device=run.device), megabytes=course.megabytes[-1])
    server.ask({i: server.last_order(i) for i in range(len(clients))}, engine.exchange)
    if accelerator.is_main_process:
        arrays = {
            "distances": np.array(course.distances),
            "megabytes": np.array(course.megabytes),
            "clients": np.array(config.clients),
            "synthetic": np.array([*server.features.shape, 0, 0, 0][:3]),
            "shared_bytes": np.array(sum(4 * x.numel() for x in server.initial.values())),
        }
        write_atomic(run.folder / "rounds.npz", lambda file: np.savez(file, allow_pickle=False, **arrays))
    if config.method == "assign":  # later stages begin from everything
        run.export(
            {
                f"client{i:02}.{name}": x
                for i, own in enumerate(engine.states)
                for name, x in own.under("weights").items()
            }
        )
    else:
        for client, own in zip(clients, engine.states, strict=True):
            run.export(used_parts(client, own), weights_file(run.folder, client_file(client.number)))


def clients_of(config: Config, run: Run) -> list[Client]:
    """All clients, with their training items."""
    networks = Networks(config, run.seed, run.cache, run.device)
    marks = special(tokenizer_of(config, run.cache))
    shards = [shard(config, run.cache, run.seed, i, "train") for i in range(len(config.clients))]
    return [Client(config, i, own, marks, networks, run.seed) for i, own in enumerate(shards)]


def server_of(config: Config, clients: list[Client], begun: list[Weights]) -> Server:
    """The server, whose copies hold what a method shares of the clients' weights; ``begun`` may lack any of them."""
    networks = clients[0].networks
    initial = networks.initial(config.method)
    copies = [initial | {name: x for name, x in weights.items() if is_shared(name, config.method)} for weights in begun]
    return Server(config, initial, copies, config.clients, networks.fresh(2).lm_head, clients[0].seed)


def stage_one(config: Config, run: Run) -> list[Weights]:
    """Every client's network after the Assign stage, on the run's device."""
    weights = {name: x.to(run.device) for name, x in load_weights(run.start_weights).items()}
    return [of_client(weights, i) for i in range(len(config.clients))]


def of_client(weights: Weights, number: int) -> Weights:
    """One client's part of the weights after the Assign stage."""
    prefix = f"client{number:02}."
    return {name.removeprefix(prefix): x for name, x in weights.items() if name.startswith(prefix)}


def used_parts(client: Client, state: Packet) -> Weights:
    """The parts of a client's network that its predictions need, in float16."""
    parts = ("model.encoder.", "classifier.") + (("model.decoder.",) if client.shard.kind == "generation" else ())
    return {name: x.half() for name, x in state.under("weights").items() if name.startswith(parts)}


class Course:
    """Server and clients, and what the rounds told so far; part of the checkpoint."""

    def __init__(self, server: Server, engine: LocalEngine) -> None:
        self.server, self.engine = server, engine
        self.distances: list[list[list[float]]] = []
        self.megabytes: list[float] = []

    def note_round(self) -> None:
        """Keep the distances between this round's updates, and the megabytes that a client sent and received."""
        clients = len(self.server.copies)
        self.distances.append(self.server.distances.tolist() or [[float("nan")] * clients] * clients)
        self.megabytes.append(self.server.sent / 1e6 / clients)

    def state_dict(self) -> dict[str, Any]:
        told = {"distances": self.distances, "megabytes": self.megabytes}
        return told | {"server": self.server.state_dict(), "engine": self.engine.state_dict(self.finished)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.distances, self.megabytes = state["distances"], state["megabytes"]
        self.server.load_state_dict(state["server"])
        self.engine.load_state_dict(state["engine"])

    @property
    def finished(self) -> bool:
        """Whether all rounds are done, so that the optimizers are no longer needed."""
        return len(self.distances) == self.server.config.rounds


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
