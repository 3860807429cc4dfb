"""The same course over Flower: a ServerApp and a ClientApp, for simulation and for real processes and machines.

Flower carries the packets of :mod:`.client` and :mod:`.server`; it changes no number. A client's state lives in its
node's context. ``flower_app/pyproject.toml`` makes this module an app; the README has the commands.
"""

import dataclasses
import functools
import json
import logging
import time
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from safetensors.torch import save

from shared.support.files import write_atomic

from .. import data
from ..build import Networks
from ..config import PRESETS, VARIANTS, Config
from ..model import is_shared
from ..texts import special
from .client import Client, answer
from .packet import Packet
from .server import Server

log = logging.getLogger("flwr")  # Flower shows what this logger says, also on the machine that started the run
server_app = ServerApp()
client_app = ClientApp()
Options = dict[str, Any]  # Flower's run configuration: preset, variant, seed, cache, out, changes


# -- what both sides need ---------------------------------------------------------------------------------------------


def to_records(packet: Packet) -> RecordDict:
    """A packet as Flower carries it."""
    tensors = {name: x.detach().cpu() for name, x in packet.tensors.items()}
    return RecordDict({"tensors": ArrayRecord(tensors), "numbers": ConfigRecord(dict(packet.numbers))})


def from_records(records: RecordDict) -> Packet:
    """The packet that :func:`to_records` was given; an empty one if there is none."""
    if "tensors" not in records:
        return Packet()
    return Packet(dict(records["tensors"].to_torch_state_dict()), dict(records["numbers"]))


def stages(variant: str) -> list[str]:
    """A variant and those that it starts from, in the order of training."""
    start = VARIANTS[variant].start
    return [*(stages(start) if start else []), variant]


@functools.cache
def config_of(preset: str, stage: str, changes: str) -> Config:
    """The configuration of a stage; ``changes`` is JSON with fields that differ in all stages."""
    changed = {name: tuple(x) if isinstance(x, list) else x for name, x in json.loads(changes or "{}").items()}
    return dataclasses.replace(PRESETS[preset], **VARIANTS[stage].changes | changed).of_stage()


@functools.cache
def networks_of(config: Config, seed: int, cache: Path) -> Networks:
    data.prepare(config, cache)
    return Networks(config, seed, cache, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


@functools.cache
def client_of(config: Config, number: int, seed: int, cache: Path) -> Client:
    networks = networks_of(config, seed, cache)
    marks = special(data.tokenizer_of(config, cache))
    return Client(config, number, data.shard(config, cache, seed, number, "train"), marks, networks, seed)


# -- client -----------------------------------------------------------------------------------------------------------


@client_app.train()
def work(message: Message, context: Context) -> Message:
    """Answer an order of the server; the state goes back into the node's context."""
    options, order = context.run_config, from_records(message.content)
    number = int(context.node_config["partition-id"])
    config = config_of(str(options["preset"]), str(order.numbers["stage"]), str(options.get("changes", "")))
    client = client_of(config, number, int(options["seed"]), Path(str(options["cache"])))
    device = client.networks.device
    answered, state = answer(client, from_records(context.state).on(device), order.on(device))
    for name, record in to_records(state).items():
        context.state[name] = record
    answered.numbers["client"] = number
    return Message(to_records(answered), reply_to=message)


# -- server -----------------------------------------------------------------------------------------------------------


@server_app.main()
def run_server(grid: Grid, context: Context) -> None:
    """All stages of a variant, all rounds of each; leaves the server's copies in ``out`` after every round."""
    options = context.run_config
    seed, cache, out = int(options["seed"]), Path(str(options["cache"])), Path(str(options["out"]))
    copies: list[dict[str, torch.Tensor]] = []
    for stage in stages(str(options["variant"])):
        config = config_of(str(options["preset"]), stage, str(options.get("changes", "")))
        networks = networks_of(config, seed, cache)
        initial = networks.initial(config.method)
        begun = [{k: x for k, x in copy.items() if is_shared(k, config.method)} for copy in copies]
        begun = [initial | copy for copy in begun or [{} for _ in config.clients]]
        server = Server(config, initial, begun, config.clients, networks.fresh(2).lm_head, seed)
        exchange = FlowerExchange(grid, stage, len(config.clients), config.timeout)
        for number in range(config.rounds):
            loss = server.round(number, exchange)
            log.info("%s, round %d of %d: loss %.3f", stage, number + 1, config.rounds, loss)
            named = {
                f"client{i:02}.{k}": x.cpu().contiguous()
                for i, copy in enumerate(server.copies)
                for k, x in copy.items()
            }
            write_atomic(out / f"{stage}.safetensors", save(named))
        server.ask({i: server.last_order(i) for i in range(len(server.copies))}, exchange)
        copies = server.copies


class FlowerExchange:
    """Carries orders over a grid; which node is which client is asked of every node that is new.

    Args:
        stage: variant whose configuration the clients take.
        clients: number of clients; the first exchange waits for so many nodes.
        timeout: seconds for the answers to all orders of an exchange.
    """

    def __init__(self, grid: Grid, stage: str, clients: int, timeout: float) -> None:
        self.grid, self.stage, self.clients, self.timeout = grid, stage, clients, timeout
        self.node_of: dict[int, int] = {}

    def __call__(self, orders: dict[int, Packet]) -> dict[int, Packet]:
        self._find_clients()
        missing = [i for i in orders if i not in self.node_of]
        for i in missing:
            log.warning("client %d is left out of this round: it has no node", i)
        found = self._send({self.node_of[i]: order for i, order in orders.items() if i not in missing})
        return {answered.number("client"): answered for answered in found.values()}

    def _find_clients(self) -> None:
        """Ask nodes that are new for their client's number; a client that is back on another node is found again."""
        while True:
            nodes = set(self.grid.get_node_ids())
            self.node_of = {i: node for i, node in self.node_of.items() if node in nodes}
            new = nodes - set(self.node_of.values())
            asked = self._send({node: Packet(numbers={"kind": "size"}) for node in new})
            self.node_of |= {answered.number("client"): node for node, answered in asked.items()}
            if len(self.node_of) == self.clients or self.clients == 0:
                self.clients = 0  # later a client may be away
                return
            time.sleep(1)

    def _send(self, orders: dict[int, Packet]) -> dict[int, Packet]:
        """Whole answers by node."""
        messages = []
        for node, order in orders.items():
            labelled = Packet(order.tensors, order.numbers | {"stage": self.stage})
            messages.append(Message(to_records(labelled), node, "train"))
        found = {}
        for reply in self.grid.send_and_receive(messages, timeout=self.timeout) if messages else ():
            node = reply.metadata.src_node_id
            if reply.has_error():
                log.warning("node %d is left out of this round: %s", node, reply.error.reason)
            elif not (answered := from_records(reply.content)).finite:
                log.warning("node %d is left out of this round: its answer holds NaN or infinite numbers", node)
            else:
                found[node] = answered
        return found
